"""The memory guard: estimates, what a load takes beyond what is held, and who has too little."""

from __future__ import annotations

import pytest

from supervisor.lifecycle.memory_guard import Footprint, Shortage, Taken, beyond, shortage

MB = 1 << 20


def footprint(*taken: Taken) -> Footprint:
    known = Footprint()
    known.taken.extend(taken)
    return known


@pytest.mark.parametrize(
    ("known", "size", "host", "device"),
    [
        (footprint(), 0, 48 * MB, 256 * MB),
        (footprint(), 100 * MB, 298 * MB, 406 * MB),
        (footprint(Taken(100 * MB, 250 * MB, 0)), 100 * MB, 250 * MB, 406 * MB),
        (footprint(Taken(100 * MB, 250 * MB, 300 * MB)), 200 * MB, 500 * MB, 600 * MB),
        (footprint(Taken(100 * MB, 250 * MB, 300 * MB)), 1, 250 * MB, 300 * MB),
        # The largest of the latest loads counts: a heap that was used before shows less.
        (footprint(Taken(MB, 9 * MB, 0), Taken(MB, 5 * MB, 0)), MB, 9 * MB, 256 * MB + 3 * MB // 2),
        (footprint(Taken(MB, 9, 0), *[Taken(MB, 5, 1)] * 4), MB, 5, 1),
        (footprint(Taken(0, 5, 0)), 2, 10, 256 * MB + 3),
    ],
)
def test_estimates(known: Footprint, size: int, host: int, device: int) -> None:
    assert (known.host(size), known.device(size)) == (host, device)


def test_what_the_admin_calls_show() -> None:
    assert footprint().to_json() is None
    assert footprint(Taken(10, 30, 0), Taken(20, 40, 0)).to_json() == {
        "staged_bytes": 20,
        "host_bytes_per_worker": 60,
        "device_bytes_per_worker": None,
        "loads_measured": 2,
    }
    shown = footprint(Taken(10, 30, 5)).to_json()
    assert shown is not None
    assert shown["device_bytes_per_worker"] == 5


@pytest.mark.parametrize(
    ("estimate", "kept", "count", "needed"),
    [
        (100, [0], 1, 100),
        (100, [30], 1, 70),
        (100, [130], 1, 0),
        (100, [0, 80, 20], 1, 20),
        (100, [0, 80, 130], 2, 20),
        (100, [], 2, 200),
        (100, [60], 2, 140),
        (100, [60], 0, 0),
    ],
)
def test_what_a_load_takes_beyond_what_its_workers_have(
    estimate: int, kept: list[int], count: int, needed: int
) -> None:
    assert beyond(estimate, kept, count) == needed


@pytest.mark.parametrize(
    ("needed", "available", "reserve", "fits"),
    [
        (100, 100, 0, True),
        (101, 100, 0, False),
        (100, 149, 50, False),
        (100, 150, 50, True),
        (0, 0, 50, True),  # it makes nothing worse
        (-5, 0, 50, True),
    ],
)
def test_who_has_too_little(needed: int, available: int, reserve: int, fits: bool) -> None:
    short = shortage(None, "memory", needed, available, reserve)
    assert (short is None) is fits
    assert short is None or short == Shortage(None, "memory", needed, available, reserve)


def test_a_refusal_has_the_figures() -> None:
    short = shortage(1, "memory on gpu:1", 300 * MB, 700 * MB, 512 * MB)
    assert str(short) == (
        "too little memory on gpu:1: the load needs about 300 MB, 700 MB are available, of which "
        "512 MB are kept in reserve (memory_reserve_mb)"
    )
