"""Counters of one version, in the terms of Triton's statistics extension.

Owns counts and total durations. Cheap enough to be updated per request. Runs in the supervisor.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any


@dataclass(slots=True)
class Duration:
    """How often, and how long in total, in nanoseconds."""

    count: int = 0
    ns: int = 0

    def add(self, ns: int) -> None:
        """Count one more."""
        self.count += 1
        self.ns += max(ns, 0)

    def to_json(self) -> dict[str, int]:
        """Give the form of the statistics extension."""
        return {"count": self.count, "ns": self.ns}


@dataclass(slots=True)
class VersionStatistics:
    """What one version has done since it was loaded."""

    success: Duration = field(default_factory=Duration)
    fail: Duration = field(default_factory=Duration)
    queue: Duration = field(default_factory=Duration)
    infer: Duration = field(default_factory=Duration)
    output: Duration = field(default_factory=Duration)
    last_inference_ms: int = 0

    def succeeded(self, total_ns: int, queue_ns: int, infer_ns: int, output_ns: int) -> None:
        """Count an answer."""
        self.success.add(total_ns)
        self.queue.add(queue_ns)
        self.infer.add(infer_ns)
        self.output.add(output_ns)
        self.last_inference_ms = time.time_ns() // 1_000_000

    def failed(self, total_ns: int) -> None:
        """Count an error that a worker gave, or a deadline that passed."""
        self.fail.add(total_ns)

    def to_json(self, model: str, version: str) -> dict[str, Any]:
        """Give one entry of `model_stats`. Copying the inputs is part of compute_infer."""
        none = {"count": 0, "ns": 0}
        infer, output = self.infer.to_json(), self.output.to_json()
        return {
            "name": model,
            "version": version,
            "last_inference": self.last_inference_ms,
            "inference_count": self.success.count,
            "execution_count": self.success.count,
            "inference_stats": {
                "success": self.success.to_json(),
                "fail": self.fail.to_json(),
                "queue": self.queue.to_json(),
                "compute_input": {"count": self.infer.count, "ns": 0},
                "compute_infer": infer,
                "compute_output": output,
                "cache_hit": none,
                "cache_miss": none,
            },
            "response_stats": {},
            "batch_stats": [
                {
                    "batch_size": 1,
                    "compute_input": {"count": self.infer.count, "ns": 0},
                    "compute_infer": infer,
                    "compute_output": output,
                }
            ]
            if self.success.count
            else [],
            "memory_usage": [],
        }
