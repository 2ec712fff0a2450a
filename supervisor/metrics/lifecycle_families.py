"""Metrics of models and their versions: what serves, what should, and how reloads went.

Owns their table. Pure. Runs in the supervisor.
"""

from __future__ import annotations

from typing import Final

from supervisor.lifecycle.reload_statistics import OUTCOMES
from supervisor.metrics.family import Family, Rows, one, per_model
from supervisor.metrics.reading import Reading

_MODEL: Final = ("model",)


def _version_info(reading: Reading) -> Rows:
    for model in reading.models:
        for role, version in model.versions.items():
            yield (model.name, role, version), 1


def _reloads(reading: Reading) -> Rows:
    for model in reading.models:
        for outcome in OUTCOMES:
            yield (model.name, outcome), model.reloads.outcomes[outcome]


def _refusals(reading: Reading) -> Rows:
    for model in reading.models:
        for kind, count in sorted(model.reloads.refusals.items()):
            yield (model.name, kind), count


def _phases(reading: Reading) -> Rows:
    for model in reading.models:
        for phase, histogram in model.reloads.phases.items():
            yield (model.name, phase), histogram


LIFECYCLE: Final = (
    Family(
        "hotpaddle_build_info", "gauge", ("version",), "Always 1; the label names the release.",
        lambda reading: iter([((reading.version,), 1)]),
    ),
    Family(
        "hotpaddle_ready", "gauge", (),
        "1 when every model that shall serve does, as /v2/health/ready says.",
        one(lambda reading: reading.ready),
    ),
    Family(
        "hotpaddle_repository_readable", "gauge", (),
        "1 when the model repository could be read at the last look.",
        one(lambda reading: reading.repository_readable),
    ),
    Family(
        "hotpaddle_repository_passes_total", "counter", (), "Looks at the model repository.",
        one(lambda reading: reading.passes),
    ),
    Family(
        "hotpaddle_model_ready", "gauge", _MODEL,
        "1 when a version serves and a worker can run it.",
        per_model(lambda model: model.ready),
    ),
    Family(
        "hotpaddle_model_generation", "gauge", _MODEL, "Switches since the start.",
        per_model(lambda model: model.generation),
    ),
    Family(
        "hotpaddle_model_version_info", "gauge", ("model", "role", "version"),
        "Always 1; which version is serving, retained, candidate (being loaded), desired.",
        _version_info,
    ),
    Family(
        "hotpaddle_model_version_mismatch", "gauge", _MODEL,
        "1 when something else serves than the repository asks for.",
        per_model(lambda model: model.mismatched),
    ),
    Family(
        "hotpaddle_model_reload_in_progress", "gauge", _MODEL, "1 while a version is brought up.",
        per_model(lambda model: model.reloading),
    ),
    Family(
        "hotpaddle_model_last_switch_timestamp_seconds", "gauge", _MODEL,
        "When the serving version was switched to, since the epoch; 0 when nothing serves.",
        per_model(lambda model: model.last_switch),
    ),
    Family(
        "hotpaddle_model_last_refusal_timestamp_seconds", "gauge", _MODEL,
        "When a version was refused last, since the epoch; 0 for never.",
        per_model(lambda model: model.last_failure),
    ),
    Family(
        "hotpaddle_reloads_total", "counter", ("model", "outcome"),
        "Reloads by outcome: live, refused, superseded, unchanged, rollback.",
        _reloads,
    ),
    Family(
        "hotpaddle_reload_refusals_total", "counter", ("model", "reason"),
        "Versions that were refused, by the kind of reason; the log and /admin have the text.",
        _refusals,
    ),
    Family(
        "hotpaddle_reload_phase_seconds", "histogram", ("model", "phase"),
        "How long the phases of reloads took that ended with a live version.",
        _phases,
    ),
)  # fmt: skip
