"""A collector of traces: takes OTLP over HTTP and keeps what it was sent."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import KeyValue


@dataclass(frozen=True)
class Span:
    """One span, and what its process says of itself."""

    name: str
    trace: str
    id: str
    parent: str
    kind: int
    begun_ns: int
    ended_ns: int
    status: int
    attributes: dict[str, Any]
    resource: dict[str, Any]


class Collector:
    """Listens on a free port of loopback."""

    def __init__(self) -> None:
        self.headers: list[dict[str, str]] = []
        self._spans: list[Span] = []
        collector = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                headers = {name.lower(): value for name, value in self.headers.items()}
                collector.take(self.path, headers, body)
                self.send_response(200)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - its name
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.endpoint = f"http://127.0.0.1:{self._server.server_port}/v1/traces"

    def take(self, path: str, headers: dict[str, str], body: bytes) -> None:
        assert (path, headers["content-type"]) == ("/v1/traces", "application/x-protobuf")
        self.headers.append(headers)
        for group in ExportTraceServiceRequest.FromString(body).resource_spans:
            resource = _values(group.resource.attributes)
            self._spans += [
                Span(
                    one.name, one.trace_id.hex(), one.span_id.hex(), one.parent_span_id.hex(),
                    one.kind, one.start_time_unix_nano, one.end_time_unix_nano, one.status.code,
                    _values(one.attributes), resource,
                )
                for scope in group.scope_spans
                for one in scope.spans
            ]  # fmt: skip

    def spans(self) -> list[Span]:
        return list(self._spans)

    def traces(self) -> set[str]:
        return {span.trace for span in self._spans}

    def of(self, trace: str) -> tuple[Span, dict[str, Span]]:
        """Give the span of a request and, by their names, its stages."""
        spans = [span for span in self._spans if span.trace == trace]
        (server,) = (span for span in spans if span.name.startswith("POST "))
        stages = {span.name: span for span in spans if span is not server}
        assert len(stages) == len(spans) - 1
        return server, stages

    @contextlib.contextmanager
    def running(self) -> Iterator[Collector]:
        thread = threading.Thread(target=self._server.serve_forever)
        thread.start()
        try:
            yield self
        finally:
            self._server.shutdown()
            self._server.server_close()
            thread.join()


def _values(pairs: Any) -> dict[str, Any]:
    """Read attributes: words, numbers and truths."""

    def value(pair: KeyValue) -> Any:
        kind = pair.value.WhichOneof("value")
        return None if kind is None else getattr(pair.value, kind)

    return {pair.key: value(pair) for pair in pairs}
