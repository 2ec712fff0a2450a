"""Metrics of requests: how many, how they ended, how long they took, how many wait.

Owns their table. Pure. Runs in the supervisor.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict
from typing import Final

from supervisor.dispatch.latency import STAGES
from supervisor.dispatch.model_statistics import ModelStatistics
from supervisor.metrics.family import Family, Read, Rows, one, per_model
from supervisor.metrics.reading import Reading

EVENTS: Final = ("abandoned", "deadline", "poison", "queue_full", "sent_again", "stale")
# Shown from the start, so that the first of its kind is an increase for Prometheus.
_USUAL_CODES: Final = (200, 400, 404, 408, 413, 415, 500, 503, 504)
_USUAL_CODES_OF_VERSIONS: Final = (200, 500, 504)
_VERSION_STAGES: Final = ("inference", "total")
_MODEL: Final = ("model",)


def _requests(reading: Reading) -> Rows:
    for name, model in sorted(reading.fronts.models.items()):
        counts = dict.fromkeys(_USUAL_CODES, 0) | model.errors
        counts[200] += model.total().answered
        for code, count in sorted(counts.items()):
            yield (name, str(code)), count


def _versions(reading: Reading) -> Iterator[tuple[str, str]]:
    """Give model and version of all that serve or are retained; no others are shown."""
    for model in reading.models:
        for role in ("serving", "retained"):
            version = model.versions.get(role)
            known = reading.fronts.models.get(model.name)
            if version is not None and known is not None and version in known.versions:
                yield model.name, version


def _version_requests(reading: Reading) -> Rows:
    for name, version in _versions(reading):
        statistics = reading.fronts.models[name].versions[version]
        codes = dict.fromkeys(_USUAL_CODES_OF_VERSIONS, 0) | statistics.codes()
        for code, count in sorted(codes.items()):
            yield (name, version, str(code)), count


def _durations(reading: Reading) -> Rows:
    for name, model in sorted(reading.fronts.models.items()):
        total = model.total()
        for reload, latency in (("false", total.calm), ("true", total.reloading)):
            for stage in STAGES:
                yield (name, stage, reload), latency.stage(stage)


def _version_durations(reading: Reading) -> Rows:
    for name, version in _versions(reading):
        latency = reading.fronts.models[name].versions[version].latency()
        for stage in _VERSION_STAGES:
            yield (name, version, stage), latency.stage(stage)


def _batch_rows(reading: Reading) -> Rows:
    for name, model in sorted(reading.fronts.models.items()):
        yield (name,), model.total().batch_rows()


def _events(reading: Reading) -> Rows:
    for name, model in sorted(reading.fronts.models.items()):
        for event in EVENTS:
            yield (name, event), model.events.get(event, 0)


def _refusals(reading: Reading) -> Rows:
    for reason, count in asdict(reading.fronts.refusals).items():
        yield (reason,), count


def _per_model_here(value: Callable[[ModelStatistics], float]) -> Read:
    """Read a figure that the processes which answer clients have of each model."""

    def read(reading: Reading) -> Rows:
        for name, model in sorted(reading.fronts.models.items()):
            yield (name,), value(model)

    return read


TRAFFIC: Final = (
    Family(
        "hotpaddle_http_connections", "gauge", (), "Open connections of clients.",
        one(lambda reading: reading.fronts.connections),
    ),
    Family(
        "hotpaddle_requests_total", "counter", ("model", "code"),
        "Inference requests that were answered, refusals too, by HTTP status; never falls.",
        _requests,
    ),
    Family(
        "hotpaddle_unknown_model_requests_total", "counter", (),
        "Inference requests for models that are not in the repository, answered 404.",
        one(lambda reading: reading.fronts.unknown_models),
    ),
    Family(
        "hotpaddle_refused_calls_total", "counter", ("reason",),
        "Calls, whatever for, that access or a limit of connections sent away.",
        _refusals,
    ),
    Family(
        "hotpaddle_version_requests_total", "counter", ("model", "version", "code"),
        "Requests that a version ran, by HTTP status; only for the serving and retained version.",
        _version_requests,
    ),
    Family(
        "hotpaddle_request_duration_seconds", "histogram", ("model", "stage", "reload"),
        "Durations of requests that succeeded, by stage; reload says whether one was under way.",
        _durations,
    ),
    Family(
        "hotpaddle_version_request_duration_seconds", "histogram", ("model", "version", "stage"),
        "Durations of requests that succeeded; only for the serving and retained version.",
        _version_durations,
    ),
    Family(
        "hotpaddle_batch_rows", "histogram", _MODEL, "Rows per execution; the sum counts rows.",
        _batch_rows,
    ),
    Family(
        "hotpaddle_request_events_total", "counter", ("model", "event"),
        "What may befall a request on its way: sent again, poison, abandoned and others.",
        _events,
    ),
    Family(
        "hotpaddle_express_requests_total", "counter", _MODEL,
        "Requests that compiled code took from the socket to a worker's ring.",
        _per_model_here(lambda model: model.events.get("express", 0)),
    ),
    Family(
        "hotpaddle_queue_depth", "gauge", _MODEL, "Requests that wait for a worker.",
        _per_model_here(lambda model: model.queued),
    ),
    Family(
        "hotpaddle_queue_limit", "gauge", _MODEL, "Requests that may wait; more are answered 503.",
        per_model(lambda model: model.queue_limit),
    ),
    Family(
        "hotpaddle_in_flight_requests", "gauge", _MODEL, "Requests that workers hold.",
        _per_model_here(lambda model: model.in_flight),
    ),
    Family(
        "hotpaddle_credit_requests", "gauge", _MODEL,
        "Requests that the serving workers would still take at once (max_in_flight of each).",
        _per_model_here(lambda model: model.credit),
    ),
)  # fmt: skip
