"""The server that is measured: `hotpaddle serve`, started as a user would start it.

Owns its command line and what it says of itself.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any, Final

from benchmarks.errors import BenchError
from benchmarks.http_server import HttpServer, free_port

NAME: Final = "Hotpaddle"


class ModelRefusedError(BenchError):
    """The server does not take a model; the text is its reason."""


class Server(HttpServer):
    """One running server: `with Server(repository, log, options) as server`."""

    def __init__(self, repository: Path, log: Path, options: dict[str, str]) -> None:
        port = free_port()
        command = [
            sys.executable, "-m", "supervisor", "serve", "--log-format", "text",
            "--model-repository", str(repository), "--port", str(port),
        ]  # fmt: skip
        for name, value in options.items():
            command += [f"--{name.replace('_', '-')}", value]
        super().__init__(NAME, command, port, log)

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

        self.wait(serving, f"{model} {version} serves")

    def facts(self) -> Any:
        """Give what the server says of itself."""
        return json.loads(self.call("GET", "/v2").body)
