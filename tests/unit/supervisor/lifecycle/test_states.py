"""The states of a version: the table, and that nothing goes around it."""

from __future__ import annotations

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule
from structlog.testing import capture_logs

from supervisor.lifecycle.states import (
    TRANSITIONS,
    IllegalTransition,
    VersionRecord,
    VersionState,
    timestamp,
)

S = VersionState
FINAL = {S.UNLOADED, S.REJECTED, S.FAILED}
ALL_MOVES = [(before, after) for before in S for after in S]


def record(state: VersionState = S.DISCOVERED) -> VersionRecord:
    return VersionRecord("ocr", "v7", "v7@x", state)


def test_every_state_has_its_row() -> None:
    assert set(TRANSITIONS) == set(S)


def test_final_states_have_no_exit_and_all_others_have_one() -> None:
    assert {state for state, after in TRANSITIONS.items() if not after} == FINAL


def reachable(start: VersionState) -> set[VersionState]:
    found, todo = {start}, [start]
    while todo:
        new = TRANSITIONS[todo.pop()] - found
        found |= new
        todo.extend(new)
    return found


def test_every_state_is_reachable_from_discovered_and_every_end_from_every_state() -> None:
    assert reachable(S.DISCOVERED) == set(S)
    for state in S:
        assert reachable(state) & FINAL


@pytest.mark.parametrize("state", [S.DISCOVERED, S.VERIFYING, S.LOADING, S.WARMING])
def test_a_version_on_its_way_may_be_refused(state: VersionState) -> None:
    assert {S.REJECTED, S.FAILED} <= TRANSITIONS[state]
    assert record(state).pending
    assert S.SERVING not in TRANSITIONS[state]


def test_only_ready_and_retained_versions_come_to_serve() -> None:
    leading = {state for state, after in TRANSITIONS.items() if S.SERVING in after}
    assert leading == {S.READY, S.RETAINED, S.DRAINING}


def test_what_serves_is_never_unloaded_at_once() -> None:
    assert TRANSITIONS[S.SERVING] == {S.DRAINING}


@pytest.mark.parametrize(("before", "after"), ALL_MOVES, ids=lambda state: state.name)
def test_each_move_is_allowed_and_logged_or_changes_nothing(
    before: VersionState, after: VersionState
) -> None:
    one = record(before)
    with capture_logs() as lines:
        if after in TRANSITIONS[before]:
            one.move(after, "because", "kind")
            assert (one.state, one.reason, one.kind) == (after, "because", "kind")
            assert [line["event"] for line in lines] == [f"version {before.name} → {after.name}"]
            assert lines[0]["reason"] == "because"
            assert lines[0]["log_level"] == (
                "error" if after in (S.REJECTED, S.FAILED) else "debug"
            )
        else:
            untouched = one.to_json()
            with pytest.raises(IllegalTransition, match=f"{before.name} → {after.name}"):
                one.move(after, "because", "kind")
            assert one.to_json() == untouched
            assert (one.kind, lines) == ("", [])


class Walk(RuleBasedStateMachine):
    """A record that is moved at random follows the table and nothing else."""

    def __init__(self) -> None:
        super().__init__()
        self.record = record()
        self.seen = [S.DISCOVERED]

    @rule(to=st.sampled_from(S), reason=st.sampled_from(["", "why"]))
    def move(self, to: VersionState, reason: str) -> None:
        before = (self.record.state, self.record.reason, self.record.changed_at)
        with capture_logs() as lines:
            try:
                self.record.move(to, reason)
            except IllegalTransition:
                assert to not in TRANSITIONS[before[0]]
                assert lines == []
                now = (self.record.state, self.record.reason, self.record.changed_at)
                assert now == before
            else:
                assert to in TRANSITIONS[before[0]]
                assert len(lines) == 1
                assert ("reason" in lines[0]) == bool(reason)
                self.seen.append(to)

    @invariant()
    def is_where_it_was_moved_to(self) -> None:
        assert self.record.state is self.seen[-1]
        assert not set(self.seen[:-1]) & FINAL
        assert S.SERVING not in self.seen or S.READY in self.seen


TestWalk = Walk.TestCase
TestWalk.settings = settings(max_examples=60, stateful_step_count=30)


def test_json_shows_phases_and_time() -> None:
    one = record()
    one.phases_ms["load"] = 12.345
    one.changed_at = 86400.0625
    assert one.to_json() == {
        "version": "v7",
        "state": "DISCOVERED",
        "reason": "",
        "digest": "",
        "at": "1970-01-02T00:00:00.062Z",
        "phases_ms": {"load": 12.3},
    }
    assert timestamp(0) == "1970-01-01T00:00:00.000Z"
