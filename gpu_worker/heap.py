"""The heap: what a version leaves of its memory, and whether the next one may have it.

Giving it back to the system and taking it again costs more than the calls: the kernel clears every
page anew, what is served beside it runs slower meanwhile, and the heap's huge pages come back as
small ones, which makes each run slower (docs/performance.md). So what a version leaves is kept for
the next one of its size. Owns when it is given back all the same. Runs in the worker.
"""

from __future__ import annotations

import ctypes
from typing import Final

from gpu_worker.huge_pages import mend_heap
from gpu_worker.memory import private_bytes

_ALIKE: Final = 1.25  # times the size of the others' files
_SLACK_BYTES: Final = 64 << 20  # by which what is kept may grow until it is looked at


class Heap:
    """What this process keeps for its next version."""

    def __init__(self) -> None:
        self._files_bytes = 0  # of the largest version since all was given back
        self._kept_bytes = 0  # with what the first version since has left
        self._left_bytes = 0  # of memory of its own, when all had been given back
        self._cut = False

    def expect(self, files_bytes: int) -> None:
        """Give back, before a load, what a version with files of this size would not need."""
        small, large = sorted((files_bytes, self._files_bytes))
        if self._kept_bytes and large > _ALIKE * small:
            self.give_back()
        self._files_bytes = max(files_bytes, self._files_bytes)

    def gather(self) -> None:
        """Have what has been loaded lie in whole huge pages, if something was given back before."""
        if self._cut:
            mend_heap()
            self._cut = False

    def vacated(self) -> int:
        """Keep what a version has left, unless it has become too much.

        Gives how much memory of its own this process had when it gave back all for the last time,
        in bytes; 0 if it never has.
        """
        has = private_bytes()
        self._kept_bytes = self._kept_bytes or has
        if has > self._kept_bytes + _SLACK_BYTES:
            self.give_back()
        return self._left_bytes

    def give_back(self) -> int:
        """Give everything free back to the system; gives what is left, in bytes."""
        ctypes.CDLL(None).malloc_trim(0)
        self._files_bytes, self._kept_bytes, self._cut = 0, 0, True
        self._left_bytes = private_bytes()
        return self._left_bytes
