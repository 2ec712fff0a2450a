"""Trace context: read on the fast path without a new head for each request, logged on failure."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from gpu_worker.ipc.link import Status
from supervisor.http.heads import Heads
from supervisor.http.tracing import without_trace
from tests.unit.supervisor.http.client import ask, chunked, numbers, y_of
from tests.unit.supervisor.http.loops import on_both_loops, run, until
from tests.unit.supervisor.http.site import site

hexes = "0123456789abcdef"
TRACE = f"00-{'a' * 32}-{'b' * 16}-01"
LINES = ["Host: x", "Content-Length: 9", "X-Custom: traceparent: no"]


def head(*lines: str) -> bytes:
    return "\r\n".join(["POST /v2/models/m/infer HTTP/1.1", *lines, "", ""]).encode()


@given(
    st.text(hexes, min_size=32, max_size=32),
    st.text(hexes, min_size=16, max_size=16),
    st.sampled_from(["traceparent", "Traceparent"]),
    st.integers(0, 3),
    st.none() | st.sampled_from(["dd=p:1;s:2", "a=1,b=2"]),
)
def test_a_traced_head_says_what_it_says_without(
    trace: str, span: str, name: str, place: int, state: str | None
) -> None:
    value = f"00-{trace}-{span}-01"
    more = [f"{name}: {value}", *([] if state is None else [f"tracestate: {state}"])]
    traced = head(*LINES[:place], *more, *LINES[place:])
    assert without_trace(traced) == (head(*LINES), value)

    async def read() -> None:
        heads = Heads()
        bare = heads.read(head(*LINES))
        found = heads.read(traced)
        assert found.trace == value
        assert (found.length, found.fast, found.model) == (bare.length, bare.fast, bare.model)
        assert len(heads._known) == 1  # noqa: SLF001 - that there is one entry is the point

    run(read())


@pytest.mark.parametrize(
    "lines",
    [
        ["traceparent: 00-x-y-01"],
        [f"traceparent:{TRACE}"],
        [f"TRACEPARENT: {TRACE}"],
        [f"traceparent: {TRACE} "],
        [f"traceparent: {TRACE}", " Content-Length: 7"],  # it goes on
        [f"traceparent: {TRACE}", "\tx"],
        [f"tracestate: a={'x' * 600}"],
        ["tracestate: a=\u00e9"],
        ["tracestate: "],
        [f"x-traceparent: {TRACE}"],
    ],
)
def test_what_is_not_plain_is_left_to_the_parser(lines: list[str]) -> None:
    whole = head("Host: x", *lines, "Content-Length: 9")
    assert without_trace(whole) == (whole, "")


def test_the_request_line_is_no_header_and_two_traces_are_none() -> None:
    line = f"traceparent: {TRACE}\r\nHost: x\r\n\r\n".encode()
    assert without_trace(line) == (line, "")
    assert without_trace(head(f"traceparent: {TRACE}", f"traceparent: {TRACE}")) == (head(), "")


@on_both_loops
async def test_traced_requests_take_the_fast_path_and_keep_one_head() -> None:
    async with site() as one:
        one.serve()
        client = await one.client()
        for number in range(5):
            x = numbers(1)
            found = await client.ask(ask(x, f"traceparent: 00-{number:032x}-{number:016x}-01"))
            assert (found.status, found.y) == (200, y_of(x).ravel().tolist())
        assert one.slow_paths == 0
        assert len(one.front.heads._known) == 1  # noqa: SLF001 - that there is one is the point


@pytest.mark.parametrize("form", [bytes, chunked], ids=["fast", "slow"])
@on_both_loops
async def test_a_traced_request_that_fails_is_logged_under_its_trace(
    form: Callable[[bytes], bytes],
) -> None:
    async with site() as one:
        worker = one.serve(prompt=False)
        client = await one.client()
        with capture_logs() as logged:
            client.writer.write(form(ask(numbers(1), f"traceparent: {TRACE}")))
            await until(lambda: len(worker.submitted) == 1)
            one.bench.complete(worker, Status.FAILED, b"bad input")
            assert (await client.answer()).status == 500
            wrong = ask(numbers(1).reshape(2, 2), f"traceparent: {TRACE}")
            assert (await client.ask(form(wrong))).status == 400
        (line,) = (entry for entry in logged if entry["event"] == "a traced request failed")
        assert (line["traceparent"], line["model"]) == (TRACE, "m")
        assert "bad input" in line["reason"]
