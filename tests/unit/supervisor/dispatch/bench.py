"""A dispatcher, a real arena and real lanes, with workers that answer when a test says so."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, cast

from gpu_worker.ipc.arena import RequestArena
from gpu_worker.ipc.link import SOLO, Completion, Status, outcome_of
from gpu_worker.ipc.tensors import Contract, TensorSpec
from supervisor.dispatch.dispatcher import Dispatcher
from supervisor.dispatch.lane import Lane
from supervisor.dispatch.request import InferRequest
from supervisor.dispatch.result import InferResult
from supervisor.dispatch.waiting import infer
from supervisor.errors import RequestError
from supervisor.lifecycle.states import VersionRecord
from supervisor.repository.model_settings import ModelSettings

if TYPE_CHECKING:
    from supervisor.workers.port import WorkerPort

EMPTY_TABLE = bytes(8)
CONTRACT = Contract((TensorSpec("x", "FP32", (-1, 4)),), (TensorSpec("y", "FP32", (-1, 2)),))
OTHER_CONTRACT = Contract((TensorSpec("z", "FP32", (-1, 4)),), CONTRACT.outputs)
Answer = asyncio.Task[InferResult]
Reply = InferResult | RequestError


class FakeWorker:
    """What lanes and dispatcher use of a worker."""

    rings = None  # compiled code leaves its requests to Python's

    def __init__(self) -> None:
        self.in_flight: dict[int, InferRequest] = {}
        self.submitted: list[InferRequest] = []
        self.alone: list[int] = []  # marks of those that it was told to run alone
        self.runs: tuple[int, ...] = ()
        self.bells = 0

    def submit(self, requests: Sequence[InferRequest]) -> None:
        assert requests
        assert all(self.in_flight[request.id] is request for request in requests)
        self.submitted.extend(requests)
        for request in requests:
            if request.submission(load_id=7, now_ns=0).load_id == 7 | SOLO:
                self.alone.append(request.output_mask)
        self.bells += 1

    def running(self) -> tuple[int, ...]:
        return self.runs

    @property
    def marks(self) -> list[int]:
        """What was submitted, by the marks that tests gave."""
        return [request.output_mask for request in self.submitted]


class Bench:
    """One model with its lanes."""

    def __init__(self, **limits: int) -> None:
        largest = limits.pop("largest", 1 << 14)
        self.arena = RequestArena.create(limits.pop("arena_bytes", 1 << 22), largest)
        self.dispatcher = Dispatcher("m", self.arena)
        self.limits = {"max_in_flight": 2, "queue_limit": 64, "timeout_ms": 60_000, **limits}
        self.workers: dict[FakeWorker, Lane] = {}
        self._marks = 0

    def lane(self, version: str, workers: int = 1, contract: Contract | None = None) -> Lane:
        """Build a lane that does not serve yet."""
        record = VersionRecord("m", version, f"{version}@f")
        settings = ModelSettings(**self.limits)  # type: ignore[arg-type]  # numbers all
        lane = Lane(record, contract or CONTRACT, settings, [])
        for _ in range(workers):
            self.add_worker(lane)
        return lane

    def serve(self, version: str, workers: int = 1, contract: Contract | None = None) -> Lane:
        """Switch to a new lane."""
        lane = self.lane(version, workers, contract)
        self.dispatcher.switch(lane)
        return lane

    def add_worker(self, lane: Lane, worker: FakeWorker | None = None) -> FakeWorker:
        worker = worker or FakeWorker()
        self.workers[worker] = lane
        lane.workers.append(cast("WorkerPort", worker))
        return worker

    def of(self, lane: Lane) -> list[FakeWorker]:
        return [worker for worker, its in self.workers.items() if its is lane]

    def ask(
        self, lane: Lane | None = None, mark: int = 0, timeout_s: float | None = None
    ) -> Answer:
        """Start a request, of `lane`'s version if one is given; it is admitted at the next step."""
        slot = self.arena.slots.take(100)
        assert slot is not None
        self._marks += 1
        return asyncio.get_running_loop().create_task(
            infer(
                self.dispatcher, lane or self.dispatcher.lane(None), slot, 100,
                mark or self._marks, ((1, 4),), by_version=lane is not None, timeout_s=timeout_s,
            )
        )  # fmt: skip

    def submit(self, replies: list[Reply], lane: Lane | None = None) -> InferRequest:
        """Start a request as a connection does; its answers, one at most, come into `replies`."""
        slot = self.arena.slots.take(100)
        assert slot is not None
        self._marks += 1
        return self.dispatcher.submit(
            lane or self.dispatcher.lane(None), slot, 100, self._marks, ((1, 4),), replies.append,
            by_version=lane is not None,
        )  # fmt: skip

    async def asked(self, count: int = 1, lane: Lane | None = None) -> list[Answer]:
        """Start requests and have them admitted."""
        answers = [self.ask(lane) for _ in range(count)]
        await step()
        return answers

    def complete(
        self,
        worker: FakeWorker,
        status: Status = Status.OK,
        data: bytes = EMPTY_TABLE,
        nth: int = 0,
    ) -> InferRequest:
        """Answer a request as a worker's handle does."""
        lane = self.workers[worker]
        request = worker.in_flight.pop(list(worker.in_flight)[nth])
        now = time.monotonic_ns()
        outcome = outcome_of(status, 1, leads=True)
        completion = Completion(
            request.id, request.slot.reuse, outcome, 0, len(data), now, now, now
        )
        ring = bytearray(data)
        self.dispatcher.completed(lane, request, completion, memoryview(ring))
        ring[:] = bytes(len(ring))  # as the worker may do from now on
        self.dispatcher.pump()
        lane.note_idle()
        return request

    def kill(self, worker: FakeWorker, *running: int) -> None:
        """End a worker; `running` are the ids of the requests that it was running."""
        worker.runs = running
        lane = self.workers.pop(worker)
        self.dispatcher.worker_died(lane, cast("WorkerPort", worker))

    def close(self) -> None:
        """Give the arena back: its descriptor would outlive the test."""
        self.arena.close()

    @property
    def lent(self) -> int:
        return self.arena.slots.lent_slots

    @property
    def live(self) -> int:
        """Count the requests that wait or that a worker holds."""
        return self.dispatcher.queued + sum(len(worker.in_flight) for worker in self.workers)


async def step() -> None:
    """Let everything that can go on do so."""
    for _ in range(5):
        await asyncio.sleep(0)
