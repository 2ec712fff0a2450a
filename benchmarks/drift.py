"""Minutes of a soak, and whether something drifts over them. Pure."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from benchmarks.percentiles import Latencies


@dataclass(frozen=True, slots=True)
class Minute:
    """What one minute came to."""

    number: int
    requests_s: float
    latencies: Latencies
    errors: int
    published: int
    memory_mb: dict[str, float]
    bare_cpu_ms: float  # of one bare run at that time: how fast the machine is


def minute_header(roles: Sequence[str]) -> str:
    """Give the header over the lines of minutes."""
    names = ("minute", "requests/s", "p50 ms", "p99 ms", "max ms", "errors", "versions", "bare ms")
    return "".join(f"{name:>11}" for name in (*names, *(f"{role} MB" for role in roles)))


def minute_line(minute: Minute) -> str:
    """Give one minute's line."""
    latencies = minute.latencies
    cells = (
        f"{minute.number}", f"{minute.requests_s:,.1f}", f"{latencies.p50_ms:.2f}",
        f"{latencies.p99_ms:.2f}", f"{latencies.max_ms:.1f}", f"{minute.errors}",
        f"{minute.published}", f"{minute.bare_cpu_ms:.2f}",
        *(f"{size:.1f}" for size in minute.memory_mb.values()),
    )  # fmt: skip
    return "".join(f"{cell:>11}" for cell in cells)


def drift(minutes: Sequence[Minute]) -> dict[str, float]:
    """Compare the last third's median with the first third's, in percent.

    Machines drift, too: what is said to be beside the bare predictor is divided by its CPU time of
    the same minute. Fewer than three minutes tell nothing.
    """
    third = len(minutes) // 3
    if third == 0:
        return {}
    figures: dict[str, Callable[[Minute], float]] = {
        "requests/s": lambda minute: minute.requests_s,
        "p50": lambda minute: minute.latencies.p50_ms,
        "p99": lambda minute: minute.latencies.p99_ms,
        "a bare run's CPU time": lambda minute: minute.bare_cpu_ms,
        "requests/s beside the bare predictor": lambda m: m.requests_s * m.bare_cpu_ms,
        "p99 beside the bare predictor": lambda m: m.latencies.p99_ms / m.bare_cpu_ms,
        "memory of all processes": lambda minute: sum(minute.memory_mb.values()),
    }
    changes = {}
    for name, figure in figures.items():
        first = statistics.median(figure(minute) for minute in minutes[:third])
        last = statistics.median(figure(minute) for minute in minutes[-third:])
        if first:
            changes[name] = 100 * (last / first - 1)
    return changes
