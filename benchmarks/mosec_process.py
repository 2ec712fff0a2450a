"""mosec with one worker: `python -m benchmarks.mosec_process JSON [mosec's own options]`.

Owns the worker: the bare loop's predictor between raw bytes in and raw bytes out, which is the
cheapest form that mosec can be given. mosec starts the worker as a process of its own, which runs
this file again and finds the same command line.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any, Final

import numpy as np
from mosec import Server, Worker

from benchmarks.bare_process import Predictor
from benchmarks.models import MODELS, Floats

_WAIT_MS: Final = 1  # the least: 0 stands for the default of 10 ms


class Single(Worker):  # type: ignore[misc]  # mosec is installed for benchmarks only
    """Runs one request at a time."""

    resp_mime_type = "application/octet-stream"

    def __init__(self) -> None:
        super().__init__()
        work = _work()
        self._model = MODELS[work["model"]]
        self._shape = (-1, *self._model.shape)
        self._predictor = Predictor(Path(work["export"]))
        self.multi_examples = self.examples(work["max_batch_size"])

    def examples(self, _: int) -> list[Any]:
        """Give what mosec warms the worker up with."""
        return [self._model.sample().ravel()]

    def deserialize(self, data: bytes) -> Floats:
        """Look at a request's bytes, without a copy."""
        return np.frombuffer(data, np.float32)

    def forward(self, data: Floats) -> Floats:
        """Run one request."""
        return self._predictor.infer(data.reshape(self._shape))[0]

    def serialize(self, data: Floats) -> bytes:
        """Give an answer's bytes."""
        return data.tobytes()


class Batched(Single):
    """Runs what mosec has gathered as one batch."""

    def examples(self, most: int) -> list[Any]:
        """Give one batch of each size."""
        row = self._model.sample().ravel()
        return [[row] * size for size in range(1, most + 1)]

    def forward(self, data: list[Floats]) -> list[Floats]:  # type: ignore[override]  # mosec's form
        """Run one batch."""
        rows = np.concatenate(data) if len(data) > 1 else data[0]
        return list(self._predictor.infer(rows.reshape(self._shape))[0])


def _work() -> dict[str, Any]:
    work: dict[str, Any] = json.loads(sys.argv[1])
    return work


def main() -> None:
    """Serve until SIGTERM."""
    most = _work()["max_batch_size"]
    server = Server()
    if most > 1:
        server.append_worker(Batched, num=1, max_batch_size=most, max_wait_time=_WAIT_MS)
    else:
        server.append_worker(Single, num=1)
    server.run()


if __name__ == "__main__":
    main()
