"""A real server for tests: started as a user would, ended by its own process id.

Owns one server process, its log and calls to it. Never mocks anything. Runs in pytest's process,
which does not import paddle.
"""

from __future__ import annotations

import fcntl
import http.client
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

FRONTS = int(os.environ.get("HOTPADDLE_FRONTS", "1"))  # that servers have if a test says nothing
ROOT = Path(__file__).parent.parent
POLL_S = 0.02
FIRST_FD = 3  # of those that systemd hands over


def wait_for(
    state: Callable[[], Any], what: str, timeout_s: float = 60.0, poll_s: float = POLL_S
) -> Any:
    """Wait until `state` gives something true, and give it."""
    deadline = time.monotonic() + timeout_s
    while True:
        value = state()
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {timeout_s:g} s: {what}")
        time.sleep(poll_s)


def hand_over(fds: Sequence[int]) -> str:
    """Write the script that becomes "$@", with these descriptors as systemd gives them.

    "$0" holds their names; the process stays the one that was started.
    """
    moves = " ".join(f"{FIRST_FD + number}<&{fd}" for number, fd in enumerate(fds))
    return f'export LISTEN_FDS={len(fds)} LISTEN_FDNAMES="$0" LISTEN_PID=$$; exec "$@" {moves}'


def command_of(process: psutil.Process) -> list[str]:
    """Give a process's command; nothing of one that has ended."""
    try:
        return list(process.cmdline())
    except psutil.Error:
        return []


@dataclass(slots=True)
class Answer:
    """One HTTP answer."""

    status: int
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def error(self) -> str:
        return str(self.json()["error"])


class Repository:
    """A model repository and the right way to publish into it: rename, then pointer."""

    def __init__(self, root: Path) -> None:
        self.root = root
        root.mkdir(parents=True, exist_ok=True)

    def copy(self, model: str, version: str, source: Path) -> Path:
        """Copy a version in: under a hidden name, then renamed. Does not commit."""
        target = self.root / model / version
        hidden = self.root / model / f".{version}.tmp"
        hidden.parent.mkdir(exist_ok=True)
        shutil.copytree(source, hidden)
        if target.exists():
            shutil.rmtree(target)
        hidden.rename(target)
        return target

    def point(self, model: str, version: str) -> None:
        """Commit: replace the version pointer."""
        temporary = self.root / model / "model_version.txt.tmp"
        temporary.write_text(version)
        temporary.replace(self.root / model / "model_version.txt")

    def publish(self, model: str, version: str, source: Path) -> None:
        self.copy(model, version, source)
        self.point(model, version)

    def settings(self, model: str, text: str) -> None:
        (self.root / model).mkdir(exist_ok=True)
        (self.root / model / "model.toml").write_text(text)


class Server:
    """One `hotpaddle serve`."""

    def __init__(
        self,
        repository: Path,
        folder: Path,
        *options: str,
        environment: dict[str, str] | None = None,
        listener: socket.socket | None = None,
        admin_listener: socket.socket | None = None,
        code: Path = ROOT,
    ) -> None:
        """Start the program in `code`; listeners are handed over as systemd does (LISTEN_FDS)."""
        folder.mkdir(parents=True, exist_ok=True)
        self.repository = Repository(repository)
        self.log_path = folder / "server.log"
        self.port = 0
        given = {"http": listener, "admin": admin_listener}
        handed = {name: one for name, one in given.items() if one is not None}
        fds = [fcntl.fcntl(one, fcntl.F_DUPFD, FIRST_FD + len(given)) for one in handed.values()]
        with self.log_path.open("ab") as log:
            self.process = subprocess.Popen(
                [
                    *(["bash", "-c", hand_over(fds), ":".join(handed)] if fds else []),
                    sys.executable, "-m", "supervisor", "serve",
                    "--model-repository", str(repository), "--port", "0",
                    "--log-format", "json", "--log-level", "debug", *options,
                ],
                stderr=log, stdout=log, cwd=code, pass_fds=fds,
                env={**os.environ, "PYTHONDEVMODE": "", **(environment or {})},
            )  # fmt: skip
        for fd in fds:
            os.close(fd)
        self.psutil = psutil.Process(self.process.pid)

    # Life

    def log(self) -> str:
        return self.log_path.read_text(errors="replace")

    def log_lines(self) -> list[dict[str, Any]]:
        """Give the structured lines of the log; the last one may be half written."""
        lines = self.log().split("\n")[:-1]
        return [json.loads(line) for line in lines if line.startswith("{")]

    def logged(self, text: str) -> list[dict[str, Any]]:
        return [line for line in self.log_lines() if text in line["event"]]

    def wait_listening(self, timeout_s: float = 60.0) -> Server:
        def listening() -> bool:
            assert self.process.poll() is None, f"the server ended:\n{self.log()}"
            found = re.search(r'"url":"https?://[^"]*:(\d+)"', self.log())
            self.port = int(found[1]) if found else 0
            return bool(found)

        wait_for(listening, "the server listens", timeout_s)
        return self

    def wait_ready(self, timeout_s: float = 120.0) -> Server:
        self.wait_listening(timeout_s)

        def ready() -> bool:
            assert self.process.poll() is None, f"the server ended:\n{self.log()}"
            return self.get("/v2/health/ready").status == 200

        wait_for(ready, "the server is ready", timeout_s)
        return self

    def stop(self, timeout_s: float = 40.0) -> int:
        """SIGTERM, and wait; gives the exit status."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(timeout_s)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
                raise
        return self.process.returncode

    def kill(self) -> None:
        """End it the hard way, if it still runs."""
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()

    def children(self) -> list[psutil.Process]:
        return list(self.psutil.children(recursive=True))

    def workers(self) -> list[psutil.Process]:
        """Give the worker processes; the JSON worker is none of them."""
        return [child for child in self.children() if "gpu_worker" in command_of(child)]

    def descriptors(self) -> int:
        return int(self.psutil.num_fds())

    # Calls

    def call(
        self,
        method: str,
        path: str,
        body: bytes | None = None,
        headers: dict[str, str] | None = None,
        timeout_s: float = 60.0,
    ) -> Answer:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout_s)
        try:
            connection.request(method, path, body, headers or {})
            response = connection.getresponse()
            return Answer(response.status, dict(response.getheaders()), response.read())
        finally:
            connection.close()

    def get(self, path: str) -> Answer:
        return self.call("GET", path)

    def post(self, path: str, value: Any = None) -> Answer:
        body = b"" if value is None else json.dumps(value).encode()
        return self.call("POST", path, body)

    def infer(self, model: str, value: Any, version: str = "") -> Answer:
        where = f"/versions/{version}" if version else ""
        return self.post(f"/v2/models/{model}{where}/infer", value)

    def admin(self, model: str = "") -> Any:
        answer = self.get(f"/admin/models/{model}" if model else "/admin/models")
        assert answer.status == 200, answer
        return answer.json()

    def upgrade(self) -> dict[str, Any]:
        """Ask for an upgrade in place and wait for its end; gives the outcome."""
        return self.wait_upgraded(self.post("/admin/upgrade").json()["number"])

    def wait_upgraded(self, number: int, timeout_s: float = 60.0) -> dict[str, Any]:
        def over() -> Any:
            outcome = self.get("/admin/upgrade").json()
            ended = outcome["number"] == number and outcome["phase"] in ("done", "refused")
            return outcome if ended else None

        outcome: dict[str, Any] = wait_for(over, f"upgrade {number} has ended", timeout_s)
        return outcome

    def reload(self, wait_s: float = 60.0) -> Any:
        return self.post(f"/admin/reload?wait={wait_s:g}").json()

    # States

    def wait_serving(self, model: str, version: str, timeout_s: float = 60.0) -> Any:
        """Wait until `version` serves; gives the model's status."""

        def serving() -> Any:
            answer = self.get(f"/admin/models/{model}")
            if answer.status != 200:
                return None
            state = answer.json()
            held = state["serving"]
            return state if held and held["version"] == version and held["workers"] else None

        return wait_for(serving, f"{model} {version} serves", timeout_s)

    def wait_refused(self, model: str, version: str, timeout_s: float = 60.0) -> Any:
        """Wait until `version` is refused; gives the failure."""

        def refused() -> Any:
            failure = self.admin(model)["last_failure"]
            return failure if failure and failure["version"] == version else None

        return wait_for(refused, f"{model} {version} is refused", timeout_s)

    def states(self) -> list[str]:
        """Give the states of all workers, sorted."""
        return sorted(worker["state"] for worker in self.admin()["workers"])

    def serving_pids(self, model: str) -> list[int]:
        serving = self.admin(model)["serving"]
        return [worker["pid"] for worker in serving["workers"]] if serving else []


def mlp_request(row: list[float] | None = None, rows: int = 1) -> dict[str, Any]:
    """Build a request for the MLP test models."""
    values = row or [round(0.1 * column, 1) for column in range(16)]
    return {
        "inputs": [
            {"name": "x", "datatype": "FP32", "shape": [rows, 16], "data": values * rows},
        ]
    }
