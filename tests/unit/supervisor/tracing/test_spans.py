"""Spans of real connections: both ways through the server, into the SDK's exporter in memory."""

from __future__ import annotations

import contextlib
import sys
import threading
from collections.abc import AsyncIterator, Callable

import pytest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

from gpu_worker.ipc.link import Status
from supervisor.dispatch.ledger import mark_reload
from supervisor.errors import SettingsError
from supervisor.tracing.complaints import Complaints
from supervisor.tracing.spans import Spans
from tests.unit.supervisor.http.client import ask, chunked, numbers
from tests.unit.supervisor.http.loops import on_both_loops, until
from tests.unit.supervisor.http.site import Site, site

TRACE, SPAN = "a" * 32, "b" * 16
SAMPLED, UNSAMPLED = f"traceparent: 00-{TRACE}-{SPAN}-01", f"traceparent: 00-{TRACE}-{SPAN}-00"
ROUTE = "/v2/models/{model}/infer"
Form = Callable[[bytes], bytes]
both_forms = pytest.mark.parametrize("form", [bytes, chunked], ids=["fast", "slow"])


class TracedSite:
    """A server and the spans that it has made."""

    def __init__(self, one: Site) -> None:
        self.site = one
        self._kept = InMemorySpanExporter()
        one.front.spans = Spans(SimpleSpanProcessor(self._kept), "http")

    @property
    def spans(self) -> dict[str, ReadableSpan]:
        found = self._kept.get_finished_spans()
        names = {span.name: span for span in found}
        assert len(names) == len(found)
        return names

    async def of(self, name: str) -> ReadableSpan:
        """Wait for a request's span, which ends last, and check that all is one trace."""
        await until(lambda: name in self.spans)
        server = self.spans[name]
        assert server.parent is not None
        assert server.context is not None
        assert (server.parent.trace_id, server.parent.span_id) == (int(TRACE, 16), int(SPAN, 16))
        assert server.parent.is_remote
        assert server.kind is SpanKind.SERVER
        for stage in self.stages:
            assert (stage.parent, stage.kind) == (server.context, SpanKind.INTERNAL)
        times = [time for span in self.stages for time in times_of(span)]
        order = [times_of(server)[0], *times, times_of(server)[1]]
        assert order == sorted(order)
        return server

    @property
    def stages(self) -> list[ReadableSpan]:
        return [span for name, span in self.spans.items() if not name.startswith("POST ")]


@contextlib.asynccontextmanager
async def traced_site() -> AsyncIterator[TracedSite]:
    async with site() as one:
        yield TracedSite(one)


def times_of(span: ReadableSpan) -> tuple[int, int]:
    assert span.start_time is not None
    assert span.end_time is not None
    return span.start_time, span.end_time


def words(span: ReadableSpan) -> dict[str, object]:
    return dict(span.attributes or {})


@both_forms
@on_both_loops
async def test_a_sampled_request_has_spans(form: Form) -> None:
    async with traced_site() as traced:
        traced.site.serve()
        client = await traced.site.client()
        assert (await client.ask(form(ask(numbers(1), SAMPLED)))).status == 200
        server = await traced.of(f"POST {ROUTE}")
        assert traced.site.slow_paths == (form is chunked)
        assert {"queue", "batch_wait"} <= {span.name for span in traced.stages}
        assert words(server) == {
            "http.request.method": "POST",
            "http.route": ROUTE,
            "http.response.status_code": 200,
            "url.path": "/v2/models/m/infer",
            "url.scheme": "http",
            "hotpaddle.model": "m",
            "hotpaddle.version": "v1",
            "hotpaddle.generation": 1,
            "hotpaddle.reload": False,
        }
        assert server.status.status_code is StatusCode.UNSET
        assert server.resource.attributes["service.name"] == "hotpaddle"


@both_forms
@on_both_loops
async def test_others_have_none(form: Form) -> None:
    async with traced_site() as traced:
        traced.site.serve()
        client = await traced.site.client()
        for lines in ((), (UNSAMPLED,), (f"traceparent: 00-{'0' * 32}-{SPAN}-01",)):
            assert (await client.ask(form(ask(numbers(1), *lines)))).status == 200
        assert (await client.ask(form(ask(numbers(1), SAMPLED, SAMPLED)))).status == 200
        assert (await client.ask(form(ask(numbers(1), SAMPLED)))).status == 200
        await traced.of(f"POST {ROUTE}")  # the last one alone, or there would be two of a name


@both_forms
@on_both_loops
async def test_a_failure_is_told_with_who_failed(form: Form) -> None:
    async with traced_site() as traced:
        worker = traced.site.serve("v3", prompt=False)
        client = await traced.site.client()
        client.writer.write(form(ask(numbers(1), SAMPLED)))
        await until(lambda: len(worker.submitted) == 1)
        mark_reload([traced.site.bench.dispatcher.ledger], under_way=True)
        traced.site.bench.complete(worker, Status.FAILED, b"bad input")
        assert (await client.answer()).status == 500
        server = await traced.of(f"POST {ROUTE}")
        assert server.status.status_code is StatusCode.ERROR
        said = words(server)
        assert (said["error.type"], said["http.response.status_code"]) == ("500", 500)
        assert (said["hotpaddle.version"], said["hotpaddle.generation"]) == ("v3", 1)
        assert said["hotpaddle.reload"]


@both_forms
@on_both_loops
async def test_a_refusal_has_no_stages(form: Form) -> None:
    async with traced_site() as traced:
        traced.site.serve()
        client = await traced.site.client()
        wrong = ask(numbers(1).reshape(2, 2), SAMPLED)
        for _ in range(2):  # the second knows nothing of the one that was answered before
            assert (await client.ask(form(ask(numbers(1))))).status == 200
        assert (await client.ask(form(wrong))).status == 400
        server = await traced.of(f"POST {ROUTE}")
        assert words(server)["http.response.status_code"] == 400
        assert server.status.status_code is StatusCode.UNSET
        assert traced.stages == []


@on_both_loops
async def test_a_model_that_is_not_there() -> None:
    async with traced_site() as traced:
        client = await traced.site.client()
        path = "/v2/models/nobody/versions/v1/infer"
        assert (await client.ask(ask(numbers(1), SAMPLED, path=path))).status == 404
        server = await traced.of("POST /v2/models/{model}/versions/{version}/infer")
        assert words(server)["hotpaddle.model"] == "nobody"
        assert words(server)["url.path"] == path


@both_forms
@on_both_loops
async def test_a_client_that_goes_leaves_a_span(form: Form) -> None:
    async with traced_site() as traced:
        worker = traced.site.serve(prompt=False)
        client = await traced.site.client()
        client.writer.write(form(ask(numbers(1), SAMPLED)))
        await until(lambda: len(worker.submitted) == 1)
        client.leave()
        server = await traced.of(f"POST {ROUTE}")
        assert words(server)["error.type"] == "client_gone"
        assert "http.response.status_code" not in words(server)
        assert server.status.status_code is StatusCode.ERROR
        traced.site.bench.complete(worker)


@on_both_loops
async def test_answers_one_after_the_other_have_spans_of_their_own() -> None:
    async with site() as one:
        one.serve()
        kept = InMemorySpanExporter()
        one.front.spans = Spans(SimpleSpanProcessor(kept), "http")
        client = await one.client()
        lines = [f"traceparent: 00-{number:032x}-{SPAN}-01" for number in range(1, 9)]
        client.writer.write(b"".join(ask(numbers(1), line) for line in lines))
        for _ in lines:
            assert (await client.answer()).status == 200
        await until(lambda: sum("POST" in span.name for span in kept.get_finished_spans()) == 8)
        servers = [span for span in kept.get_finished_spans() if "POST" in span.name]
        contexts = [span.context for span in servers]
        assert [context and context.trace_id for context in contexts] == [*range(1, 9)]


@pytest.mark.parametrize(
    "variables",
    [
        {"OTEL_TRACES_SAMPLER": "always_off"},
        {"OTEL_SDK_DISABLED": "true"},
    ],
)
async def test_the_environment_may_want_none(
    variables: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    async with traced_site() as traced:
        traced.site.serve()
        client = await traced.site.client()
        assert (await client.ask(ask(numbers(1), SAMPLED))).status == 200
        assert traced.site.front.spans is not None
        await traced.site.front.close_spans()
        assert traced.spans == {}


@pytest.mark.parametrize(
    "variables",
    [
        {"OTEL_SERVICE_NAME": "ocr", "OTEL_RESOURCE_ATTRIBUTES": "site=hall-3"},
        {"OTEL_RESOURCE_ATTRIBUTES": "service.name=ocr,site=hall-3"},
    ],
)
async def test_the_environment_names_the_service(
    variables: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    async with traced_site() as traced:
        traced.site.serve()
        client = await traced.site.client()
        assert (await client.ask(ask(numbers(1), SAMPLED))).status == 200
        said = (await traced.of(f"POST {ROUTE}")).resource.attributes
        assert (said["service.name"], said["site"]) == ("ocr", "hall-3")


class _Hangs(SimpleSpanProcessor):
    """Ends when it is let go, as a collector that gives no answer does."""

    def __init__(self, let_go: threading.Event) -> None:
        super().__init__(InMemorySpanExporter())
        self._let_go = let_go

    def shutdown(self) -> None:
        self._let_go.wait()


async def test_a_stop_does_not_wait_for_a_collector_that_hangs(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("supervisor.tracing.spans._FLUSH_S", 0.01)
    let_go = threading.Event()
    try:
        await Spans(_Hangs(let_go), "http").close()
    finally:
        let_go.set()


async def test_without_the_extra_the_setting_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "supervisor.tracing.spans")
    monkeypatch.setitem(sys.modules, "opentelemetry.sdk.trace", None)
    async with site() as one:
        one.front.open_spans("", "http")
        assert one.front.spans is None
        with pytest.raises(SettingsError) as refused:
            one.front.open_spans("http://c:4318/v1/traces", "http")
    assert "trace_endpoint = 'http://c:4318/v1/traces'" in str(refused.value)
    assert "pip install 'hotpaddle[otel]'" in str(refused.value)


async def test_a_variable_that_the_sdk_refuses_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "9999")
    monkeypatch.setattr(Complaints, "take_over", lambda *_: None)
    async with site() as one:
        with pytest.raises(SettingsError, match=r"trace_endpoint = .*OTEL_.*max_export_batch_size"):
            one.front.open_spans("http://c:4318/v1/traces", "http")
