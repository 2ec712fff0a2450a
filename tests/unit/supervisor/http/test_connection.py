"""Connections: inferences on the fast path, one after the other, and clients that go."""

from __future__ import annotations

import asyncio

import orjson
import pytest

from supervisor.http.codec.decoded import HEADER_LENGTH
from tests.unit.supervisor.dispatch.bench import FakeWorker
from tests.unit.supervisor.http.client import PATH, ask, http, numbers, y_of
from tests.unit.supervisor.http.loops import on_both_loops, until
from tests.unit.supervisor.http.site import Site, answer, site


@pytest.mark.parametrize("binary", [True, False])
@on_both_loops
async def test_an_inference_is_answered_without_aiohttp(binary: bool) -> None:
    async with site() as one:
        one.serve()
        client = await one.client()
        for seed in range(3):
            x = numbers(seed, rows=seed + 1)
            found = await client.ask(ask(x, binary=binary))
            assert (found.status, found.y) == (200, y_of(x).ravel().tolist())
            assert found.headers["x-model-version"] == "v1"
            assert found.headers["x-model-generation"] == "1"
            assert found.headers["date"].endswith(" GMT")
            assert "connection" not in found.headers
            kind = "application/octet-stream" if binary else "application/json"
            assert found.headers["content-type"] == kind
            assert (HEADER_LENGTH.lower() in found.headers) is binary
        assert (one.slow_paths, one.bench.lent) == (0, 0)


@on_both_loops
async def test_pipelined_requests_are_answered_in_order_one_at_a_time() -> None:
    async with site() as one:
        worker = one.serve(prompt=False)
        client = await one.client()
        inputs = [numbers(seed) for seed in range(30)]
        client.writer.write(b"".join(ask(x, binary=bool(nth % 2)) for nth, x in enumerate(inputs)))
        for number, x in enumerate(inputs, 1):
            await has(worker, number)
            answer(one.bench, worker)
            assert (await client.answer()).y == y_of(x).ravel().tolist()
        assert one.slow_paths == 0


async def has(worker: FakeWorker, count: int) -> None:
    await until(lambda: len(worker.submitted) == count)


@on_both_loops
async def test_many_connections_share_a_worker() -> None:
    async with site(max_in_flight=8) as one:
        one.serve()
        clients = [await one.client() for _ in range(8)]
        for seed in range(5):
            inputs = [numbers(seed * 100 + nth) for nth in range(len(clients))]
            found = await asyncio.gather(
                *(client.ask(ask(x)) for client, x in zip(clients, inputs, strict=True))
            )
            assert [f.y for f in found] == [y_of(x).ravel().tolist() for x in inputs]


@on_both_loops
async def test_what_a_request_gets_wrong_is_said_and_the_connection_goes_on() -> None:
    async with site() as one:
        one.serve()
        client = await one.client()
        x = numbers(1)
        for request, text in (
            (http("POST", PATH, b"{"), "the body is not JSON"),
            (http("POST", PATH, b"{}"), "'inputs' must be a list"),
            (http("POST", PATH, b"{}", f"{HEADER_LENGTH}: 3"), "the body has only 2 bytes"),
            (http("POST", PATH, bytes(15), f"{HEADER_LENGTH}: 0"), "a raw body of 15 bytes"),
            (ask(x).replace(b"FP32", b"FP64"), "datatype is 'FP64'"),
        ):
            found = await client.ask(request)
            assert (found.status, one.bench.lent) == (400, 0)
            assert text in found.error
            assert "connection" not in found.headers
            assert (await client.ask(ask(x))).y == y_of(x).ravel().tolist()
        assert one.slow_paths == 0


@on_both_loops
async def test_a_nul_in_the_place_of_numbers_is_refused_and_the_connection_goes_on() -> None:
    async with site() as one:
        one.serve()
        client = await one.client()
        good = b'{"inputs":[{"name":"x","datatype":"FP32","shape":[1,4],"data":[1,2,3,4]}]}'
        assert (await client.ask(http("POST", PATH, good))).status == 200
        found = await client.ask(http("POST", PATH, good.replace(b"[1,2,3,4]", b"\0")))
        assert (found.status, one.bench.lent) == (400, 0)
        assert (await client.ask(http("POST", PATH, good))).status == 200


@on_both_loops
async def test_a_deadline_is_answered_504_and_the_connection_goes_on() -> None:
    async with site() as one:
        worker = one.serve(prompt=False)
        client = await one.client()
        found = await client.ask(ask(numbers(1), more={"parameters": {"timeout": 1000}}))
        assert found.status == 504
        assert one.bench.lent == 1, "the worker may still read it"
        answer(one.bench, worker)
        client.writer.write(ask(numbers(2)))
        await until(lambda: worker.in_flight)
        answer(one.bench, worker)
        assert (await client.answer()).y == y_of(numbers(2)).ravel().tolist()


async def live(one: Site, count: int) -> None:
    await until(lambda: one.bench.live == count)


@on_both_loops
async def test_a_full_queue_is_answered_503_and_the_connection_goes_on() -> None:
    async with site(max_in_flight=1, queue_limit=1) as one:
        worker = one.serve(prompt=False)
        clients = [await one.client() for _ in range(3)]
        for number, client in enumerate(clients[:2], 1):
            client.writer.write(ask(numbers(number)))
            await live(one, number)
        found = await clients[2].ask(ask(numbers(3)))
        assert (found.status, found.headers["retry-after"], one.bench.lent) == (503, "1", 2)
        for client in clients[:2]:
            answer(one.bench, worker)
            assert (await client.answer()).status == 200


@on_both_loops
async def test_an_answer_that_lacks_an_output_is_answered_500() -> None:
    async with site() as one:
        worker = one.serve(prompt=False)
        client = await one.client()
        client.writer.write(ask(numbers(1)))
        await until(lambda: worker.in_flight)
        one.bench.complete(worker)  # an empty table
        found = await client.answer()
        assert found.status == 500
        assert one.bench.lent == 0


@on_both_loops
async def test_who_goes_in_the_middle_of_a_body_leaves_no_slot_lent() -> None:
    async with site() as one:
        one.serve()
        client = await one.client()
        await client.send(ask(numbers(1, rows=100))[:-10])
        assert one.bench.lent == 1
        client.leave()
        await one.at_rest()


@on_both_loops
async def test_who_closes_his_side_in_the_middle_of_a_body_leaves_no_slot_lent() -> None:
    async with site() as one:
        one.serve()
        client = await one.client()
        await client.send(ask(numbers(1, rows=100))[:-10])
        client.writer.write_eof()
        await one.at_rest()


@on_both_loops
async def test_who_goes_while_he_waits_in_the_queue_costs_no_run() -> None:
    async with site(max_in_flight=1) as one:
        worker = one.serve(prompt=False)
        stays, goes = await one.client(), await one.client()
        for client in (stays, goes):
            await client.send(ask(numbers(1)))
        await until(lambda: one.bench.live == 2)
        goes.leave()
        await until(lambda: one.bench.live == 1)
        answer(one.bench, worker)
        assert (await stays.answer()).status == 200
        assert (len(worker.submitted), one.bench.lent) == (1, 0)


@on_both_loops
async def test_who_goes_while_a_worker_runs_leaves_the_slot_to_it() -> None:
    async with site() as one:
        worker = one.serve(prompt=False)
        client = await one.client()
        await client.send(ask(numbers(1)))
        await until(lambda: worker.in_flight)
        client.leave()
        await until(lambda: not one.front.connections)
        assert one.bench.lent == 1
        answer(one.bench, worker)
        assert one.bench.lent == 0


@on_both_loops
async def test_a_late_body_is_answered_408_and_its_connection_ends() -> None:
    async with site(body_timeout_s=0.05) as one:
        one.serve()
        client = await one.client()
        await client.send(ask(numbers(1, rows=100))[:-10])
        found = await client.answer()
        assert (found.status, found.headers["connection"]) == (408, "close")
        sent = 100 * 16 + len(ask(numbers(1, rows=100)).split(b"\r\n\r\n")[1]) - 100 * 16 - 10
        assert found.error == (
            f"the body did not arrive within 0.05 s (body_timeout_ms); {sent} bytes did"
        )
        assert await client.ended() == b""
        await one.at_rest()


@on_both_loops
async def test_a_body_in_time_is_not_late_later() -> None:
    async with site(body_timeout_s=0.05) as one:
        worker = one.serve(prompt=False)
        client, late = await one.client(), await one.client()
        request = ask(numbers(1))
        await client.send(request[:-1])
        await client.send(request[-1:])
        await late.send(request[:-1])
        assert (await late.answer()).status == 408  # its time began after the first one's
        answer(one.bench, worker)
        assert (await client.answer()).status == 200


@on_both_loops
async def test_a_full_arena_is_answered_503_whether_the_body_is_there_or_not() -> None:
    async with site() as one:
        one.serve()
        whole, part = await one.client(), await one.client()
        lent = []
        while (slot := one.arena.slots.take(1)) is not None:
            lent.append(slot)
        found = await whole.ask(ask(numbers(1)))
        assert (found.status, found.headers["retry-after"]) == (503, "1")
        assert "the request arena is full (arena_mb)" in found.error
        request = ask(numbers(2, rows=50))
        await part.send(request[:-100])
        part.writer.write(request[-100:])
        found = await part.answer()
        assert (found.status, found.headers["retry-after"]) == (503, "1")
        for slot in lent:
            one.arena.slots.give_back(slot)
        assert (await whole.ask(ask(numbers(3)))).y == y_of(numbers(3)).ravel().tolist()


@on_both_loops
async def test_json_that_takes_more_room_than_its_text_moves_to_a_larger_slot() -> None:
    async with site() as one:
        one.serve()
        client = await one.client()
        values = list(range(4 * 400))
        tensor = {"name": "x", "datatype": "FP32", "shape": [400, 4], "data": [0] * len(values)}
        found = await client.ask(http("POST", PATH, orjson.dumps({"inputs": [tensor]})))
        assert (found.status, found.y) == (200, [0.0] * 800)
        tensor = {**tensor, "shape": [1500, 4], "data": [0] * 6000}
        found = await client.ask(http("POST", PATH, orjson.dumps({"inputs": [tensor]})))
        assert found.status == 413
        assert "send them as binary data" in found.error
        assert one.bench.lent == 0


@on_both_loops
async def test_a_switch_while_a_body_comes_is_followed() -> None:
    async with site() as one:
        one.serve("v1")
        client = await one.client()
        request = ask(numbers(1))
        await client.send(request[:-5])
        one.serve("v2")
        await client.send(request[-5:])
        found = await client.answer()
        assert (found.headers["x-model-version"], found.status) == ("v2", 200)


@on_both_loops
async def test_a_client_that_does_not_read_its_answers_is_given_no_more() -> None:
    async with site() as one:
        worker = one.serve()
        client = await one.client(receive_bytes=4096)
        inputs = [numbers(seed, rows=800) for seed in range(1500)]
        client.writer.write(b"".join(map(ask, inputs)))
        await until(lambda: client.its.pauses)
        await until(lambda: not one.bench.live)
        before = len(worker.submitted)
        for _ in range(100):
            await asyncio.sleep(0)
        assert len(worker.submitted) == before < len(inputs)
        for x in inputs:
            assert (await client.answer()).y == y_of(x).ravel().tolist()
