"""Spans: what a collector of traces is sent of requests that are sampled.

The only file that imports OpenTelemetry, and itself imported only where spans are asked for. Owns
the SDK's tracer and processor, which exports in a thread of its own, and drops spans where that
cannot keep up. Never makes a request wait. Runs in each process that takes requests.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
import threading
import time
from collections.abc import Callable
from typing import Final, Self

from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import OTELResourceDetector, Resource
from opentelemetry.sdk.trace import SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import (
    NonRecordingSpan,
    SpanContext,
    SpanKind,
    StatusCode,
    TraceFlags,
    set_span_in_context,
)

from supervisor import __version__
from supervisor.dispatch.dispatcher import Dispatcher
from supervisor.dispatch.request import InferRequest
from supervisor.http.heads import Head
from supervisor.tracing.complaints import Complaints
from supervisor.tracing.traced import Traced, sampled_parent

_FLUSH_S: Final = 1.5  # at a stop; the supervisor gives its fronts two seconds for all that is left
# The thread that exports encodes for milliseconds at a time. The event loop has the interpreter
# back after so long; by default that takes ten times as long.
_SWITCH_S: Final = 0.0005


class Spans:
    """Makes spans of requests that are over."""

    def __init__(self, processor: SpanProcessor, scheme: str) -> None:
        """`processor` takes the spans; `scheme` is that of the server's address."""
        self._scheme = scheme
        self._loop = asyncio.get_running_loop()
        self._provider = TracerProvider(resource=_resource(), shutdown_on_exit=False)
        self._provider.add_span_processor(processor)
        self._tracer = self._provider.get_tracer("hotpaddle", __version__)

    @classmethod
    def to(cls, endpoint: str, scheme: str) -> Self:
        """Send them to a collector (OTLP over HTTP); the rest is said by OTEL_* variables."""
        Complaints(endpoint).take_over("opentelemetry")
        sys.setswitchinterval(_SWITCH_S)
        return cls(BatchSpanProcessor(OTLPSpanExporter(endpoint=endpoint)), scheme)

    def add(
        self,
        head: Head,
        status: int,
        begun_ns: int,
        request: InferRequest | None,
        dispatcher: Dispatcher | None,
    ) -> None:
        """Take note of a request that is being answered; nothing is done unless it is sampled.

        `status` is GONE where the client went first. The spans are made once the answer is out.
        """
        parent = sampled_parent(head.trace)
        if parent is not None:
            times = begun_ns, time.monotonic_ns()
            reloading = dispatcher is not None and begun_ns < dispatcher.ledger.calm_since_ns
            traced = Traced.of(
                parent, head, status, request, times, scheme=self._scheme, reloading=reloading
            )
            self._loop.call_soon(self._make, traced)

    def _make(self, traced: Traced) -> None:
        trace_id, span_id, flags = traced.parent
        remote = SpanContext(trace_id, span_id, is_remote=True, trace_flags=TraceFlags(flags))
        to_wall = time.time_ns() - time.monotonic_ns()
        span = self._tracer.start_span(
            traced.name,
            set_span_in_context(NonRecordingSpan(remote), Context()),
            SpanKind.SERVER,
            traced.attributes,
            start_time=traced.begun_ns + to_wall,
        )
        if not span.is_recording():  # a sampler in the environment wants fewer
            return
        within = set_span_in_context(span, Context())
        for name, begun_ns, ended_ns, attributes in traced.stages:
            stage = self._tracer.start_span(
                name, within, attributes=attributes, start_time=begun_ns + to_wall
            )
            stage.end(ended_ns + to_wall)
        if traced.failed:
            span.set_status(StatusCode.ERROR)
        span.end(traced.ended_ns + to_wall)

    async def flush(self) -> None:
        """Send what waits, for a moment at most; others may come."""
        await self._finish(self._provider.force_flush)

    async def close(self) -> None:
        """Send what waits, for a moment at most: no request is under way any more."""
        await self._finish(self._provider.shutdown)

    async def _finish(self, work: Callable[[], object]) -> None:
        await asyncio.sleep(0)  # what was added last is made
        done = asyncio.Event()

        def run() -> None:
            work()
            with contextlib.suppress(RuntimeError):  # nobody waited for it
                self._loop.call_soon_threadsafe(done.set)

        # Not the loop's own threads: those are waited for, however long a collector hangs.
        threading.Thread(target=run, name="flush-spans", daemon=True).start()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_FLUSH_S):
                await done.wait()


def _resource() -> Resource:
    """Say who makes the spans; the environment knows better."""
    own = Resource.create(
        {
            "service.name": "hotpaddle",
            "service.version": __version__,
            "process.pid": os.getpid(),  # which front
        }
    )
    return own.merge(OTELResourceDetector().detect())
