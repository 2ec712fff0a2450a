"""The ledger: totals that never fall, versions that go, requests that had to do with a reload."""

from __future__ import annotations

from gpu_worker.ipc.link import Status
from supervisor.dispatch.ledger import mark_reload
from supervisor.dispatch.model_statistics import ModelStatistics
from tests.unit.supervisor.dispatch.bench import Bench, Reply, step
from tests.unit.supervisor.http.loops import until


def snapshot(bench: Bench) -> ModelStatistics:
    one = bench.dispatcher
    return one.ledger.snapshot(one.serving, one.retained, one.queued)


async def test_totals_never_fall_and_versions_that_are_gone_are_not_told() -> None:
    bench = Bench()
    told: list[int] = []
    for number in range(6):
        lane = bench.serve(f"v{number}")
        await bench.asked(2)
        for _ in range(2):
            bench.complete(bench.of(lane)[0])
            told.append(snapshot(bench).total().success_count)
        now = snapshot(bench)
        assert set(now.versions) == {f"v{number}", f"v{max(number - 1, 0)}"}
    assert told == list(range(1, 13))


async def test_a_version_that_is_gone_but_still_answers_counts_for_the_model() -> None:
    bench = Bench(max_in_flight=4)
    old = bench.serve("v1")
    answers = await bench.asked(2)
    bench.serve("v2")
    bench.serve("v3")  # v1 is neither serving nor retained now, and has two requests in flight
    assert snapshot(bench).in_flight == 2
    bench.complete(bench.of(old)[0])
    assert snapshot(bench).total().success_count == 1
    bench.complete(bench.of(old)[0], Status.FAILED)
    old.statistics.answered += 1  # as a large answer that was being written meanwhile
    now = snapshot(bench)
    assert set(now.versions) == {"v2", "v3"}
    total = now.total()
    assert (total.success_count, total.fail_count, total.answered) == (1, 1, 1)
    old.statistics.answered += 1
    assert snapshot(bench).total().answered == 2
    assert (await answers[0]).lane is old
    assert answers[1].exception() is not None


async def test_what_is_gone_is_summed_up_after_a_switch_and_not_in_it() -> None:
    bench = Bench()
    old = bench.serve("v1")
    (answer,) = await bench.asked()
    bench.complete(bench.of(old)[0])
    await answer
    own = old.statistics
    bench.serve("v2")
    bench.serve("v3")  # v1 is gone
    assert old.statistics is own
    await until(lambda: old.statistics is not own)  # though nobody asks for figures
    assert old.statistics.success_count == 1
    assert snapshot(bench).total().success_count == 1


async def test_two_lanes_of_one_version_are_told_as_one() -> None:
    bench = Bench()
    for _ in range(2):
        lane = bench.serve("v1")
        (answer,) = await bench.asked()
        bench.complete(bench.of(lane)[0])
        await answer
    assert snapshot(bench).versions["v1"].success_count == 2


async def test_going_back_counts_a_lane_once() -> None:
    bench = Bench()
    first = bench.serve("v1")
    (answer,) = await bench.asked()
    bench.complete(bench.of(first)[0])
    await answer
    bench.serve("v2")
    bench.dispatcher.switch(first)
    now = snapshot(bench)
    assert now.total().success_count == now.versions["v1"].success_count == 1


async def test_a_snapshot_does_not_change_any_more() -> None:
    bench = Bench()
    lane = bench.serve("v1")
    before = snapshot(bench)
    (answer,) = await bench.asked()
    bench.complete(bench.of(lane)[0])
    await answer
    bench.dispatcher.ledger.refused(400)
    assert before.total().success_count == 0
    assert before.errors == {}


async def test_what_waits_what_workers_hold_and_what_they_would_take() -> None:
    bench = Bench(max_in_flight=2)
    lane = bench.serve("v1", workers=2)
    assert snapshot(bench).credit == 4
    answers = await bench.asked(5)
    now = snapshot(bench)
    assert (now.queued, now.in_flight, now.credit) == (1, 4, 0)
    bench.dispatcher.stop_serving("it was unloaded")
    now = snapshot(bench)
    assert (now.queued, now.in_flight, now.credit) == (0, 4, 0)
    for worker in bench.of(lane):
        bench.complete(worker)
        bench.complete(worker)
    assert snapshot(bench).in_flight == 0
    await step()
    assert sum(answer.exception() is not None for answer in answers) == 1


async def test_whoever_goes_is_counted() -> None:
    bench = Bench()
    lane = bench.serve("v1")
    replies: list[Reply] = []
    request = bench.submit(replies)
    await step()
    bench.dispatcher.abandon(request)
    bench.dispatcher.abandon(request)
    bench.complete(bench.of(lane)[0])
    now = snapshot(bench)
    assert (now.events["abandoned"], now.total().success_count) == (1, 0)


async def test_requests_that_a_reload_met_are_told_apart() -> None:
    bench = Bench(max_in_flight=8)
    lane = bench.serve("v1")
    (worker,) = bench.of(lane)
    ledger = bench.dispatcher.ledger
    answers = await bench.asked(3)  # before, during and after it, by their answers
    bench.complete(worker)
    assert (lane.statistics.calm.total.count, lane.statistics.reloading.total.count) == (1, 0)
    mark_reload([ledger], under_way=True)
    bench.complete(worker)
    assert (lane.statistics.calm.total.count, lane.statistics.reloading.total.count) == (1, 1)
    mark_reload([ledger], under_way=False)
    bench.complete(worker)  # it waited while the reload went on
    (later,) = await bench.asked()
    bench.complete(worker)
    assert (lane.statistics.calm.total.count, lane.statistics.reloading.total.count) == (2, 2)
    for answer in (*answers, later):
        assert (await answer).lane is lane


async def test_stages_add_up() -> None:
    bench = Bench(max_in_flight=1)
    lane = bench.serve("v1")
    answers = await bench.asked(2)
    for answer in answers:
        bench.complete(bench.of(lane)[0])
        await answer
    latency = lane.statistics.latency()
    parts = latency.queue.sum + latency.batch_wait.sum + latency.inference.sum
    assert 0 < parts <= latency.total.sum
    assert latency.queue.count == latency.batch_wait.count == latency.total.count == 2
