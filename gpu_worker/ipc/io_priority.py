"""I/O priority: whose reads and writes a busy disk sees to first.

Owns the two system calls, for which neither Python nor glibc has functions. The priority is a
thread's, and counts where the disk's scheduler knows it (BFQ). What cannot be set stays as it is.
Runs in all processes.
"""

from __future__ import annotations

import ctypes
import platform
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

# The lowest of the ordinary class. Not the idle class: a disk that is never idle would put a load
# off for ever.
IO_LAST: Final = (2 << 13) | 7
_WHO_THREAD: Final = 1
# ioprio_set, ioprio_get
_CALLS: Final = {"x86_64": (251, 252), "aarch64": (30, 31)}


def _call(which: int, *arguments: int) -> int | None:
    calls = _CALLS.get(platform.machine())
    if calls is None:
        return None
    result = int(ctypes.CDLL(None).syscall(calls[which], _WHO_THREAD, *arguments))
    return None if result < 0 else result


def set_io_priority(priority: int, thread: int = 0) -> None:
    """Set a thread's I/O priority, class and level as the kernel joins them; 0: this thread."""
    _call(0, thread, priority)


def io_priority() -> int | None:
    """Give this thread's I/O priority; None where it is not told."""
    return _call(1, 0)


@contextmanager
def io_last() -> Iterator[None]:
    """Run a block, on this thread alone, with its I/O last in line."""
    before = io_priority()
    set_io_priority(IO_LAST)
    try:
        yield
    finally:
        if before is not None:
            set_io_priority(before)
