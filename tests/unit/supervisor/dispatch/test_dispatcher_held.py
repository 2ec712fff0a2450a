"""Held: what is queued waits for a switch that all fronts make together, all else goes on."""

from __future__ import annotations

import asyncio

import pytest

from gpu_worker.ipc.link import Status
from supervisor.dispatch.lane import Lane
from supervisor.errors import BadRequest, DeadlineExceeded, NotFound, NotReady, Overloaded
from tests.unit.supervisor.dispatch.bench import OTHER_CONTRACT, Bench, Reply, step


def held(**limits: int) -> tuple[Bench, Lane, Lane]:
    """Give a bench that holds, its serving lane and its retained one."""
    bench = Bench(**limits)
    retained, serving = bench.serve("v1"), bench.serve("v2")
    bench.dispatcher.held = True
    return bench, serving, retained


def release(bench: Bench) -> None:
    """Do what a front does when it is told that nothing is held any more."""
    bench.dispatcher.held = False
    bench.dispatcher.pump()


async def test_what_is_queued_waits_though_workers_have_credit() -> None:
    bench, serving, _ = held()
    answers = await bench.asked(3)
    bench.dispatcher.pump()
    assert (bench.of(serving)[0].bells, bench.dispatcher.queued) == (0, 3)
    release(bench)
    (worker,) = bench.of(serving)
    assert (worker.marks, worker.bells) == ([1, 2], 1)
    while bench.live:
        bench.complete(worker)
    assert {result.lane for result in await asyncio.gather(*answers)} == {serving}


async def test_what_runs_is_answered_and_makes_no_room_for_what_waits() -> None:
    bench = Bench(max_in_flight=1)
    lane = bench.serve("v1")
    running, waiting = await bench.asked(2)
    bench.dispatcher.held = True
    bench.complete(bench.of(lane)[0])
    assert (await running).lane is lane
    assert (bench.dispatcher.queued, bench.of(lane)[0].marks) == (1, [1])
    release(bench)
    bench.complete(bench.of(lane)[0])
    assert (await waiting).lane is lane


async def test_requests_by_version_of_both_lanes_go_on() -> None:
    bench, serving, retained = held(max_in_flight=1)
    (queued,) = await bench.asked()
    mine = [*await bench.asked(2, serving), *await bench.asked(2, retained)]
    for lane in (serving, retained):
        (worker,) = bench.of(lane)
        for _ in range(2):
            bench.complete(worker)
    results = await asyncio.gather(*mine)
    assert [result.lane for result in results] == [serving] * 2 + [retained] * 2
    assert (queued.done(), bench.dispatcher.queued) == (False, 1)
    release(bench)
    bench.complete(bench.of(serving)[0])
    assert (await queued).lane is serving


async def test_deadlines_hold() -> None:
    bench, serving, _ = held()
    with pytest.raises(DeadlineExceeded, match="it was in the queue"):
        await bench.ask(timeout_s=0.001)
    release(bench)
    assert (bench.of(serving)[0].bells, bench.lent, bench.dispatcher.counts["deadline"]) == (
        0,
        0,
        1,
    )


async def test_a_client_that_goes_away_leaves_the_queue() -> None:
    bench, serving, _ = held()
    replies: list[Reply] = []
    gone, stays = bench.submit(replies), bench.submit(replies)
    bench.dispatcher.abandon(gone)
    assert (bench.lent, bench.dispatcher.queued) == (1, 1)
    release(bench)
    assert bench.of(serving)[0].submitted == [stays]
    bench.complete(bench.of(serving)[0])
    assert (len(replies), bench.lent) == (1, 0)


async def test_the_queue_has_its_limit() -> None:
    bench, serving, _ = held(queue_limit=2)
    answers = await bench.asked(2)
    with pytest.raises(Overloaded, match="2 requests waiting"):
        await bench.ask()
    assert bench.lent == 2
    release(bench)
    for _ in range(2):
        bench.complete(bench.of(serving)[0])
    await asyncio.gather(*answers)


async def test_a_limit_that_is_met_by_many_at_once_sends_nothing_either() -> None:
    bench, serving, _ = held(queue_limit=2)
    replies: list[Reply] = []
    for _ in range(2):
        bench.submit(replies)
    with pytest.raises(Overloaded):  # it looks at once whether those before it may go
        bench.submit(replies)
    assert (bench.of(serving)[0].bells, bench.lent) == (0, 2)
    bench.dispatcher.stop_serving("it ends")
    assert [type(reply) for reply in replies] == [NotReady] * 2


async def test_a_switch_sends_the_queue_to_the_new_version_only_when_it_is_released() -> None:
    bench, old, _ = held()
    before = await bench.asked(2)
    new = bench.serve("v3")
    after = await bench.asked(1)
    assert [worker.bells for worker in (*bench.of(old), *bench.of(new))] == [0, 0]
    assert bench.dispatcher.queued == 3
    release(bench)
    assert [worker.marks for worker in (*bench.of(old), *bench.of(new))] == [[], [1, 2]]
    while bench.live:
        bench.complete(bench.of(new)[0])
    results = await asyncio.gather(*before, *after)
    assert {(result.lane, result.lane.generation) for result in results} == {(new, 3)}


async def test_a_switch_back_is_released_like_any_other() -> None:
    bench, old, retained = held()
    (answer,) = await bench.asked()
    bench.dispatcher.switch(retained)
    assert bench.of(retained)[0].bells == 0
    release(bench)
    bench.complete(bench.of(retained)[0])
    assert ((await answer).lane, bench.dispatcher.retained) == (retained, old)


async def test_a_switch_that_does_not_come_leaves_the_queue_with_its_version() -> None:
    bench, serving, _ = held()
    (answer,) = await bench.asked()
    release(bench)
    bench.complete(bench.of(serving)[0])
    assert ((await answer).lane, bench.dispatcher.generations.number) == (serving, 2)


async def test_a_changed_contract_is_seen_at_the_release() -> None:
    bench, _, _ = held()
    (answer,) = await bench.asked()
    bench.serve("v3", contract=OTHER_CONTRACT)
    await step()
    assert not answer.done()
    release(bench)
    with pytest.raises(BadRequest, match="'v3' of 'm' took over while the request waited"):
        await answer
    assert bench.lent == 0


async def test_what_a_dead_worker_held_goes_to_the_new_version_in_its_order() -> None:
    bench = Bench(max_in_flight=3)
    old = bench.serve("v1", workers=2)
    answers = await bench.asked(4)
    bench.dispatcher.held = True
    answers += await bench.asked(1)
    dead, alive = bench.of(old)
    bench.kill(dead)
    assert (alive.marks, bench.dispatcher.queued) == ([2, 4], 3)
    new = bench.serve("v2")
    release(bench)
    assert bench.of(new)[0].marks == [1, 3, 5]
    for worker in (alive, *bench.of(new)):
        while worker.in_flight:
            bench.complete(worker)
    results = await asyncio.gather(*answers)
    assert [result.lane.version for result in results] == ["v2", "v1", "v2", "v1", "v2"]
    assert bench.lent == 0


async def test_a_stale_answer_waits_like_the_others() -> None:
    bench = Bench()
    old = bench.serve("v1")
    (answer,) = await bench.asked()
    bench.dispatcher.held = True
    bench.complete(bench.of(old)[0], Status.STALE)
    assert (bench.of(old)[0].bells, bench.dispatcher.queued) == (1, 1)
    new = bench.serve("v2")
    release(bench)
    bench.complete(bench.of(new)[0])
    assert (await answer).lane is new


async def test_what_a_dead_worker_held_by_version_waits_for_another_worker_of_it() -> None:
    bench, serving, _ = held()
    (mine,) = await bench.asked(1, serving)
    bench.kill(bench.of(serving)[0])
    worker = bench.add_worker(serving)
    bench.dispatcher.pump()
    bench.complete(worker)
    assert (await mine).lane is serving


async def test_a_model_that_is_taken_out_of_service_answers_what_waits() -> None:
    bench, serving, _ = held()
    (waiting,) = await bench.asked()
    assert bench.dispatcher.stop_serving("it was unloaded by request") is serving
    with pytest.raises(NotReady, match="unloaded by request"):
        await waiting
    assert bench.lent == 0


async def test_a_generation_that_another_process_has_counted_is_taken_over() -> None:
    bench = Bench()
    first, second = bench.lane("v1"), bench.lane("v2")
    assert bench.dispatcher.switch(first, 7) is None
    assert (first.generation, bench.dispatcher.generations.number) == (7, 7)
    assert bench.dispatcher.switch(second, 12) is first
    assert (second.generation, first.generation, bench.dispatcher.generations.number) == (12, 7, 12)
    assert bench.dispatcher.switch(first) is second
    assert (first.generation, bench.dispatcher.generations.number) == (13, 13)
    (answer,) = await bench.asked()
    bench.complete(bench.of(first)[0])
    assert (await answer).lane.generation == 13


@pytest.mark.parametrize("forget", [True, False])
async def test_who_waits_for_the_drain_hears_when_the_last_one_that_waited_is_refused(
    forget: bool,
) -> None:
    bench = Bench()
    lane = bench.serve("v1", workers=0)
    (mine,) = await bench.asked(1, lane)  # no worker will ever take it
    if forget:
        bench.serve("v2")
    draining = asyncio.ensure_future(lane.drained())
    await step()
    assert not draining.done()
    if forget:
        bench.dispatcher.forget_retained()
    else:
        bench.dispatcher.stop_serving("it was unloaded by request")
    async with asyncio.timeout(10):
        await draining
    with pytest.raises(NotFound, match="no longer loaded"):
        await mine
