"""Connections that end, wait or leave: compiled code stands in the way of none of it."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import orjson
import pytest

from supervisor.dispatch.dispatcher import Dispatcher
from supervisor.dispatch.request import InferRequest
from supervisor.http.heads import Head
from supervisor.settings import Settings
from tests.unit.supervisor.dispatch.bench import step
from tests.unit.supervisor.express.both_ways import acquainted, both_ways, exchanged
from tests.unit.supervisor.express.ring_site import COMPILED, RingSite, raw_answer, ring_site
from tests.unit.supervisor.http.client import Client, ask, http, numbers, y_of
from tests.unit.supervisor.http.loops import on_both_loops, until

pytestmark = COMPILED
X = numbers(3)
Y = y_of(X).tobytes()
CLOSES = b"\r\nConnection: close\r\n"


async def rest(client: Client) -> bytes:
    """Read to the end of a connection, without the line that says when it was written."""
    lines = (await client.ended()).split(b"\r\n")
    return b"\r\n".join(line for line in lines if not line.startswith(b"Date: "))


@on_both_loops
@pytest.mark.parametrize(
    "request_", [ask(X, "Connection: close"), ask(X, version="1.0")], ids=["close", "1.0"]
)
async def test_who_asks_for_the_end_gets_it_after_his_answer(request_: bytes) -> None:
    async def talk(one: RingSite) -> list[bytes]:
        one.serve_rings()
        found = []
        for _ in range(3):
            client = await acquainted(one)
            client.writer.write(request_)
            found.append(await rest(client))
        return found

    found = await both_ways(talk)
    assert set(found) == {found[0]}
    assert found[0].endswith(Y)


@on_both_loops
@pytest.mark.parametrize("most", [1, 2, 3, 4])
async def test_the_last_of_so_many_requests_ends_its_connection(most: int) -> None:
    async def talk(one: RingSite) -> list[bytes]:
        one.serve_rings()
        found = []
        for _ in range(3):
            client = await one.client()
            found += [await exchanged(client, ask(X)) for _ in range(most)]
            assert CLOSES in found[-1]
            found.append(await rest(client))
        return found

    settings = Settings(max_requests_per_connection=most)
    found = await both_ways(talk, settings=settings)
    assert [CLOSES in answer for answer in found] == [*[False] * (most - 1), True, False] * 3


@on_both_loops
async def test_a_connection_that_leaves_ends_with_its_next_answer() -> None:
    async def talk(one: RingSite) -> list[bytes]:
        one.serve_rings()
        client = await acquainted(one)
        (its,) = one.connections
        its.leave()
        found = await exchanged(client, ask(X))
        assert CLOSES in found
        return [found, await rest(client)]

    found = await both_ways(talk)
    assert found[0].endswith(Y)


@on_both_loops
async def test_a_drain_ends_connections_with_their_next_answers() -> None:
    async def talk(one: RingSite) -> list[bytes]:
        (worker,) = one.serve_rings(prompt=False)
        clients = [await one.client() for _ in range(3)]
        for client in clients:
            client.writer.write(ask(X))
            await worker.has()
            worker.answer()
            await raw_answer(client)
        before, during, after = clients
        await before.send(ask(X))
        await worker.has()
        one.http.drain()
        await during.send(ask(X))
        await worker.has(2)
        worker.be_prompt()
        found = [await rest(before), await rest(during)]
        after.writer.write(ask(X))
        return [*found, await rest(after)]

    found = await both_ways(talk)
    assert all(CLOSES in answer and answer.endswith(Y) for answer in found)


@on_both_loops
async def test_a_stop_answers_who_is_under_way() -> None:
    async def talk(one: RingSite) -> list[bytes]:
        (worker,) = one.serve_rings(prompt=False)
        client = await one.client()
        for _ in range(2):
            await client.send(ask(X))
            await worker.has()
            worker.answer()
            await raw_answer(client)
        await client.send(ask(X))
        task = asyncio.create_task(one.front.stop(30))
        await until(lambda: one.front.draining)
        await worker.has()
        worker.answer()
        found = await rest(client)
        await task
        return [found]

    (found,) = await both_ways(talk)
    assert found.endswith(Y)


@on_both_loops
async def test_what_comes_while_all_is_held_waits_in_the_kernel() -> None:
    async def talk(one: RingSite) -> list[bytes]:
        (worker,) = one.serve_rings()
        client = await acquainted(one)
        one.front.hold()
        client.writer.write(ask(X))
        late = await one.client()
        await late.send(ask(X))
        for _ in range(4):
            await step()
        assert len(worker.seen) == 2
        one.front.go_on()
        return [
            *[await raw_answer(one) for one in (client, late)],
            *[await exchanged(one, ask(X)) for one in (client, late)],
        ]

    found = await both_ways(talk)
    assert [answer[-8:] for answer in found] == [Y] * 4


@on_both_loops
async def test_with_an_access_log_each_request_has_its_line(tmp_path: Path) -> None:
    files = iter([tmp_path / "auto", tmp_path / "off"])
    noted: list[list[dict[str, Any]]] = []

    async def talk(one: RingSite) -> list[bytes]:
        file = next(files)
        one.front.open_log(str(file))
        one.serve_rings()
        client = await acquainted(one)
        requests = [ask(X), ask(numbers(1, rows=2)), ask(X), ask(X, binary=False)]
        found = [await exchanged(client, request) for request in requests]
        assert one.express in (0, 3)
        assert one.front.access_log is not None
        await one.front.access_log.close()
        one.front.access_log = None
        lines = [orjson.loads(line) for line in file.read_bytes().splitlines()]
        assert all(0 < line.pop("ms") < 10_000 and line.pop("time") for line in lines)
        noted.append(lines)
        return found

    await both_ways(talk)
    assert noted[0] == noted[1]
    assert [(line["status"], line["version"]) for line in noted[0]] == [(200, "v1")] * 6


@dataclass
class Spans:
    """Takes what is told of traced requests."""

    told: list[Any]

    def add(
        self, head: Head, status: int, begun_ns: int, request: InferRequest, dispatcher: Dispatcher
    ) -> None:
        assert request.completion is not None
        assert request.completion.finished_ns > begun_ns
        self.told.append((head.trace[3:35], status, request.lane is dispatcher.serving))

    async def close(self) -> None: ...


@on_both_loops
async def test_with_spans_traced_requests_are_told_of_and_others_are_not() -> None:
    noted: list[Any] = []

    async def talk(one: RingSite) -> list[bytes]:
        spans = Spans([])
        one.front.spans = cast("Any", spans)
        one.serve_rings()
        client = await acquainted(one)
        traces = [f"traceparent: 00-{number:032x}-b7ad6b7169203331-01" for number in (7, 8)]
        requests = [ask(X), ask(X, traces[0]), ask(X), ask(X, traces[1]), ask(X)]
        found = [await exchanged(client, request) for request in requests]
        noted.append(spans.told)
        return found

    await both_ways(talk)
    assert noted == [[(f"{number:032x}", 200, True) for number in (7, 8)]] * 2


@on_both_loops
async def test_what_is_under_way_can_be_kept_for_another_program() -> None:
    async def talk(one: RingSite) -> Any:
        (worker,) = one.serve_rings()
        client = await acquainted(one)
        (its,) = one.connections
        worker.be_slow()
        await client.send(ask(X))
        await client.send(ask(X)[:50])
        await worker.has()
        assert its.movable
        kept = its.keep()
        assert kept.exchange is not None
        assert kept.exchange.question is not None
        assert kept.exchange.question.request == worker.waiting[0].request_id
        assert kept.exchange.begun_ns < time.monotonic_ns()
        worker.be_prompt()
        await client.send(ask(X)[50:])
        found = [await raw_answer(client) for _ in range(2)]
        return kept.requests, kept.held, kept.exchange.head, kept.exchange.question.outputs, found

    requests, held, head, outputs, found = await both_ways(talk)
    assert (requests, held, outputs) == (3, ask(X)[:50], [(0, True)])
    assert ask(X).startswith(head)
    assert [answer[-8:] for answer in found] == [Y, Y]


@on_both_loops
async def test_a_connection_that_only_compiled_code_looks_after_is_not_swept_away() -> None:
    async with ring_site() as one:
        one.serve_rings()
        client = await acquainted(one)
        (its,) = one.connections
        before = time.monotonic_ns()
        assert (await client.ask(ask(X))).status == 200
        assert one.express == 2
        its.close_if_idle(since_ns=before)
        its.close_if_quiet(since_ns=before)
        assert (await client.ask(ask(X))).status == 200
        its.close_if_idle(since_ns=time.monotonic_ns())
        assert await client.ended() == b""


@on_both_loops
async def test_a_request_behind_another_way_is_answered_once_that_is_done() -> None:
    async def talk(one: RingSite) -> list[bytes]:
        (worker,) = one.serve_rings(prompt=False)
        client = await one.client()
        for _ in range(2):
            await client.send(ask(X))
            await worker.has()
            worker.answer()
            await raw_answer(client)
        for request in (ask(X), http("GET", "/v2/health/live")):
            await client.send(request)
        client.writer.write(ask(X))
        await worker.has()
        worker.be_prompt()
        return [await raw_answer(client) for _ in range(3)]

    found = await both_ways(talk)
    assert [answer[-8:] for answer in found] == [Y, b'"live":true}'[-8:], Y]
