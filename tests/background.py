"""A client that runs beside a test: in a thread of its own, with an event loop of its own.

Owns the thread, from the beginning of the `with` to its end. Runs in pytest's process.
"""

from __future__ import annotations

import asyncio
import threading
import time
from typing import Self


class Background:
    """`with` it, `_run` is under way until `_stop` is set."""

    def __init__(self) -> None:
        self._stop = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()), daemon=True)

    async def _run(self) -> None:
        raise NotImplementedError

    def _progress(self) -> tuple[int, bool]:
        """Count the answers, and say whether anything has gone wrong."""
        raise NotImplementedError

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(90)
        assert not self._thread.is_alive(), "the load did not end: a request was never answered"

    def wait_answers(self, more: int, timeout_s: float = 60.0) -> None:
        """Wait until so many more answers have come, or something went wrong."""
        goal, deadline = self._progress()[0] + more, time.monotonic() + timeout_s
        while True:
            answers, wrong = self._progress()
            if answers >= goal or wrong:
                return
            assert time.monotonic() < deadline, f"{more} answers did not come in {timeout_s:g} s"
            time.sleep(0.01)
