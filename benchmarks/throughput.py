"""Closed-loop rows: a deployment under constant concurrency, against the bare loop.

Owns one row's measurement: the load, and the CPU time of every process over the same window.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from benchmarks.bare import Bare
from benchmarks.http_server import HttpServer
from benchmarks.load import run_closed
from benchmarks.models import BenchModel, Floats
from benchmarks.process_cost import cpu_between
from benchmarks.table import table
from benchmarks.wire import Request

_WARM_UP_S = 1.0


class Target(Protocol):
    """A model served by any server, with all that a row needs."""

    @property
    def model(self) -> BenchModel:
        """Give what is served."""

    @property
    def bare(self) -> Bare:
        """Give what every figure is divided by."""

    @property
    def server(self) -> HttpServer:
        """Give what serves."""

    @property
    def folder(self) -> Path:
        """Give where load generators write."""

    @property
    def expected(self) -> list[Floats]:
        """Give each version's answer, where answers are checked under load."""

    def request(self, encoding: str) -> Request:
        """Build the request for this model."""


@dataclass(frozen=True, slots=True)
class ThroughputRow:
    """One row. `ratio` is to the bare loop at batch 1, `added_ms` its p50 taken from ours (c = 1).

    `server` is who answered. `cpu_us` is the CPU time per answer of each kind of process; `load` is
    the generator.
    """

    server: str
    model: str
    encoding: str
    max_batch_size: int
    concurrency: int
    requests_s: float
    ratio: float
    p50_ms: float
    p99_ms: float
    max_ms: float
    added_ms: float | None
    errors: int
    cpu_us: dict[str, float]
    generator: str
    request_bytes: int
    error_kinds: dict[str, int]

    @property
    def label(self) -> str:
        """Name the server and, where it batches, how much."""
        batching = f", batching {self.max_batch_size}" if self.max_batch_size > 1 else ""
        return f"{self.server}{batching}"


def measure_rows(
    deployment: Target,
    encodings: Sequence[str],
    concurrencies: Sequence[int],
    seconds: float,
    max_batch_size: int = 1,
    *,
    own: bool = False,
) -> Iterator[ThroughputRow]:
    """Measure each encoding at each concurrency."""
    server = deployment.server
    bare = deployment.bare.results[1]
    for encoding in encodings:
        request = deployment.request(encoding)
        where = (server.port, request)
        run_closed(*where, max(concurrencies), _WARM_UP_S, deployment.folder, own=own)
        for concurrency in concurrencies:
            before = server.tree.cpu()
            load = run_closed(
                *where, concurrency, seconds, deployment.folder,
                expected=deployment.expected, own=own,
            )  # fmt: skip
            spent = cpu_between(before, server.tree.cpu())
            spent["load"] = load.cpu_s
            yield ThroughputRow(
                server=server.name,
                model=deployment.model.name,
                encoding=encoding,
                max_batch_size=max_batch_size,
                concurrency=concurrency,
                requests_s=load.rate,
                ratio=load.rate / bare.rows_s,
                p50_ms=load.p50_ms,
                p99_ms=load.p99_ms,
                max_ms=load.max_ms,
                added_ms=load.p50_ms - bare.p50_ms if concurrency == 1 else None,
                errors=load.error_count,
                cpu_us={role: 1e6 * s / max(1, load.answers) for role, s in spent.items()},
                generator=load.generator,
                request_bytes=len(request.body),
                error_kinds=load.errors,
            )


def throughput_table(rows: Sequence[ThroughputRow]) -> str:
    """Show rows, with a column per kind of process."""
    roles = list(dict.fromkeys(role for row in rows for role in row.cpu_us if role != "load"))
    roles.append("load")
    lines = [[
        "model", "encoding", "server", "c", "requests/s", "× bare", "p50 ms", "p99 ms", "max ms",
        "added ms", "errors", *(f"{role} µs" for role in roles),
    ]]  # fmt: skip
    lines += [
        [
            row.model, row.encoding, row.label, str(row.concurrency),
            f"{row.requests_s:,.1f}" if row.requests_s < 1000 else f"{row.requests_s:,.0f}",
            f"{row.ratio:.2f}", f"{row.p50_ms:.2f}", f"{row.p99_ms:.2f}", f"{row.max_ms:.1f}",
            "" if row.added_ms is None else f"{row.added_ms:.3f}", str(row.errors),
            *(f"{row.cpu_us.get(role, 0):,.0f}" for role in roles),
        ]
        for row in rows
    ]  # fmt: skip
    return table(lines)
