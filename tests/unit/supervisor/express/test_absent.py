"""Without compiled modules, be it one or all of them, Python serves alone."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

ROOT: Final = Path(__file__).parents[4]
MODULES: Final = ["collector", "express", "handing", "rings", "route", "wire"]


@pytest.mark.parametrize("absent", [MODULES, *([name] for name in MODULES)], ids=",".join)
def test_python_serves_alone(absent: list[str]) -> None:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-m", "tests.unit.supervisor.express.bare_site", *absent],
        cwd=ROOT, capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    plain = "supervisor.express.plain"
    assert json.loads(done.stdout.splitlines()[-1]) == [plain, plain, []]
