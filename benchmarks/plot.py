"""The plot of latency over time, with the switches marked.

Owns the drawing; what is drawn comes from `ReloadRow`. Needs matplotlib, which `make bench`
installs; without it there is no plot, and a line says so.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.reloads import ReloadRow


def draw(rows: Sequence[ReloadRow], path: Path) -> str:
    """Draw one panel per row into a file whose suffix names the format; says what became of it."""
    try:
        import matplotlib as mpl  # noqa: PLC0415 - may be missing
        from matplotlib.figure import Figure  # noqa: PLC0415 - may be missing
    except ImportError:
        return "no plot: matplotlib is not installed (pip install -e '.[bench]')"
    mpl.rcParams["svg.fonttype"] = "none"  # text stays text: small, and can be searched
    figure = Figure(figsize=(12, 2.6 * len(rows)), layout="constrained")
    panels: Any = figure.subplots(len(rows), 1, squeeze=False)
    for panel, row in zip(panels[:, 0], rows, strict=True):
        _panel(panel, row)
    panels[-1, 0].set_xlabel("seconds")
    figure.savefig(path)
    return f"plot: {path}"


def _panel(panel: Any, row: ReloadRow) -> None:
    series, windows = row.series, row.windows
    for start, end in windows.busy:
        panel.axvspan(start, end, color="0.93", lw=0)
    for number, at in enumerate(row.switches_s):
        label = "first answer of a version" if number == 0 else None
        panel.axvline(at, color="tab:green", lw=0.7, label=label)
    panel.plot(series.at_s, series.max_ms, color="tab:red", lw=0.6, label="max")
    panel.plot(series.at_s, series.p99_ms, color="tab:orange", lw=0.9, label="p99")
    panel.plot(series.at_s, series.p50_ms, color="tab:blue", lw=1.2, label="p50")
    panel.set_yscale("log")
    panel.yaxis.set_major_formatter("{x:g}")
    panel.set_ylabel("ms")
    panel.margins(x=0)
    how = f"{row.rate:,.0f} requests/s, open loop" if row.rate else "closed loop"
    panel.set_title(
        f"{row.model}, {how}: grey with {row.published} published versions, {row.errors} errors",
        fontsize="medium", loc="left",
    )  # fmt: skip
    panel.legend(loc="upper right", ncols=4, fontsize="small")
