"""Results of the bare predictor loop, which every other figure is divided by.

Owns the start of `bare_process` in an environment that no allocator setting of the caller's leaks
into. Never imports paddle.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from benchmarks.errors import BenchError
from benchmarks.exports import ROOT
from benchmarks.models import BenchModel, Floats

_NOT_INHERITED: Final = ("MALLOC_", "GLIBC_TUNABLES", "LD_PRELOAD")


@dataclass(frozen=True, slots=True)
class BareResult:
    """One batch size of one model in the bare loop; a row is one item of a batch."""

    batch: int
    runs: int
    rows_s: float
    p50_ms: float
    p99_ms: float
    max_ms: float
    cpu_ms_per_row: float
    system_share: float
    faults_per_row: float


@dataclass(frozen=True, slots=True)
class Bare:
    """A model's bare loop: one result per batch size, and each export's answer to the sample."""

    results: dict[int, BareResult]
    outputs: list[Floats]


def plain_environment(**more: str) -> dict[str, str]:
    """Give this process's environment without allocator settings, and with `more`."""
    kept = {
        name: value for name, value in os.environ.items() if not name.startswith(_NOT_INHERITED)
    }
    return {**kept, "GLOG_minloglevel": "2", **more}


def run_bare(
    model: BenchModel,
    folders: list[Path],
    batches: list[int],
    seconds: float,
    environment: Mapping[str, str] | None = None,
    *,
    keep_outputs: bool = True,
) -> Bare:
    """Measure the first export, and let every one answer the sample.

    Raises:
        BenchError: the process failed.

    """
    work = {
        "model": model.name,
        "folders": [str(folder) for folder in folders],
        "batches": batches,
        "seconds": seconds,
        "keep_outputs": keep_outputs,
    }
    answer = run_process("benchmarks.bare_process", work, environment)
    results = [BareResult(**result) for result in answer["results"]]
    return Bare(
        {result.batch: result for result in results},
        [np.array(values, np.float32) for values in answer["outputs"]],
    )


def start_process(
    module: str, work: Any, environment: Mapping[str, str] | None = None
) -> subprocess.Popen[str]:
    """Start one of our modules with `work` as JSON, to talk to it line by line."""
    return subprocess.Popen(
        [sys.executable, "-m", module, json.dumps(work)],
        cwd=ROOT, env=plain_environment(**(environment or {})),
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
    )  # fmt: skip


def end_process(process: subprocess.Popen[str]) -> None:
    """End what `start_process` has started, whatever it does."""
    process.kill()
    process.communicate()  # waits, and closes the pipes


def run_process(module: str, work: Any, environment: Mapping[str, str] | None = None) -> Any:
    """Run one of our modules with `work` as JSON; gives the JSON that is its last line.

    Raises:
        BenchError: the process failed.

    """
    done = subprocess.run(
        [sys.executable, "-m", module, json.dumps(work)],
        cwd=ROOT, env={**plain_environment(), **(environment or {})},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode != 0:
        raise BenchError(f"{module} ended with status {done.returncode}:\n{done.stderr[-2000:]}")
    return json.loads(done.stdout.splitlines()[-1])
