"""Huge pages: the heap's, put together again where what was given back has cut them.

glibc gives memory back in pages of 4 KB, and the kernel splits the huge pages (2 MB) in which they
lay; what comes to lie there later lies in small ones. The kernel can gather them again
(MADV_COLLAPSE, Linux 6.1; an older one refuses, and all stays as it is). Owns which parts of the
heap are worth it. Runs in the worker.
"""

from __future__ import annotations

import ctypes
import mmap
import os
import re
from pathlib import Path
from typing import Final

import numpy as np

_COLLAPSE: Final = 25  # MADV_COLLAPSE of linux/mman.h
_WORTH_IT: Final = 0.5  # of a huge page that has to be there
_TOO_LARGE: Final = 32 << 20  # bytes; with pages of 64 KB a huge one has 512 MB
_SETTINGS: Final = Path("/sys/kernel/mm/transparent_hugepage")
_ASKED_FOR: Final = "glibc.malloc.hugetlb=1"  # of the supervisor's `worker_environment`
_HEAP: Final = re.compile(r"^([0-9a-f]+)-([0-9a-f]+) rw.*\[heap\]$", re.MULTILINE)


def mend_heap() -> int:
    """Gather this process's heap, if its allocator has been told to use huge pages and may.

    Gives how many huge pages the kernel has been asked for.
    """
    if _ASKED_FOR not in os.environ.get("GLIBC_TUNABLES", "") or not _allowed():
        return 0
    parts = _HEAP.findall(Path("/proc/self/maps").read_text(errors="replace"))
    return sum(mend(int(begin, 16), int(end, 16)) for begin, end in parts)


def mend(begin: int, end: int) -> int:
    """Gather the huge pages between two addresses of which at least half is in use.

    Others would take more memory than they spare time. Gives how many they are.
    """
    size = int((_SETTINGS / "hpage_pmd_size").read_text())
    first, last = -(-begin // size), end // size
    if last <= first or size > _TOO_LARGE:
        return 0
    libc = ctypes.CDLL(None)
    there = np.zeros(((last - first) * size // mmap.PAGESIZE,), np.uint8)
    start, length = ctypes.c_void_p(first * size), ctypes.c_size_t((last - first) * size)
    if libc.mincore(start, length, ctypes.c_void_p(there.ctypes.data)) != 0:
        return 0
    used = (there.reshape(last - first, -1) & 1).mean(1)
    places = np.flatnonzero(used >= _WORTH_IT)
    # Neighbours in one call, for each empties queues of all cores; it goes on where one fails.
    for run in np.split(places, np.flatnonzero(np.diff(places) > 1) + 1):
        if len(run):
            at = ctypes.c_void_p((first + int(run[0])) * size)
            libc.madvise(at, ctypes.c_size_t(len(run) * size), _COLLAPSE)
    return len(places)


def _allowed() -> bool:
    try:
        return "[never]" not in (_SETTINGS / "enabled").read_text()
    except OSError:  # a kernel without any
        return False
