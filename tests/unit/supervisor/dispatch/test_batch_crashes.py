"""Crashes of batches: all that ran are suspects and run alone; only the guilty one is poison."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpu_worker.ipc.link import Status
from supervisor.dispatch.lane import Lane
from supervisor.errors import NotFound, NotReady, PoisonRequest
from tests.unit.supervisor.dispatch.bench import Answer, Bench, FakeWorker, step


def replace(bench: Bench, lane: Lane, *running: int) -> FakeWorker:
    """Kill the only worker while it runs these, and put a new one in its place."""
    (worker,) = bench.of(lane)
    bench.kill(worker, *running)
    new = bench.add_worker(lane)
    bench.dispatcher.pump()
    return new


def finish(bench: Bench, worker: FakeWorker) -> None:
    while worker.in_flight:
        bench.complete(worker)


async def test_a_batch_that_ran_at_a_death_runs_one_by_one_and_in_order() -> None:
    bench = Bench(max_in_flight=8)
    lane = bench.serve("v1")
    answers = await bench.asked(6)
    (worker,) = bench.of(lane)
    assert worker.alone == []
    new = replace(bench, lane, *list(worker.in_flight)[:4])
    assert (new.marks, new.alone) == ([1, 2, 3, 4, 5, 6], [1, 2, 3, 4])
    finish(bench, new)
    await asyncio.gather(*answers)
    assert (bench.lent, bench.dispatcher.counts["sent_again"]) == (0, 6)
    assert bench.dispatcher.counts["poison"] == 0


@pytest.mark.parametrize("guilty", [0, 1, 2, 3])
async def test_only_what_runs_alone_at_the_second_death_is_poison(guilty: int) -> None:
    bench = Bench(max_in_flight=4)
    lane = bench.serve("v1")
    answers = await bench.asked(4)
    (worker,) = bench.of(lane)
    new = replace(bench, lane, *worker.in_flight)
    for _ in range(guilty):  # those before it do well, alone
        bench.complete(new)
    last = replace(bench, lane, next(iter(new.in_flight)))
    await step()
    with pytest.raises(PoisonRequest, match="model 'm': two workers could not run it"):
        await answers[guilty]
    assert last.marks == [mark for mark in (1, 2, 3, 4) if mark > guilty + 1]
    assert last.alone == last.marks, "a suspect stays one until it has run"
    finish(bench, last)
    innocent = [one for nth, one in enumerate(answers) if nth != guilty]
    await asyncio.gather(*innocent)
    assert (bench.lent, bench.dispatcher.counts["poison"]) == (0, 1)


async def test_a_suspect_that_does_well_alone_leaves_no_mark_on_what_comes_later() -> None:
    bench = Bench(max_in_flight=4)
    lane = bench.serve("v1")
    answers = await bench.asked(2)
    (worker,) = bench.of(lane)
    new = replace(bench, lane, *worker.in_flight)
    finish(bench, new)
    await asyncio.gather(*answers)
    (later,) = await bench.asked()
    assert (new.marks, new.alone) == ([1, 2, 3], [1, 2])
    finish(bench, new)
    await later


async def test_what_waited_behind_a_batch_is_no_suspect_however_often_its_worker_dies() -> None:
    bench = Bench(max_in_flight=4)
    lane = bench.serve("v1")
    answers = await bench.asked(4)
    for _ in range(5):
        new = replace(bench, lane)
        assert new.alone == []
    finish(bench, new)
    await asyncio.gather(*answers)


async def test_ids_that_a_dying_worker_left_behind_and_nobody_has_harm_nobody() -> None:
    bench = Bench(max_in_flight=4)
    lane = bench.serve("v1")
    answers = await bench.asked(2)
    (worker,) = bench.of(lane)
    first, second = worker.in_flight
    bench.complete(worker)  # answered, but still among those that it says it runs
    new = replace(bench, lane, first, second, 1 << 40)
    assert (new.marks, new.alone) == ([2], [2])
    finish(bench, new)
    await asyncio.gather(*answers)
    assert bench.lent == 0


async def test_a_suspect_whose_client_has_gone_is_not_sent_again() -> None:
    bench = Bench(max_in_flight=4)
    lane = bench.serve("v1")
    gone, stays = await bench.asked(2)
    (worker,) = bench.of(lane)
    gone.cancel()
    await step()
    new = replace(bench, lane, *worker.in_flight)
    assert (new.marks, new.alone) == ([2], [2])
    finish(bench, new)
    await stays
    assert bench.lent == 0


async def test_suspects_follow_a_switch_and_stay_suspects() -> None:
    bench = Bench(max_in_flight=4)
    old = bench.serve("v1")
    answers = await bench.asked(3)
    mine = await bench.asked(1, old)
    (worker,) = bench.of(old)
    new = bench.serve("v2")
    bench.kill(worker, *worker.in_flight)
    (successor,) = bench.of(new)
    assert (successor.marks, successor.alone) == ([1, 2, 3], [1, 2, 3])
    other = bench.add_worker(old)
    bench.dispatcher.pump()
    assert (other.marks, other.alone) == ([4], [4])
    finish(bench, successor)
    finish(bench, other)
    assert [one.lane for one in await asyncio.gather(*answers, *mine)] == [new, new, new, old]


async def test_a_batch_of_a_model_out_of_service_is_told_so() -> None:
    bench = Bench(max_in_flight=4)
    lane = bench.serve("v1")
    answers = await bench.asked(2)
    mine = await bench.asked(1, lane)
    bench.dispatcher.stop_serving("it was unloaded")
    (worker,) = bench.of(lane)
    bench.kill(worker, *worker.in_flight)
    for answer in answers:
        with pytest.raises(NotReady, match="it was unloaded"):
            await answer
    with pytest.raises(NotFound, match="no longer loaded"):
        await mine[0]
    assert bench.lent == 0


async def test_a_stale_answer_makes_a_suspect_too() -> None:
    bench = Bench(max_in_flight=2)
    lane = bench.serve("v1")
    answers = await bench.asked(2)
    (worker,) = bench.of(lane)
    bench.complete(worker, Status.STALE)
    assert (worker.marks, worker.alone) == ([1, 2, 1], [1])
    finish(bench, worker)
    await asyncio.gather(*answers)


@given(count=st.integers(1, 8), guilty=st.integers(0, 7), batch=st.integers(1, 8))
def test_a_guilty_request_costs_two_workers_and_no_neighbour(
    count: int, guilty: int, batch: int
) -> None:
    """Run batches as a worker does, with one request that ends every worker that runs it."""
    guilty %= count

    async def run() -> None:
        bench = Bench(max_in_flight=8)
        lane = bench.serve("v1")
        answers = await bench.asked(count)
        deaths = 0
        while bench.live:
            (worker,) = bench.of(lane)
            running = next_batch(worker, batch)
            if any(worker.in_flight[one].output_mask == guilty + 1 for one in running):
                deaths += 1
                replace(bench, lane, *running)
            else:
                for _ in running:
                    bench.complete(worker)
            await step()
        assert deaths == 2
        check(answers, guilty)
        assert bench.lent == 0

    asyncio.run(run())


def next_batch(worker: FakeWorker, largest: int) -> list[int]:
    """Take the first requests; one that must run alone is a batch of its own."""
    taken: list[int] = []
    for number, request in worker.in_flight.items():
        alone = request.output_mask in worker.alone
        if taken and alone:
            break
        taken.append(number)
        if alone or len(taken) == largest:
            break
    return taken


def check(answers: list[Answer], guilty: int) -> None:
    for nth, answer in enumerate(answers):
        error = answer.exception()
        assert isinstance(error, PoisonRequest) if nth == guilty else error is None
