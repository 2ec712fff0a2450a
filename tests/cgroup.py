"""A control group that limits memory, for servers on a host that is too small.

Owns one group below that of this process, of version 1 or 2, whichever controls memory here. Needs
root. Runs in pytest's process.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil
import pytest

from tests.harness import wait_for

_ROOT = Path("/sys/fs/cgroup")


class MemoryGroup:
    """One group. `limit_file` and `used_file` are the kernel's names."""

    def __init__(self, folder: Path, limit: str, used: str, reclaimable: str) -> None:
        self.folder = folder
        self._limit, self._used, self._reclaimable = limit, used, reclaimable

    def take(self, process: psutil.Process) -> None:
        """Put a process and its children in."""
        for one in (process, *process.children(recursive=True)):
            with suppress(ProcessLookupError):  # it has ended meanwhile
                (self.folder / "cgroup.procs").write_text(str(one.pid))

    def leave(self, free_mb: int) -> None:
        """Set the limit so that so much is free now."""
        stat = (self.folder / "memory.stat").read_text()
        found = re.search(rf"^{self._reclaimable} (\d+)$", stat, re.MULTILINE)
        assert found is not None
        used = int((self.folder / self._used).read_text()) - int(found[1])
        (self.folder / self._limit).write_text(str(used + (free_mb << 20)))

    def remove(self) -> None:
        """Remove the group, once the last process has left it."""
        wait_for(lambda: not (self.folder / "cgroup.procs").read_text(), "the group is empty")
        self.folder.rmdir()


@contextmanager
def memory_group(name: str) -> Iterator[MemoryGroup]:
    """Make a group and remove it; skips the test where that cannot be."""
    for line in Path("/proc/self/cgroup").read_text().splitlines():
        _, controllers, path = line.split(":", maxsplit=2)
        if controllers == "memory":
            folder = _ROOT / "memory" / path.lstrip("/") / name
            names = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
        elif not controllers and (_ROOT / "cgroup.controllers").exists():
            folder = _ROOT / path.lstrip("/") / name
            names = ("memory.max", "memory.current", "inactive_file")
        else:
            continue
        try:
            folder.mkdir()
        except OSError as error:
            pytest.skip(f"no control group for memory can be made: {error.strerror}")
        if not (folder / names[0]).exists():
            folder.rmdir()
            continue
        group = MemoryGroup(folder, *names)
        try:
            yield group
        finally:
            group.remove()
        return
    pytest.skip("no control group limits memory here")
