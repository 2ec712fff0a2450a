"""A traced request that is over: what its spans say.

Owns which requests get spans, their names, attributes and times, after OpenTelemetry's semantic
conventions for HTTP servers. Pure, and knows nothing of OpenTelemetry's packages. Runs on the event
loop of a process that takes requests.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final, NamedTuple, Self
from urllib.parse import quote

from supervisor.access.access_log import GONE
from supervisor.dispatch.request import InferRequest
from supervisor.http.heads import Head

_TRACEPARENT: Final = re.compile(r"(?!ff)[0-9a-f]{2}-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})")
_ODD: Final = frozenset("13579bdf")  # last digits of flags whose lowest bit says: sampled
_INFER: Final = "/v2/models/{model}/infer"
_INFER_VERSION: Final = "/v2/models/{model}/versions/{version}/infer"

_LONGEST: Final = 200  # of a name, which a client may make up

Attributes = dict[str, str | int | bool]


class Parent(NamedTuple):
    """The client's span, as its traceparent names it."""

    trace_id: int
    span_id: int
    flags: int


class Stage(NamedTuple):
    """A part of a request's time, named as in the metrics. Times are CLOCK_MONOTONIC."""

    name: str
    begun_ns: int
    ended_ns: int
    attributes: Attributes


@dataclass(frozen=True, slots=True)
class Traced:
    """One request. Times are CLOCK_MONOTONIC nanoseconds."""

    parent: Parent
    name: str
    attributes: Attributes
    begun_ns: int
    ended_ns: int
    failed: bool
    stages: list[Stage]

    @classmethod
    def of(
        cls, parent: Parent, head: Head, status: int, request: InferRequest | None,
        times: tuple[int, int], *, scheme: str, reloading: bool,
    ) -> Self:  # fmt: skip
        """Tell of a request, of which `request` is what became of it in the dispatcher, if it did.

        `times` are those when its head had come and when it was answered. `reloading` says that
        some model was being reloaded meanwhile.
        """
        model, version = _text(head.model), _text(head.version or "")
        route = _INFER if head.version is None else _INFER_VERSION
        attributes: Attributes = {
            "http.request.method": "POST",
            "http.route": route,
            "url.path": route.format(model=quote(model, ""), version=quote(version, "")),
            "url.scheme": scheme,
            "hotpaddle.model": model,
            "hotpaddle.reload": reloading,
        }
        failed = status == GONE or status >= 500
        if status != GONE:  # else nothing was sent
            attributes["http.response.status_code"] = status
        if failed:
            attributes["error.type"] = "client_gone" if status == GONE else str(status)
        lane = None if request is None else request.lane
        if lane is not None:
            attributes["hotpaddle.version"] = lane.version
            attributes["hotpaddle.generation"] = lane.generation
        elif head.version is not None:
            attributes["hotpaddle.version"] = version
        stages = [] if request is None else stages_of(request, times[1])
        return cls(parent, f"POST {route}", attributes, *times, failed, stages)


def sampled_parent(trace: str) -> Parent | None:
    """Read a traceparent; None where it asks for no spans, or is none."""
    if trace[-1:] not in _ODD:
        return None
    found = _TRACEPARENT.fullmatch(trace)
    if found is None:
        return None
    parent = Parent(*(int(digits, 16) for digits in found.groups()))
    return parent if parent.trace_id and parent.span_id else None


def _text(name: str) -> str:
    """Make a text of a name that may hold bytes that are none: one of these would cost a batch."""
    return name[:_LONGEST].encode("utf-8", "replace").decode()


def stages_of(request: InferRequest, ended_ns: int) -> list[Stage]:
    """Tell where a request's time went, as far as it came.

    A worker's times are kept within the supervisor's own: who reads the trace cannot tell that a
    worker was broken.
    """
    begun_ns, submitted_ns = request.enqueued_ns, request.submitted_ns or ended_ns
    stages = [Stage("queue", begun_ns, submitted_ns, {})]
    completion = request.completion
    if completion is not None:
        started_ns = min(max(completion.started_ns, submitted_ns), ended_ns)
        inferred_ns = min(max(completion.inferred_ns, started_ns), ended_ns)
        stages.append(Stage("batch_wait", submitted_ns, started_ns, {}))
        if inferred_ns > started_ns:  # else it was not run
            rows: Attributes = {}
            if completion.batch_rows:
                rows["hotpaddle.batch_rows"] = completion.batch_rows
            stages.append(Stage("inference", started_ns, inferred_ns, rows))
    return stages
