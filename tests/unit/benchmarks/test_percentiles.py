"""Percentiles, and what a closed loop leaves out."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.percentiles import Latencies, corrected, slowest_of


def test_no_samples_give_zeros() -> None:
    assert Latencies.of(np.array([])) == Latencies()


def test_percentiles_of_a_known_set() -> None:
    found = Latencies.of(np.arange(1, 1002, dtype=float))

    assert (found.count, found.p50_ms, found.p99_ms, found.max_ms) == (1001, 501, 991, 1001)


@pytest.mark.parametrize(
    ("samples", "interval", "more"),
    [
        ([1.0, 1.0, 1.0], 1.0, []),
        ([1.9], 1.0, []),  # the next one would have started while it was under way, but not ended
        ([2.0], 1.0, [1.0]),
        ([4.5], 1.0, [3.5, 2.5, 1.5]),
        ([4.5, 1.0, 3.0], 1.0, [3.5, 2.5, 1.5, 2.0, 1.0]),
        ([4.5], 0.0, []),
        ([], 1.0, []),
    ],
)
def test_a_long_sample_stands_for_those_that_were_not_sent(
    samples: list[float], interval: float, more: list[float]
) -> None:
    assert corrected(np.array(samples), interval).tolist() == pytest.approx([*samples, *more])


@given(st.lists(st.floats(0.01, 1000), max_size=50), st.floats(0.5, 100))
def test_correction_only_adds_and_keeps_the_longest(samples: list[float], interval: float) -> None:
    found = corrected(np.array(samples), interval)

    assert found[: len(samples)].tolist() == samples
    assert len(found) >= len(samples)
    if samples:
        assert max(found) == max(samples)
        assert min(found[len(samples) :], default=interval) >= interval * 0.999


def test_one_stall_shows_in_the_corrected_p99_only() -> None:
    samples = np.array([1.0] * 999 + [1000.0])

    assert Latencies.of(samples).p99_ms == 1.0
    assert Latencies.of(corrected(samples, 1.0)).p99_ms > 900


def test_the_slowest_of_many_is_slower_than_that_of_few() -> None:
    samples = np.arange(1001, dtype=float)

    found = [slowest_of(samples, count) for count in (1, 2, 30)]
    assert found == pytest.approx([500, 707.1, 977.2], abs=0.1)
    assert slowest_of(samples, 0) == slowest_of(samples[:0], 5) == 0


@given(st.integers(1, 40), st.integers(0, 100))
def test_half_of_all_draws_are_slower(count: int, seed: int) -> None:
    samples = np.random.default_rng(seed).permutation(500).astype(float)

    draws = np.random.default_rng(seed + 1).choice(samples, (4000, count)).max(axis=1)
    slower = float(np.mean(draws > slowest_of(samples, count)))
    assert 0.4 < slower < 0.6
