"""Plain requests are taken by compiled code, others by Python: answers do not tell which."""

from __future__ import annotations

import itertools
import time
from email.utils import parsedate_to_datetime
from typing import Any

import numpy as np
import orjson
import pytest

from supervisor.http.codec.decoded import HEADER_LENGTH
from tests.unit.supervisor.express.both_ways import acquainted, both_ways, exchanged
from tests.unit.supervisor.express.ring_site import (
    COMPILED,
    RingSite,
    of_rows,
    raw_answer,
    ring_site,
)
from tests.unit.supervisor.http.client import PATH, ask, chunked, http, numbers, y_of
from tests.unit.supervisor.http.loops import on_both_loops, run, until

pytestmark = COMPILED
TRACE = "traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
X = numbers(3)
Y = y_of(X).tobytes()


def of_other_json(request: bytes) -> bytes:
    """Say the same in JSON of the same length."""
    old, new = b'"datatype":"FP32","shape":[1,4]', b'"shape":[1,4],"datatype":"FP32"'
    assert old in request
    return request.replace(old, new)


def half_json(*, binary_output: bool) -> bytes:
    """Ask in one form, to be answered in the other."""
    tensor: dict[str, Any] = {"name": "x", "datatype": "FP32", "shape": [1, 4]}
    header = {"inputs": [tensor], "parameters": {"binary_data_output": binary_output}}
    if binary_output:
        tensor["data"] = X.tolist()
        return http("POST", PATH, orjson.dumps(header))
    tensor["parameters"] = {"binary_data_size": X.nbytes}
    json = orjson.dumps(header)
    return http("POST", PATH, json + X.tobytes(), f"{HEADER_LENGTH}: {len(json)}")


# Kinds of requests that have ways of their own, each of which may be learnt
OTHERS = {
    "as before": ask(X),
    "other length": ask(numbers(3, rows=7)),
    "other head": ask(X, "X-Other: 1"),
    "head in other letters": ask(X).replace(b"Content-Length", b"content-length"),
    "other JSON": of_other_json(ask(X)),
    "timeout": ask(X, more={"parameters": {"timeout": 50_000_000}}),
    "raw": http("POST", PATH, X.tobytes(), f"{HEADER_LENGTH}: 0"),
    "JSON answer": half_json(binary_output=False),
    "largest": ask(numbers(3, rows=1900)),
}
# Kinds that are Python's each time
PYTHONS = {
    "id": ask(X, more={"id": "a"}),
    "version": ask(X, path="/v2/models/m/versions/v1/infer"),
    "JSON": ask(X, binary=False),
    "JSON, but for the answer": half_json(binary_output=True),
    "traceparent": ask(X, TRACE),
    "long head": ask(X, "X-Long: " + "x" * 3000),
    "larger than the buffer": ask(numbers(3, rows=3000)),
}
# Kinds that go through aiohttp, and have their connection's next requests go through Python
SLOW = {
    "chunked": chunked(ask(X)),
    "query": ask(X, path=PATH + "?a=b"),
}
REFUSED = {
    "bad datatype": ask(X).replace(b"FP32", b"FP64"),
    "bad JSON": http("POST", PATH, b"{" * 150, f"{HEADER_LENGTH}: 134"),
    "bad length": ask(X).replace(b'"binary_data_size":16', b'"binary_data_size":12'),
}
LARGEST = 1 << 16
BUFFER = 1 << 15  # what is read at once


@on_both_loops
async def test_the_second_request_of_a_kind_and_all_after_it_are_taken_by_compiled_code() -> None:
    async with ring_site() as one:
        (worker,) = one.serve_rings()
        client = await one.client()
        for seed in range(100):
            found = await client.ask(ask(numbers(seed)))
            assert (found.status, found.y) == (200, y_of(numbers(seed)).ravel().tolist())
            assert found.headers["x-model-version"] == "v1"
            assert found.headers["x-model-generation"] == "1"
            assert found.headers["date"].endswith(" GMT")
            assert "connection" not in found.headers
            assert one.express == seed
        assert [one.x for one in worker.seen] == [numbers(seed).tobytes() for seed in range(100)]
        assert (one.slow_paths, one.bench.lent, worker.port.in_flight) == (0, 0, {})
        other = await one.client()
        assert (await other.ask(ask(X))).status == 200
        assert one.express == 100, "a connection that is new asks what others have asked"


@on_both_loops
@pytest.mark.parametrize("kind", OTHERS)
async def test_another_kind_is_answered_the_same_and_is_learnt_beside_the_first(kind: str) -> None:
    taken = []

    async def talk(one: RingSite) -> list[bytes]:
        one.serve_rings()
        client = await acquainted(one)
        requests = [OTHERS[kind], OTHERS[kind], ask(X), OTHERS[kind], ask(X)]
        found = [await exchanged(client, request) for request in requests]
        taken.append(one.express)
        return found

    found = await both_ways(talk, largest=LARGEST)
    assert all(answer.startswith(b"HTTP/1.1 200 OK\r\n") for answer in found)
    assert found[0] == found[1] == found[3]
    assert found[2] == found[4]
    assert found[2].endswith(Y)
    # The first of a kind is Python's; of two with one head, the later takes the other's place.
    assert taken == [{"as before": 6, "other JSON": 2}.get(kind, 5), 0]


@on_both_loops
@pytest.mark.parametrize("kind", PYTHONS | SLOW | REFUSED)
async def test_what_is_not_plain_is_answered_by_python_each_time(kind: str) -> None:
    request = (PYTHONS | SLOW | REFUSED)[kind]
    taken = []

    async def talk(one: RingSite) -> list[bytes]:
        one.serve_rings()
        client = await acquainted(one)
        before = one.express
        requests = [request, ask(X), request, ask(X)]
        found = [await exchanged(client, request) for request in requests]
        taken.append(one.express - before)
        return found

    found = await both_ways(talk, largest=LARGEST)
    status = b"HTTP/1.1 400 " if kind in REFUSED else b"HTTP/1.1 200 OK\r\n"
    assert found[0].startswith(status)
    assert found[0] == found[2]
    assert found[1] == found[3]
    assert found[1].endswith(Y)
    assert taken == [0 if kind in SLOW else 2, 0]


@on_both_loops
@pytest.mark.parametrize("count", [2, 3, 10])
async def test_pipelined_requests_are_answered_in_order(count: int) -> None:
    inputs = [numbers(seed) for seed in range(count)]

    async def talk(one: RingSite) -> list[bytes]:
        one.serve_rings()
        client = await acquainted(one)
        client.writer.write(b"".join(map(ask, inputs)))
        return [await raw_answer(client) for _ in inputs]

    found = await both_ways(talk)
    assert [answer[-8:] for answer in found] == [y_of(x).tobytes() for x in inputs]


@on_both_loops
async def test_a_request_that_is_split_anywhere_is_answered() -> None:
    request = ask(X)

    async def talk(one: RingSite) -> list[bytes]:
        one.serve_rings()
        client = await acquainted(one)
        before, found = one.express, []
        for at in range(1, len(request)):
            await client.send(request[:at])
            await client.send(request[at:])
            found.append(await raw_answer(client))
        assert one.express == before
        found.append(await exchanged(client, request))
        assert one.express - before == bool(before)
        return found

    found = await both_ways(talk)
    assert set(found) == {found[0]}
    assert found[0].endswith(Y)


@on_both_loops
@pytest.mark.parametrize("length", [BUFFER - 1, BUFFER, BUFFER + 1])
async def test_a_request_that_just_fills_the_buffer_or_just_does_not_is_answered(
    length: int,
) -> None:
    short = ask(numbers(3, rows=2_000), "X-Pad: ")
    request = ask(numbers(3, rows=2_000), "X-Pad: " + "x" * (length - len(short)))
    assert len(request) == length

    async def talk(one: RingSite) -> list[bytes]:
        one.serve_rings()
        client = await acquainted(one)
        before = one.express
        found = [await exchanged(client, request) for _ in range(3)]
        assert one.express - before in (0, 2 * (length <= BUFFER))
        client.writer.write(request + request)
        return [*found, await raw_answer(client), await raw_answer(client)]

    found = await both_ways(talk, largest=LARGEST)
    assert set(found) == {found[0]}
    assert found[0].endswith(y_of(numbers(3, rows=2_000)).tobytes())


@on_both_loops
async def test_a_body_larger_than_the_buffer_leaves_the_next_requests_plain() -> None:
    short, long, large = (ask(numbers(3, rows=rows)) for rows in (1, 300, 3_000))

    async def talk(one: RingSite) -> list[bytes]:
        one.serve_rings()
        client = await acquainted(one)
        requests = [long, large, short, long, large, long]
        found, taken = [], []
        for request in requests:
            before = one.express
            found.append(await exchanged(client, request))
            taken.append(one.express > before)
        assert taken in ([False, False, True, True, False, False], [False] * 6)
        return found

    found = await both_ways(talk, largest=LARGEST)
    assert found[0] == found[3] == found[5]


def test_the_date_is_that_of_the_answer() -> None:
    async def talk() -> None:
        async with ring_site() as one:
            one.serve_rings()
            client = await acquainted(one)
            second = int(time.time())
            assert (await client.ask(ask(X))).status == 200
            await until(lambda: time.time() > second + 1.1)  # clocks may differ by a tick
            before = int(time.time())
            found = await client.ask(ask(X))
            assert one.express == 3
            assert before <= parsedate_to_datetime(found.headers["date"]).timestamp() <= time.time()

    run(talk())


@on_both_loops
async def test_a_plain_request_and_a_part_of_the_next_are_answered() -> None:
    request = ask(X)

    async def talk(one: RingSite) -> list[bytes]:
        one.serve_rings()
        client = await acquainted(one)
        found = []
        for at in range(1, len(request), 13):
            await client.send(request + request[:at])
            found.append(await raw_answer(client))
            await client.send(request[at:])
            found.append(await raw_answer(client))
        return found

    found = await both_ways(talk)
    assert set(found) == {found[0]}
    assert found[0].endswith(Y)


@on_both_loops
async def test_answers_of_changing_shapes_are_each_told_right() -> None:
    async def talk(one: RingSite) -> list[bytes]:
        (worker,) = one.serve_rings()
        client = await acquainted(one)
        found = []
        for rows, seed in itertools.product((1, 3, 0, 1000, 3), range(3)):
            worker.model = of_rows(rows)
            found.append(await exchanged(client, ask(numbers(seed))))
        return found

    found = await both_ways(talk)
    assert b'"shape":[1000,2]' in found[9]
    assert found[9].endswith(np.resize(y_of(numbers(0)), (1000, 2)).tobytes())
