"""mosec as it is measured: one stage, one worker process, tensors as raw bytes.

Owns how it is started and asked; `mosec_process` is its worker.
"""

from __future__ import annotations

import json
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Final

import numpy as np

from benchmarks.http_server import Answer, HttpServer, free_port
from benchmarks.models import BenchModel, Floats
from benchmarks.wire import Request

_HEADERS: Final = {"Content-Type": "application/octet-stream"}


class MosecPeer:
    """mosec, with a worker written as its documentation says."""

    name: Final = "mosec"
    settings: Final = (
        "one worker process with one math thread, the bare loop's predictor, every batch size "
        "warmed up (multi_examples), request and answer as raw bytes (numpy.frombuffer, tobytes); "
        "with batching max_wait_time is 1 ms, the least that it takes; all else as it comes"
    )

    def missing(self) -> str:
        """Say whether it is not installed."""
        return "" if find_spec("mosec") else "it is not installed (pip install -e '.[bench]')"

    def start(
        self, model: BenchModel, export: Path, folder: Path, max_batch_size: int
    ) -> HttpServer:
        """Start it; its sockets lie in `folder`."""
        port = free_port()
        work = {"model": model.name, "export": str(export), "max_batch_size": max_batch_size}
        command = [
            sys.executable, "-m", "benchmarks.mosec_process", json.dumps(work),
            "--address", "127.0.0.1", "--port", str(port), "--path", str(folder / "ipc"),
            "--log-level", "warning",
        ]  # fmt: skip
        return HttpServer(self.name, command, port, folder / "server.log")

    def request(self, model: BenchModel) -> Request:
        """Build the request: the sample's bytes and nothing else."""
        return Request("/inference", dict(_HEADERS), model.sample().tobytes())

    def values(self, answer: Answer) -> Floats:
        """Read the answer: an output's bytes and nothing else."""
        return np.frombuffer(answer.body, np.float32)
