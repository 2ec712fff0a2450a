"""What Hotpaddle promises of its speed, held against what a run found. Pure.

Owns the promises that hold on any machine, because they compare with the bare predictor or with
the same load without reloads; figures of one machine are no promise.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from benchmarks.reloads import ReloadRow
from benchmarks.server import NAME
from benchmarks.table import table
from benchmarks.throughput import ThroughputRow
from benchmarks.turns import TurnsRow, same_comparison

_ADDED_MS: Final = {"mlp": 0.2, "mobilenet_v2": 0.7}
_FRONT_US: Final = {"mlp": 60.0, "average": 200.0, "mobilenet_v2": 200.0}
_BATCHED_RATIO: Final = {"mobilenet_v2": 1.2}
_AHEAD_OF: Final = ("mosec",)
_IDLE_PERCENT: Final = 0.5
_RELOAD_RATIO: Final = 0.95
_FIRST_RATIO: Final = 2.0
_P99_MORE_MS: Final = 5.0
_P99_MORE: Final = 1.1


@dataclass(frozen=True, slots=True)
class Goal:
    """One promise, the figure that was found, and whether it is kept."""

    what: str
    wanted: str
    found: str
    met: bool


def _most(what: str, limit: float, found: float, unit: str = "") -> Goal:
    return Goal(what, f"≤ {limit:g}{unit}", f"{found:.3g}{unit}", found <= limit)


def _least(what: str, limit: float, found: float) -> Goal:
    return Goal(what, f"≥ {limit:g}", f"{found:.3f}", found >= limit)


def row_goals(rows: list[ThroughputRow]) -> Iterator[Goal]:
    """Judge the closed-loop rows."""
    for row in rows:
        if row.server != NAME:
            continue
        name = f"{row.model} {row.encoding} c={row.concurrency}"
        if row.max_batch_size > 1:
            name += f" batch {row.max_batch_size}"
        if row.errors:
            yield _most(f"{name}: errors", 0, row.errors)
        if row.encoding != "binary":
            continue
        plain = row.max_batch_size == 1
        if plain and row.added_ms is not None and row.model in _ADDED_MS:
            yield _most(f"{name}: added p50", _ADDED_MS[row.model], row.added_ms, " ms")
        if plain and row.concurrency == 8 and row.model in _FRONT_US:
            front = row.cpu_us.get("front", 0.0)
            yield _most(f"{name}: front's CPU per request", _FRONT_US[row.model], front, " µs")
        if not plain and row.concurrency == 8 and row.model in _BATCHED_RATIO:
            yield _least(f"{name}: times the bare loop", _BATCHED_RATIO[row.model], row.ratio)


def turn_goals(rows: list[TurnsRow]) -> Iterator[Goal]:
    """Judge small requests in batches against a peer that batches, too, by turns."""
    for row in rows:
        if row.who not in _AHEAD_OF or row.model != "mlp" or row.max_batch_size == 1:
            continue
        for ours in same_comparison(rows, row):
            if ours.who == NAME:
                what = f"mlp binary c={row.concurrency} batch {row.max_batch_size}"
                yield _least(f"{what}: times {row.who}, by turns", 1, ours.times(row))


def idle_goals(percents: dict[str, float]) -> Iterator[Goal]:
    """Judge the idle server of each model."""
    for model, percent in percents.items():
        yield _most(f"{model} idle: CPU of all processes", _IDLE_PERCENT, percent, " %")


def reload_goals(rows: list[ReloadRow]) -> Iterator[Goal]:
    """Judge the reloads."""
    for row in rows:
        name = f"{row.model} reloads, {row.mode} loop"
        yield _most(f"{name}: errors", 0, row.errors)
        if not row.rate:
            yield _least(f"{name}: throughput ratio", _RELOAD_RATIO, row.throughput_ratio)
        quiet = row.without.p99_ms
        limit = max(quiet + _P99_MORE_MS, quiet * _P99_MORE)
        yield _most(f"{name}: p99", round(limit, 2), row.with_reloads.p99_ms, " ms")
        yield _most(f"{name}: slowest first answer / median", _FIRST_RATIO, row.first_ratio)


def goals_table(goals: list[Goal]) -> str:
    """Show goals, the missed ones marked."""
    lines = [["promise", "wanted", "found", ""]]
    lines += [
        [goal.what, goal.wanted, goal.found, "kept" if goal.met else "MISSED"] for goal in goals
    ]
    return table(lines)
