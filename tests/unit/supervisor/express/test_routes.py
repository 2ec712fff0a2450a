"""Routes: what compiled code has learnt of a kind of request holds as long as it is true."""

from __future__ import annotations

import asyncio

import pytest

from supervisor.dispatch.lane import Lane
from supervisor.http.codec.lane_codec import LaneCodec
from tests.unit.supervisor.dispatch.bench import CONTRACT, OTHER_CONTRACT
from tests.unit.supervisor.express.both_ways import acquainted, both_ways, exchanged
from tests.unit.supervisor.express.ring_site import COMPILED, RingSite, raw_answer, ring_site
from tests.unit.supervisor.http.client import Client, ask, numbers, y_of
from tests.unit.supervisor.http.loops import on_both_loops, until

pytestmark = COMPILED
X = numbers(3)
Y = y_of(X).tobytes()


def served(answer: bytes) -> tuple[bytes, int]:
    """Tell version and generation of an answer, which must be right."""
    head, _, body = answer.partition(b"\r\n\r\n")
    lines = dict(line.split(b": ", 1) for line in head.split(b"\r\n")[1:])
    assert b'"model_version":"%s"' % lines[b"X-Model-Version"] in body
    assert body.endswith(Y)
    return lines[b"X-Model-Version"], int(lines[b"X-Model-Generation"])


@on_both_loops
async def test_what_was_forgotten_is_learnt_again() -> None:
    async with ring_site() as one:
        one.serve_rings()
        clients = [await acquainted(one) for _ in range(2)]
        before = one.express
        await one.front.guard.reread()
        for _ in range(3):
            for client in clients:
                assert served(await exchanged(client, ask(X))) == (b"v1", 1)
        assert one.express == before + 5, "Python has taken one request, and told the others"


@on_both_loops
async def test_a_request_under_way_is_answered_though_its_route_is_forgotten() -> None:
    async with ring_site() as one:
        (worker,) = one.serve_rings()
        client = await acquainted(one)
        worker.be_slow()
        await client.send(ask(X))
        await worker.has()
        await one.front.guard.reread()
        worker.answer()
        assert served(await raw_answer(client)) == (b"v1", 1)


async def test_any_number_of_kinds_is_answered() -> None:
    async with ring_site() as one:
        one.serve_rings()
        client = await one.client()
        for number in range(600):
            request = ask(X, f"X-Number: {number}")
            for _ in range(2):
                assert served(await exchanged(client, request)) == (b"v1", 1)
        assert one.express == 600
        for number in (0, 599):
            await exchanged(client, ask(X, f"X-Number: {number}"))
        assert one.express == 601, "of so many kinds the oldest are forgotten"


async def waiting_clients(one: RingSite) -> list[Client]:
    """Have one request be in flight, and one wait in the queue."""
    one.lay_in(3)
    clients = [await acquainted(one) for _ in range(2)]
    one.workers[0].be_slow()
    before = one.express
    for client in clients:
        await client.send(ask(X))
    assert one.express - before in (0, 2)
    await one.workers[0].has()
    return clients


@on_both_loops
@pytest.mark.parametrize("same", [True, False])
async def test_a_switch_is_followed_by_what_waits_and_not_by_what_runs(same: bool) -> None:
    contract = CONTRACT if same else type(CONTRACT)(CONTRACT.inputs, CONTRACT.outputs)

    async def talk(one: RingSite) -> list[bytes]:
        one.serve_rings()
        clients = await waiting_clients(one)
        one.serve_rings("v2", contract=contract)
        found = [await raw_answer(clients[1])]
        one.workers[0].be_prompt()
        found.append(await raw_answer(clients[0]))
        before = one.express
        for _ in range(3):
            found.extend([await exchanged(client, ask(X)) for client in clients])
        assert one.express - before in (0, 6), "routes follow the switch"
        return found

    found = [served(answer) for answer in await both_ways(talk, max_in_flight=1)]
    assert found == [(b"v2", 2), (b"v1", 1), *[(b"v2", 2)] * 6]


@on_both_loops
async def test_what_a_new_versions_first_answer_needs_is_made_while_a_worker_runs(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with ring_site() as one:
        one.serve_rings()
        client = await acquainted(one)
        (worker,) = one.serve_rings("v2", prompt=False)
        codecs, made = one.front.codecs, set[Lane]()
        codec_of = codecs.of

        def of(lane: Lane) -> LaneCodec:
            made.add(lane)
            return codec_of(lane)

        monkeypatch.setattr(codecs, "of", of)
        before = one.express
        await client.send(ask(X))
        await until(lambda: one.express == before + 1)
        await until(lambda: worker.lane in made)
        await worker.has()
        worker.answer()
        assert served(await raw_answer(client)) == (b"v2", 2)


@on_both_loops
async def test_a_rollback_gives_the_old_version_in_a_newer_generation() -> None:
    async def talk(one: RingSite) -> list[bytes]:
        one.serve_rings()
        clients = await waiting_clients(one)
        one.serve_rings("v2", prompt=False)
        await one.workers[1].has()
        found: list[bytes] = []
        for _ in range(3):
            retained = one.dispatcher.retained
            assert retained is not None
            one.dispatcher.switch(retained)
            if not found:
                for worker in one.workers:
                    worker.be_prompt()
                found = [await raw_answer(client) for client in clients]
            found += [await exchanged(clients[0], ask(X)) for _ in range(3)]
        return found

    found = [served(answer) for answer in await both_ways(talk, max_in_flight=1)]
    rolled = [*[(b"v1", 3)] * 3, *[(b"v2", 4)] * 3, *[(b"v1", 5)] * 3]
    assert found == [(b"v1", 3), (b"v2", 2), *rolled]


@on_both_loops
async def test_another_contract_refuses_what_was_asked_for_the_old_one() -> None:
    async def talk(one: RingSite) -> list[bytes]:
        one.serve_rings()
        clients = await waiting_clients(one)
        one.serve_rings("v2", contract=OTHER_CONTRACT)
        found = [await raw_answer(clients[1])]
        one.workers[0].be_prompt()
        found.append(await raw_answer(clients[0]))
        other = ask(X).replace(b'"name":"x"', b'"name":"z"')
        requests = [ask(X), other, other, ask(X), other]
        return found + [await exchanged(clients[0], request) for request in requests]

    found = await both_ways(talk, max_in_flight=1)
    assert [answer.split()[1] for answer in found] == [
        b"400", b"200", b"400", b"200", b"200", b"400", b"200"
    ]  # fmt: skip
    assert b"took over while the request waited" in found[0]


@on_both_loops
async def test_what_waits_for_a_contract_that_serves_no_more_is_refused() -> None:
    other = ask(X).replace(b'"name":"x"', b'"name":"z"')

    async def talk(one: RingSite) -> list[bytes]:
        one.serve_rings()
        one.lay_in(4)
        runs, waits = [await acquainted(one) for _ in range(2)]
        (worker,) = one.workers
        worker.be_slow()
        await runs.send(ask(X))
        await worker.has()
        (later,) = one.serve_rings("v2", contract=OTHER_CONTRACT)
        clients = [await one.client() for _ in range(2)]
        for client in clients:
            await exchanged(client, other)
        later.be_slow()
        for client in (*clients, waits):
            await client.send(other)
        await later.has()
        assert one.dispatcher.queued == 2
        retained = one.dispatcher.retained
        assert retained is not None
        one.dispatcher.switch(retained)
        assert one.dispatcher.queued == 2, "the worker still has no room"
        worker.answer()
        found = [await raw_answer(client) for client in (runs, clients[1], waits)]
        later.answer()
        return [*found, await raw_answer(clients[0])]

    found = await both_ways(talk, max_in_flight=1)
    assert [answer.split()[1] for answer in found] == [b"200", b"400", b"400", b"200"]
    assert b"took over while the request waited" in found[1]


@on_both_loops
async def test_where_nothing_serves_any_more_it_is_said_and_something_may_again() -> None:
    async def talk(one: RingSite) -> list[bytes]:
        one.serve_rings()
        client = await acquainted(one)
        one.dispatcher.stop_serving("it was unloaded")
        found = [await exchanged(client, ask(X)) for _ in range(2)]
        one.serve_rings("v2")
        return [*found, *[await exchanged(await acquainted(one), ask(X)) for _ in range(3)]]

    found = await both_ways(talk)
    assert [answer.split()[1] for answer in found] == [b"503", b"503", b"200", b"200", b"200"]


@on_both_loops
async def test_what_is_held_for_a_switch_of_all_fronts_is_answered_by_the_new_version() -> None:
    async def talk(one: RingSite) -> list[bytes]:
        one.serve_rings()
        client = await acquainted(one)
        one.dispatcher.held = True
        await client.send(ask(X))
        assert (one.dispatcher.queued, one.workers[0].port.in_flight) == (1, {})
        one.serve_rings("v2")
        one.dispatcher.held = False
        one.dispatcher.pump()
        return [await raw_answer(client), await exchanged(client, ask(X))]

    found = await both_ways(talk)
    assert [served(answer) for answer in found] == [(b"v2", 2)] * 2


@on_both_loops
async def test_who_waits_for_a_lane_to_empty_is_told() -> None:
    async def talk(one: RingSite) -> list[bytes]:
        one.serve_rings()
        clients = await waiting_clients(one)
        (worker,) = one.workers
        drained = asyncio.create_task(worker.lane.drained())
        await until(lambda: worker.lane.awaited)
        found = []
        for client in clients:
            assert not drained.done()
            await worker.has()
            worker.answer()
            found.append(await raw_answer(client))
        async with asyncio.timeout(10):
            await drained
        return found

    found = await both_ways(talk, max_in_flight=1)
    assert [served(answer) for answer in found] == [(b"v1", 1)] * 2
