"""All fronts together: they are told alike, switch as one, and are replaced when they end."""

from __future__ import annotations

import asyncio
import os
import signal

import pytest

from supervisor.fronts import fronts as fronts_module
from supervisor.http.listening_sockets import port_of
from tests.unit.supervisor.fronts.company import Company, company
from tests.unit.supervisor.fronts.near import Client
from tests.unit.supervisor.http.loops import until


async def queued(one: Company, count: int) -> None:
    """Wait until so many requests wait in the further fronts together."""
    async with asyncio.timeout(10):
        while sum(waiting for waiting, _ in await one.states()) != count:
            pass


async def hold(one: Company) -> None:
    async with one.fronts.held(one.dispatcher):
        pass


async def test_fronts_are_told_alike_switch_as_one_and_are_replaced() -> None:
    async with company(2) as (one, opened):
        worker = one.start_worker(7)
        old = one.serve("v1", workers=0)
        one.add_worker(old, worker)
        one.fronts.publish(one.dispatcher)
        first, second = await one.up(2)
        assert [lanes for _, lanes in await one.states()] == [{"v1"}] * 2
        assert sorted(worker.told) == [("attach", 1), ("attach", 2)]

        # A switch: what comes waits, though the worker has credit, until all have been told of it.
        client = await Client.of(opened[0])
        async with one.fronts.held(one.dispatcher):
            client.infer()
            await queued(one, 1)
            other = asyncio.create_task(hold(one))
            one.serve("v2", workers=0)
            one.fronts.publish(one.dispatcher)
            both = {"v1", "v2"}
            assert [lanes for _, lanes in await one.states()] == [both] * 2
            await queued(one, 1)
            assert not other.done(), "one holder at a time"
        await other
        await queued(one, 1)  # v2 has no worker

        # What is not a switch is told while one is held, too.
        async with one.fronts.held(one.dispatcher):
            one.dispatcher.stop_serving("it was unloaded by request")
            one.dispatcher.forget_retained()
            one.fronts.publish(one.dispatcher)
            head, body = await client.answer()
            assert head.startswith("HTTP/1.1 503 ")
            assert b"it was unloaded by request" in body
        await client.close()

        # A front that ends is replaced by one that knows all; it keeps no switch waiting meanwhile.
        one.serve("v3", workers=0)
        one.fronts.publish(one.dispatcher)
        first.kill()
        await until(lambda: len(one.fronts.running) == 2 and first not in one.fronts.running)
        third = one.fronts.running[1]
        assert worker.told[2:] == [("detach", 1)]
        async with one.fronts.held(one.dispatcher):
            assert (third.serves, third.alive) == (False, True)
        await one.up(2)
        assert [front.number for front in one.fronts.running] == [2, 3]
        assert [lanes for _, lanes in await one.states()] == [{"v3"}] * 2
        assert worker.told[3:] == [("attach", 3)]
        assert second.alive

        # At the end nobody is left waiting for a front that will not come.
        await one.fronts.stop(0)
        assert one.fronts.running == []
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection("127.0.0.1", one.port)


async def test_a_front_that_does_not_obey_is_ended_and_the_switch_goes_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(fronts_module, "_OBEY_S", 0.2)
    async with company(1) as (one, _):
        one.serve("v1", workers=0)
        one.fronts.publish(one.dispatcher)
        (front,) = await one.up(1)
        os.kill(front.pid, signal.SIGSTOP)
        drained = asyncio.create_task(one.fronts.drained(one.dispatcher.lane(None)))
        async with one.fronts.held(one.dispatcher):
            assert not front.alive
            one.serve("v2", workers=0)
        await drained
        assert one.fronts.totals.counted()[0].models, "what it had counted is kept"


async def test_a_front_that_listens_when_it_has_been_told_to_end_finishes_in_order() -> None:
    async with company(1) as (one, opened):
        (front,) = await one.up(1)
        # At rest the supervisor accepts in its place, and goes on to.
        resting = asyncio.create_task(one.fronts.rest(5))
        await asyncio.sleep(0)
        one.fronts.front_listens(front)
        await resting
        _, writer = await asyncio.open_connection("127.0.0.1", port_of(opened[0]))
        await until(lambda: bool(one.passed_on))
        writer.close()
        one.fronts.go_on()
        (front,) = await one.up(1)

        # At the end its sockets are closed here already.
        stopping = asyncio.create_task(one.fronts.stop(5))
        await asyncio.sleep(0)
        one.fronts.front_listens(front)
        await stopping
