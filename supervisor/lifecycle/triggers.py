"""Triggers: what has been asked for since the last reconcile pass began.

Owns the set of triggers and those who wait for a verdict. A trigger only says "look", so any number
of them become one pass. Runs on the supervisor's event loop.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from supervisor.errors import NotReady
from supervisor.lifecycle.verdict import Verdict

Verdicts = Mapping[str, Verdict]


class Triggers:
    """Collects triggers until a pass takes them."""

    def __init__(self) -> None:
        self._names: set[str] = set()
        self._waiters: list[asyncio.Future[Verdicts]] = []
        self._wake = asyncio.Event()
        self._held = False

    def add(self, name: str) -> None:
        """Ask for a pass."""
        self._names.add(name)
        if not self._held:
            self._wake.set()

    @property
    def awaited(self) -> bool:
        """Say whether somebody waits for a verdict."""
        return bool(self._waiters)

    def hold(self) -> bool:
        """Have nothing taken for now, unless somebody waits for a verdict; gives whether it is so.

        What is asked for meanwhile is kept.
        """
        if not self._waiters:
            self._held = True
            self._wake.clear()
        return self._held

    def let_go(self) -> None:
        """Have it taken again."""
        self._held = False
        self._wake.set()

    async def verdicts(self, name: str) -> Verdicts:
        """Ask for a pass that begins after this call, and give its verdicts."""
        waiter: asyncio.Future[Verdicts] = asyncio.get_running_loop().create_future()
        self._waiters.append(waiter)
        self.add(name)
        return await waiter

    def close(self) -> None:
        """Tell whoever still waits that there will be no verdict."""
        waiters, self._waiters = self._waiters, []
        refuse_all(waiters)

    async def take(self) -> tuple[str, list[asyncio.Future[Verdicts]]]:
        """Wait until something was asked for; give the triggers' names and who waits."""
        while self._held or not self._names:
            await self._wake.wait()
            if not self._names:
                self._wake.clear()
        names, self._names = self._names, set()
        waiters, self._waiters = self._waiters, []
        self._wake.clear()
        return "+".join(sorted(names)), waiters


def refuse_all(waiters: list[asyncio.Future[Verdicts]]) -> None:
    """Answer waiters whose pass broke off."""
    for waiter in waiters:
        if not waiter.done():
            waiter.set_exception(NotReady("the look at the repository broke off; see the log"))
