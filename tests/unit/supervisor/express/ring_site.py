"""A site whose workers have real rings: the port of each, and in this process its other end.

The other end does what a worker process does: it takes submissions, reads their payloads from the
arena, and completes them, when a test says so or at once.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

from gpu_worker.answer import ResponseLayouts
from gpu_worker.ipc.arena import ArenaReader
from gpu_worker.ipc.link import (
    Completion,
    LinkFds,
    Status,
    Submission,
    SupervisorEnd,
    WorkerEnd,
    outcome_of,
)
from gpu_worker.ipc.ring import LINE
from gpu_worker.ipc.tensors import Contract, read_table
from supervisor.dispatch.delivery import Delivery
from supervisor.dispatch.lane import Lane
from supervisor.express.wire_parts import Express
from supervisor.workers.events import Answered
from supervisor.workers.port import WorkerPort
from tests.unit.supervisor.http.client import Client, y_of
from tests.unit.supervisor.http.codec.requests import Array
from tests.unit.supervisor.http.loops import until
from tests.unit.supervisor.http.site import Site, running

COMPILED = pytest.mark.skipif(
    Express is None, reason="supervisor.express was not compiled at installation"
)
RESPONSE_BYTES = 1 << 20
LOAD = 7
Model = Callable[[Array], Sequence[Array]]  # from the input to all outputs


@dataclass(frozen=True)
class Taken:
    """What a worker saw of a request."""

    x: bytes
    shape: tuple[int, ...]
    alone: bool
    output_mask: int


class Port(WorkerPort):
    """A port that keeps what was told of broken rings."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.complaints: list[str] = []

    def broken(self, error: ValueError) -> None:
        self.complaints.append(str(error))


class RingWorker:
    """A worker: `port` is what the dispatcher has of it, `end` what the worker's process has."""

    def __init__(self, site: RingSite, lane: Lane, number: int, start: int = 0) -> None:
        """`start` is what both ends of its rings have counted before."""
        arena = site.arena.segment
        link = SupervisorEnd.create(site.response_bytes)
        for memory in link.memory():
            words = memory.cast("Q")
            words[0] = words[LINE // 8] = start
            words.release()
        fds = LinkFds(
            rings=os.dup(link.rings_fd),
            arena=arena.read_only_fd(),
            submissions=os.dup(link.submission_bell.fd),
            completions=os.dup(link.completion_bell.fd),
            control=-1,
        )
        self.end, self.arena = WorkerEnd(fds), ArenaReader(fds.arena)
        self.link, self.site, self.lane = link, site, lane
        self.port = Port(number, os.getpid(), "cpu", link, site)
        self.port.lane, self.port.load_id = lane, LOAD
        self.waiting: deque[Submission] = deque()  # taken, and not answered
        self.seen: list[Taken] = []
        self.model: Model = lambda x: [y_of(x)]
        self._layouts = ResponseLayouts(lane.contract)
        self._prompt = False

    def take(self) -> None:
        """Take what was submitted, and look at it."""
        for one in self.end.submissions():
            request = self.port.in_flight[one.request_id]
            assert one == request.submission(LOAD, request.submitted_ns)
            x = self.input(one)
            self.seen.append(Taken(x.tobytes(), x.shape, bool(request.crashes), one.output_mask))
            self.waiting.append(one)

    async def has(self, count: int = 1) -> None:
        """Wait until so many requests have come that are not answered."""

        def come() -> bool:
            self.take()
            return len(self.waiting) >= count

        await until(come)

    def input(self, one: Submission) -> Array:
        """Read what was asked, several inputs one below the other."""
        payload = self.arena.payload(one.slot_offset, one.length, one.slot_reuse, one.request_id)
        assert payload is not None, "the descriptor is stale"
        return np.concatenate([tensor.view(payload) for tensor in read_table(payload)])

    def outputs(self, one: Submission) -> bytes:
        """Write the answer to a request as a worker does."""
        arrays = self.model(self.input(one))
        shapes = tuple(array.shape for array in arrays)
        table, places, length = self._layouts.get(shapes, one.output_mask)
        data = bytearray(table.ljust(length, b"\0"))
        for index, start, end in places:
            data[start:end] = arrays[index].tobytes()
        return bytes(data)

    def completion(
        self, one: Submission, status: Status = Status.OK, data: bytes | None = None
    ) -> Completion:
        """Put an answer into the response ring."""
        data = self.outputs(one) if data is None else data
        place = self.end.responses.reserve(len(data))
        assert place is not None, "the ring is full"
        position, into = place
        into[:] = data
        self.end.responses.commit(position, len(data))
        now = time.monotonic_ns()
        outcome = outcome_of(status, 1, leads=True)
        return Completion(
            one.request_id, one.slot_reuse, outcome, position, len(data), now, now, now
        )

    def answer(self, count: int = 1, status: Status = Status.OK, data: bytes | None = None) -> None:
        """Answer the oldest requests, as many as there are, with one ring of the doorbell."""
        self.take()
        count = min(count, len(self.waiting))
        self.end.complete(
            [self.completion(self.waiting.popleft(), status, data) for _ in range(count)]
        )

    def be_prompt(self) -> None:
        """Answer what is there, and from now on whatever comes."""
        if not self._prompt:
            self._prompt = True
            fd = self.end.submission_bell.fd
            asyncio.get_running_loop().add_reader(fd, self.answer, 1 << 16)
        self.answer(1 << 16)

    def be_slow(self) -> None:
        """Answer when told to."""
        if self._prompt:
            self._prompt = False
            asyncio.get_running_loop().remove_reader(self.end.submission_bell.fd)

    def die(self, *running: int) -> None:
        """End, in the middle of running these ids."""
        self.end.run(running)
        self.site.delivery.died(self.port)
        self.close()

    def close(self) -> None:
        self.be_slow()
        self.site.workers.remove(self)
        self.port.close()
        self.arena.close()
        self.end.close()


class RingSite(Site):
    """A site with such workers."""

    def __init__(self, *, response_bytes: int = RESPONSE_BYTES, **options: Any) -> None:
        super().__init__(**options)
        self.response_bytes = response_bytes
        self.rings: list[RingWorker] = []
        self.workers: list[RingWorker] = []
        self.dispatcher = self.bench.dispatcher
        self.delivery = Delivery(lambda name: self.dispatcher if name == "m" else None)

    def worker_answered(self, worker: WorkerPort, answers: Sequence[Answered]) -> None:
        self.delivery.answered(worker, answers)

    @property
    def express(self) -> int:
        """Count the requests that compiled code has taken."""
        return self.dispatcher.counts["express"]

    def add_ring_worker(self, lane: Lane, start: int = 0) -> RingWorker:
        worker = RingWorker(self, lane, len(self.rings) + 1, start)
        lane.workers.append(worker.port)
        self.rings.append(worker)
        self.workers.append(worker)
        return worker

    def serve_rings(
        self,
        version: str = "v1",
        *,
        prompt: bool = True,
        workers: int = 1,
        contract: Contract | None = None,
        start: int = 0,
    ) -> list[RingWorker]:
        """Switch to a version with workers of real rings."""
        lane = self.bench.lane(version, workers=0, contract=contract)
        made = [self.add_ring_worker(lane, start) for _ in range(workers)]
        if prompt:
            for worker in made:
                worker.be_prompt()
        self.dispatcher.switch(lane)
        return made

    def lay_in(self, count: int) -> None:
        """Have so many slots lie ready: compiled code takes those that have come back."""
        slots = [self.arena.slots.take(100) for _ in range(count)]
        for slot in slots:
            assert slot is not None
            self.arena.slots.give_back(slot)

    async def at_rest(self) -> None:
        for worker in self.workers:
            worker.be_prompt()
        await super().at_rest()

    async def stop(self) -> None:
        try:
            await super().stop()
        finally:
            for worker in list(self.workers):
                worker.close()


def ring_site(**options: Any) -> AbstractAsyncContextManager[RingSite]:
    """Run a server whose workers have rings."""
    return running(RingSite(**options))


def of_rows(rows: int) -> Model:
    """Give a model whose output has so many rows, whatever the input."""
    return lambda x: [np.resize(y_of(x), (rows, 2))]


async def raw_answer(client: Client) -> bytes:
    """Read one response, and give its bytes without the line that says when it was written."""
    async with asyncio.timeout(10):
        head = await client.reader.readuntil(b"\r\n\r\n")
        lines = head.split(b"\r\n")
        length = next(line for line in lines if line.startswith(b"Content-Length: ")).split()[1]
        body = await client.reader.readexactly(int(length))
    kept = [line for line in lines if not line.startswith(b"Date: ")]
    assert len(kept) == len(lines) - 1
    return b"\r\n".join(kept) + body
