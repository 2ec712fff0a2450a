"""The rehearsal: what workers are sent before a switch, and that nothing is left of it."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import numpy as np
import pytest

from gpu_worker.ipc.link import Status
from gpu_worker.ipc.tensors import Contract, TensorSpec, read_table
from supervisor.dispatch.lane import Lane
from supervisor.dispatch.request import InferRequest
from supervisor.lifecycle.rehearsal import rehearse
from tests.unit.supervisor.dispatch.bench import Bench, FakeWorker, step

SHAPES = ((3, 4),)


class Actor(FakeWorker):
    """Answers by itself, and notes what it was given to read."""

    def __init__(self, bench: Bench, status: Status = Status.OK) -> None:
        super().__init__()
        self.read: list[list[tuple[int, tuple[int, ...], float]]] = []
        self._bench = bench
        self._status = status

    def submit(self, requests: Sequence[InferRequest]) -> None:
        super().submit(requests)
        for request in requests:
            payload = self._bench.arena.payload(request.slot)[: request.length]
            self.read.append([
                (tensor.index, tensor.shape, float(np.abs(tensor.view(payload)).sum()))
                for tensor in read_table(payload)
            ])  # fmt: skip
            asyncio.get_running_loop().call_soon(self._bench.complete, self, self._status)


def dirty(bench: Bench) -> None:
    """Leave numbers of earlier requests in the arena."""
    slot = bench.arena.slots.take(100)
    assert slot is not None
    bench.arena.payload(slot)[:] = b"\x3f" * slot.capacity
    bench.arena.slots.give_back(slot)


def lane_with(bench: Bench, workers: list[FakeWorker], contract: Contract | None = None) -> Lane:
    lane = bench.lane("v2", workers=0, contract=contract)
    for worker in workers:
        bench.add_worker(lane, worker)
    return lane


@pytest.mark.parametrize("status", [Status.OK, Status.FAILED, Status.STALE])
async def test_every_worker_answers_and_nothing_counts(status: Status) -> None:
    bench = Bench()
    bench.serve("v1")
    dirty(bench)
    actors = [Actor(bench, status), Actor(bench, status)]
    lane = lane_with(bench, [*actors])
    await rehearse(lane, bench.arena, SHAPES)
    for actor in actors:
        assert actor.read
        assert all(read == [(0, (3, 4), 0.0)] for read in actor.read)
    assert bench.live == bench.lent == 0
    assert lane.statistics.success_count == lane.statistics.fail_count == 0
    assert bench.dispatcher.recent_shapes.list() == []
    assert not bench.dispatcher.counts


async def test_tensors_of_several_inputs_lie_apart() -> None:
    bench = Bench()
    inputs = TensorSpec("x", "FP32", (-1, 4)), TensorSpec("n", "INT64", (3,))
    actor = Actor(bench)
    lane = lane_with(bench, [actor], Contract(inputs, ()))
    await rehearse(lane, bench.arena, ((1, 4), (3,)))
    assert actor.read[0] == [(0, (1, 4), 0.0), (1, (3,), 0.0)]


async def test_it_waits_for_the_answers() -> None:
    bench = Bench()
    worker = FakeWorker()
    lane = lane_with(bench, [worker])
    task = asyncio.create_task(rehearse(lane, bench.arena, SHAPES))
    await step()
    assert not task.done()
    while not task.done():
        assert len(worker.in_flight) == 1
        bench.complete(worker)
        await step()
    assert worker.bells > 1


async def test_a_worker_that_ends_takes_nothing_with_it() -> None:
    bench = Bench()
    (serving,) = bench.of(bench.serve("v1"))
    worker = FakeWorker()
    lane = lane_with(bench, [worker])
    task = asyncio.create_task(rehearse(lane, bench.arena, SHAPES))
    await step()
    bench.kill(worker, *worker.in_flight)
    await task
    assert lane.workers == []
    assert serving.submitted == []
    assert bench.live == bench.lent == 0
    assert not bench.dispatcher.counts


async def test_it_takes_no_slot_that_clients_need() -> None:
    bench = Bench()
    slots = []
    while (slot := bench.arena.slots.take(100)) is not None:
        slots.append(slot)
    actor = Actor(bench)
    await rehearse(lane_with(bench, [actor]), bench.arena, SHAPES)
    assert actor.submitted == []
    assert bench.lent == len(slots)


async def test_large_requests_are_not_rehearsed() -> None:
    bench = Bench()
    actor = Actor(bench)
    await rehearse(lane_with(bench, [actor]), bench.arena, ((1 << 16, 4),))
    assert actor.submitted == []
