"""Limits of connections: too many, too often, too slow, too idle."""

from __future__ import annotations

import asyncio
import socket
from typing import Any

import pytest

from supervisor.access.caller import Caller
from supervisor.access.refusals import Refusals
from supervisor.settings import Settings
from tests.unit.supervisor.http.client import PATH, ask, chunked, http, numbers, y_of
from tests.unit.supervisor.http.loops import on_both_loops, until
from tests.unit.supervisor.http.site import Site, answer, site

X = numbers(1)
Y = y_of(X).ravel().tolist()
LIVE = http("GET", "/v2/health/live")


def limited(**limits: Any) -> Any:
    return site(settings=Settings(**limits))


@on_both_loops
async def test_one_connection_too_many_is_answered_503() -> None:
    async with limited(max_connections=2) as one:
        one.serve()
        first, second = [await one.client() for _ in range(2)]
        reader, writer = await asyncio.open_connection(*one.address)
        refused = await reader.read()
        writer.close()
        assert refused.startswith(b"HTTP/1.1 503 Service Unavailable\r\n")
        assert b"\r\nRetry-After: 1\r\n" in refused
        assert b"\r\nConnection: close\r\n" in refused
        assert b"too many connections (max_connections)" in refused
        assert one.front.refusals == Refusals(too_many_connections=1)
        for client in (first, second):
            assert (await client.ask(ask(X))).y == Y
        first.leave()
        await until(lambda: len(one.front.connections) == 1)
        assert (await (await one.client()).ask(ask(X))).y == Y


@on_both_loops
async def test_clients_that_another_front_passes_on_are_counted_there() -> None:
    async with limited(max_connections=1) as one:
        await one.client()
        ours, theirs = socket.socketpair()
        for sock in (ours, theirs):
            sock.setblocking(False)
        one.http.adopt(theirs, Caller("192.0.2.7"))
        reader, writer = await asyncio.open_connection(sock=ours)
        writer.write(LIVE)
        assert (await reader.readline()).startswith(b"HTTP/1.1 200 OK")
        assert one.front.refusals == Refusals()
        writer.transport.abort()


@on_both_loops
@pytest.mark.parametrize(
    "requests",
    [[ask(X)] * 3, [LIVE] * 3, [chunked(ask(X))] * 3, [LIVE, ask(X), LIVE], [ask(X), LIVE, ask(X)]],
    ids=["fast", "slow", "for good", "slow at last", "fast at last"],
)
async def test_a_connection_ends_with_its_last_request(requests: list[bytes]) -> None:
    async with limited(max_requests_per_connection=3) as one:
        one.serve()
        client = await one.client()
        for at, request in enumerate(requests):
            found = await client.ask(request)
            assert (found.status, found.headers.get("connection")) == (
                200, "close" if at == 2 else None,
            )  # fmt: skip
        assert await client.ended() == b""


@on_both_loops
@pytest.mark.parametrize(
    "before", [b"", ask(X), LIVE, chunked(ask(X))], ids=["fresh", "fast", "slow", "for good"]
)
@pytest.mark.parametrize(
    "begun", [b"POST /v2/models/m/in", b"GET /v2/hea", b"POST / HTTP/1.1\r\nA"]
)
async def test_a_head_that_does_not_end_is_answered_408(before: bytes, begun: bytes) -> None:
    async with limited(head_timeout_ms=40) as one:
        one.serve()
        client = await one.client()
        if before:
            assert (await client.ask(before)).status == 200
        client.writer.write(begun)
        found = await client.answer()
        assert (found.status, "within 0.04 s (head_timeout_ms)" in found.error) == (408, True)
        assert await client.ended() == b""
        assert one.front.refusals == Refusals(late_head=1)


async def time_for_heads_is_up(one: Site) -> None:
    """Wait until a head that begins now has been refused."""
    client = await one.client()
    client.writer.write(b"GET")
    assert (await client.answer()).status == 408


@on_both_loops
@pytest.mark.parametrize(
    "request_", [ask(X), LIVE, chunked(ask(X))], ids=["fast", "slow", "for good"]
)
async def test_only_heads_are_hurried(request_: bytes) -> None:
    """A body, an answer and a pause may take longer than a head."""
    async with limited(head_timeout_ms=20) as one:
        one.serve()
        client = await one.client()
        head, end, body = request_.partition(b"\r\n\r\n")
        for _ in range(2):
            await client.send(head + end + body[:5])
            await time_for_heads_is_up(one)
            await client.send(body[5:])
            assert (await client.answer()).status == 200
            await time_for_heads_is_up(one)
        worker = one.serve("v2", prompt=False)
        await client.send(ask(X))
        await until(lambda: worker.in_flight)
        await time_for_heads_is_up(one)
        answer(one.bench, worker)
        assert (await client.answer()).y == Y


@on_both_loops
async def test_a_head_behind_an_answer_under_way_waits_for_it() -> None:
    async with limited(head_timeout_ms=20) as one:
        worker = one.serve(prompt=False)
        client = await one.client()
        await client.send(ask(X, path=f"{PATH}?slow"))
        await until(lambda: worker.in_flight)
        await client.send(ask(X)[:30])
        await time_for_heads_is_up(one)
        await time_for_heads_is_up(one)
        answer(one.bench, worker)
        assert (await client.answer()).y == Y
        assert (await client.answer()).status == 408


async def kept(one: Site) -> None:
    """Keep a connection busy over several of its idle times."""
    worker = one.serve(prompt=False)
    client = await one.client()
    await client.send(ask(X))
    await until(lambda: worker.in_flight)
    for _ in range(2):
        assert await (await one.client()).ended() == b""
    answer(one.bench, worker)
    assert (await client.answer()).y == Y
    assert await client.ended() == b""


@on_both_loops
async def test_only_idle_connections_are_closed() -> None:
    async with limited(idle_timeout_ms=100) as one:
        unused = await one.client()
        assert await unused.ended() == b""
        await kept(one)
