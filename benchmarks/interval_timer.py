"""A timer whose beat is exact to microseconds.

Owns one timerfd. The event loop's own timers are exact to a millisecond only, which is more than
many an answer takes. Runs in the load generator's process.
"""

from __future__ import annotations

import asyncio
import ctypes
import os
from collections.abc import Callable
from typing import Final

_CLOCK_MONOTONIC: Final = 1
_ABSOLUTE: Final = 1
_FLAGS: Final = os.O_NONBLOCK | os.O_CLOEXEC


class _Timespec(ctypes.Structure):
    _fields_ = (("seconds", ctypes.c_long), ("nanoseconds", ctypes.c_long))


class _Setting(ctypes.Structure):
    _fields_ = (("interval", _Timespec), ("first", _Timespec))


def _timespec(nanoseconds: int) -> _Timespec:
    return _Timespec(*divmod(nanoseconds, 1_000_000_000))


class IntervalTimer:
    """Calls `due(n)` on the event loop: n beats have passed since the last call."""

    def __init__(self, first: float, interval_s: float, due: Callable[[int], None]) -> None:
        """Begin at `first` on the monotonic clock; the beat is kept in whole nanoseconds.

        Raises:
            OSError: the kernel gives no timer.

        """
        libc = ctypes.CDLL(None, use_errno=True)
        interval_ns = round(interval_s * 1e9)
        self.interval_s = interval_ns / 1e9  # what it is in truth: 1.4 million beats add up
        self._due = due
        self._fd = libc.timerfd_create(_CLOCK_MONOTONIC, _FLAGS)
        if self._fd < 0:
            raise OSError(ctypes.get_errno(), "timerfd_create")
        setting = _Setting(_timespec(interval_ns), _timespec(round(first * 1e9)))
        if libc.timerfd_settime(self._fd, _ABSOLUTE, ctypes.byref(setting), None) != 0:
            raise OSError(ctypes.get_errno(), "timerfd_settime")
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(self._fd, self._ring)

    def _ring(self) -> None:
        try:
            beats = int.from_bytes(os.read(self._fd, 8), "little")
        except BlockingIOError:
            return
        self._due(beats)

    def close(self) -> None:
        """Stop for good."""
        self._loop.remove_reader(self._fd)
        os.close(self._fd)
