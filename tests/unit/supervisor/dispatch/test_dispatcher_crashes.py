"""Crashes: requests are sent again in order, and one that kills workers is found out."""

from __future__ import annotations

import asyncio

import pytest

from gpu_worker.ipc.link import Status
from supervisor.dispatch.lane import Lane
from supervisor.errors import NotFound, PoisonRequest
from tests.unit.supervisor.dispatch.bench import Bench, FakeWorker, step


async def test_what_a_dead_worker_held_goes_first_and_in_order() -> None:
    bench = Bench(max_in_flight=3)
    lane = bench.serve("v1")
    answers = await bench.asked(5)
    bench.kill(bench.of(lane)[0])
    assert (bench.dispatcher.queued, bench.lent) == (5, 5)
    worker = bench.add_worker(lane)
    bench.dispatcher.pump()
    assert worker.marks == [1, 2, 3]
    while bench.live:
        bench.complete(worker)
    assert worker.marks == [1, 2, 3, 4, 5]
    await asyncio.gather(*answers)
    assert bench.dispatcher.counts["sent_again"] == 3


async def test_another_worker_takes_over_at_once() -> None:
    bench = Bench(max_in_flight=4)
    lane = bench.serve("v1", workers=2)
    answers = await bench.asked(4)
    dead, alive = bench.of(lane)
    bench.kill(dead)
    assert alive.marks == [2, 4, 1, 3]
    assert len(lane.workers) == 1
    while bench.live:
        bench.complete(alive)
    await asyncio.gather(*answers)


async def test_only_the_request_that_ran_is_blamed_and_the_second_time_it_is_poison() -> None:
    bench = Bench(max_in_flight=3)
    lane = bench.serve("v1")
    poison, second, third = await bench.asked(3)
    for _ in range(2):
        (worker,) = bench.of(lane)
        running = next(iter(worker.in_flight))
        bench.add_worker(lane)
        bench.kill(worker, running)
        await step()
    with pytest.raises(PoisonRequest, match="two workers could not run it"):
        await poison
    (worker,) = bench.of(lane)
    assert worker.marks == [2, 3]
    bench.complete(worker)
    bench.complete(worker)
    await asyncio.gather(second, third)
    assert (bench.lent, bench.dispatcher.counts["poison"]) == (0, 1)


async def test_requests_that_only_waited_survive_any_number_of_crashes() -> None:
    bench = Bench(max_in_flight=4)
    lane = bench.serve("v1")
    answers = await bench.asked(4)
    for _ in range(10):
        (worker,) = bench.of(lane)
        bench.add_worker(lane)
        bench.kill(worker)
    (worker,) = bench.of(lane)
    while bench.live:
        bench.complete(worker)
    assert worker.marks == [1, 2, 3, 4]
    await asyncio.gather(*answers)


async def test_two_different_requests_that_ran_at_a_crash_are_no_poison() -> None:
    bench = Bench(max_in_flight=2)
    lane = bench.serve("v1")
    answers = await bench.asked(2)
    for nth in range(2):
        (worker,) = bench.of(lane)
        bench.add_worker(lane)
        bench.kill(worker, list(worker.in_flight)[nth])
    (worker,) = bench.of(lane)
    while bench.live:
        bench.complete(worker)
    await asyncio.gather(*answers)


async def test_a_crash_of_the_old_version_sends_its_requests_to_the_new_one() -> None:
    bench = Bench()
    old = bench.serve("v1")
    (answer,) = await bench.asked()
    new = bench.serve("v2")
    bench.kill(bench.of(old)[0])
    bench.complete(bench.of(new)[0])
    assert (await answer).lane is new


async def test_requests_by_version_wait_for_their_version_or_are_told_that_it_is_gone() -> None:
    bench = Bench()
    lane = bench.serve("v1")
    (stays,) = await bench.asked(1, lane)
    bench.kill(bench.of(lane)[0])
    bench.complete(with_new_worker(bench, lane))
    assert (await stays).lane is lane
    (goes,) = await bench.asked(1, lane)
    bench.serve("v2")
    bench.dispatcher.forget_retained()
    bench.kill(bench.of(lane)[0])
    with pytest.raises(NotFound, match="no longer loaded"):
        await goes
    assert bench.lent == 0


def with_new_worker(bench: Bench, lane: Lane) -> FakeWorker:
    worker = bench.add_worker(lane)
    bench.dispatcher.pump()
    return worker


async def test_a_stale_answer_is_asked_for_again() -> None:
    bench = Bench(max_in_flight=1)
    lane = bench.serve("v1")
    first, second = await bench.asked(2)
    (worker,) = bench.of(lane)
    bench.complete(worker, Status.STALE)
    assert worker.marks == [1, 1]
    bench.complete(worker)
    bench.complete(worker)
    await asyncio.gather(first, second)
    assert (bench.lent, bench.dispatcher.counts["stale"]) == (0, 1)


async def test_an_answer_that_is_stale_again_ends_the_request() -> None:
    bench = Bench()
    lane = bench.serve("v1")
    (answer,) = await bench.asked()
    (worker,) = bench.of(lane)
    bench.complete(worker, Status.STALE)
    bench.complete(worker, Status.STALE)
    with pytest.raises(PoisonRequest):
        await answer
    assert (bench.lent, bench.live, worker.marks) == (0, 0, [1, 1])


async def test_who_has_gone_is_not_sent_again() -> None:
    bench = Bench(max_in_flight=2)
    lane = bench.serve("v1")
    gone, stays = await bench.asked(2)
    gone.cancel()
    await step()
    bench.kill(bench.of(lane)[0])
    assert (bench.lent, bench.dispatcher.queued) == (1, 1)
    bench.complete(with_new_worker(bench, lane))
    await stays
