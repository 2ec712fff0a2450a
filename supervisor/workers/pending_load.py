"""A load under way in one worker: what it is waiting for, and what it has heard.

Owns one future. Runs on the supervisor's event loop.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from gpu_worker.ipc.messages import Loaded, LoadFailed, Warming
from supervisor.errors import VersionFailed


class PendingLoad:
    """One load, known by its id; what concerns another one is not heard."""

    def __init__(self, load_id: int, on_warming: Callable[[], None]) -> None:
        self._load_id = load_id
        self._on_warming = on_warming
        self._future: asyncio.Future[Loaded] = asyncio.get_running_loop().create_future()

    async def done(self) -> Loaded:
        """Wait for the verdict.

        Raises:
            VersionFailed: the worker says so, or has ended.

        """
        return await self._future

    def hear(self, message: Warming | Loaded | LoadFailed) -> None:
        """Take what the worker says."""
        if message.load_id != self._load_id or self._future.done():
            return
        match message:
            case Warming():
                self._on_warming()
            case Loaded():
                self._future.set_result(message)
            case LoadFailed():
                self.fail(message.kind, f"{message.phase}: {message.reason}")

    def fail(self, kind: str, reason: str) -> None:
        """End the load without success."""
        if not self._future.done():
            self._future.set_exception(VersionFailed(kind, reason))
