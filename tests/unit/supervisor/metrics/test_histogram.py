"""Histograms: buckets as Prometheus reads them, sums, adding up."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from supervisor.metrics.histogram import LATENCY_BOUNDS, PHASE_BOUNDS, ROW_BOUNDS, Histogram

values = st.lists(st.integers(0, 100_000_000_000))


@pytest.mark.parametrize("bounds", [LATENCY_BOUNDS, PHASE_BOUNDS, ROW_BOUNDS])
def test_bounds_rise(bounds: tuple[int, ...]) -> None:
    assert list(bounds) == sorted(set(bounds))


@given(values)
def test_a_bucket_holds_what_is_at_most_its_bound(noted: list[int]) -> None:
    histogram = Histogram(LATENCY_BOUNDS)
    for value in noted:
        histogram.note(value)
    for place, bound in enumerate(LATENCY_BOUNDS):
        below = sum(value <= bound for value in noted)
        assert sum(histogram.counts[: place + 1]) == below
    assert (histogram.count, histogram.sum) == (len(noted), sum(noted))


def test_a_value_on_a_bound_lies_below_it() -> None:
    histogram = Histogram(ROW_BOUNDS)
    for rows in (1, 2, 3, 256, 257):
        histogram.note(rows)
    assert histogram.counts == [1, 1, 1, 0, 0, 0, 0, 0, 1, 1]


@given(values, values)
def test_adding_is_counting_together(ours: list[int], theirs: list[int]) -> None:
    one, other, together = (Histogram(LATENCY_BOUNDS) for _ in range(3))
    for value in ours:
        one.note(value)
        together.note(value)
    for value in theirs:
        other.note(value)
        together.note(value)
    one.add(Histogram.from_dict(LATENCY_BOUNDS, json.loads(json.dumps(other.to_dict()))))
    assert one == together


def test_figures_of_other_bounds_are_refused() -> None:
    with pytest.raises(ValueError, match="17 buckets, but 10 counts"):
        Histogram.from_dict(LATENCY_BOUNDS, Histogram(ROW_BOUNDS).to_dict())
    with pytest.raises(ValueError, match="shorter"):
        Histogram(LATENCY_BOUNDS).add(Histogram(ROW_BOUNDS))
