"""Workers that die: what they held is answered by others, and who is to blame runs alone."""

from __future__ import annotations

from structlog.testing import capture_logs

from tests.unit.supervisor.express.both_ways import BUSY, acquainted, both_ways, busy
from tests.unit.supervisor.express.ring_site import COMPILED, RingSite, raw_answer
from tests.unit.supervisor.http.client import ask, numbers, y_of
from tests.unit.supervisor.http.loops import on_both_loops, until

pytestmark = COMPILED
Y = [y_of(numbers(number)).tobytes() for number in range(BUSY)]


@on_both_loops
async def test_a_worker_that_dies_twice_over_a_request_names_it() -> None:
    async def talk(one: RingSite) -> list[bytes]:
        (worker,), clients = await busy(one)
        for _ in range(2):
            await worker.has(2)
            lane = worker.lane
            worker.die(worker.waiting[0].request_id)
            worker = one.add_ring_worker(lane)
            one.dispatcher.pump()
        worker.be_prompt()
        return [await raw_answer(client) for client in clients]

    with capture_logs():
        found = await both_ways(talk, max_in_flight=2)
    assert found[0].startswith(b"HTTP/1.1 500 ")
    assert [answer[-8:] for answer in found[1:]] == Y[1:]


@on_both_loops
async def test_a_request_that_is_blamed_runs_alone_whoever_hands_it_on() -> None:
    async def talk(one: RingSite) -> list[bytes]:
        (first, second), clients = await busy(one, workers=2)
        for worker in (first, second):
            await worker.has()
        first.die(first.waiting[0].request_id)
        assert one.dispatcher.queued == BUSY - 1
        before = len(second.seen)
        for _ in range(BUSY):
            await second.has()
            second.answer()
        assert [one.alone for one in second.seen[before:]] == [True, False, False]
        return [await raw_answer(client) for client in clients]

    found = await both_ways(talk, max_in_flight=1)
    assert [answer[-8:] for answer in found] == Y


@on_both_loops
async def test_a_worker_that_has_gone_is_given_nothing_that_was_not_rung_for() -> None:
    async def talk(one: RingSite) -> list[bytes]:
        worker, _ = one.serve_rings(workers=2)
        one.lay_in(BUSY)
        clients = [await acquainted(one) for _ in range(BUSY)]
        worker.be_slow()
        for number, client in enumerate(clients):
            client.writer.write(ask(numbers(number)))
        await until(lambda: worker.port.in_flight)
        worker.die()
        return [await raw_answer(client) for client in clients]

    found = await both_ways(talk, max_in_flight=BUSY)
    assert [answer[-8:] for answer in found] == Y
