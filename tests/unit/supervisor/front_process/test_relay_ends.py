"""The ends of a relay: who goes, which line breaks, and what a stop lets finish."""

from __future__ import annotations

import asyncio
import errno
import functools

from supervisor.access.caller import NOBODY
from supervisor.http.heads import Head
from tests.unit.supervisor.front_process.relayed import LIVE, OK, SLOW, Y1, relayed, scripted
from tests.unit.supervisor.http.client import ask, http, numbers
from tests.unit.supervisor.http.loops import on_both_loops, until
from tests.unit.supervisor.http.site import Site, Watched, answer


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
        peer = await front.asked(client)
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
            peer = await front.asked(client, count)
            await peer.write(text)
            peer.close()
            assert await client.ended() == text


@on_both_loops
async def test_the_last_answer_is_the_last_one() -> None:
    async with scripted() as front:
        front.near.serve()
        client = await front.near.client()
        peer = await front.asked(client)
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
        peer = await front.asked(client)
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
        peer = await front.asked(client)
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
