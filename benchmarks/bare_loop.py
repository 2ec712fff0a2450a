"""The bare predictor, kept ready to be measured again and again between other measurements.

Owns the process `bare_loop_process`, which costs nothing while it waits. Never imports paddle.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Final, Self

from benchmarks.bare import BareResult, end_process, start_process
from benchmarks.errors import BenchError
from benchmarks.models import BenchModel
from supervisor.workers.environment import worker_environment

TUNED: Final = worker_environment("tuned", {})  # the allocator settings of the server's workers


class BareLoop:
    """One loaded export: `with BareLoop(model, export) as loop: loop.turn(2.0)`."""

    def __init__(
        self, model: BenchModel, export: Path, environment: Mapping[str, str] | None = None
    ) -> None:
        """Load; `environment` is added to the plain one."""
        work = {"model": model.name, "folder": str(export)}
        self._process = start_process("benchmarks.bare_loop_process", work, environment)

    def __enter__(self) -> Self:
        if self._line() != "ready":
            self.__exit__()
            raise BenchError("the bare predictor could not be loaded for turns")
        return self

    def __exit__(self, *_: object) -> None:
        end_process(self._process)

    def turn(self, seconds: float) -> BareResult:
        """Run it in a closed loop for so long, after a third of it that does not count.

        Raises:
            BenchError: the process ended.

        """
        assert self._process.stdin is not None
        self._process.stdin.write(f"{seconds}\n")
        self._process.stdin.flush()
        line = self._line()
        if not line:
            raise BenchError("the bare predictor's process ended")
        return BareResult(**json.loads(line))

    def _line(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline().strip()
