"""Connections under any cut of the bytes: what arrives together or apart makes no difference."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from supervisor.http.codec.decoded import HEADER_LENGTH
from tests.unit.supervisor.http.client import PATH, Answer, ask, http, numbers, y_of
from tests.unit.supervisor.http.loops import on_both_loops, run
from tests.unit.supervisor.http.site import site


def chunked(seed: int) -> bytes:
    request = ask(numbers(seed), binary=False)
    head, body = request.split(b"\r\n\r\n")
    lines = [line for line in head.split(b"\r\n") if not line.startswith(b"Content-Length")]
    head = b"\r\n".join([*lines, b"Transfer-Encoding: chunked"])
    return head + b"\r\n\r\n" + b"%x\r\n" % len(body) + body + b"\r\n0\r\n\r\n"


KINDS = {
    "json": lambda seed: ask(numbers(seed), binary=False),
    "binary": lambda seed: ask(numbers(seed)),
    "large": lambda seed: ask(numbers(seed, rows=20)),
    "version": lambda seed: ask(numbers(seed), path="/v2/models/m/versions/v1/infer"),
    "query": lambda seed: ask(numbers(seed), path=f"{PATH}?a=b"),
    "live": lambda seed: http("GET", "/v2/health/live"),
    "none": lambda seed: ask(numbers(seed), path="/v2/models/none/infer"),
    "bad": lambda seed: http("POST", PATH, b"{"),
    "length": lambda seed: http("POST", PATH, b"{}", f"{HEADER_LENGTH}: x"),
    "chunked": chunked,
}
STATUSES = {"none": 404, "bad": 400, "length": 400}


def check(kind: str, seed: int, found: Answer) -> None:
    assert found.status == STATUSES.get(kind, 200), found
    if kind == "live":
        assert found.body == b'{"live":true}'
    elif found.status == 200:
        assert found.y == y_of(numbers(seed, rows=20 if kind == "large" else 1)).ravel().tolist()


async def converse(kinds: list[str], cuts: list[int], prefix: int = 0) -> None:
    """Send requests, cut at these places, and check the answers, in order."""
    async with site() as one:
        one.serve()
        client = await one.client()
        data = b"".join(KINDS[kind](seed) for seed, kind in enumerate(kinds))
        places = sorted({0, len(data), *(prefix + cut % (len(data) - prefix) for cut in cuts)})
        for start, end in itertools.pairwise(places):
            await client.send(data[start:end])
        for seed, kind in enumerate(kinds):
            check(kind, seed, await client.answer())
        fast = {"json", "binary", "large", "version", "bad"}
        if set(kinds) <= fast:
            assert one.slow_paths == 0
        client.leave()
        await one.at_rest()


@settings(max_examples=60)
@given(
    st.lists(st.sampled_from(list(KINDS)), min_size=1, max_size=6),
    st.lists(st.integers(0, 1 << 16), max_size=8),
)
def test_any_requests_cut_anywhere_are_answered_in_order(kinds: list[str], cuts: list[int]) -> None:
    run(converse(kinds, cuts))


@settings(max_examples=60)
@given(
    st.lists(st.sampled_from(["json", "binary", "large"]), min_size=1, max_size=3),
    st.lists(st.integers(0, 1 << 16), max_size=6),
)
def test_inferences_cut_anywhere_stay_on_the_fast_path(kinds: list[str], cuts: list[int]) -> None:
    run(converse(kinds, cuts, prefix=len(b"POST /v2/models/")))


@on_both_loops
@pytest.mark.parametrize("kind", ["json", "binary"])
async def test_a_request_that_comes_byte_by_byte_is_answered(kind: str) -> None:
    request = KINDS[kind](0)
    await converse([kind], list(range(1, len(request))))


@on_both_loops
async def test_the_first_bytes_alone_may_be_the_start_of_any_request() -> None:
    for cut in range(1, 20):
        await converse(["json", "binary"], [cut])
        await converse(["live", "binary"], [cut])


@settings(max_examples=40)
@given(
    st.lists(st.sampled_from(list(KINDS)), min_size=1, max_size=4),
    st.integers(0, 1 << 16),
)
def test_who_goes_anywhere_leaves_no_slot_lent(kinds: list[str], cut: int) -> None:
    async def leave() -> None:
        async with site() as one:
            one.serve()
            client = await one.client()
            data = b"".join(KINDS[kind](seed) for seed, kind in enumerate(kinds))
            await client.send(data[: cut % len(data)])
            client.leave()
            await one.at_rest()

    run(leave())


@settings(max_examples=60)
@given(
    st.binary(max_size=200),
    st.sampled_from([b"", b"POST /v2/models/", b"POST /v2/models/m/infer HTTP/1.1\r\n"]),
)
def test_any_bytes_are_answered_or_refused_and_harm_nobody(data: bytes, start: bytes) -> None:
    async def send() -> None:
        async with site() as one:
            one.serve()
            client, other = await one.client(), await one.client()
            client.writer.write(start + data)
            client.writer.write_eof()
            text = await client.ended()
            assert not text or text.startswith(b"HTTP/1.1 4"), text
            assert (await other.ask(ask(numbers(1)))).y == y_of(numbers(1)).ravel().tolist()
            other.leave()
            await one.at_rest()

    run(send())
