"""Every answer to an inference is counted once, by its status, whichever way it took."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial

import pytest

from gpu_worker.ipc.link import Status
from supervisor.fronts.statistics import FrontStatistics
from supervisor.metrics.families import FAMILIES
from supervisor.metrics.machine import MachineReading
from supervisor.metrics.reading import Reading
from tests.unit.supervisor.dispatch.bench import FakeWorker
from tests.unit.supervisor.http.client import Client, ask, chunked, http, numbers
from tests.unit.supervisor.http.loops import on_both_loops, until
from tests.unit.supervisor.http.site import Site, site


def counted(one: Site) -> dict[str, float]:
    """Give what `hotpaddle_requests_total` says, without the zeros."""
    dispatcher = one.bench.dispatcher
    front = FrontStatistics.gather({"m": dispatcher}, one.arena.slots, [], 0, 0, one.front.refusals)
    reading = Reading(True, True, 0, front, (), {}, 0, MachineReading({}))
    (family,) = (family for family in FAMILIES if family.name == "hotpaddle_requests_total")
    found: dict[str, float] = {}
    for (_, code), count in family.read(reading):
        assert isinstance(count, int)
        if count:
            found[code] = count
    return found


def submitted(worker: FakeWorker, count: int) -> bool:
    return len(worker.submitted) == count


def live(one: Site, count: int) -> bool:
    return one.bench.live == count


@pytest.mark.parametrize("form", [bytes, chunked], ids=["fast", "slow"])
@on_both_loops
async def test_answers_and_refusals(form: Callable[[bytes], bytes]) -> None:
    async with site() as one:
        one.serve()
        client = await one.client()
        good = ask(numbers(1))
        assert (await client.ask(form(good))).status == 200
        assert (await client.ask(form(good))).status == 200
        assert (await client.ask(form(ask(numbers(1).reshape(2, 2))))).status == 400
        assert (one.slow_paths == 0) is (form is bytes)
        unknown = ask(numbers(1), path="/v2/models/m/versions/v9/infer")
        assert (await client.ask(form(unknown))).status == 404
        assert counted(one) == {"200": 2, "400": 1, "404": 1}


@on_both_loops
async def test_what_a_worker_could_not_do() -> None:
    async with site() as one:
        worker = one.serve(prompt=False)
        for number, (status, code) in enumerate(
            [(Status.FAILED, 500), (Status.EXPIRED, 504), (Status.TOO_LARGE, 500)], 1
        ):
            client = await one.client()
            client.writer.write(ask(numbers(1)))
            await until(partial(submitted, worker, number))
            one.bench.complete(worker, status, b"why")
            assert (await client.answer()).status == code
        assert counted(one) == {"500": 2, "504": 1}
        serving = one.bench.dispatcher.serving
        assert serving is not None
        assert serving.statistics.codes() == {200: 0, 500: 2, 504: 1}


@on_both_loops
async def test_a_full_queue_and_nothing_that_serves() -> None:
    async with site(max_in_flight=1, queue_limit=1) as one:
        client = await one.client()
        assert (await client.ask(ask(numbers(1)))).status == 503
        worker = one.serve(prompt=False)
        clients: list[Client] = []
        for number in (1, 2):
            clients.append(await one.client())
            clients[-1].writer.write(ask(numbers(1)))
            await until(partial(live, one, number))
        assert (await client.ask(ask(numbers(1)))).status == 503
        assert counted(one) == {"503": 2}
        one.bench.complete(worker)
        one.bench.complete(worker)
        await asyncio.gather(*(one.answer() for one in clients))


@on_both_loops
async def test_a_full_arena_whether_the_body_is_there_or_not() -> None:
    async with site() as one:
        one.serve()
        whole, part = await one.client(), await one.client()
        lent = []
        while (slot := one.arena.slots.take(1)) is not None:
            lent.append(slot)
        assert (await whole.ask(ask(numbers(1)))).status == 503
        request = ask(numbers(2, rows=50))
        await part.send(request[:-100])
        part.writer.write(request[-100:])
        assert (await part.answer()).status == 503
        assert counted(one) == {"503": 2}
        for slot in lent:
            one.arena.slots.give_back(slot)


@on_both_loops
async def test_bodies_that_are_too_large_too_late_or_encoded() -> None:
    async with site(body_timeout_s=0.05) as one:
        one.serve()
        client = await one.client()
        large = await client.ask(http("POST", "/v2/models/m/infer", b" " * (1 << 15)))
        assert large.status == 413
        client = await one.client()
        encoded = http("POST", "/v2/models/m/infer", b"x", "Content-Encoding: br")
        assert (await client.ask(encoded)).status == 415
        client = await one.client()
        client.writer.write(ask(numbers(1))[:-3])
        assert (await client.answer()).status == 408
        assert counted(one) == {"408": 1, "413": 1, "415": 1}


@on_both_loops
async def test_a_client_that_goes_is_no_answer() -> None:
    async with site() as one:
        worker = one.serve(prompt=False)
        client = await one.client()
        client.writer.write(ask(numbers(1)))
        await until(lambda: len(worker.submitted) == 1)
        client.leave()
        await until(lambda: one.bench.dispatcher.counts["abandoned"] == 1)
        one.bench.complete(worker)
        assert counted(one) == {}
