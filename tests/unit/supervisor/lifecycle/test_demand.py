"""Demand: how many workers each device shall have, and that the pool hears of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from supervisor.lifecycle.demand import Demand, Need, workers_per_device
from supervisor.workers.pool import WorkerPool

needs = st.builds(
    Need, st.integers(1, 8), st.sets(st.integers(0, 2), min_size=1).map(lambda s: tuple(sorted(s)))
)


@pytest.mark.parametrize(
    ("devices", "serving", "loading", "unknown", "spares", "expected"),
    [
        (1, [], [], 0, -1, [1]),
        (1, [], [], 1, -1, [2]),
        (1, [Need(1, (0,))], [], 0, -1, [2]),
        (1, [Need(3, (0,))], [], 0, -1, [6]),
        (1, [Need(3, (0,)), Need(1, (0,))], [], 2, -1, [9]),
        (2, [Need(2, (0,))], [], 0, -1, [4, 1]),
        (2, [Need(2, (0, 1)), Need(1, (1,))], [], 0, -1, [4, 5]),
        (1, [Need(1, (0,))], [Need(4, (0,))], 0, -1, [5]),
        (2, [Need(1, (0, 1))], [Need(4, (1,))], 0, -1, [2, 5]),
        (1, [Need(1, (0,))], [Need(4, (0,))], 0, 0, [5]),
        (1, [Need(1, (0,))], [Need(2, (0,))], 0, 3, [4]),
        (1, [Need(1, (0,))], [], 0, 2, [3]),
        (2, [], [], 0, 0, [0, 0]),
    ],
)
def test_workers_per_device(
    devices: int,
    serving: list[Need],
    loading: list[Need],
    unknown: int,
    spares: int,
    expected: list[int],
) -> None:
    assert workers_per_device(devices, iter(serving), loading, unknown, spares) == expected


@given(st.lists(needs), st.lists(needs), st.integers(0, 5))
def test_without_a_fixed_number_there_are_spares_for_any_switch(
    serving: list[Need], loading: list[Need], unknown: int
) -> None:
    counts = workers_per_device(3, serving, loading, unknown, -1)
    for device, count in enumerate(counts):
        busy = sum(need.instances for need in serving if device in need.devices) + unknown
        assert count > busy
        for need in (*serving, *loading):
            if device in need.devices:
                assert count - busy >= need.instances


class NotingPool:
    """Notes what is demanded of it."""

    devices = ("gpu:0", "gpu:1")

    def __init__(self) -> None:
        self.counts: list[int] = []

    def demand(self, counts: Sequence[int]) -> None:
        self.counts = list(counts)


def test_the_pool_follows_what_models_need() -> None:
    pool = NotingPool()
    demand = Demand(cast("WorkerPool", pool), -1)

    def level() -> list[int]:
        demand.level()
        return pool.counts

    assert level() == [1, 1]
    demand.expect("a")
    demand.expect("a")
    assert level() == [2, 2]
    demand.serve("a", Need(2, (1,)))
    assert level() == [1, 4]
    demand.expect("a")
    assert level() == [1, 4]
    demand.loading = [Need(3, (0,))]
    assert level() == [3, 4]
    demand.loading = []
    demand.forget("a")
    demand.forget("b")
    assert level() == [1, 1]
