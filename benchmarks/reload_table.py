"""The reload rows as tables. Pure."""

from __future__ import annotations

import statistics
from collections.abc import Sequence

from benchmarks.reloads import ReloadRow
from benchmarks.table import table


def reload_table(rows: Sequence[ReloadRow]) -> str:
    """Show throughput and latency with reloads beside those without."""
    lines = [[
        "model", "loop", "versions", "errors", "requests/s", "with", "ratio", "p50 ms", "with",
        "p99 ms", "with", "max ms", "with", "first ms", "× p50", "by chance", "live ms",
    ]]  # fmt: skip
    for row in rows:
        without, reloading = row.without, row.with_reloads
        lines.append([
            row.model, row.mode, f"{row.served}/{row.published}", str(row.errors),
            f"{row.requests_s_without:,.1f}", f"{row.requests_s_with:,.1f}",
            f"{row.throughput_ratio:.3f}",
            f"{without.p50_ms:.2f}", f"{reloading.p50_ms:.2f}",
            f"{without.p99_ms:.2f}", f"{reloading.p99_ms:.2f}",
            f"{without.max_ms:.1f}", f"{reloading.max_ms:.1f}",
            f"{row.slowest_first_ms:.2f}", f"{row.first_ratio:.2f}", f"{row.by_chance_ms:.2f}",
            f"{statistics.median(row.live_after_ms):.0f}" if row.live_after_ms else "-",
        ])  # fmt: skip
    return table(lines)


def memory_table(rows: Sequence[ReloadRow]) -> str:
    """Show the memory of each kind of process before and after."""
    roles = list(dict.fromkeys(role for row in rows for role in row.memory_after_mb))
    lines = [["model", "loop", *(f"{role} MB" for role in roles)]]
    lines += [
        [
            row.model, row.mode,
            *(f"{row.memory_before_mb.get(role, 0):.0f} → {row.memory_after_mb.get(role, 0):.0f}"
              for role in roles),
        ]
        for row in rows
    ]  # fmt: skip
    return table(lines)
