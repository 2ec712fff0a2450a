"""The relay: what a further front passes on is answered as the supervisor answers it."""

from __future__ import annotations

import asyncio
import itertools
import re
from typing import Any, cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.supervisor.front_process.relayed import LIVE, OK, SLOW, Y1, relayed, scripted
from tests.unit.supervisor.http.client import PATH, Client, ask, http, numbers, y_of
from tests.unit.supervisor.http.loops import on_both_loops, run, until
from tests.unit.supervisor.http.site import answer
from tests.unit.supervisor.http.test_connection_splits import KINDS, check, chunked


async def all_of(client: Client, request: bytes) -> bytes:
    """Everything that a request brings, but the time."""
    client.writer.write(request)
    return re.sub(rb"Date: [^\r]*\r\n", b"", await client.ended())


@on_both_loops
@pytest.mark.parametrize(
    "request_",
    [
        http("GET", "/v2", b"", "Connection: close"),
        http("HEAD", "/v2", b"", "Connection: close"),
        http("GET", "/v2/health/ready", version="1.0"),
        http("GET", "/none", b"", "Connection: close"),
        http("PUT", "/v2/health/live", b"x" * 100, "Connection: close"),
        http("GET", PATH, b"", "Connection: close"),
        http("POST", PATH, b"", "Connection: close"),
        http("POST", PATH, bytes(1 << 15), "Connection: close"),
        ask(numbers(1), "Connection: close", path=SLOW),
        ask(numbers(1), "Connection: close"),  # fast over there, as it is not served here
        LIVE + ask(numbers(1, rows=500), "Connection: close", binary=False),
        ask(numbers(1), version="1.0"),
        ask(numbers(1), "Content-Encoding: br", "Connection: close"),
        LIVE + chunked(1).replace(b"Host: x", b"Host: x\r\nConnection: close"),
        b"garbage\r\n\r\n",
        b"GET / HTTP/1.1\r\n\r\n",
        b"\r\n\r\n" + http("GET", "/v2", b"", "Connection: close"),
        http("GET", "/v2", b"", "Connection: close", f"X: {'x' * 20000}"),
        ask(numbers(1), "Content-Length: 1"),
    ],
)
async def test_every_byte_of_an_answer_is_the_supervisors(request_: bytes) -> None:
    async with relayed() as (front, far):
        far.serve()
        direct, through = await far.client(), await front.near.client()
        expected = await all_of(direct, request_)
        assert expected.startswith(b"HTTP/1.")
        assert await all_of(through, request_) == expected
        assert front.lines == 1


@on_both_loops
async def test_an_inference_is_answered_here_once_the_supervisor_has_answered() -> None:
    async with relayed() as (front, far):
        here, there = front.near.serve(), far.serve()
        client = await front.near.client()
        requests = [
            LIVE,
            http("GET", "/none"),
            http("POST", PATH, b"{}", "Inference-Header-Content-Length: x"),
            ask(numbers(1), path=SLOW),
            ask(numbers(1), "Content-Encoding: br"),
            LIVE,
        ]
        for count, request in enumerate(requests, 1):
            await client.ask(request)
            await front.idle(client)
            assert (await client.ask(ask(numbers(1)))).y == Y1
            assert len(here.submitted) == count
        assert (front.lines, len(there.submitted)) == (1, 1)


@on_both_loops
async def test_a_head_alone_ends_without_a_body() -> None:
    async with relayed() as (front, far):
        here = front.near.serve()
        client = await front.near.client()
        for count in (1, 2):
            client.writer.write(http("HEAD", "/v2/health/live"))
            head = await client.reader.readuntil(b"\r\n\r\n")
            assert b" 200 " in head.splitlines()[0]
            await front.idle(client)
            assert (await client.ask(LIVE)).body == b'{"live":true}'
            await front.idle(client)
            assert (await client.ask(ask(numbers(1)))).y == Y1
            assert len(here.submitted) == count
        far.serve()
        client.writer.write(LIVE + http("HEAD", "/v2/health/live") + ask(numbers(1)))
        assert (await client.answer()).body == b'{"live":true}'
        assert b" 200 " in (await client.reader.readuntil(b"\r\n\r\n")).splitlines()[0]
        assert (await client.answer()).y == Y1


@on_both_loops
async def test_who_waits_for_a_continue_gets_it_and_is_then_served_here() -> None:
    async with relayed() as (front, far):
        here, there = front.near.serve(), far.serve()
        client = await front.near.client()
        request = ask(numbers(1), "Expect: 100-continue")
        head = request.index(b"\r\n\r\n") + 4
        client.writer.write(request[:head])
        assert (await client.answer()).status == 100
        assert not front.relay_of(client).idle
        client.writer.write(request[head:])
        assert (await client.answer()).y == Y1
        await front.idle(client)
        assert (await client.ask(ask(numbers(1)))).y == Y1
        assert (len(here.submitted), len(there.submitted)) == (1, 1)


@on_both_loops
async def test_behind_a_chunked_request_the_supervisor_has_the_connection() -> None:
    async with relayed() as (front, far):
        here, there = front.near.serve(), far.serve()
        client = await front.near.client()
        assert (await client.ask(chunked(1))).y == Y1
        assert (await client.ask(ask(numbers(1)))).y == Y1
        assert (len(here.submitted), len(there.submitted)) == (0, 2)


@on_both_loops
async def test_pipelined_requests_of_both_ways_are_answered_in_order() -> None:
    async with relayed() as (front, far):
        here, there = front.near.serve(prompt=False), far.serve(prompt=False)
        client = await front.near.client()
        client.writer.write(
            ask(numbers(0)) + LIVE + ask(numbers(1), path=SLOW) + ask(numbers(2)) + LIVE
        )
        await until(lambda: here.in_flight)
        assert (front.lines, len(there.submitted)) == (0, 0)
        answer(front.near.bench, here)
        for _ in (1, 2):  # behind a slow one, an inference goes the same way
            await until(lambda: there.in_flight)
            answer(far.bench, there)
        assert (await client.answer()).y == y_of(numbers(0)).ravel().tolist()
        assert (await client.answer()).body == b'{"live":true}'
        for seed in (1, 2):
            assert (await client.answer()).y == y_of(numbers(seed)).ravel().tolist()
        assert (await client.answer()).body == b'{"live":true}'
        assert (len(here.submitted), len(there.submitted)) == (1, 2)


@settings(max_examples=60)
@given(
    st.lists(st.sampled_from(list(KINDS)), min_size=1, max_size=6),
    st.lists(st.integers(0, 1 << 16), max_size=8),
)
def test_any_requests_cut_anywhere_are_answered_in_order(kinds: list[str], cuts: list[int]) -> None:
    async def converse() -> None:
        async with relayed() as (front, far):
            front.near.serve()
            far.serve()
            client = await front.near.client()
            data = b"".join(KINDS[kind](seed) for seed, kind in enumerate(kinds))
            places = sorted({0, len(data), *(cut % len(data) for cut in cuts)})
            for start, end in itertools.pairwise(places):
                await client.send(data[start:end])
            for seed, kind in enumerate(kinds):
                check(kind, seed, await client.answer())
            client.leave()
            await front.near.at_rest()
            await far.at_rest()

    run(converse())


@on_both_loops
async def test_a_large_answer_waits_for_a_client_that_does_not_read() -> None:
    async with scripted() as front:
        here = front.near.serve()
        client = await front.near.client(receive_bytes=4096)
        reads(client, on=False)
        client.writer.write(LIVE)
        peer = await front.peer()
        assert await peer.read(len(LIVE)) == LIVE
        body = bytes(range(256)) * (1 << 16)  # 16 MiB
        data, sent = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body, 0

        def full() -> bool:
            nonlocal sent
            some = peer.write_some(data[sent:])
            sent += some
            return bool(client.its.pauses) and not some

        await until(full)
        for _ in range(100):
            await asyncio.sleep(0)
            full()
        assert sent < 4 << 20, "the sockets' buffers, and one more read"
        reads(client, on=True)
        reading = client.answer()
        (found, _) = await together(reading, peer.write(data[sent:]))
        assert found.body == body
        await front.idle(client)
        assert (await client.ask(ask(numbers(1)))).y == Y1
        assert len(here.submitted) == 1


def reads(client: Client, *, on: bool) -> None:
    """Have a client read, or not."""
    transport = cast("asyncio.Transport", client.writer.transport)
    (transport.resume_reading if on else transport.pause_reading)()


async def together(*works: Any) -> list[Any]:
    return await asyncio.gather(*works)


@on_both_loops
async def test_a_large_body_waits_for_a_supervisor_that_does_not_read() -> None:
    async with scripted() as front:
        here = front.near.serve()
        client = await front.near.client()
        request = http("PUT", "/v2", bytes(range(256)) * (1 << 16))
        client.writer.write(request)
        peer = await front.peer()
        await until(lambda: client.its.received > 1 << 17 and front.choked(client))
        for _ in range(100):
            await asyncio.sleep(0)
        assert client.its.received < 4 << 20, "the sockets' buffers, and one more read"
        assert await peer.read(len(request)) == request
        await peer.write(OK)
        assert (await client.answer()).body == b"ok"
        await front.idle(client)
        assert (await client.ask(ask(numbers(1)))).y == Y1
        assert len(here.submitted) == 1


@on_both_loops
async def test_when_neither_side_reads_nothing_is_lost_or_piled_up() -> None:
    async with scripted() as front:
        here = front.near.serve()
        client = await front.near.client(receive_bytes=4096)
        reads(client, on=False)
        request = http("PUT", "/v2", bytes(range(256)) * (1 << 16))
        behind = b"".join(ask(numbers(seed)) for seed in range(300))
        client.writer.write(request + behind)
        peer = await front.peer()
        await until(lambda: client.its.received > 1 << 17 and front.choked(client))
        body = bytes(range(255)) * (1 << 15)
        reply, sent = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body, 0
        while not client.its.pauses:
            sent += peer.write_some(reply[sent:])
            await asyncio.sleep(0)
        before = client.its.received
        taken = await peer.read(1 << 18)
        await until(lambda: not front.choked(client))
        for _ in range(100):
            taken += peer.read_some()
            await asyncio.sleep(0)
        assert client.its.received - before < 1 << 20, "what the client sends is held back"
        reads(client, on=True)
        found, _, rest = await together(
            client.answer(),
            peer.write(reply[sent:]),
            peer.read(len(request) - len(taken)),
        )
        assert (found.body, taken + rest) == (body, request)
        for seed in range(300):
            assert (await client.answer()).y == y_of(numbers(seed)).ravel().tolist()
        assert len(here.submitted) == 300
