"""Readings of processes: kept for a second, never in the way, never an error."""

from __future__ import annotations

import asyncio
import os
import sys
import threading

from supervisor.metrics.gpus import GpuReading, Gpus
from supervisor.metrics.machine import Machine, ProcessName

SUPERVISOR = ProcessName("supervisor")


async def test_our_own_process_is_read() -> None:
    machine = Machine(lambda: {SUPERVISOR: os.getpid()})
    process = (await machine.read()).processes[SUPERVISOR]
    assert process.resident_bytes > 1 << 20
    assert process.cpu_seconds > 0
    assert process.open_fds >= 3


async def test_a_process_that_has_ended_is_left_out() -> None:
    ended = await asyncio.create_subprocess_exec(sys.executable, "-c", "")
    await ended.wait()
    machine = Machine(lambda: {SUPERVISOR: os.getpid(), ProcessName("worker", "1"): ended.pid})
    assert set((await machine.read()).processes) == {SUPERVISOR}


async def test_a_reading_is_kept_for_a_while() -> None:
    asked = []

    def pids() -> dict[ProcessName, int]:
        asked.append(1)
        return {SUPERVISOR: os.getpid()}

    machine = Machine(pids)
    assert await machine.read() is await machine.read()
    assert len(asked) == 1


class Stuck(Gpus):
    """A driver that hangs."""

    def __init__(self) -> None:
        super().__init__()
        self.go_on = threading.Event()
        self.readings = 0

    def read(self) -> tuple[GpuReading, ...]:
        self.readings += 1
        self.go_on.wait(60)
        return ()


async def test_a_driver_that_hangs_holds_up_one_thread_and_nobody_else() -> None:
    gpus = Stuck()
    machine = Machine(lambda: {SUPERVISOR: os.getpid()}, gpus, patience_s=0.01)
    try:
        for _ in range(5):
            assert (await machine.read()).processes == {}
        assert gpus.readings == 1
    finally:
        gpus.go_on.set()
    patient = Machine(lambda: {SUPERVISOR: os.getpid()}, gpus)
    assert set((await patient.read()).processes) == {SUPERVISOR}
