"""Memory: how much of its own this process has, and had at most during a load.

Owns the reading of the kernel's counts. What is shared with others (arenas, rings, code) is no
memory of its own. Runs in the worker.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

_STATUS: Final = Path("/proc/self/status")
_CLEAR_REFS: Final = Path("/proc/self/clear_refs")
_RESET_PEAK: Final = "5"


def private_bytes() -> int:
    """Give the memory in use that is this process's own, in bytes."""
    return _count("RssAnon", _STATUS.read_text())


def _count(name: str, status: str) -> int:
    found = re.search(rf"^{name}:\s*(\d+) kB$", status, re.MULTILINE)
    return int(found[1]) << 10 if found else 0


class Peak:
    """What this process has at most from now on."""

    def __init__(self) -> None:
        self._resets = True
        try:
            _CLEAR_REFS.write_text(_RESET_PEAK)
        except OSError:  # a sandbox: the end stands for the peak then
            self._resets = False
        status = _STATUS.read_text()
        self._private, self._resident = _count("RssAnon", status), _count("VmRSS", status)

    def bytes(self) -> int:
        """Give the most memory of its own since the beginning, in bytes."""
        status = _STATUS.read_text()
        most = _count("VmHWM" if self._resets else "VmRSS", status)
        return max(self._private + most - self._resident, _count("RssAnon", status))
