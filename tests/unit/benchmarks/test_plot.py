"""The plot, and the line that says why there is none."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from benchmarks.percentiles import Latencies
from benchmarks.plot import draw
from benchmarks.reloads import ReloadRow, Windows
from benchmarks.series import Series

ROW = ReloadRow(
    model="mlp", mode="open", rate=60, published=1, served=1, errors=0, error_kinds={}, checked=9,
    generator_late=Latencies(),
    requests_s_without=100, requests_s_with=96, without=Latencies(), with_reloads=Latencies(),
    first_ms=[1.0], live_after_ms=[50], switches_s=[1.5], windows=Windows(2),
    series=Series([0.5, 1.5], [1, 2], [2, 3], [3, 4], [9, 9]), memory_before_mb={},
    memory_after_mb={},
)  # fmt: skip


def test_a_panel_per_row(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="only `make bench` installs it")
    path = tmp_path / "plot.svg"

    assert draw([ROW, ROW], path) == f"plot: {path}"
    assert path.read_text().count("first answer of a version") == 2


def test_without_matplotlib_it_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)

    assert "not installed" in draw([ROW], tmp_path / "plot.svg")
