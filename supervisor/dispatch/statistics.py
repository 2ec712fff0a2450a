"""Counters of one version, for metrics and in the terms of Triton's statistics extension.

Owns counts, durations (all in nanoseconds) and how they spread. Cheap enough to be updated per
request; can be added to those of another process. Runs in every process that dispatches.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any, Self

from gpu_worker.ipc.link import Completion
from supervisor.dispatch.latency import Latency
from supervisor.dispatch.request import InferRequest
from supervisor.metrics.histogram import ROW_BOUNDS, Histogram


@dataclass(slots=True)
class BatchStatistics:
    """Executions of one batch size."""

    count: int = 0
    infer_ns: int = 0
    output_ns: int = 0

    def add(self, other: BatchStatistics) -> None:
        """Count what another one has counted."""
        self.count += other.count
        self.infer_ns += other.infer_ns
        self.output_ns += other.output_ns


@dataclass(slots=True)
class VersionStatistics:
    """What one version has done since it was loaded.

    `answered` counts results that were given to clients, `failures` errors of its workers by HTTP
    status. Latencies are apart for requests that had to do with a reload.
    """

    answered: int = 0
    success_count: int = 0
    failures: dict[int, int] = field(default_factory=dict)
    fail_ns: int = 0
    output_ns: int = 0
    execution_count: int = 0
    last_inference_ms: int = 0
    calm: Latency = field(default_factory=Latency)
    reloading: Latency = field(default_factory=Latency)
    batches: dict[int, BatchStatistics] = field(default_factory=dict)

    def succeeded(self, request: InferRequest, completion: Completion, calm_since_ns: int) -> None:
        """Count an answer that has just come; no reload was under way since `calm_since_ns`."""
        started_ns, inferred_ns = completion.started_ns, completion.inferred_ns
        enqueued_ns, submitted_ns = request.enqueued_ns, request.submitted_ns
        infer_ns = inferred_ns - started_ns
        output_ns = completion.finished_ns - inferred_ns
        self.success_count += 1
        self.output_ns += output_ns
        latency = self.calm if enqueued_ns >= calm_since_ns else self.reloading
        latency.note(
            submitted_ns - enqueued_ns,
            started_ns - submitted_ns,
            infer_ns,
            time.monotonic_ns() - enqueued_ns,
        )
        if completion.leads:
            self.executed(completion.batch_rows, infer_ns, output_ns)

    def executed(self, rows: int, infer_ns: int, output_ns: int) -> None:
        """Count an execution of a batch."""
        self.execution_count += 1
        self.last_inference_ms = time.time_ns() // 1_000_000
        batch = self.batches.get(rows)
        if batch is None:
            batch = self.batches[rows] = BatchStatistics()
        batch.count += 1
        batch.infer_ns += infer_ns
        batch.output_ns += output_ns

    def failed(self, total_ns: int, status: int) -> None:
        """Count an error that a worker gave, by the HTTP status that it is answered with."""
        self.failures[status] = self.failures.get(status, 0) + 1
        self.fail_ns += total_ns

    @property
    def fail_count(self) -> int:
        """How many errors workers gave."""
        return sum(self.failures.values())

    def codes(self) -> dict[int, int]:
        """Give the requests that this version ran, by the HTTP status of their answer."""
        return {200: self.answered, **self.failures}

    def latency(self) -> Latency:
        """Give all latencies, with and without reloads."""
        both = Latency()
        both.add(self.calm)
        both.add(self.reloading)
        return both

    def batch_rows(self) -> Histogram:
        """Give the rows per execution."""
        rows = Histogram(ROW_BOUNDS)
        for size, batch in self.batches.items():
            rows.note(size, batch.count)
        return rows

    # From process to process

    def add(self, other: VersionStatistics) -> None:
        """Count what another one has counted."""
        self.answered += other.answered
        self.success_count += other.success_count
        for status, count in other.failures.items():
            self.failures[status] = self.failures.get(status, 0) + count
        self.fail_ns += other.fail_ns
        self.output_ns += other.output_ns
        self.execution_count += other.execution_count
        self.last_inference_ms = max(self.last_inference_ms, other.last_inference_ms)
        self.calm.add(other.calm)
        self.reloading.add(other.reloading)
        for rows, batch in other.batches.items():
            self.batches.setdefault(rows, BatchStatistics()).add(batch)

    def to_dict(self) -> dict[str, Any]:
        """Give a JSON-ready form that shares nothing with this."""
        return {
            "answered": self.answered,
            "success_count": self.success_count,
            "failures": {str(status): count for status, count in self.failures.items()},
            "fail_ns": self.fail_ns,
            "output_ns": self.output_ns,
            "execution_count": self.execution_count,
            "last_inference_ms": self.last_inference_ms,
            "calm": self.calm.to_dict(),
            "reloading": self.reloading.to_dict(),
            "batches": [
                [rows, batch.count, batch.infer_ns, batch.output_ns]
                for rows, batch in self.batches.items()
            ],
        }

    @classmethod
    def from_dict(cls, value: dict[str, Any]) -> Self:
        """Read what `to_dict` gave."""
        return cls(
            value["answered"],
            value["success_count"],
            {int(status): count for status, count in value["failures"].items()},
            value["fail_ns"],
            value["output_ns"],
            value["execution_count"],
            value["last_inference_ms"],
            Latency.from_dict(value["calm"]),
            Latency.from_dict(value["reloading"]),
            {rows: BatchStatistics(*figures) for rows, *figures in value["batches"]},
        )

    # Triton's form

    def to_json(self, model: str, version: str) -> dict[str, Any]:
        """Give one entry of `model_stats`. Copying the inputs is part of compute_infer."""
        none = {"count": 0, "ns": 0}
        count, latency = self.success_count, self.latency()
        return {
            "name": model,
            "version": version,
            "last_inference": self.last_inference_ms,
            "inference_count": count,
            "execution_count": self.execution_count,
            "inference_stats": {
                "success": {"count": count, "ns": latency.total.sum},
                "fail": {"count": self.fail_count, "ns": self.fail_ns},
                "queue": {"count": count, "ns": latency.queue.sum + latency.batch_wait.sum},
                "compute_input": {"count": count, "ns": 0},
                "compute_infer": {"count": count, "ns": latency.inference.sum},
                "compute_output": {"count": count, "ns": self.output_ns},
                "cache_hit": none,
                "cache_miss": none,
            },
            "response_stats": {},
            "batch_stats": [
                {
                    "batch_size": rows,
                    "compute_input": {"count": batch.count, "ns": 0},
                    "compute_infer": {"count": batch.count, "ns": batch.infer_ns},
                    "compute_output": {"count": batch.count, "ns": batch.output_ns},
                }
                for rows, batch in sorted(self.batches.items())
            ],
            "memory_usage": [],
        }
