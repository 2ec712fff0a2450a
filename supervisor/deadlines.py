"""Deadlines: one timer for any number of things that must end in time.

Owns who is watched and one timer, so that watching costs a dictionary entry and no timer of its
own. Things whose deadline has passed are handed to `expire` within a millisecond or so. Runs on the
supervisor's event loop.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Final, Generic, TypeVar

T = TypeVar("T")

_NEVER: Final = 1 << 63
_GRAIN_NS: Final = 1_000_000  # timers closer together than this are one


class Deadlines(Generic[T]):
    """Watches things, each with a deadline in CLOCK_MONOTONIC nanoseconds."""

    def __init__(self, expire: Callable[[T], None]) -> None:
        self._expire = expire
        self._loop = asyncio.get_running_loop()
        self.watched: dict[T, int] = {}
        self._timer: asyncio.TimerHandle | None = None
        self.fires_at = _NEVER

    def __len__(self) -> int:
        """Count what is watched."""
        return len(self.watched)

    def watch(self, thing: T, deadline_ns: int) -> None:
        """Watch `thing` until it is forgotten or has expired."""
        self.watched[thing] = deadline_ns
        if deadline_ns < self.fires_at:
            self._arm(deadline_ns)

    def forget(self, thing: T) -> None:
        """Watch it no more; what is not watched may be forgotten, too."""
        self.watched.pop(thing, None)

    def _arm(self, deadline_ns: int) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self.fires_at = deadline_ns
        delay_ns = max(deadline_ns - time.monotonic_ns(), 0) + _GRAIN_NS
        self._timer = self._loop.call_later(delay_ns / 1_000_000_000, self._fire)

    def _fire(self) -> None:
        self._timer, self.fires_at = None, _NEVER
        now = time.monotonic_ns()
        due = [item for item in self.watched.items() if item[1] <= now]
        for thing, _ in sorted(due, key=lambda item: item[1]):
            if self.watched.pop(thing, None) is not None:
                self._expire(thing)
        if self.watched:
            self._arm(min(self.fires_at, *self.watched.values()))

    def close(self) -> None:
        """Watch nothing any more."""
        self.watched.clear()
        if self._timer is not None:
            self._timer.cancel()
