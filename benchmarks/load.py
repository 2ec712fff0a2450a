"""Closed-loop load by the cheapest generator there is: wrk, or the own one where wrk is missing."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from benchmarks.generator import Generator
from benchmarks.load_result import LoadResult
from benchmarks.models import Floats
from benchmarks.wire import Request
from benchmarks.wrk import has_wrk, run_wrk


def run_closed(
    port: int,
    request: Request,
    concurrency: int,
    seconds: float,
    folder: Path,
    *,
    expected: Sequence[Floats] = (),
    own: bool = False,
) -> LoadResult:
    """Keep `concurrency` requests under way for so long.

    Raises:
        BenchError: the generator failed.

    """
    if has_wrk() and not own:
        return run_wrk(port, request, concurrency, seconds, folder)
    generator = Generator(
        port, request, folder, concurrency=concurrency, seconds=seconds, expected=list(expected)
    )
    return generator.outcome().result(concurrency)
