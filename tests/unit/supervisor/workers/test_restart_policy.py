"""The restart policy: at once after good work, slower and slower while workers flap."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from supervisor.workers.restart_policy import Exit, ExitKind, restart_delay

S, L, B, F = ExitKind.STARTING, ExitKind.LOADING, ExitKind.BARREN, ExitKind.FRUITFUL
NOW = 1000.0

exits = st.lists(
    st.builds(Exit, st.floats(0, NOW), st.sampled_from(ExitKind)), max_size=64
).map(lambda found: sorted(found, key=lambda end: end.at))  # fmt: skip


def history(*kinds: ExitKind) -> list[Exit]:
    """Give one exit per second up to now."""
    return [Exit(NOW - len(kinds) + number, kind) for number, kind in enumerate(kinds)]


@pytest.mark.parametrize(
    ("kinds", "delay"),
    [
        ([], 0),
        ([F], 0),
        ([F] * 60, 0),
        ([L] * 60, 0),
        ([S], 0),
        ([B], 0),
        ([S, S], 0.5),
        ([B, B], 0.5),
        ([S, B, S], 1),
        ([B] * 4, 2),
        ([B] * 5, 4),
        ([B] * 6, 8),
        ([B] * 7, 16),
        ([B] * 8, 30),
        ([B] * 64, 30),
        ([B, B, B, F], 0),
        ([B, B, B, F, B], 0),
        ([F, B, B], 0.5),
        ([B, L, B], 0.5),
        ([B, B, L], 0.5),
    ],
)
def test_delay_by_what_ended_last(kinds: list[ExitKind], delay: float) -> None:
    assert restart_delay(history(*kinds), NOW) == delay


def test_exits_of_more_than_two_minutes_ago_are_forgiven() -> None:
    ends = [Exit(0.0, B), Exit(1.0, B), Exit(2.0, B)]
    assert restart_delay(ends, 3.0) == 1
    assert restart_delay(ends, 121.0) == 0.5
    assert restart_delay(ends, 121.5) == 0
    assert restart_delay(ends, 500.0) == 0


@given(exits, st.floats(0, 1000))
def test_the_delay_is_never_negative_and_at_most_30_s(ends: list[Exit], later: float) -> None:
    assert 0 <= restart_delay(ends, NOW + later) <= 30


@given(exits, st.sampled_from([S, B]))
def test_one_more_flap_never_shortens_the_delay(ends: list[Exit], kind: ExitKind) -> None:
    assert restart_delay([*ends, Exit(NOW, kind)], NOW) >= restart_delay(ends, NOW)


@given(exits, st.floats(0, 1000))
def test_time_never_lengthens_the_delay(ends: list[Exit], later: float) -> None:
    assert restart_delay(ends, NOW + later) <= restart_delay(ends, NOW)


@given(exits)
def test_ends_while_loading_never_delay(ends: list[Exit]) -> None:
    others = [end for end in ends if end.kind is not L]
    assert restart_delay([*ends, Exit(NOW, L)], NOW) == restart_delay(ends, NOW)
    assert restart_delay(ends, NOW) <= restart_delay(others, NOW)


@given(exits)
def test_an_end_after_good_work_restarts_at_once(ends: list[Exit]) -> None:
    assert restart_delay([*ends, Exit(NOW, F)], NOW) == 0
