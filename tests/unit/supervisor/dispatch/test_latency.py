"""Latency: what is counted in lots is what would be counted one by one."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from supervisor.dispatch.latency import STAGES, Latency
from supervisor.metrics.histogram import LATENCY_BOUNDS, Histogram

NS = st.one_of(st.sampled_from(LATENCY_BOUNDS), st.integers(0, 60_000_000_000))
REQUESTS = st.lists(st.tuples(NS, NS, NS, NS), max_size=200)


def one_by_one(requests: list[tuple[int, int, int, int]]) -> list[Histogram]:
    stages = [Histogram(LATENCY_BOUNDS) for _ in STAGES]
    for request in requests:
        for histogram, value in zip(stages, request, strict=True):
            histogram.note(value)
    return stages


@given(REQUESTS, st.sets(st.integers(0, 200)))
def test_lots_count_what_was_noted_whenever_somebody_looks(
    requests: list[tuple[int, int, int, int]], looks: set[int]
) -> None:
    latency = Latency()
    for number, request in enumerate(requests):
        latency.note(*request)
        if number in looks:
            assert latency.total.count == number + 1

    expected = one_by_one(requests)
    assert [latency.stage(name) for name in STAGES] == expected
    assert [latency.queue, latency.batch_wait, latency.inference, latency.total] == expected
    assert Latency.from_dict(latency.to_dict()) == latency


@given(REQUESTS, REQUESTS)
def test_those_of_two_processes_add_up(
    ours: list[tuple[int, int, int, int]], theirs: list[tuple[int, int, int, int]]
) -> None:
    one, other, both = Latency(), Latency(), Latency()
    for request in ours:
        one.note(*request)
    for request in theirs:
        other.note(*request)
    for request in [*ours, *theirs]:
        both.note(*request)
    one.add(other)

    assert one == both
    assert (one == other) == (not ours)
