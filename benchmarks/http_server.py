"""One server process that speaks HTTP, whichever server it is.

Owns the process, its log file and calls to it. Ends what it started and nothing else. Never says
what is started, nor how: `server` does for Hotpaddle, the peers do for themselves.
"""

from __future__ import annotations

import http.client
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self, TypeVar

from benchmarks.bare import plain_environment
from benchmarks.errors import BenchError
from benchmarks.exports import ROOT
from benchmarks.process_cost import ProcessTree

_POLL_S: Final = 0.05
_READY_S: Final = 120.0
_STOP_S: Final = 40.0
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Answer:
    """One HTTP answer; header names in lower case."""

    status: int
    headers: dict[str, str]
    body: bytes


def free_port() -> int:
    """Give a TCP port that nothing listens on right now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class HttpServer:
    """One running server, ended when its context is left."""

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        port: int,
        log: Path,
        environment: Mapping[str, str] | None = None,
        folder: Path = ROOT,
    ) -> None:
        """Start it in `folder`; `environment` is added to the plain one."""
        self.name = name
        self.port = port
        self._log = log
        with log.open("ab") as output:
            self._process = subprocess.Popen(
                command, cwd=folder, env=plain_environment(**(environment or {})),
                stdin=subprocess.DEVNULL, stdout=output, stderr=output,
            )  # fmt: skip
        self.tree = ProcessTree(self._process.pid)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
            try:
                self._process.wait(_STOP_S)
            except subprocess.TimeoutExpired:
                self.tree.kill()
                self._process.wait()

    def call(self, method: str, path: str, body: bytes = b"", **headers: str) -> Answer:
        """Send one request on a connection of its own."""
        return self.send(method, path, body, headers)

    def send(self, method: str, path: str, body: bytes, headers: dict[str, str]) -> Answer:
        """Send one request on a connection of its own."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        try:
            connection.request(method, path, body, headers)
            response = connection.getresponse()
            names = {name.lower(): value for name, value in response.getheaders()}
            return Answer(response.status, names, response.read())
        finally:
            connection.close()

    def wait(self, state: Callable[[], T], what: str) -> T:
        """Wait until `state` gives something, and give it; an OSError means not yet.

        Raises:
            BenchError: the server ended, or it takes too long.

        """
        deadline = time.monotonic() + _READY_S
        while time.monotonic() < deadline:
            if self._process.poll() is not None:
                raise BenchError(f"{self.name} ended ({self._process.returncode}):\n{self._tail()}")
            try:
                value = state()
            except OSError:  # it does not listen yet
                value = None
            if value:
                return value
            time.sleep(_POLL_S)
        raise BenchError(f"not within {_READY_S:g} s: {what}\n{self._tail()}")

    def _tail(self) -> str:
        lines = self._log.read_text(encoding="utf-8", errors="replace").splitlines()
        return "\n".join(lines[-12:])
