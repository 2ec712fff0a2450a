"""Switches: what waits follows, what runs finishes where it is."""

from __future__ import annotations

import asyncio

import pytest

from supervisor.errors import BadRequest, NotFound, NotReady
from tests.unit.supervisor.dispatch.bench import OTHER_CONTRACT, Bench, step


async def test_what_waits_moves_to_the_new_version_and_what_runs_finishes_on_the_old() -> None:
    bench = Bench(max_in_flight=1)
    old = bench.serve("v1")
    running, waiting = await bench.asked(2)
    new = bench.serve("v2")
    assert [worker.marks for worker in (*bench.of(old), *bench.of(new))] == [[1], [2]]
    bench.complete(bench.of(new)[0])
    bench.complete(bench.of(old)[0])
    results = await asyncio.gather(running, waiting)
    assert [(one.lane.version, one.lane.generation) for one in results] == [("v1", 1), ("v2", 2)]
    assert bench.of(old)[0].marks == [1]


async def test_each_switch_is_a_generation_and_going_back_is_one_too() -> None:
    bench = Bench()
    first, second = bench.lane("v1"), bench.lane("v2")
    assert bench.dispatcher.switch(first) is None
    assert bench.dispatcher.switch(second) is first
    assert bench.dispatcher.retained is first
    assert bench.dispatcher.switch(first) is second
    assert bench.dispatcher.retained is second
    assert (first.generation, second.generation, bench.dispatcher.generations.number) == (3, 2, 3)


async def test_a_third_version_takes_the_place_of_the_retained_one() -> None:
    bench = Bench()
    first, second = bench.serve("v1"), bench.serve("v2")
    bench.serve("v3")
    assert bench.dispatcher.retained is second
    with pytest.raises(NotFound):
        bench.dispatcher.lane(first.version)


async def test_a_changed_contract_refuses_only_requests_that_do_not_fit() -> None:
    bench = Bench(max_in_flight=1)
    old = bench.serve("v1")
    running, waiting = await bench.asked(2)
    new = bench.serve("v2", contract=OTHER_CONTRACT)
    with pytest.raises(BadRequest, match="'v2' of 'm' took over while the request waited"):
        await waiting
    (fits,) = await bench.asked()
    bench.complete(bench.of(new)[0])
    bench.complete(bench.of(old)[0])
    assert (await running).lane is old
    assert (await fits).lane is new
    assert bench.lent == 0


async def test_an_equal_contract_is_no_change() -> None:
    bench = Bench(max_in_flight=1)
    bench.serve("v1")
    _, waiting = await bench.asked(2)
    same = type(OTHER_CONTRACT).from_json(bench.dispatcher.lane("v1").contract.to_json())
    new = bench.serve("v2", contract=same)
    bench.complete(bench.of(new)[0])
    assert (await waiting).lane is new


async def test_requests_by_version_stay_with_their_version() -> None:
    bench = Bench(max_in_flight=1)
    old = bench.serve("v1")
    mine = await bench.asked(3, old)
    new = bench.serve("v2")
    late = await bench.asked(1, old)
    for _ in range(4):
        bench.complete(bench.of(old)[0])
    assert [result.lane for result in await asyncio.gather(*mine, *late)] == [old] * 4
    assert bench.of(new)[0].marks == []


async def test_requests_by_version_that_wait_are_told_when_it_goes() -> None:
    bench = Bench(max_in_flight=1)
    old = bench.serve("v1")
    running, waiting = await bench.asked(2, old)
    bench.serve("v2")
    bench.dispatcher.forget_retained()
    with pytest.raises(NotFound, match="version 'v1' of 'm' is no longer loaded"):
        await waiting
    bench.complete(bench.of(old)[0])
    assert (await running).lane is old
    assert bench.lent == 0


async def test_a_closing_version_takes_no_request_by_version() -> None:
    bench = Bench()
    old = bench.serve("v1")
    bench.serve("v2")
    old.closing = True
    with pytest.raises(NotFound, match="'v1' of 'm' is no longer loaded"):
        await bench.ask(old)
    with pytest.raises(NotFound):
        bench.dispatcher.lane("v1")
    assert bench.lent == 0


async def test_a_model_taken_out_of_service_answers_503_to_what_waits() -> None:
    bench = Bench(max_in_flight=1)
    lane = bench.serve("v1")
    running, waiting = await bench.asked(2)
    (mine,) = await bench.asked(1, lane)
    assert bench.dispatcher.stop_serving("it was unloaded by request") is lane
    with pytest.raises(NotReady, match="'m': it was unloaded by request"):
        await waiting
    with pytest.raises(NotFound, match="no longer loaded"):
        await mine
    with pytest.raises(NotReady, match="it was unloaded by request"):
        bench.dispatcher.lane(None)
    bench.complete(bench.of(lane)[0])
    assert (await running).lane is lane
    assert (bench.lent, bench.dispatcher.ready) == (0, False)


async def test_a_crash_after_the_model_was_taken_out_of_service_answers_503() -> None:
    bench = Bench()
    lane = bench.serve("v1")
    (running,) = await bench.asked()
    bench.dispatcher.stop_serving("it was unloaded by request")
    bench.kill(bench.of(lane)[0])
    with pytest.raises(NotReady, match="it was unloaded by request"):
        await running
    assert bench.lent == 0


async def test_it_is_ready_while_a_version_serves_with_a_worker() -> None:
    bench = Bench()
    assert not bench.dispatcher.ready
    lane = bench.serve("v1")
    assert bench.dispatcher.ready
    bench.kill(bench.of(lane)[0])
    assert not bench.dispatcher.ready
    bench.add_worker(lane)
    assert bench.dispatcher.ready


async def test_the_old_version_is_drained_while_the_new_one_is_busy() -> None:
    bench = Bench(max_in_flight=1)
    old = bench.serve("v1")
    answers = await bench.asked(3)
    new = bench.serve("v2")
    draining = asyncio.ensure_future(old.drained())
    await step()
    bench.complete(bench.of(old)[0])
    await draining
    assert (old.in_flight, new.in_flight, bench.dispatcher.queued) == (0, 1, 1)
    bench.complete(bench.of(new)[0])
    bench.complete(bench.of(new)[0])
    await asyncio.gather(*answers)
