"""The benchmark, run as a user runs it: real servers, real predictors, figures as JSON."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
COMMAND = (
    "--quick --only turns,beside --models mlp --peers mosec --rounds 2 --batch-size 4 "
    "--reload-seconds 1.5 --interval 0.5"
)


def test_turns_with_the_bare_predictor_and_the_bare_predictor_beside_loads(tmp_path: Path) -> None:
    figures = tmp_path / "figures.json"
    run = subprocess.run(
        [sys.executable, "-m", "benchmarks", *COMMAND.split(), "--json", str(figures)],
        cwd=ROOT, capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip

    assert run.returncode == 0, run.stdout + run.stderr
    found = json.loads(figures.read_text())
    turns = {row["who"]: row for row in found["turns"]}
    assert {"Hotpaddle", "bare loop"} <= turns.keys() <= {"Hotpaddle", "bare loop", "mosec"}
    assert all(len(row["rates"]) == 2 and min(row["rates"]) > 0 for row in turns.values())
    assert found["errors"] == 0
    (beside,) = found["beside"]
    assert len(beside["alone"]) == len(beside["beside"]) == 3
    assert beside["p99_ratio"] > 0
    assert "by turns" in run.stdout
