"""Tables for a terminal."""

from __future__ import annotations

from benchmarks.table import table


def test_figures_stand_right_and_words_left() -> None:
    text = table([["model", "rate"], ["mlp", "9.5"], ["resnet50", "1,234.0"]])

    assert text.splitlines() == [
        "model        rate",
        "mlp           9.5",
        "resnet50  1,234.0",
    ]


def test_an_empty_cell_keeps_the_column_right() -> None:
    assert table([["a", "ms"], ["x", ""], ["y", "-0.25"]]).splitlines()[2] == "y  -0.25"


def test_nothing_gives_nothing() -> None:
    assert table([]) == ""
