"""The server that is measured: `hotpaddle serve`, started as a user would start it.

Owns one process, its log file and calls to it. Ends what it started and nothing else.
"""

from __future__ import annotations

import http.client
import json
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Self, TypeVar

from benchmarks.bare import plain_environment
from benchmarks.errors import BenchError
from benchmarks.exports import ROOT
from benchmarks.process_cost import ProcessTree

_POLL_S: Final = 0.05
_READY_S: Final = 120.0
_STOP_S: Final = 40.0
T = TypeVar("T")


class ModelRefusedError(BenchError):
    """The server does not take a model; the text is its reason."""


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


class Server:
    """One running server: `with Server(repository, log, options) as server`."""

    def __init__(self, repository: Path, log: Path, options: dict[str, str]) -> None:
        self.port = free_port()
        self._log = log
        command = [
            sys.executable, "-m", "supervisor", "serve", "--log-format", "text",
            "--model-repository", str(repository), "--port", str(self.port),
        ]  # fmt: skip
        for name, value in options.items():
            command += [f"--{name.replace('_', '-')}", value]
        with log.open("ab") as output:
            self._process = subprocess.Popen(
                command, cwd=ROOT, env=plain_environment(), stdin=subprocess.DEVNULL,
                stdout=output, stderr=output,
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
                self._process.kill()
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

    def wait_serving(self, model: str, version: str) -> None:
        """Wait until a version serves.

        Raises:
            ModelRefusedError: the server refuses it.
            BenchError: the server ended, or it takes too long.

        """

        def serving() -> bool:
            answer = self.call("GET", f"/admin/models/{model}")
            if answer.status != 200:
                return False
            state = json.loads(answer.body)
            held, failure = state["serving"], state["last_failure"]
            if failure is not None and failure["version"] == version:
                raise ModelRefusedError(str(failure["reason"]))
            return bool(held and held["version"] == version and held["workers"])

        self._wait(serving, f"{model} {version} serves")

    def _wait(self, state: Callable[[], T], what: str) -> T:
        deadline = time.monotonic() + _READY_S
        while time.monotonic() < deadline:
            if self._process.poll() is not None:
                raise BenchError(f"the server ended ({self._process.returncode}):\n{self._tail()}")
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

    def facts(self) -> Any:
        """Give what the server says of itself."""
        return json.loads(self.call("GET", "/v2").body)
