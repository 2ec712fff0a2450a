"""Latency over time, in buckets small enough to see a single slow moment. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from benchmarks.records import Records, good


@dataclass(frozen=True, slots=True)
class Series:
    """One value per bucket that has answers; times in seconds from the start of the run."""

    at_s: list[float]
    p50_ms: list[float]
    p99_ms: list[float]
    max_ms: list[float]
    answers: list[int]


def latency_series(records: Records, start: float, width_s: float = 0.25) -> Series:
    """Sum up answers by the bucket of time that they came in."""
    answers = good(records)
    answers = answers[answers["at"] >= start]
    buckets = ((answers["at"] - start) / width_s).astype(np.int64)
    order = np.argsort(buckets, kind="stable")
    numbers, begins = np.unique(buckets[order], return_index=True)
    parts: list[Any] = np.split(answers["ms"][order], begins[1:]) if len(numbers) else []
    quantiles = [np.percentile(part, (50, 99, 100)).tolist() for part in parts]
    return Series(
        [round((number + 0.5) * width_s, 3) for number in numbers.tolist()],
        [round(q[0], 4) for q in quantiles],
        [round(q[1], 4) for q in quantiles],
        [round(q[2], 4) for q in quantiles],
        [len(part) for part in parts],
    )
