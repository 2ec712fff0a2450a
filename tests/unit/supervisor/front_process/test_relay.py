"""The relay: what a further front passes on is answered as the supervisor answers it."""

from __future__ import annotations

import asyncio
import errno
import functools
import itertools
import re
from typing import Any, cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from supervisor.access.caller import NOBODY
from supervisor.http.heads import Head
from tests.unit.supervisor.front_process.relayed import relayed, scripted
from tests.unit.supervisor.http.client import PATH, Client, ask, http, numbers, y_of
from tests.unit.supervisor.http.loops import on_both_loops, run, until
from tests.unit.supervisor.http.site import Site, Watched, answer
from tests.unit.supervisor.http.test_connection_splits import KINDS, check, chunked

LIVE = http("GET", "/v2/health/live")
SLOW = f"{PATH}?slow"
Y1 = y_of(numbers(1)).ravel().tolist()
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


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


@on_both_loops
async def test_who_goes_is_seen_to_go_by_the_supervisor() -> None:
    async with relayed() as (front, far):
        worker = far.serve(prompt=False)
        client = await front.near.client()
        await client.send(ask(numbers(1), path=SLOW))
        await until(lambda: worker.in_flight)
        client.leave()
        await until(lambda: not far.front.connections)
        answer(far.bench, worker)
        await far.at_rest()


@on_both_loops
async def test_who_goes_in_the_middle_of_an_answer_or_before_the_line_is_there() -> None:
    async with scripted() as front:
        client = await front.near.client()
        client.writer.write(LIVE)
        peer = await front.peer()
        await peer.read(len(LIVE))
        await peer.write(OK[:-1])
        assert await client.reader.readexactly(len(OK) - 1) == OK[:-1]
        client.leave()
        assert await peer.read(1) == b""
        for _ in range(5):
            lines, client = front.lines, await front.near.client()
            await client.send(LIVE)
            client.leave()
            await until(lambda: not front.near.front.connections)
            for peer in front.peers[lines:]:
                assert await peer.read(1 << 10) in (b"", LIVE)


def close(connection: Watched, of: Site) -> bool:
    connection.close_if_idle(since_ns=1 << 63)
    return not of.connections


@on_both_loops
async def test_a_line_that_ends_between_requests_is_replaced() -> None:
    async with relayed() as (front, far):
        here = front.near.serve()
        client = await front.near.client()
        for count in (1, 2, 3):
            assert (await client.ask(LIVE)).status == 200
            (theirs,) = far.connections
            await until(functools.partial(close, theirs, far))
            await front.idle(client)
            assert (await client.ask(ask(numbers(1)))).y == Y1
            assert (front.lines, len(here.submitted)) == (count, count)


@on_both_loops
async def test_a_supervisor_that_goes_in_the_middle_of_an_answer_ends_the_connection() -> None:
    async with scripted() as front:
        for count, text in enumerate((b"", OK[:10], OK[:-1]), 1):
            client = await front.near.client()
            client.writer.write(LIVE)
            peer = await front.peer(count)
            await peer.read(len(LIVE))
            await peer.write(text)
            peer.close()
            assert await client.ended() == text


@on_both_loops
async def test_the_last_answer_is_the_last_one() -> None:
    async with scripted() as front:
        front.near.serve()
        client = await front.near.client()
        client.writer.write(LIVE)
        peer = await front.peer()
        await peer.read(len(LIVE))
        last = OK.replace(b"\r\n", b"\r\nConnection: close\r\n", 1)
        await peer.write(last)
        assert (await client.answer()).body == b"ok"
        await client.send(ask(numbers(1)))
        assert await peer.read(1) != b"", "it is the supervisor's to ignore"
        assert not front.near.bench.live
        peer.close()
        assert await client.ended() == b""


@on_both_loops
async def test_the_rest_of_a_refused_body_opens_no_other_line() -> None:
    async with scripted() as front:
        client = await front.near.client()
        request = http("PUT", "/v2", bytes(1000))
        await client.send(request[:-500])
        peer = await front.peer()
        await peer.read(len(request) - 500)
        await peer.write(OK)
        assert (await client.answer()).body == b"ok"
        peer.close()
        await front.ended(client)
        client.writer.write(request[-500:])
        assert await client.ended() == b""
        assert front.lines == 1


@on_both_loops
async def test_what_was_said_before_the_line_broke_reaches_the_client() -> None:
    async with scripted() as front:
        client = await front.near.client()
        request = http("PUT", "/v2", bytes(1000))
        await client.send(request[:-500])
        peer = await front.peer()
        await until(lambda: not front.choked(client))
        front.relay_of(client).pause_writing()  # what comes back stays where it is
        await peer.write(OK)
        peer.close()  # with a body unread, so that the next write fails
        client.writer.write(request[-500:])
        assert (await client.answer()).body == b"ok"
        front.near.serve()
        assert (await client.ask(ask(numbers(1)))).y == Y1


@on_both_loops
async def test_a_line_that_breaks_with_bytes_for_it_ends_the_connection() -> None:
    async with scripted() as front:
        client = await front.near.client()
        request, count = http("PUT", "/v2", bytes(1 << 12)), 0
        while not (count and front.choked(client)):
            await client.send(request)
            peer = await front.peer()
            count += 1
            if count == 1:
                await until(lambda: not front.choked(client))
        await peer.write(OK * count)
        for _ in range(count):
            assert (await client.answer()).body == b"ok"
        peer.close()
        assert await client.ended() == b""


@on_both_loops
async def test_who_goes_before_the_line_is_open_leaves_none() -> None:
    async with scripted() as front:
        client = await front.near.client()
        transport = client.its._transport  # type: ignore[attr-defined]  # noqa: SLF001 - no client hits these moments
        for lines in (0, 1):
            relay = front.open(NOBODY)
            relay.connection_made(transport)
            relay.begin(Head(0))
            relay.data_received(LIVE)
            for _ in range(lines):
                await asyncio.sleep(0)  # it connects
            assert front.lines == lines
            relay.connection_lost(None)
        peer = await front.peer()
        assert await peer.read(1) == b""
        assert front.lines == 1


@on_both_loops
async def test_bytes_that_answer_nothing_do_not_reach_the_client() -> None:
    async with scripted() as front:
        front.near.serve()
        client = await front.near.client()
        client.writer.write(LIVE)
        peer = await front.peer()
        await peer.read(len(LIVE))
        await peer.write(OK)
        assert (await client.answer()).body == b"ok"
        await peer.write(OK)
        assert await peer.read(1) == b""
        assert (await client.ask(ask(numbers(1)))).y == Y1
        client.writer.write(LIVE)
        peer = await front.peer(2)
        await peer.write(OK)
        assert (await client.answer()).body == b"ok"


@on_both_loops
async def test_a_line_that_says_too_much_takes_no_further_request_with_it() -> None:
    async with scripted() as front:
        client = await front.near.client()
        client.writer.write(LIVE)
        peer = await front.peer()
        await peer.read(len(LIVE))
        await peer.write(OK)
        assert (await client.answer()).body == b"ok"
        line = front.relay_of(client)._line  # noqa: SLF001 - before the loop tells of its end
        assert line is not None
        line.data_received(OK)
        assert front.relay_of(client).idle
        front.relay_of(client).begin(Head(0))  # the next one comes before that
        front.relay_of(client).data_received(LIVE)
        peer = await front.peer(2)
        for _ in range(2):
            assert await peer.read(len(LIVE)) == LIVE
            await peer.write(OK)
            assert (await client.answer()).body == b"ok"
            await client.send(LIVE)
        assert front.lines == 2


@on_both_loops
async def test_a_supervisor_that_takes_no_connections_is_told_of() -> None:
    async with relayed() as (front, _):
        front.near.serve()
        front.refusal = ConnectionRefusedError(errno.ECONNREFUSED, "Connection refused")
        client = await front.near.client()
        assert (await client.ask(ask(numbers(1)))).y == Y1
        found = await client.ask(LIVE + ask(numbers(1)))
        assert (found.status, found.headers["connection"]) == (503, "close")
        assert found.headers["retry-after"] == "1"
        assert found.error == "the supervisor takes no connections: Connection refused"
        assert await client.ended() == b""
        client = await front.near.client()
        client.writer.write(http("HEAD", "/v2"))
        assert (await client.ended()).endswith(b"\r\n\r\n")
        front.refusal = None
        client = await front.near.client()
        assert (await client.ask(LIVE)).status == 200


@on_both_loops
async def test_a_stop_closes_idle_connections_and_lets_relayed_answers_finish() -> None:
    async with relayed() as (front, far):
        worker = far.serve(prompt=False)
        idle, runs = await front.near.client(), await front.near.client()
        await idle.ask(LIVE)
        await front.idle(idle)
        await runs.send(ask(numbers(1), path=SLOW))
        await until(lambda: worker.in_flight)
        task = asyncio.create_task(front.near.front.stop(30))
        assert await idle.ended() == b""
        assert not task.done()
        await until(lambda: front.near.front.draining)
        answer(far.bench, worker)
        assert (await runs.answer()).y == Y1
        runs.leave()
        await task
