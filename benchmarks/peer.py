"""Another model server, measured beside Hotpaddle with the same model, load and settings.

Owns what every such server must tell of itself, and the life of one deployment: a folder, a
process, and an answer that was the bare predictor's before anything is measured.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

from benchmarks.bare import Bare
from benchmarks.errors import BenchError
from benchmarks.http_server import Answer, HttpServer
from benchmarks.models import BenchModel, Floats
from benchmarks.wire import Request, difference

ENCODING: Final = "binary"


class Peer(Protocol):
    """A kind of server: how it is set up, asked and read."""

    @property
    def name(self) -> str:
        """Name it."""
        ...

    @property
    def settings(self) -> str:
        """Say what is set and what is left as it comes: a note of the report."""
        ...

    def missing(self) -> str:
        """Say why it cannot be measured here; nothing where it can."""
        ...

    def start(
        self, model: BenchModel, export: Path, folder: Path, max_batch_size: int
    ) -> HttpServer:
        """Start it with one worker process; `max_batch_size` 1 is without batching."""
        ...

    def request(self, model: BenchModel) -> Request:
        """Build the request that carries the model's sample."""
        ...

    def values(self, answer: Answer) -> Floats:
        """Read the values of an answer.

        Raises:
            ValueError, KeyError: it is not in the server's form.

        """
        ...


@dataclass(frozen=True, slots=True)
class PeerDeployment:
    """A model served by a peer, with all that a row needs."""

    peer: Peer
    model: BenchModel
    bare: Bare
    server: HttpServer
    folder: Path

    @property
    def expected(self) -> list[Floats]:
        """Give nothing: what answers a peer gives is checked before the load, not under it."""
        return []

    def request(self, encoding: str) -> Request:
        """Build the request for this model; a peer is asked in one encoding only."""
        assert encoding == ENCODING
        return self.peer.request(self.model)

    def ready(self) -> bool:
        """Tell whether it answers.

        Raises:
            OSError: it does not listen yet.
            BenchError: the answer is not the bare predictor's.

        """
        request = self.request(ENCODING)
        answer = self.server.send("POST", request.path, request.body, request.headers)
        if answer.status != 200:
            return False
        try:
            problem = difference(self.peer.values(answer), self.bare.outputs[0])
        except (ValueError, KeyError) as error:
            problem = f"cannot be read: {error!r}"
        if problem:
            raise BenchError(f"{self.peer.name}: not the bare predictor's answer: {problem}")
        return True


@contextmanager
def deploy_peer(
    peer: Peer, model: BenchModel, bare: Bare, export: Path, work: Path, max_batch_size: int
) -> Iterator[PeerDeployment]:
    """Start a peer with one model; ends it and removes the files.

    Raises:
        BenchError: it does not start, or does not answer as the bare predictor does.

    """
    folder = work / "peer"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    with peer.start(model, export, folder, max_batch_size) as server:
        deployment = PeerDeployment(peer, model, bare, server, folder)
        server.wait(deployment.ready, f"{peer.name} answers")
        yield deployment
    shutil.rmtree(folder, ignore_errors=True)
