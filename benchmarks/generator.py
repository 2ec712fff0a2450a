"""The own load generator as the benchmark's own process sees it.

Owns the generator's process, the files that it is given and the records that it leaves.
"""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from benchmarks.bare import plain_environment
from benchmarks.errors import BenchError
from benchmarks.exports import ROOT
from benchmarks.load_result import LoadResult
from benchmarks.models import Floats
from benchmarks.percentiles import Latencies, corrected
from benchmarks.records import Records, good, read_records
from benchmarks.wire import Request

_OVERTIME_S: Final = 60.0


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one run of the generator left; times are on the monotonic clock."""

    started: float
    seconds: float
    records: Records
    versions: list[str]
    errors: dict[str, int]
    wrong: dict[str, int]
    checked: int
    cpu_s: float
    late_ms: Latencies  # open loop: by how much the generator itself was late to send

    @property
    def problems(self) -> dict[str, int]:
        """Give everything that was no good answer, by kind."""
        return {**self.errors, **{f"wrong: {what}": n for what, n in self.wrong.items()}}

    def result(self, concurrency: int, rate: float = 0.0) -> LoadResult:
        """Sum up a whole run; percentiles of a closed loop corrected as wrk corrects its own."""
        answers = good(self.records)
        inside = answers[answers["at"] < self.started + self.seconds]
        interval = 0.0 if rate else 1000 * self.seconds * concurrency / max(1, len(inside))
        latencies = Latencies.of(corrected(inside["ms"], interval))
        return LoadResult(
            "own", len(inside), self.seconds, latencies.p50_ms, latencies.p99_ms,
            latencies.max_ms, self.cpu_s, self.problems,
        )  # fmt: skip


class Generator:
    """One run: started by the constructor, gathered by `outcome`."""

    def __init__(
        self,
        port: int,
        request: Request,
        folder: Path,
        *,
        concurrency: int,
        seconds: float,
        rate: float = 0.0,
        expected: list[Floats] | None = None,
    ) -> None:
        """Start it; `rate` 0 is a closed loop. Gives back once the first request has gone.

        Raises:
            BenchError: it did not start.

        """
        message = folder / "request.bin"
        message.write_bytes(request.http(port))
        self.records = folder / "records.bin"
        paths = []
        for number, values in enumerate(expected or []):
            paths.append(str(folder / f"expected{number}.npy"))
            np.save(paths[-1], values)
        work = {
            "port": port,
            "request": str(message),
            "records": str(self.records),
            "expected": paths,
            "concurrency": concurrency,
            "seconds": seconds,
            "rate": rate,
        }
        self._seconds = seconds
        self._process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.generator_process", json.dumps(work)],
            cwd=ROOT, env=plain_environment(), stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        assert self._process.stdout is not None
        first = self._process.stdout.readline()
        if not first:
            self._process.wait()
            raise BenchError("the load generator did not start; its reason stands above")
        self.started: float = json.loads(first)["started"]

    def running(self) -> bool:
        """Tell whether it still sends."""
        return self._process.poll() is None

    def outcome(self) -> Outcome:
        """Wait for the end and gather what it left.

        Raises:
            BenchError: it failed or does not end.

        """
        try:
            text, _ = self._process.communicate(timeout=self._seconds + _OVERTIME_S)
        except subprocess.TimeoutExpired:
            self.stop()
            raise BenchError("the load generator does not end") from None
        if self._process.returncode != 0:
            raise BenchError("the load generator failed; its reason stands above")
        found: dict[str, Any] = json.loads(text.splitlines()[-1])
        late = Latencies(**found.pop("late_ms"))
        return Outcome(records=read_records(self.records), late_ms=late, **found)

    def stop(self) -> None:
        """End it, whatever it does."""
        self._process.kill()
        self._process.wait()
