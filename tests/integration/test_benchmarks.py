"""The benchmark, run as a user runs it: real servers, real predictors, figures as JSON."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent.parent
COMMAND = (
    "--quick --only turns,beside --models mlp --peers mosec --rounds 2 --batch-size 4 "
    "--reload-seconds 1.5 --interval 0.5"
)
SOAK = "--minutes 0.05 --model mlp --interval 1 --rounds 2 --turn-seconds 1.5"


def run(module: str, command: str, figures: Path) -> tuple[Any, str]:
    """Give the figures and what stands on the terminal."""
    done = subprocess.run(
        [sys.executable, "-m", module, *command.split(), "--json", str(figures)],
        cwd=ROOT, capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads(figures.read_text()), done.stdout


def test_turns_with_the_bare_predictor_and_the_bare_predictor_beside_loads(tmp_path: Path) -> None:
    found, said = run("benchmarks", COMMAND, tmp_path / "figures.json")
    turns = {row["who"]: row for row in found["turns"]}
    assert {"Hotpaddle", "bare loop"} <= turns.keys() <= {"Hotpaddle", "bare loop", "mosec"}
    assert all(len(row["rates"]) == 2 and min(row["rates"]) > 0 for row in turns.values())
    assert found["errors"] == 0
    (beside,) = found["beside"]
    assert len(beside["alone"]) == len(beside["beside"]) == 3
    assert beside["p99_ratio"] > 0
    assert "by turns" in said


def test_a_soak_ends_with_turns_beside_a_fresh_server(tmp_path: Path) -> None:
    found, said = run("benchmarks.soak", SOAK, tmp_path / "figures.json")

    assert found["errors"] == 0
    assert len(found["minutes"]) == 1
    assert found["published"] > 3
    assert [len(found["wear"][side]) for side in ("worn", "fresh")] == [2, 2]
    assert min(turn["requests_s"] for turn in found["wear"]["worn"]) > 0
    assert "fresh server" in said
