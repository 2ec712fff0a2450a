"""The status line: short, one line, and nothing in it that systemd would read as a field."""

from __future__ import annotations

import pytest

from supervisor.systemd.status_line import ModelState, status_line

MLP = ModelState("mlp", "v7")
OCR = ModelState("ocr", "2024.10")
BAD = ModelState("mlp", "v7", refused="v8", reason="load: the parameter file\nends early")
WAITS = ModelState("fraud", not_ready="version v1 is LOADING")


@pytest.mark.parametrize(
    ("models", "problem", "phase", "line"),
    [
        ([], "", "", "serving no model"),
        ([MLP, OCR], "", "", "serving mlp v7, ocr 2024.10"),
        ([MLP], "", "stopping", "stopping; serving mlp v7"),
        ([BAD], "", "", "serving mlp v7; refused mlp v8: load: the parameter file ends early"),
        ([WAITS], "", "starting",
         "starting; serving no model; not ready fraud: version v1 is LOADING"),
        ([MLP, WAITS], "", "", "serving mlp v7; not ready fraud: version v1 is LOADING"),
        ([], "/srv cannot be read", "", "serving no model; /srv cannot be read"),
    ],
)  # fmt: skip
def test_lines(models: list[ModelState], problem: str, phase: str, line: str) -> None:
    assert status_line(models, problem, phase) == line


@pytest.mark.parametrize("reason", ["x\nREADY=1", "x\rREADY=1", "x\0y", "x\u2028y", "a" * 10_000])
def test_a_reason_stays_in_its_line_and_short(reason: str) -> None:
    models = [ModelState(f"m{n}", "v1", refused="v2", reason=reason) for n in range(50)]
    line = status_line(models)
    assert line.isprintable()
    assert len(line) == 400
    assert line.startswith("serving m0 v1, m1 v1")


def test_a_long_reason_is_cut_and_leaves_room_for_the_rest() -> None:
    line = status_line([ModelState("m", "v1", refused="v2", reason="a" * 1000)], "gone")
    assert line.endswith("a…; gone")
    assert len(line) < 250
