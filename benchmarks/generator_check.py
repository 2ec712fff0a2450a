"""Shows that the load generators are no bottleneck: each against a responder that does nothing.

Owns the responder's process. What a generator reaches here, and what it costs per request, bounds
what it can tell of a server.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from benchmarks.bare import plain_environment
from benchmarks.errors import BenchError
from benchmarks.exports import ROOT
from benchmarks.load import run_closed
from benchmarks.load_result import LoadResult
from benchmarks.models import MODELS
from benchmarks.table import table
from benchmarks.wire import build_request
from benchmarks.wrk import has_wrk

_ANSWER_BYTES: Final = 200
_CONCURRENCY: Final = 8


@dataclass(frozen=True, slots=True)
class GeneratorRow:
    """One generator with one size of request against the responder."""

    generator: str
    request_bytes: int
    concurrency: int
    requests_s: float
    cpu_us: float
    errors: int


@contextmanager
def responder() -> Iterator[int]:
    """Run the responder; gives its port."""
    process = subprocess.Popen(
        [sys.executable, "-m", "benchmarks.responder_process", str(_ANSWER_BYTES)],
        cwd=ROOT, env=plain_environment(), stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        if not line:
            raise BenchError("the responder did not start; its reason stands above")
        yield int(line)
    finally:
        process.kill()
        process.wait()


def check_generators(seconds: float, folder: Path) -> list[GeneratorRow]:
    """Measure every generator with a small and with a large request."""
    rows = []
    with responder() as port:
        for name in ("mlp", "mobilenet_v2"):
            request = build_request(MODELS[name], name, "binary")
            for own in (False, True) if has_wrk() else (True,):
                result = run_closed(port, request, _CONCURRENCY, seconds, folder, own=own)
                rows.append(_row(result, len(request.body)))
    return rows


def _row(result: LoadResult, request_bytes: int) -> GeneratorRow:
    return GeneratorRow(
        result.generator, request_bytes, _CONCURRENCY, result.rate, result.cpu_us,
        result.error_count,
    )  # fmt: skip


def generator_table(rows: list[GeneratorRow]) -> str:
    """Show the rows."""
    lines = [["generator", "request bytes", "c", "requests/s", "CPU µs", "errors"]]
    lines += [
        [
            row.generator, f"{row.request_bytes:,}", str(row.concurrency), f"{row.requests_s:,.0f}",
            f"{row.cpu_us:.1f}", str(row.errors),
        ]
        for row in rows
    ]  # fmt: skip
    return table(lines)
