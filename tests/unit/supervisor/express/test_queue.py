"""Requests beyond what workers take at once: they wait in order, whoever took them."""

from __future__ import annotations

import asyncio

import pytest

from tests.unit.supervisor.express.both_ways import both_ways, exchanged
from tests.unit.supervisor.express.ring_site import COMPILED, RingSite, raw_answer, ring_site
from tests.unit.supervisor.http.client import Client, ask, numbers, y_of
from tests.unit.supervisor.http.loops import on_both_loops, until
from tests.unit.supervisor.http.site import PromptWorker

pytestmark = COMPILED
CLIENTS = 12


async def crowd(one: RingSite, count: int = CLIENTS) -> list[Client]:
    """Connect clients whose next requests, all at a time, go through compiled code, if any do."""
    one.lay_in(count)
    clients = [await one.client() for _ in range(count)]
    for worker in one.workers:
        worker.be_prompt()
    for client in clients:
        await exchanged(client, ask(numbers(0)))
    for worker in one.workers:
        worker.be_slow()
        worker.seen.clear()
    return clients


@on_both_loops
@pytest.mark.parametrize("at_once", [1, 2, 5, 30])
async def test_what_waits_is_handed_on_in_order(at_once: int) -> None:
    async def talk(one: RingSite) -> list[bytes]:
        (worker,) = one.serve_rings()
        clients = await crowd(one)
        before = one.express
        for number, client in enumerate(clients):
            await client.send(ask(numbers(number)))
            assert one.bench.dispatcher.queued + len(worker.port.in_flight) == number + 1
        taken = one.express - before
        assert taken in (0, CLIENTS)
        found = []
        for number, client in enumerate(clients):
            await worker.has()
            assert len(worker.waiting) <= at_once
            assert [one.x for one in worker.seen[: number + 1]] == [
                numbers(seed).tobytes() for seed in range(number + 1)
            ]
            worker.answer()
            found.append(await raw_answer(client))
            assert found[-1].endswith(y_of(numbers(number)).tobytes())
        return found

    await both_ways(talk, max_in_flight=at_once)


@on_both_loops
async def test_any_number_of_answers_at_once_makes_room_for_as_many() -> None:
    async def talk(one: RingSite) -> list[bytes]:
        (worker,) = one.serve_rings()
        clients = await crowd(one)
        for number, client in enumerate(clients):
            await client.send(ask(numbers(number)))
        for count in (1, 4, 2, 4, 1):
            await worker.has(min(4, count))
            worker.answer(count)
        assert [one.x for one in worker.seen] == [
            numbers(seed).tobytes() for seed in range(len(worker.seen))
        ]
        return [await raw_answer(client) for client in clients]

    await both_ways(talk, max_in_flight=4)


@on_both_loops
async def test_requests_go_to_the_worker_that_has_the_fewest() -> None:
    async def talk(one: RingSite) -> list[list[bytes]]:
        first, second, third = one.serve_rings(workers=3)
        clients = await crowd(one, 8)
        for number, client in enumerate(clients[:6]):
            await client.send(ask(numbers(number)))
        await until(lambda: len(second.port.in_flight) == 2)
        await second.has(2)
        second.answer(2)
        await raw_answer(clients[1])
        await raw_answer(clients[4])
        for number, client in enumerate(clients[6:], 6):
            await client.send(ask(numbers(number)))
        for worker in (first, second, third):
            await worker.has(2)
            worker.be_prompt()
        for client in (*clients[:1], *clients[2:4], *clients[5:]):
            await raw_answer(client)
        return [[one.x for one in worker.seen] for worker in (first, second, third)]

    seen = await both_ways(talk, max_in_flight=2)
    expected = [(0, 3), (1, 4, 6, 7), (2, 5)]
    assert seen == [[numbers(seed).tobytes() for seed in seeds] for seeds in expected]


@on_both_loops
async def test_a_full_queue_is_answered_503_and_the_connection_goes_on() -> None:
    async def talk(one: RingSite) -> list[bytes]:
        (worker,) = one.serve_rings()
        clients = await crowd(one, 6)
        for number, client in enumerate(clients[:4]):
            await client.send(ask(numbers(number)))
        assert one.dispatcher.queued == 3
        found = [await exchanged(client, ask(numbers(9))) for client in clients[4:]]
        assert one.dispatcher.counts["queue_full"] == 2
        worker.be_prompt()
        found += [await raw_answer(client) for client in clients[:4]]
        return [*found, await exchanged(clients[4], ask(numbers(5)))]

    found = await both_ways(talk, max_in_flight=1, queue_limit=3)
    assert [answer.startswith(b"HTTP/1.1 503 ") for answer in found] == [True] * 2 + [False] * 5
    assert b"\r\nRetry-After: 1\r\n" in found[0]
    assert found[-1].endswith(y_of(numbers(5)).tobytes())


@on_both_loops
async def test_who_asks_for_a_version_waits_beside_the_others() -> None:
    async def talk(one: RingSite) -> list[bytes]:
        (worker,) = one.serve_rings()
        clients = await crowd(one, 6)
        path = "/v2/models/m/versions/v1/infer"
        for number, client in enumerate(clients[:5]):
            request = ask(numbers(number), path=path) if number % 2 else ask(numbers(number))
            await client.send(request)
        assert one.dispatcher.queued == 4
        found = [await exchanged(clients[5], ask(numbers(9)))]
        worker.be_prompt()
        return [*found, *[await raw_answer(client) for client in clients[:5]]]

    found = await both_ways(talk, max_in_flight=1, queue_limit=4)
    assert found[0].startswith(b"HTTP/1.1 503 ")
    assert [answer[-8:] for answer in found[1:]] == [y_of(numbers(n)).tobytes() for n in range(5)]


@on_both_loops
async def test_who_goes_while_he_waits_costs_no_run() -> None:
    async def talk(one: RingSite) -> list[bytes]:
        (worker,) = one.serve_rings()
        clients = await crowd(one, 3)
        for number, client in enumerate(clients):
            await client.send(ask(numbers(number)))
        clients[1].leave()
        await until(lambda: len(one.front.connections) == 2)
        assert one.dispatcher.counts["abandoned"] == 1
        worker.be_prompt()
        found = [await raw_answer(clients[number]) for number in (0, 2)]
        assert len(worker.seen) == 2
        return found

    await both_ways(talk, max_in_flight=1)


@on_both_loops
async def test_a_deadline_is_kept_in_the_queue_and_in_a_worker() -> None:
    late = ask(numbers(1), more={"parameters": {"timeout": 100_000}})

    async def talk(one: RingSite) -> list[bytes]:
        (worker,) = one.serve_rings(prompt=False)
        one.lay_in(3)
        clients = [await one.client() for _ in range(3)]
        for client in clients:
            await client.send(late)
        assert one.express in (0, 2)
        found = [await raw_answer(client) for client in clients]
        assert one.dispatcher.counts["deadline"] == len(found)
        assert one.bench.lent == 2, "the worker may still read two of them"
        found.append(await exchanged(clients[2], late))  # the only one that there is a timer for
        assert one.express in (0, 3)
        worker.be_prompt()
        return [*found, await exchanged(clients[2], ask(numbers(2)))]

    found = await both_ways(talk, max_in_flight=2)
    assert [answer.startswith(b"HTTP/1.1 504 ") for answer in found] == [True] * 4 + [False]
    queued = [b"it was in the queue" in answer for answer in found]
    assert queued == [False, False, True, True, False]


@on_both_loops
async def test_a_worker_makes_progress_as_it_begins_and_as_it_answers() -> None:
    async def talk(one: RingSite) -> list[bool]:
        (worker,) = one.serve_rings()
        clients = await crowd(one, 3)
        progress: list[bool] = []
        for client in clients:
            worker.port.last_progress = 0
            await client.send(ask(numbers(1)))
            await worker.has(len(progress) + 1)
            progress.append(worker.port.last_progress > 0)
        for client in clients:
            worker.port.last_progress = 0
            worker.answer()
            await raw_answer(client)
            progress.append(worker.port.last_progress > 0)
        return progress

    assert await both_ways(talk, max_in_flight=3) == [True, False, False, True, True, True]


@on_both_loops
async def test_who_asks_for_a_version_is_not_overtaken() -> None:
    async def talk(one: RingSite) -> list[bytes]:
        (worker,) = one.serve_rings()
        clients = await crowd(one, 2)
        clients[0].writer.write(ask(numbers(1), path="/v2/models/m/versions/v1/infer"))
        clients[1].writer.write(ask(numbers(2)))
        for _ in clients:
            await worker.has()
            worker.answer()
        assert [one.x for one in worker.seen] == [numbers(1).tobytes(), numbers(2).tobytes()]
        return [await raw_answer(client) for client in clients]

    await both_ways(talk, max_in_flight=1)


@on_both_loops
async def test_slots_are_counted_and_few_of_a_size_are_kept() -> None:
    many, large = 40, ask(numbers(1, rows=1_900))

    async def talk(one: RingSite) -> list[int]:
        one.serve_rings()
        clients = await crowd(one, many + 1)
        (worker,) = one.workers
        worker.be_prompt()
        await exchanged(clients[-1], large)
        worker.be_slow()
        slots, before = one.arena.slots, one.express
        for client in clients[:many]:
            await client.send(ask(numbers(2)))
        await clients[-1].send(large)
        assert one.express - before in (0, 33)
        figures = [slots.lent_slots, slots.lent_bytes, slots.high_water_bytes]
        worker.be_prompt()
        for client in clients:
            await raw_answer(client)
        assert (slots.lent_slots, slots.lent_bytes) == (0, 0)
        slot = slots.take(100)
        assert slot is not None
        slots.give_back(slot)
        assert len(slot.home) == 32
        return figures

    figures = await both_ways(talk, max_in_flight=64, largest=1 << 16)
    assert figures[0] == many + 1
    assert figures[1] == figures[2] > many << 14


@on_both_loops
async def test_a_worker_without_rings_is_left_to_python() -> None:
    async with ring_site() as one:
        lane = one.bench.lane("v1", workers=0)
        one.bench.add_worker(lane, PromptWorker(one.bench))
        one.dispatcher.switch(lane)
        clients = [await one.client() for _ in range(3)]
        for seed in range(3):
            found = await asyncio.gather(*(client.ask(ask(numbers(seed))) for client in clients))
            assert [one.y for one in found] == [y_of(numbers(seed)).ravel().tolist()] * 3
        ring = one.add_ring_worker(lane)
        ring.be_prompt()
        for seed in range(3):
            found = await asyncio.gather(*(client.ask(ask(numbers(seed))) for client in clients))
            assert [one.y for one in found] == [y_of(numbers(seed)).ravel().tolist()] * 3


@on_both_loops
async def test_what_waits_goes_to_workers_without_rings_too() -> None:
    async with ring_site(max_in_flight=1) as one:
        (worker,) = one.serve_rings()
        clients = await crowd(one, 3)
        for number, client in enumerate(clients):
            await client.send(ask(numbers(number)))
        one.bench.add_worker(worker.lane, PromptWorker(one.bench))  # which nobody tells of
        await worker.has()
        worker.be_prompt()
        for number, client in enumerate(clients):
            assert (await client.answer()).y == y_of(numbers(number)).ravel().tolist()
        assert len(worker.seen) == 2
