"""The leftover: a load runs on what everything else leaves over of the cores, while that is enough.

The kernel prefers whatever serves to a worker with SCHED_IDLE, at once and whenever there is a
choice; so where every core is busy, such a worker hardly runs at all. Owns the watch over one load,
and the end of its modesty. Runs on the supervisor's event loop.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Final

import structlog

from gpu_worker.ipc.policy import set_policy

log = structlog.get_logger()

_LOOK_S: Final = 0.2


def gets_on(ran_ns: int, passed_ns: int, percent: int) -> bool:
    """Say whether a process that ran for `ran_ns` of `passed_ns` had `percent` of a core."""
    return 100 * ran_ns >= percent * passed_ns


def ran_ns(pid: int) -> int:
    """Give the CPU time of a process (clock_getcpuclockid(3): CPUCLOCK_SCHED of the process).

    Raises:
        OSError: there is no such process.

    """
    return time.clock_gettime_ns((~pid << 3) | 2)


@contextmanager
def watched(pid: int, percent: int, look_s: float = _LOOK_S) -> Iterator[None]:
    """Watch a worker that loads; whenever it got less than `percent` of a core it gets its share.

    With 0 percent nothing is watched. The watch goes on after that: the worker may not have begun,
    or may have been in the midst of stepping back.
    """
    if not percent:
        yield
        return
    watch = _Watch(pid, percent, look_s)
    try:
        yield
    finally:
        watch.end()


class _Watch:
    """Looks at one process, time after time."""

    def __init__(self, pid: int, percent: int, look_s: float) -> None:
        self._pid = pid
        self._percent = percent
        self._look_s = look_s
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        self._told = False
        with suppress(OSError):  # it has ended
            self._begin(ran_ns(pid))

    def end(self) -> None:
        """Look no more."""
        if self._timer is not None:
            self._timer.cancel()

    def _begin(self, ran: int) -> None:
        self._ran, self._at = ran, time.monotonic_ns()
        self._timer = self._loop.call_later(self._look_s, self._look)

    def _look(self) -> None:
        self._timer = None
        try:
            ran = ran_ns(self._pid)
            if not gets_on(ran - self._ran, time.monotonic_ns() - self._at, self._percent):
                self._raise()
        except OSError:
            return  # it has ended, which others see to
        self._begin(ran)

    def _raise(self) -> None:
        try:
            set_policy(self._pid, os.SCHED_OTHER)
        except PermissionError as error:
            if not self._told:
                log.warning("a load cannot be given its share of the cores", reason=str(error))
            self._told = True
