"""Workers that answer nonsense, or nothing: they are told of, and the others' answers are given."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any, cast

import pytest
from structlog.testing import capture_logs

from gpu_worker.ipc.link import Completion, Status
from gpu_worker.ipc.ring import LINE
from gpu_worker.ipc.tensors import BY_NAME, Tensor, encode_table
from supervisor.http.connection import Connection
from tests.unit.supervisor.express.both_ways import BUSY, both_ways, busy, exchanged
from tests.unit.supervisor.express.ring_site import COMPILED, RingSite, RingWorker, raw_answer
from tests.unit.supervisor.http.client import Client, ask, numbers, y_of
from tests.unit.supervisor.http.loops import on_both_loops, until

pytestmark = COMPILED
Y = [y_of(numbers(number)).tobytes() for number in range(BUSY)]


def complete(worker: RingWorker, change: Callable[[list[Completion]], list[Completion]]) -> None:
    """Answer everything at once, changed."""
    answers = [worker.completion(one) for one in worker.waiting]
    worker.waiting.clear()
    worker.end.complete(change(answers))


async def answers_of_another(
    one: RingSite, worker: RingWorker, clients: list[Client]
) -> list[bytes]:
    """Give what clients are answered once another worker stands in for a broken one."""
    lane = worker.lane
    worker.die()
    one.add_ring_worker(lane).be_prompt()
    one.dispatcher.pump()
    return [await raw_answer(client) for client in clients]


OUTSIDE = {
    "behind the end": lambda one, ring: one._replace(position=ring - LINE, length=LINE + 1),
    "longer than the ring": lambda one, ring: one._replace(position=0, length=ring + 1),
    "endless": lambda one, ring: one._replace(length=(1 << 64) - 1),
    "endless, far away": lambda one, ring: one._replace(
        position=(1 << 64) - 1, length=(1 << 64) - ring
    ),
}


@on_both_loops
@pytest.mark.parametrize("where", OUTSIDE)
async def test_an_answer_outside_the_ring_breaks_it_and_those_before_are_given(where: str) -> None:
    async def talk(one: RingSite) -> list[bytes]:
        (worker,), clients = await busy(one)
        await worker.has(BUSY)
        ring = worker.end.responses.capacity
        complete(worker, lambda all_: [*all_[:2], OUTSIDE[where](all_[2], ring), all_[3]])
        await until(lambda: worker.port.complaints)
        (complaint,) = worker.port.complaints
        assert complaint.startswith("a response of ")
        assert complaint.endswith(" leaves the ring")
        found = [await raw_answer(client) for client in clients[:2]]
        assert len(worker.port.in_flight) == 2
        lane = worker.lane
        worker.die()
        one.add_ring_worker(lane).be_prompt()
        one.dispatcher.pump()
        found += [await raw_answer(client) for client in clients[2:]]
        assert one.dispatcher.counts["sent_again"] == 2
        return [*found, complaint.encode()]

    found = await both_ways(talk, max_in_flight=BUSY)
    assert [answer[-8:] for answer in found[:BUSY]] == Y


@on_both_loops
@pytest.mark.parametrize("count", [1, 255, 1000])
async def test_a_doorbell_that_counts_more_than_there_is_breaks_the_ring(count: int) -> None:
    async def talk(one: RingSite) -> list[bytes]:
        (worker,), clients = await busy(one)
        await worker.has(BUSY)
        os.eventfd_write(worker.link.completion_bell.fd, count)
        complete(worker, lambda all_: all_)
        await until(lambda: worker.port.complaints)
        (complaint,) = worker.port.complaints
        assert complaint == f"the doorbell counted {BUSY + count} descriptors, the ring says 4"
        assert len(worker.port.in_flight) == BUSY
        return await answers_of_another(one, worker, clients)

    found = await both_ways(talk, max_in_flight=BUSY)
    assert [answer[-8:] for answer in found] == Y


@on_both_loops
@pytest.mark.parametrize("off", [1 << 40, 257, -5])
async def test_a_head_that_cannot_be_breaks_the_ring(off: int) -> None:
    async def talk(one: RingSite) -> list[bytes]:
        (worker,), clients = await busy(one)
        await worker.has(BUSY)
        words = worker.link.memory()[1].cast("Q")
        words[0] = words[LINE // 8] + off
        words.release()
        os.eventfd_write(worker.link.completion_bell.fd, 1 if off > 0 else 3)
        await until(lambda: worker.port.complaints)
        assert len(worker.port.in_flight) == BUSY
        return await answers_of_another(one, worker, clients)

    found = await both_ways(talk, max_in_flight=BUSY)
    assert [answer[-8:] for answer in found] == Y


@on_both_loops
async def test_stale_answers_are_counted_and_the_others_given() -> None:
    def change(answers: list[Completion]) -> list[Completion]:
        first, second, third, fourth = answers
        unknown = first._replace(request_id=first.request_id + 1_000_000)
        reused = first._replace(
            request_id=second.request_id, slot_reuse=second.slot_reuse + 1
        )  # with the bytes of another answer
        endless = second._replace(slot_reuse=0, length=(1 << 64) - 1)
        return [unknown, first, first, reused, endless, second, third, fourth, unknown]

    async def talk(one: RingSite) -> list[bytes]:
        (worker,), clients = await busy(one)
        await worker.has(BUSY)
        complete(worker, change)
        found = [await raw_answer(client) for client in clients]
        assert (worker.port.stale, worker.port.complaints) == (5, [])
        complete(worker, lambda _: [])
        worker.be_prompt()
        return [*found, *[await exchanged(client, ask(numbers(0))) for client in clients]]

    found = await both_ways(talk, max_in_flight=BUSY)
    assert [answer[-8:] for answer in found] == [*Y, *[Y[0]] * BUSY]


@on_both_loops
@pytest.mark.parametrize(
    ("status", "data", "expected"),
    [
        (Status.FAILED, b"no such operator", b"HTTP/1.1 500 "),
        (Status.TOO_LARGE, b"response_ring_mb", b"HTTP/1.1 500 "),
        (Status.EXPIRED, b"", b"HTTP/1.1 504 "),
        (Status.OK, b"", b"HTTP/1.1 500 "),
        (Status.OK, b"\xff" * 500, b"HTTP/1.1 500 "),
        (Status.OK, encode_table([]), b"HTTP/1.1 500 "),
        (Status.OK, encode_table([Tensor(0, BY_NAME["FP32"], (9, 9), 128, 324)]), b"HTTP/1.1 500 "),
    ],
)
async def test_what_is_no_answer_is_told_and_the_connection_goes_on(
    status: Status, data: bytes, expected: bytes
) -> None:
    async def talk(one: RingSite) -> list[bytes]:
        (worker,) = one.serve_rings(prompt=False)
        client = await one.client()
        found = []
        for answer in (data, data, None, data, None):
            await client.send(ask(numbers(1)))
            await worker.has()
            worker.answer(1, Status.OK if answer is None else status, answer)
            found.append(await raw_answer(client))
        return found

    with capture_logs():
        found = await both_ways(talk)
    fails = [answer.startswith(expected) for answer in found]
    assert fails == [True, True, False, True, False]
    assert found[2] == found[4]
    assert found[2].endswith(Y[1])


@on_both_loops
async def test_what_a_worker_finds_stale_is_sent_again() -> None:
    async def talk(one: RingSite) -> list[bytes]:
        (worker,), clients = await busy(one)
        await worker.has(BUSY)
        worker.answer(1)
        worker.answer(2, Status.STALE, b"")
        worker.answer(1)
        worker.be_prompt()
        found = [await raw_answer(client) for client in clients]
        assert (one.dispatcher.counts["stale"], one.dispatcher.counts["sent_again"]) == (2, 2)
        assert [one.alone for one in worker.seen[-2:]] == [True, True]
        return found

    found = await both_ways(talk, max_in_flight=BUSY)
    assert [answer[-8:] for answer in found] == Y


@on_both_loops
async def test_times_that_cannot_be_leave_figures_that_can_be_told() -> None:
    limit = 1 << 63

    async def talk(one: RingSite) -> list[bytes]:
        (worker,), clients = await busy(one)
        await worker.has(BUSY)
        complete(worker, lambda all_: [one._replace(started_ns=9, inferred_ns=5) for one in all_])
        found = [await raw_answer(client) for client in clients]
        serving = one.dispatcher.serving
        assert serving is not None
        told = serving.statistics.to_dict()
        for stage in ("queue", "batch_wait", "inference", "total"):
            assert -limit < told["calm"][stage]["sum"] < limit, stage
        assert -limit < told["output_ns"] < limit
        return found

    found = await both_ways(talk, max_in_flight=BUSY)
    assert [answer[-8:] for answer in found] == Y


@on_both_loops
async def test_a_connection_that_cannot_be_answered_harms_no_other() -> None:
    async def talk(one: RingSite) -> list[bytes]:
        (worker,), clients = await busy(one)
        await worker.has(BUSY)
        its = cast("Connection", clients[1].its)
        socket, its._socket = its._socket, cast("Any", None)  # noqa: SLF001 - nothing else breaks it
        with capture_logs() as told:
            complete(worker, lambda all_: all_)
            found = [await raw_answer(client) for client in (clients[0], *clients[2:])]
        assert told.pop()["event"] == "an exchange broke"
        told.clear()  # with the errors, which hold on to the ring
        its._socket = socket  # noqa: SLF001
        return found

    found = await both_ways(talk, max_in_flight=BUSY)
    assert [answer[-8:] for answer in found] == [Y[0], *Y[2:]]
