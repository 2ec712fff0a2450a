"""The memory that this process and its children may still take, and what one of them has.

Owns the reading of the kernel's counts, those of control groups (version 1 and 2) among them: a
limit set by systemd or a container counts as much as what the machine has. Reads small files of the
kernel, in well under a millisecond. Runs in the supervisor.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final, NamedTuple

import psutil


class _Files(NamedTuple):
    """The files of one version, and a field of `memory.stat`.

    What limits, what is used, and which part of that the kernel gives back when asked.
    """

    limits: tuple[str, ...]
    used: str
    reclaimable: str


_OURS: Final = Path("/proc/self/cgroup")
_CGROUPS: Final = Path("/sys/fs/cgroup")
_V1: Final = _Files(("memory.limit_in_bytes",), "memory.usage_in_bytes", "total_inactive_file")
_V2: Final = _Files(("memory.max", "memory.high"), "memory.current", "inactive_file")


def available_bytes() -> int:
    """Give the memory that may still be taken before anything is killed or swapped."""
    machine = int(psutil.virtual_memory().available)
    try:
        ours = _OURS.read_text()
    except OSError:  # a kernel without control groups
        return machine
    return min([machine, *cgroup_headrooms(ours, _CGROUPS)])


def cgroup_headrooms(ours: str, root: Path) -> Iterator[int]:
    """Give what each control group that holds this process leaves, in bytes, where it has a limit.

    `ours` is what /proc/self/cgroup says. A group's limit holds for all below it, so its parents
    count too. In a container the path may be the host's: then `root` alone is to be seen.
    """
    for line in ours.splitlines():
        _, controllers, path = line.split(":", maxsplit=2)
        if not controllers:
            base, files = root, _V2
        elif "memory" in controllers.split(","):
            base, files = root / "memory", _V1
        else:
            continue
        group = base / path.lstrip("/")
        for folder in (group, *group.parents):
            yield from _headroom(folder, files)
            if folder == base:
                break


def _headroom(folder: Path, files: _Files) -> Iterator[int]:
    with suppress(OSError, ValueError):  # no such group here, or no such controller
        used = int((folder / files.used).read_text())
        found = re.search(
            rf"^{files.reclaimable} (\d+)$", (folder / "memory.stat").read_text(), re.MULTILINE
        )
        back = int(found[1]) if found else 0
        for name in files.limits:
            limit = (folder / name).read_text().strip()
            if limit != "max":
                yield max(0, int(limit) - used + back)


def private_bytes(pid: int) -> int:
    """Give the memory of a process that is its own, in bytes; 0 when it has ended."""
    try:
        memory = psutil.Process(pid).memory_info()
    except psutil.Error:
        return 0
    return max(0, int(memory.rss - memory.shared))
