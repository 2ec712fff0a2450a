"""Spans of a real server, as a collector of traces gets them."""

from __future__ import annotations

import http.client
import json
import socket
import time
from collections.abc import Callable, Iterator

import pytest

from tests.conftest import Models
from tests.harness import Repository, Server, mlp_request, wait_for
from tests.integration.collector import Collector

Serve = Callable[..., Server]
SPAN = "b7ad6b7169203331"
INTERNAL, SERVER = 1, 2  # kinds, as OTLP numbers them
BODY = json.dumps(mlp_request()).encode()
SOON = {"OTEL_BSP_SCHEDULE_DELAY": "20"}
AT_THE_STOP = {"OTEL_BSP_SCHEDULE_DELAY": "3600000"}
MINUTE_NS = 60_000_000_000  # clocks of a host may be set meanwhile, by this much at most


def trace_id(number: int) -> str:
    return f"{number:032x}"


def traced(number: int, flags: str = "01") -> dict[str, str]:
    return {"traceparent": f"00-{trace_id(number)}-{SPAN}-{flags}"}


def ask(server: Server, headers: dict[str, str], body: bytes = BODY, model: str = "mlp") -> int:
    return server.call("POST", f"/v2/models/{model}/infer", body, headers).status


@pytest.fixture
def collector() -> Iterator[Collector]:
    with Collector().running() as one:
        yield one


@pytest.fixture
def published(repository: Repository, models: Models) -> Repository:
    repository.publish("mlp", "v1", models.mlp(1))
    return repository


def assert_whole(collector: Collector, number: int) -> None:
    """See that a request's spans are one trace under the client's span, in order."""
    server, stages = collector.of(trace_id(number))
    assert (server.parent, server.kind) == (SPAN, SERVER)
    assert list(stages) == ["queue", "batch_wait", "inference"]
    assert {(stage.parent, stage.kind) for stage in stages.values()} == {(server.id, INTERNAL)}
    times = [time for stage in stages.values() for time in (stage.begun_ns, stage.ended_ns)]
    order = [server.begun_ns, *times, server.ended_ns]
    assert order == sorted(order)
    assert stages["inference"].ended_ns > stages["inference"].begun_ns
    assert stages["inference"].attributes == {"hotpaddle.batch_rows": 1}


def test_a_collector_sees_where_the_time_went(
    serve: Serve, published: Repository, collector: Collector
) -> None:
    environment = {**SOON, "OTEL_EXPORTER_OTLP_HEADERS": "api-key=secret"}
    server = serve(
        published, "--trace-endpoint", collector.endpoint, environment=environment
    ).wait_ready()
    before_ns = time.time_ns()
    assert ask(server, traced(1)) == 200
    assert ask(server, {**traced(2), "Expect": "100-continue"}) == 200  # the slow path's
    assert ask(server, traced(3), b"{}") == 400
    assert ask(server, traced(4), model="nobody") == 404
    after_ns = time.time_ns()
    wait_for(lambda: len(collector.spans()) == 10, "all spans are there")
    for number in (1, 2):
        assert_whole(collector, number)
        span, _ = collector.of(trace_id(number))
        assert before_ns - MINUTE_NS < span.begun_ns < span.ended_ns < after_ns + MINUTE_NS
        assert span.attributes == {
            "http.request.method": "POST",
            "http.route": "/v2/models/{model}/infer",
            "http.response.status_code": 200,
            "url.path": "/v2/models/mlp/infer",
            "url.scheme": "http",
            "hotpaddle.model": "mlp",
            "hotpaddle.version": "v1",
            "hotpaddle.generation": 1,
            "hotpaddle.reload": span.attributes["hotpaddle.reload"],
        }
        assert span.resource["service.name"] == "hotpaddle"
    for number, status in ((3, 400), (4, 404)):
        span, stages = collector.of(trace_id(number))
        assert (span.attributes["http.response.status_code"], stages) == (status, {})
    assert {headers["api-key"] for headers in collector.headers} == {"secret"}


def test_what_is_not_sampled_makes_none_and_a_stop_sends_the_rest(
    serve: Serve, published: Repository, collector: Collector
) -> None:
    server = serve(
        published, "--trace-endpoint", collector.endpoint, environment=AT_THE_STOP
    ).wait_ready()
    for headers in ({}, traced(1, "00"), {"traceparent": "none"}, traced(2)):
        assert ask(server, headers) == 200
    assert collector.spans() == []
    assert server.stop() == 0
    assert collector.traces() == {trace_id(2)}
    assert_whole(collector, 2)


def test_every_front_sends_its_own(
    serve: Serve, published: Repository, collector: Collector
) -> None:
    server = serve(
        published, "--fronts", "2", "--trace-endpoint", collector.endpoint, environment=SOON
    ).wait_ready()
    wait_for(lambda: all(front["listening"] for front in server.admin()["fronts"]), "two fronts")
    pids = {server.process.pid, *(front["pid"] for front in server.admin()["fronts"])}
    asked = 0

    def both_have() -> bool:
        nonlocal asked
        asked += 1
        assert ask(server, traced(asked)) == 200  # on a connection of its own: to either front
        return {span.resource["process.pid"] for span in collector.spans()} == pids

    wait_for(both_have, "spans of both fronts")
    asked += 1
    assert ask(server, traced(asked), model="nobody") == 404  # by the supervisor, for either
    assert server.stop() == 0
    assert collector.traces() == {trace_id(number) for number in range(1, asked + 1)}
    for number in range(1, asked):
        assert_whole(collector, number)
    assert "Traceback" not in server.log()


@pytest.mark.parametrize("hangs", [False, True], ids=["is not there", "gives no answer"])
def test_a_collector_that_is_dead_harms_nothing(
    serve: Serve, published: Repository, *, hangs: bool
) -> None:
    environment = {**SOON, "OTEL_BSP_MAX_QUEUE_SIZE": "8", "OTEL_BSP_MAX_EXPORT_BATCH_SIZE": "4"}
    environment["OTEL_EXPORTER_OTLP_TIMEOUT"] = "1"
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        if hangs:
            sock.listen()
        endpoint = f"http://127.0.0.1:{sock.getsockname()[1]}/v1/traces"
        server = serve(
            published, "--trace-endpoint", endpoint, environment=environment
        ).wait_ready()
        connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)
        for number in range(1, 201):
            connection.request("POST", "/v2/models/mlp/infer", BODY, traced(number))
            response = connection.getresponse()
            assert (response.status, bool(response.read())) == (200, True)
        connection.close()
        complaint = "spans cannot be sent as they should"
        wait_for(lambda: server.logged(complaint), "it is told")
        assert server.stop() == 0
        line, *more = server.logged(complaint)
        assert (line["endpoint"], line["level"]) == (endpoint, "warning")
        assert len(more) < 5, "one a minute"
        assert "Traceback" not in server.log()
        others = [text for text in server.log().splitlines() if not text.startswith("{")]
        assert others == []
