"""What processes cost: CPU time by role, and memory.

Owns the reading of /proc for one tree of processes. A role is the module that a process runs
(`python -m gpu_worker` is a worker), so that new kinds of process show up by themselves.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import Final

import psutil

_NAMES: Final = {"supervisor": "front", "gpu_worker": "worker", "supervisor.json_worker": "json"}
_PROGRAMS: Final = {"mosec": "front", "triton_python_backend_stub": "worker"}
_TICKS_S: Final = os.sysconf("SC_CLK_TCK")


def role_of(command: list[str]) -> str:
    """Name what a process does, from its command line."""
    if "-m" in command[:-1]:
        module = command[command.index("-m") + 1]
        return _NAMES.get(module, module.rpartition(".")[2])
    if "--multiprocessing-fork" in command:
        return "worker"  # how mosec starts its own
    return _PROGRAMS.get(Path(command[0]).name, "other") if command else "other"


def cpu_seconds(pid: int) -> float:
    """Give the CPU time of a process so far, to the nanosecond where the kernel counts so."""
    try:
        texts = [path.read_text() for path in Path(f"/proc/{pid}/task").glob("*/schedstat")]
    except OSError:
        texts = []
    if texts and all(texts):
        return sum(int(text.split()[0]) for text in texts) / 1e9
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS_S


class ProcessTree:
    """A process and all below it."""

    def __init__(self, pid: int) -> None:
        self._root = psutil.Process(pid)

    def processes(self) -> dict[int, str]:
        """Give the role of each process that lives, by process id."""
        found = {self._root.pid: "front"}
        for child in self._root.children(recursive=True):
            try:
                found[child.pid] = role_of(child.cmdline())
            except psutil.Error:
                continue
        return found

    def kill(self) -> None:
        """End all of them at once."""
        for process in (*self._root.children(recursive=True), self._root):
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()

    def cpu(self) -> dict[int, tuple[str, float]]:
        """Give role and CPU seconds so far of each process."""
        found = {}
        for pid, role in self.processes().items():
            try:
                found[pid] = (role, cpu_seconds(pid))
            except OSError:
                continue  # it has ended
        return found

    def memory_mb(self) -> dict[str, float]:
        """Give the resident memory per role, added up; PSS where it may be read.

        PSS counts a page that several processes map once in all.
        """
        total: dict[str, float] = {}
        for pid, role in self.processes().items():
            try:
                process = psutil.Process(pid)
                try:
                    size = process.memory_full_info().pss
                except psutil.AccessDenied:
                    size = process.memory_info().rss
            except psutil.Error:
                continue
            total[role] = total.get(role, 0.0) + size / 1e6
        return total


def cpu_between(
    before: dict[int, tuple[str, float]], after: dict[int, tuple[str, float]]
) -> dict[str, float]:
    """Add up per role what was spent between two readings, in seconds."""
    spent: dict[str, float] = {}
    for pid, (role, seconds) in after.items():
        used = seconds - before.get(pid, (role, 0.0))[1]
        spent[role] = spent.get(role, 0.0) + used
    return spent
