"""One model served by one server: what is measured at a time.

Owns the folder of a server's life: its repository, its log and what load generators write. The
first version is published and serves before anything is measured, and its answer is the bare
predictor's.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from benchmarks.bare import Bare
from benchmarks.errors import BenchError
from benchmarks.models import BenchModel, Floats
from benchmarks.publisher import Publisher
from benchmarks.server import Server
from benchmarks.wire import ENCODINGS, Request, build_request, check_answer

_WORKERS: Final = 2  # the one that serves and the spare


@dataclass(frozen=True, slots=True)
class Deployment:
    """A served model, with all that a measurement needs."""

    model: BenchModel
    bare: Bare
    server: Server
    publisher: Publisher
    folder: Path

    @property
    def expected(self) -> list[Floats]:
        """Give each export's answer, to check answers under load by their version."""
        return self.bare.outputs

    def request(self, encoding: str) -> Request:
        """Build the request for this model."""
        return build_request(self.model, self.model.name, encoding)

    def warm_up(self) -> None:
        """Reload until both workers have held a version.

        Raises:
            BenchError: a version does not come to serve.

        """
        for _ in range(_WORKERS):
            self.publisher.publish()
            self.server.wait_serving(self.model.name, self.publisher.version)

    def check(self, encoding: str) -> None:
        """Ask once and compare the answer with the bare predictor's.

        Raises:
            BenchError: it is an error, or another answer.

        """
        request = self.request(encoding)
        answer = self.server.send("POST", request.path, request.body, request.headers)
        what = f"{self.model.name}, {encoding}"
        if answer.status != 200:
            raise BenchError(f"{what}: {answer.status} {answer.body[:300]!r}")
        expected = self.bare.outputs[self.publisher.export_of(answer.headers["x-model-version"])]
        check_answer(answer.headers, answer.body, expected, what)


@contextmanager
def deploy(
    model: BenchModel,
    bare: Bare,
    exports: list[Path],
    work: Path,
    server_options: dict[str, str],
    model_options: dict[str, str],
) -> Iterator[Deployment]:
    """Start a server over a repository with one model; ends it and removes the files.

    Raises:
        ModelRefusedError: the server does not take the model or its settings.
        BenchError: it does not start, or does not answer as the bare predictor does.

    """
    folder = work / "deployment"
    shutil.rmtree(folder, ignore_errors=True)
    publisher = Publisher(folder / "models", model.name, exports)
    publisher.settings(model.settings(**model_options))
    publisher.publish()
    with Server(folder / "models", folder / "server.log", server_options) as server:
        server.wait_serving(model.name, publisher.version)
        deployment = Deployment(model, bare, server, publisher, folder)
        for encoding in ENCODINGS:
            deployment.check(encoding)
        yield deployment
    shutil.rmtree(folder, ignore_errors=True)
