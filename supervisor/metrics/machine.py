"""What the machine says: memory and CPU time of our processes, and the GPUs.

Owns the readings, which are kept for a second, and the one thread at a time that takes them: a
driver that hangs costs metrics their GPUs, and nothing else. Never raises for what cannot be read.
Runs on the supervisor's event loop, the readings themselves in a thread.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

import psutil

from supervisor.metrics.gpus import GpuReading, Gpus

_FRESH_S: Final = 1.0
_PATIENCE_S: Final = 1.0


@dataclass(frozen=True, slots=True, order=True)
class ProcessName:
    """One of our processes. `worker` is a worker's or front's number, "" for others."""

    kind: str  # supervisor, front, worker, json_worker
    worker: str = ""
    device: str = ""


@dataclass(frozen=True, slots=True)
class ProcessReading:
    """One process at one moment."""

    resident_bytes: int
    cpu_seconds: float
    open_fds: int


@dataclass(frozen=True, slots=True)
class MachineReading:
    """All processes that live, and all GPUs that can be read."""

    processes: Mapping[ProcessName, ProcessReading]
    gpus: tuple[GpuReading, ...] = ()


Pids = Callable[[], Mapping[ProcessName, int]]


class Machine:
    """Takes readings."""

    def __init__(
        self, pids: Pids, gpus: Gpus | None = None, patience_s: float = _PATIENCE_S
    ) -> None:
        """`pids` tells which processes there are."""
        self._pids = pids
        self._patience_s = patience_s
        self._gpus = gpus or Gpus()
        self._known: dict[tuple[ProcessName, int], psutil.Process] = {}
        self._last = MachineReading({})
        self._fresh_until = 0.0
        self._reading: asyncio.Task[None] | None = None

    async def read(self) -> MachineReading:
        """Give a reading that is a second old at most, or the last there was if none comes."""
        loop = asyncio.get_running_loop()
        if self._reading is None and loop.time() >= self._fresh_until:
            self._reading = loop.create_task(self._read())
        if self._reading is not None:
            await asyncio.wait({self._reading}, timeout=self._patience_s)
        return self._last

    async def _read(self) -> None:
        try:
            self._last = await asyncio.to_thread(self._take, dict(self._pids()))
        finally:
            self._fresh_until = asyncio.get_running_loop().time() + _FRESH_S
            self._reading = None

    def _take(self, pids: Mapping[ProcessName, int]) -> MachineReading:
        processes = {}
        known: dict[tuple[ProcessName, int], psutil.Process] = {}
        for key in pids.items():
            try:
                process = self._known.get(key) or psutil.Process(key[1])
                processes[key[0]] = _read_process(process)
            except (psutil.Error, OSError):  # it has just ended
                continue
            known[key] = process
        self._known = known
        return MachineReading(processes, self._gpus.read())


def _read_process(process: psutil.Process) -> ProcessReading:
    with process.oneshot():
        times = process.cpu_times()
        return ProcessReading(
            process.memory_info().rss, times.user + times.system, process.num_fds()
        )
