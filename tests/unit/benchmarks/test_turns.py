"""Turns: who takes part, in which order, and what is compared."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest

from benchmarks.bare import BareResult
from benchmarks.bare_loop import BareLoop
from benchmarks.beside import BesideRow, beside_table, loads
from benchmarks.errors import BenchError
from benchmarks.goals import turn_goals
from benchmarks.models import MODELS
from benchmarks.server import NAME
from benchmarks.turns import BARE, Turn, TurnsRow, take_turns, turns_table


def row(who: str, *rates: float, batch: int = 8, errors: int = 0) -> TurnsRow:
    return TurnsRow("mlp", who, batch, 8, list(rates), errors)


def test_each_round_begins_with_another_and_everybody_has_one_turn_in_it() -> None:
    order: list[str] = []

    def taker(name: str, rate: float) -> Turn:
        order.append(name)
        return Turn(rate + len(order))

    turns = take_turns("abc", [partial(taker, name, 100) for name in "abc"], 4)

    assert "".join(order) == "abc" + "bca" + "cab" + "abc"
    assert [[turn.rate for turn in own] for own in turns] == [
        [101, 106, 108, 110], [102, 104, 109, 111], [103, 105, 107, 112],
    ]  # fmt: skip


def test_quotients_are_of_one_round_so_that_what_drifts_is_left_out() -> None:
    ours, theirs = row(NAME, 110, 55, 220), row("mosec", 100, 50, 200)

    assert ours.times(theirs) == pytest.approx(1.1)
    assert ours.median == 110


def test_the_table_compares_what_was_measured_in_the_same_rounds() -> None:
    rows = [
        row(NAME, 100, batch=1), row(BARE, 200, batch=1),
        row(NAME, 300, 330), row("mosec", 200, 220, errors=4), row(BARE, 400, 440),
    ]  # fmt: skip
    lines = turns_table(rows, NAME).splitlines()

    assert [line.split()[-3:] for line in lines[1:]] == [
        ["0.50", "1.00", "0"], ["1.00", "0.50", "0"],
        ["0.75", "1.00", "0"], ["0.50", "1.50", "4"], ["1.00", "0.75", "0"],
    ]  # fmt: skip


def test_small_requests_in_batches_are_judged_against_a_peer_that_batches() -> None:
    rows = [
        row(NAME, 100, batch=1), row("mosec", 200, batch=1),
        row(NAME, 90, 100, 110), row("mosec", 100, 99, 100), row("Triton", 1000, 1, 1),
    ]  # fmt: skip

    assert [(goal.found, goal.met) for goal in turn_goals(rows)] == [("1.010", True)]
    rows[2] = row(NAME, 90, 98, 90)
    assert [(goal.found, goal.met) for goal in turn_goals(rows)] == [("0.900", False)]


@pytest.fixture
def export(tmp_path: Path) -> Path:
    """A folder that no predictor can be made of."""
    (tmp_path / "inference.json").write_text("{}")
    (tmp_path / "inference.pdiparams").write_bytes(b"")
    return tmp_path


def test_an_export_that_cannot_be_loaded_takes_no_turns(export: Path) -> None:
    with (
        pytest.raises(BenchError, match="could not be loaded"),
        BareLoop(MODELS["mlp"], export) as loop,
    ):
        loop.turn(1)


def test_loads_that_cannot_be_made_are_said_so(export: Path) -> None:
    with (
        pytest.raises(BenchError, match="before its first load"),
        loads(MODELS["mlp"], [export], 0),
    ):
        pass


def result(p99_ms: float) -> BareResult:
    return BareResult(1, 10, 100.0, 2.0, p99_ms, 9.0, 1.0, 0.0, 0.0)


def test_what_loads_cost_is_that_of_a_round_in_the_middle() -> None:
    sides = [result(4), result(5), result(4)], [result(8), result(5), result(5)]
    beside = BesideRow("mlp", *sides)

    assert beside.p99_ratio == 1.25
    assert beside_table([beside]).splitlines()[1].split() == [
        "mlp", "2.00", "2.00", "4.00", "5.00", "1.25", "9.0", "9.0",
    ]  # fmt: skip
