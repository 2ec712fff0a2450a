"""A supervisor's fronts with real processes, and workers that take note of what they are told."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from collections.abc import AsyncIterator
from typing import Any, cast

from supervisor.fronts.fronts import Fronts
from supervisor.fronts.handle import FrontHandle
from supervisor.http.listening_sockets import port_of
from supervisor.workers.handle import WorkerHandle
from supervisor.workers.pool import WorkerPool
from supervisor.workers.renewal import Renewal
from supervisor.workers.spare_memory import SpareMemory
from tests.unit.supervisor.dispatch.bench import Bench
from tests.unit.supervisor.front_process.mirrored import FakePort
from tests.unit.supervisor.fronts.near import SETTINGS, START_S, listeners, started


class FakeHandle(FakePort):
    """What fronts use of a worker's handle."""

    pid = 1
    device = "cpu"
    answered = 0
    stale = 0

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.told: list[tuple[str, int]] = []

    def attach(self, front: int, fds: tuple[int, int, int, int]) -> None:
        assert all(os.fstat(fd) for fd in fds)
        self.told.append(("attach", front))

    def detach(self, front: int) -> None:
        self.told.append(("detach", front))

    def space_freed(self, front: int) -> None:
        self.told.append(("space freed", front))

    def abort(self) -> None:
        self.told.append(("abort", 0))


class Company(Bench):
    """One model of the supervisor, and its further fronts."""

    def __init__(self) -> None:
        super().__init__()
        self.pool = WorkerPool(["cpu"], self._spawn, 60.0, 60.0, Renewal(0), SpareMemory(0))
        self.fronts = Fronts(SETTINGS, self.pool)
        self.passed_on: list[socket.socket] = []
        self.port = 0

    async def _spawn(self, *_: Any) -> WorkerHandle:
        raise AssertionError("nobody demands workers")

    def start_worker(self, number: int) -> FakeHandle:
        """Have a worker in the pool, as a start does."""
        worker = FakeHandle(number)
        handle = cast("WorkerHandle", worker)
        self.pool.workers.append(handle)
        self.pool.on_started(handle)
        return worker

    def end_worker(self, worker: FakeHandle) -> None:
        """Have a worker end, as the lanes hear of it."""
        handle = cast("WorkerHandle", worker)
        self.pool.workers.remove(handle)
        self.fronts.worker_gone(handle)

    async def up(self, count: int) -> list[FrontHandle]:
        """Wait until so many fronts listen."""
        async with asyncio.timeout(START_S):
            while len(self.fronts.running) < count:  # noqa: ASYNC110 - a state of theirs
                await asyncio.sleep(0.01)
        await started(*self.fronts.running)
        return [*self.fronts.running]

    async def states(self) -> list[tuple[int, set[str]]]:
        """Have each front say how many requests wait, and which versions it has."""
        await self.fronts.totals.gather()
        counted = [front.statistics.models["m"] for front in self.fronts.running]
        return [(model.queued, set(model.versions)) for model in counted]


@contextlib.asynccontextmanager
async def company(count: int) -> AsyncIterator[tuple[Company, list[list[socket.socket]]]]:
    """Start fronts, which are ended with the test."""
    one = Company()
    with listeners(count) as opened:
        one.fronts.start(opened, lambda sock, _: one.passed_on.append(sock), ours=True)
        one.port = port_of(opened[0]) if opened else 0
        try:
            yield one, opened
        finally:
            for front in one.fronts.running:
                front.kill()
            await one.fronts.stop(0)
            one.pool.workers.clear()
            await one.pool.stop(0)
            for sock in one.passed_on:
                sock.close()
