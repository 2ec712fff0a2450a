"""Connections: what goes through aiohttp, beside what does not, and how connections end."""

from __future__ import annotations

import asyncio
import time

import orjson
import pytest

from tests.unit.supervisor.http.client import PATH, ask, http, numbers, y_of
from tests.unit.supervisor.http.loops import on_both_loops, until
from tests.unit.supervisor.http.site import Site, answer, site

LIVE = http("GET", "/v2/health/live")
Y1 = y_of(numbers(1)).ravel().tolist()


@on_both_loops
async def test_both_ways_mix_on_one_connection() -> None:
    async with site() as one:
        one.serve()
        client = await one.client()
        for _ in range(3):
            assert (await client.ask(ask(numbers(1)))).y == Y1
            assert (await client.ask(LIVE)).body == b'{"live":true}'
        client.writer.write(ask(numbers(1)) + LIVE + ask(numbers(1)) + ask(numbers(1)) + LIVE)
        found = [await client.answer() for _ in range(5)]
        assert [bool(one.headers.get("x-model-version")) for one in found] == [
            True, False, True, True, False
        ]  # fmt: skip
        assert one.slow_paths == 1


@on_both_loops
async def test_an_inference_goes_the_fast_way_again_once_aiohttp_is_done() -> None:
    async with site() as one:
        worker = one.serve()
        client = await one.client()
        await client.ask(LIVE)
        one.front.slow_path = None  # nobody asks for another
        assert (await client.ask(ask(numbers(1)))).y == Y1
        assert len(worker.submitted) == 1


@on_both_loops
@pytest.mark.parametrize(
    ("request_", "status", "text"),
    [
        (ask(numbers(1), path="/v2/models/none/infer"), 404, "'none' is not in the repository"),
        (ask(numbers(1), path="/v2/models/m/versions/v9/infer"), 404, "no version 'v9' loaded"),
        (ask(numbers(1), "Content-Encoding: br"), 415, "'br' is not read here"),
        (http("POST", PATH), 400, "the body is empty"),
        (http("GET", PATH), 405, "GET is not allowed"),
        (http("POST", PATH, bytes(1 << 15)), 413, "at most 16384 are taken"),
        (http("POST", PATH, b"{}", "Inference-Header-Content-Length: -1"), 400, "must be a number"),
    ],
)
async def test_what_is_no_plain_inference_is_told_what_is_wrong(
    request_: bytes, status: int, text: str
) -> None:
    async with site() as one:
        one.serve()
        client = await one.client()
        found = await client.ask(request_)
        assert (found.status, one.bench.lent) == (status, 0)
        assert text in found.error


@on_both_loops
async def test_nothing_that_serves_is_answered_503() -> None:
    async with site() as one:
        client = await one.client()
        found = await client.ask(ask(numbers(1)))
        assert (found.status, found.headers["retry-after"]) == (503, "1")
        one.serve()
        assert (await client.ask(ask(numbers(1)))).y == Y1


@on_both_loops
async def test_who_waits_for_a_continue_gets_it() -> None:
    async with site() as one:
        one.serve()
        client = await one.client()
        request = ask(numbers(1), "Expect: 100-continue")
        head = request.index(b"\r\n\r\n") + 4
        client.writer.write(request[:head])
        assert (await client.answer()).status == 100
        client.writer.write(request[head:])
        assert (await client.answer()).y == Y1
        assert (await client.ask(ask(numbers(1)))).y == Y1


@on_both_loops
async def test_garbage_is_refused_and_its_connection_ends() -> None:
    async with site() as one:
        client = await one.client()
        found = await client.ask(b"garbage\r\n\r\n")
        assert found.status == 400
        assert found.error.startswith("malformed HTTP: ")
        assert await client.ended() == b""


@on_both_loops
@pytest.mark.parametrize(
    "request_",
    [
        ask(numbers(1), "Connection: close"),
        ask(numbers(1), version="1.0"),
        LIVE.replace(b"1.1", b"1.0"),
    ],
)
async def test_who_asks_for_the_end_gets_it_after_his_answer(request_: bytes) -> None:
    async with site() as one:
        one.serve()
        client = await one.client()
        client.writer.write(request_ + ask(numbers(2)))
        assert (await client.answer()).status == 200
        assert await client.ended() == b""
        await one.at_rest()


@on_both_loops
@pytest.mark.parametrize("request_", [ask(numbers(1)), LIVE], ids=["fast", "slow"])
async def test_a_connection_that_had_a_request_lately_is_not_swept_away(request_: bytes) -> None:
    async with site() as one:
        one.serve()
        client, unused = await one.client(), await one.client()
        (its, other) = (next(c for c in one.connections if c is x.its) for x in (client, unused))
        before = time.monotonic_ns()
        await client.ask(request_)
        for connection in (its, other):
            connection.close_if_idle(since_ns=before)
        assert await unused.ended() == b""
        assert (await client.ask(LIVE)).status == 200
        its.close_if_idle(since_ns=time.monotonic_ns())
        assert await client.ended() == b""


async def stopping(one: Site) -> asyncio.Task[None]:
    """Begin to stop."""
    task = asyncio.create_task(one.front.stop(30))
    await until(lambda: one.front.draining)
    return task


@on_both_loops
async def test_a_stop_closes_what_is_idle_and_lets_the_rest_finish() -> None:
    async with site() as one:
        worker = one.serve(prompt=False)
        fresh, fast, slow, runs, body = [await one.client() for _ in range(5)]
        fast.writer.write(ask(numbers(1)))
        await until(lambda: worker.in_flight)
        answer(one.bench, worker)
        await fast.answer()
        await slow.ask(LIVE)
        await runs.send(ask(numbers(1)) + ask(numbers(2)))
        await until(lambda: worker.in_flight)
        request = ask(numbers(1))
        await body.send(request[:-1])
        task = await stopping(one)
        for idle in (fresh, fast, slow):
            assert await idle.ended() == b""
        answer(one.bench, worker)
        await body.send(request[-1:])
        found = await runs.answer()
        assert (found.y, found.headers["connection"]) == (Y1, "close")
        assert await runs.ended() == b""
        assert not task.done()
        await until(lambda: worker.in_flight)
        answer(one.bench, worker)
        found = await body.answer()
        assert (found.y, found.headers["connection"]) == (Y1, "close")
        await task


@on_both_loops
async def test_a_stop_answers_who_was_about_to_ask() -> None:
    """A new connection, a kept one, and one of which half a head is there."""
    async with site() as one:
        one.serve()
        fresh, kept, half = [await one.client() for _ in range(3)]
        await kept.ask(ask(numbers(2)))
        request = ask(numbers(1))
        await half.send(request[:30])
        task = await stopping(one)
        half.writer.write(request[30:])
        for client in (fresh, kept):
            client.writer.write(request)
        for client in (fresh, kept, half):
            found = await client.answer()
            assert (found.y, found.headers["connection"]) == (Y1, "close")
            assert await client.ended() == b""
        await task


@on_both_loops
async def test_a_drain_ends_connections_with_their_answers_and_takes_new_ones() -> None:
    async with site() as one:
        one.serve()
        fast, slow = await one.client(), await one.client()
        one.http.drain()
        for client, request in ((fast, ask(numbers(1))), (slow, LIVE)):
            found = await client.ask(request)
            assert (found.status, found.headers["connection"]) == (200, "close")
            assert await client.ended() == b""
        late = await one.client()
        found = await late.ask(http("GET", "/v2/health/ready"))
        assert (found.status, found.error) == (503, "not ready: stopping")


@on_both_loops
async def test_what_the_kernel_holds_keeps_a_connection_open() -> None:
    async with site() as one:
        one.serve()
        client, unused = await one.client(), await one.client()
        client.writer.write(ask(numbers(1)))  # goes out at once; the server has not looked yet
        for connection in one.connections:
            connection.close_if_quiet(since_ns=time.monotonic_ns())
        assert (await client.answer()).y == Y1
        assert await unused.ended() == b""


@on_both_loops
async def test_a_stop_ends_connections_of_both_ways_with_their_answers() -> None:
    async with site() as one:
        worker = one.serve(prompt=False)
        client = await one.client()
        await client.send(ask(numbers(1), path=f"{PATH}?slow"))
        await until(lambda: worker.in_flight)
        task = await stopping(one)
        answer(one.bench, worker)
        found = await client.answer()
        assert (found.y, found.headers["connection"]) == (Y1, "close")
        await task


@on_both_loops
async def test_a_stop_cuts_off_who_takes_too_long() -> None:
    async with site() as one:
        worker = one.serve(prompt=False)
        body, runs = await one.client(), await one.client()
        await body.send(ask(numbers(1))[:-1])
        await runs.send(ask(numbers(1)))
        await until(lambda: worker.in_flight)
        await one.front.stop(0)
        for client in (body, runs):
            assert await client.ended() == b""
        await until(lambda: not one.front.connections)
        assert one.bench.lent == 1, "a worker reads it"


@on_both_loops
async def test_large_json_is_parsed_and_written_elsewhere() -> None:
    async with site(inline=256) as one:
        await one.with_json_worker()
        one.serve()
        client = await one.client()
        x = numbers(3, rows=100)
        for _ in range(2):
            found = await client.ask(ask(x, binary=False))
            assert (found.status, found.y) == (200, y_of(x).ravel().tolist())
        bad = ask(x, binary=False).replace(b'"FP32"', b'"FP64"')
        assert (await client.ask(bad)).status == 400
        pipelined = ask(x, binary=False) + ask(numbers(1)) + LIVE
        client.writer.write(pipelined)
        assert (await client.answer()).y == y_of(x).ravel().tolist()
        assert (await client.answer()).y == Y1
        assert orjson.loads((await client.answer()).body) == {"live": True}
        assert one.bench.lent == 0


@on_both_loops
async def test_who_goes_while_his_json_is_elsewhere_leaves_no_slot_lent() -> None:
    async with site(inline=256) as one:
        await one.with_json_worker()
        one.serve()
        for _ in range(3):
            client = await one.client()
            await client.send(ask(numbers(3, rows=100), binary=False))
            client.leave()
            await one.at_rest()
        worker = one.serve("v2", prompt=False)
        client = await one.client()
        await client.send(ask(numbers(3, rows=100), binary=False))
        await until(lambda: worker.in_flight)
        answer(one.bench, worker)  # it is being written
        client.leave()
        await one.at_rest()
