"""Admission, deadlines, credit and order within one version."""

from __future__ import annotations

import asyncio

import pytest

from gpu_worker.ipc.link import Status
from supervisor.dispatch.result import InferResult
from supervisor.errors import DeadlineExceeded, InferenceFailed, NotFound, NotReady, Overloaded
from tests.unit.supervisor.dispatch.bench import Bench, Reply, step


async def test_a_request_is_answered_and_its_slot_goes_home() -> None:
    bench = Bench()
    lane = bench.serve("v1")
    (answer,) = await bench.asked()
    (worker,) = bench.of(lane)
    assert (bench.lent, len(worker.submitted)) == (1, 1)
    bench.complete(worker)
    result = await answer
    assert (result.lane, result.lane.generation, result.tensors()) == (lane, 1, [])
    assert bench.lent == 0
    assert lane.statistics.success_count == 1
    assert bench.dispatcher.recent_shapes.list() == [((1, 4),)]


async def test_nothing_loaded_and_unknown_versions_are_told_apart() -> None:
    bench = Bench()
    with pytest.raises(NotReady, match="'m' is not ready: no version has been loaded yet"):
        bench.dispatcher.lane(None)
    bench.dispatcher.generations.why_not = "it is broken"
    with pytest.raises(NotReady, match="it is broken"):
        bench.dispatcher.lane(None)
    bench.serve("v1")
    bench.serve("v2")
    with pytest.raises(NotFound, match="no version 'v3' loaded; loaded: v2, v1"):
        bench.dispatcher.lane("v3")
    assert bench.dispatcher.lane("v1") is bench.dispatcher.retained


async def test_a_full_queue_is_answered_at_once_and_costs_no_slot() -> None:
    bench = Bench(max_in_flight=1, queue_limit=3)
    lane = bench.serve("v1")
    answers = await bench.asked(4)
    (refused,) = await bench.asked()
    with pytest.raises(Overloaded, match="3 requests waiting, its queue_limit") as caught:
        await refused
    assert (caught.value.status, caught.value.retry_after_s) == (503, 1)
    assert (bench.lent, bench.dispatcher.counts["queue_full"]) == (4, 1)
    for _ in answers:
        bench.complete(bench.of(lane)[0])
    await asyncio.gather(*answers)
    assert bench.lent == 0


async def test_a_queue_is_not_full_when_a_worker_has_just_got_credit() -> None:
    bench = Bench(max_in_flight=1, queue_limit=1)
    lane = bench.serve("v1")
    (worker,) = bench.of(lane)
    replies: list[Reply] = []
    for _ in range(2):
        bench.submit(replies)
        await step()
    del worker.in_flight[next(iter(worker.in_flight))]  # taken, and about to be answered
    bench.submit(replies)
    assert (len(worker.in_flight), bench.dispatcher.queued) == (1, 1)


async def test_a_deadline_in_the_queue_frees_the_slot() -> None:
    bench = Bench(max_in_flight=1)
    lane = bench.serve("v1")
    (first,) = await bench.asked()
    with pytest.raises(DeadlineExceeded, match="it was in the queue"):
        await bench.ask(timeout_s=0.001)
    assert (bench.lent, bench.dispatcher.queued, bench.dispatcher.counts["deadline"]) == (1, 0, 1)
    bench.complete(bench.of(lane)[0])
    await first
    assert bench.of(lane)[0].marks == [1]


@pytest.mark.parametrize("status", [Status.OK, Status.STALE, Status.EXPIRED, Status.FAILED])
async def test_a_deadline_in_flight_frees_the_slot_when_the_worker_is_done(status: Status) -> None:
    bench = Bench()
    lane = bench.serve("v1")
    with pytest.raises(DeadlineExceeded, match="it was in a worker"):
        await bench.ask(timeout_s=0.001)
    assert (bench.lent, bench.live) == (1, 1)
    bench.complete(bench.of(lane)[0], status)
    assert (bench.lent, bench.live, bench.dispatcher.queued) == (0, 0, 0)


async def test_a_deadline_in_flight_frees_the_slot_when_the_worker_dies() -> None:
    bench = Bench()
    lane = bench.serve("v1")
    with pytest.raises(DeadlineExceeded):
        await bench.ask(timeout_s=0.001)
    bench.kill(bench.of(lane)[0])
    assert (bench.lent, bench.dispatcher.queued) == (0, 0)


async def test_a_client_cannot_ask_for_more_time_than_the_model_allows() -> None:
    bench = Bench(timeout_ms=1)
    bench.serve("v1")
    with pytest.raises(DeadlineExceeded):
        await bench.ask(timeout_s=1e9)


async def test_who_has_gone_is_dropped_from_the_queue_before_dispatch() -> None:
    bench = Bench(max_in_flight=1)
    lane = bench.serve("v1")
    (worker,) = bench.of(lane)
    answers = await bench.asked(3)
    answers[1].cancel()
    await step()
    assert (bench.lent, bench.dispatcher.queued) == (2, 1)
    bench.complete(worker)
    bench.complete(worker)
    await asyncio.gather(answers[0], answers[2])
    assert worker.marks == [1, 3]


async def test_who_goes_in_the_same_moment_as_a_worker_is_free_costs_no_run() -> None:
    bench = Bench(max_in_flight=1)
    lane = bench.serve("v1")
    (worker,) = bench.of(lane)
    replies: list[Reply] = []
    _, gone, _ = [bench.submit(replies) for _ in range(3)]
    await step()
    bench.dispatcher.abandon(gone)
    bench.complete(worker)
    bench.complete(worker)
    assert worker.marks == [1, 3]
    assert (len(replies), bench.lent) == (2, 0)


async def test_who_goes_before_the_queue_was_looked_at_costs_no_run() -> None:
    bench = Bench()
    lane = bench.serve("v1")
    (worker,) = bench.of(lane)
    replies: list[Reply] = []
    gone, _ = [bench.submit(replies) for _ in range(2)]
    bench.dispatcher.abandon(gone)
    bench.dispatcher.abandon(gone)
    await step()
    bench.complete(worker)
    assert worker.marks == [2]
    assert (len(replies), bench.lent) == (1, 0)


async def test_who_goes_while_a_worker_runs_leaves_the_slot_to_it() -> None:
    bench = Bench()
    lane = bench.serve("v1")
    (answer,) = await bench.asked()
    answer.cancel()
    await step()
    assert bench.lent == 1
    bench.complete(bench.of(lane)[0])
    assert bench.lent == 0


async def test_no_worker_gets_more_than_its_credit_and_the_least_loaded_goes_first() -> None:
    bench = Bench(max_in_flight=2)
    lane = bench.serve("v1", workers=3)
    answers = await bench.asked(9)
    workers = bench.of(lane)
    assert [worker.marks for worker in workers] == [[1, 4], [2, 5], [3, 6]]
    assert bench.dispatcher.queued == 3
    bench.complete(workers[1])
    assert workers[1].marks == [2, 5, 7]
    bench.complete(workers[2])
    bench.complete(workers[2])
    assert workers[2].marks == [3, 6, 8, 9]
    while bench.live:
        bench.complete(next(worker for worker in workers if worker.in_flight))
    await asyncio.gather(*answers)


async def test_requests_keep_their_order_and_one_bell_rings_for_many() -> None:
    bench = Bench(max_in_flight=8)
    lane = bench.serve("v1", workers=0)
    answers = await bench.asked(8)
    worker = bench.add_worker(lane)
    bench.dispatcher.pump()
    assert worker.marks == [1, 2, 3, 4, 5, 6, 7, 8]
    assert worker.bells == 1
    while worker.in_flight:
        bench.complete(worker)
    await asyncio.gather(*answers)


@pytest.mark.parametrize(
    ("status", "data", "error", "message"),
    [
        (Status.FAILED, b"bad \xff input", InferenceFailed, "model 'm' version 'v1': bad \ufffd"),
        (Status.TOO_LARGE, b"raise response_ring_mb", InferenceFailed, "raise response_ring_mb"),
        (Status.EXPIRED, b"", DeadlineExceeded, "model 'm' version 'v1' gave no answer in time"),
    ],
)
async def test_what_a_worker_could_not_do_is_an_error_that_says_so(
    status: Status, data: bytes, error: type[Exception], message: str
) -> None:
    bench = Bench()
    lane = bench.serve("v1")
    (answer,) = await bench.asked()
    bench.complete(bench.of(lane)[0], status, data)
    with pytest.raises(error, match=message):
        await answer
    assert bench.lent == 0
    assert (lane.statistics.success_count, lane.statistics.fail_count) == (0, 1)


async def test_an_answer_that_is_no_table_is_an_error_that_says_so() -> None:
    bench = Bench()
    lane = bench.serve("v1")
    (answer,) = await bench.asked()
    bench.complete(bench.of(lane)[0], Status.OK, b"\x01")
    result = await answer
    with pytest.raises(InferenceFailed, match="'m' version 'v1': a worker's answer is broken"):
        result.tensors()
    assert bench.lent == 0


async def test_a_drain_ends_with_the_last_request() -> None:
    bench = Bench()
    lane = bench.serve("v1")
    answers = await bench.asked(2)
    draining = asyncio.ensure_future(lane.drained())
    await step()
    bench.complete(bench.of(lane)[0])
    await step()
    assert not draining.done()
    bench.complete(bench.of(lane)[0])
    await draining
    await asyncio.gather(*answers)
    await lane.drained()


async def test_a_reply_comes_once_and_not_before_submit_has_returned() -> None:
    bench = Bench(max_in_flight=1, queue_limit=1)
    lane = bench.serve("v1")
    (worker,) = bench.of(lane)
    replies: list[Reply] = []
    first, _ = [bench.submit(replies) for _ in range(2)]
    assert replies == []
    with pytest.raises(Overloaded):
        bench.submit(replies)
    await step()
    assert (len(replies), bench.lent) == (0, 2)
    bench.complete(worker)
    (answer,) = replies
    assert isinstance(answer, InferResult)
    bench.dispatcher.abandon(first)
    bench.complete(worker)
    assert (len(replies), bench.lent) == (2, 0)


async def test_an_answer_that_was_waited_for_is_a_copy() -> None:
    bench = Bench()
    lane = bench.serve("v1")
    (answer,) = await bench.asked()
    bench.complete(bench.of(lane)[0], data=b"\0\0\0\0\x01\x02\x03\x04")
    assert bytes((await answer).data) == b"\0\0\0\0\x01\x02\x03\x04"


async def test_who_breaks_over_his_answer_harms_nobody_else(
    capsys: pytest.CaptureFixture[str],
) -> None:
    bench = Bench()
    lane = bench.serve("v1")

    def break_down(reply: Reply) -> None:
        raise RuntimeError("no room")

    slot = bench.arena.slots.take(100)
    assert slot is not None
    bench.dispatcher.submit(lane, slot, 100, 1, ((1, 4),), break_down, by_version=False)
    (other,) = await bench.asked()
    bench.complete(bench.of(lane)[0])
    bench.complete(bench.of(lane)[0])
    await other
    assert bench.lent == 0
    assert "an answer could not be given" in capsys.readouterr().out


async def test_requests_of_one_wake_up_ring_one_bell() -> None:
    bench = Bench(max_in_flight=8)
    lane = bench.serve("v1")
    answers = await bench.asked(5)
    (worker,) = bench.of(lane)
    assert (worker.marks, worker.bells) == ([1, 2, 3, 4, 5], 1)
    while worker.in_flight:
        bench.complete(worker)
    await asyncio.gather(*answers)
