"""The bare predictor beside loads: what it costs to share a machine's memory with a load.

A load at idle priority takes no time from a core that serves, but it does use the same memory and
caches. So the bare predictor, which nothing else holds up, is measured alone and while another
process loads versions of the same model as a spare does: what its slow runs take longer then, no
server can take away. Owns these measurements; both processes have a worker's allocator settings.
"""

from __future__ import annotations

import os
import statistics
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from benchmarks.bare import BareResult, end_process, start_process
from benchmarks.bare_loop import TUNED, BareLoop
from benchmarks.errors import BenchError
from benchmarks.models import BenchModel
from benchmarks.table import table

_ROUNDS: Final = 3


@dataclass(frozen=True, slots=True)
class BesideRow:
    """A model's turns alone and beside loads, by turns; times in milliseconds."""

    model: str
    alone: list[BareResult] = field(default_factory=list)
    beside: list[BareResult] = field(default_factory=list)

    @property
    def p99_ratio(self) -> float:
        """Give how many times its p99 alone the p99 beside loads is, in a round in the middle."""
        return statistics.median(
            beside.p99_ms / alone.p99_ms
            for alone, beside in zip(self.alone, self.beside, strict=True)
        )


def measure_beside(
    model: BenchModel, folders: Sequence[Path], seconds: float, interval_s: float
) -> BesideRow:
    """Measure for so long on either side, with a load every `interval_s` or as often as it can.

    Raises:
        BenchError: a process ended.

    """
    row = BesideRow(model.name)
    with BareLoop(model, folders[0], TUNED) as loop:
        for _ in range(_ROUNDS):
            row.alone.append(loop.turn(seconds / _ROUNDS))
            with loads(model, folders, interval_s):
                row.beside.append(loop.turn(seconds / _ROUNDS))
    return row


@contextmanager
def loads(model: BenchModel, folders: Sequence[Path], interval_s: float) -> Iterator[None]:
    """Have a process load versions by turns, at idle priority, until the block ends.

    Raises:
        BenchError: it ended before its first load.

    """
    work = {
        "model": model.name, "folders": [str(folder) for folder in folders], "trim": False,
        "loads": sys.maxsize, "interval_s": interval_s,
    }  # fmt: skip
    process = start_process("benchmarks.loads_process", work, TUNED)
    assert process.stdout is not None
    try:
        # Its threads, which are yet to come, inherit this
        os.sched_setscheduler(process.pid, os.SCHED_IDLE, os.sched_param(0))
        if not process.stdout.readline():
            raise BenchError("the process that loads ended before its first load")
        yield
    finally:
        end_process(process)


def beside_table(rows: Sequence[BesideRow]) -> str:
    """Show the bare predictor alone and beside loads: medians of the turns, the slowest run."""
    lines = [[
        "model", "p50 ms", "beside", "p99 ms", "beside", "×", "max ms", "beside",
    ]]  # fmt: skip
    for row in rows:
        p50, p99, most = (
            [[getattr(turn, name) for turn in side] for side in (row.alone, row.beside)]
            for name in ("p50_ms", "p99_ms", "max_ms")
        )
        lines.append([
            row.model, *(f"{statistics.median(side):.2f}" for side in (*p50, *p99)),
            f"{row.p99_ratio:.2f}", *(f"{max(side):.1f}" for side in most),
        ])  # fmt: skip
    return table(lines)
