"""Counters of one version, in the terms of Triton's statistics extension.

Owns counts and total durations, all in nanoseconds. Cheap enough to be updated per request. Runs in
every front.
"""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass, field
from typing import Any, Self

from gpu_worker.ipc.link import Completion


@dataclass(slots=True)
class BatchStatistics:
    """Executions of one batch size."""

    count: int = 0
    infer_ns: int = 0
    output_ns: int = 0

    def add(self, other: BatchStatistics) -> None:
        """Count what `other` has counted, too."""
        self.count += other.count
        self.infer_ns += other.infer_ns
        self.output_ns += other.output_ns


@dataclass(slots=True)
class VersionStatistics:
    """What one version has done since it was loaded."""

    success_count: int = 0
    success_ns: int = 0
    fail_count: int = 0
    fail_ns: int = 0
    queue_ns: int = 0
    infer_ns: int = 0
    output_ns: int = 0
    execution_count: int = 0
    last_inference_ms: int = 0
    batches: dict[int, BatchStatistics] = field(default_factory=dict)

    def succeeded(self, enqueued_ns: int, completion: Completion) -> None:
        """Count an answer."""
        finished_ns = completion.finished_ns
        self.success_count += 1
        self.success_ns += finished_ns - enqueued_ns
        self.queue_ns += completion.started_ns - enqueued_ns
        infer_ns = completion.inferred_ns - completion.started_ns
        output_ns = finished_ns - completion.inferred_ns
        self.infer_ns += infer_ns
        self.output_ns += output_ns
        if completion.leads:
            self.execution_count += 1
            self.last_inference_ms = time.time_ns() // 1_000_000
            batch = self.batches.get(completion.batch_rows)
            if batch is None:
                batch = self.batches[completion.batch_rows] = BatchStatistics()
            batch.count += 1
            batch.infer_ns += infer_ns
            batch.output_ns += output_ns

    def failed(self, total_ns: int) -> None:
        """Count an error that a worker gave, or a deadline that passed."""
        self.fail_count += 1
        self.fail_ns += total_ns

    def add(self, other: VersionStatistics) -> None:
        """Count what `other` has counted, too."""
        self.success_count += other.success_count
        self.success_ns += other.success_ns
        self.fail_count += other.fail_count
        self.fail_ns += other.fail_ns
        self.queue_ns += other.queue_ns
        self.infer_ns += other.infer_ns
        self.output_ns += other.output_ns
        self.execution_count += other.execution_count
        self.last_inference_ms = max(self.last_inference_ms, other.last_inference_ms)
        for rows, batch in other.batches.items():
            self.batches.setdefault(rows, BatchStatistics()).add(batch)

    def to_dict(self) -> dict[str, Any]:
        """Give the fields as plain values, for `from_dict` in another process."""
        return asdict(self)

    @classmethod
    def from_dict(cls, fields: dict[str, Any]) -> Self:
        """Read what `to_dict` gave, also when it has been JSON meanwhile."""
        batches = fields["batches"].items()
        return cls(
            **{**fields, "batches": {int(rows): BatchStatistics(**one) for rows, one in batches}}
        )

    def to_json(self, model: str, version: str) -> dict[str, Any]:
        """Give one entry of `model_stats`. Copying the inputs is part of compute_infer."""
        none = {"count": 0, "ns": 0}
        count = self.success_count
        return {
            "name": model,
            "version": version,
            "last_inference": self.last_inference_ms,
            "inference_count": count,
            "execution_count": self.execution_count,
            "inference_stats": {
                "success": {"count": count, "ns": self.success_ns},
                "fail": {"count": self.fail_count, "ns": self.fail_ns},
                "queue": {"count": count, "ns": self.queue_ns},
                "compute_input": {"count": count, "ns": 0},
                "compute_infer": {"count": count, "ns": self.infer_ns},
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
