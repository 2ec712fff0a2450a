"""The program that takes over: another one, one that does not start, one that cannot go on."""

from __future__ import annotations

import json
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import Models
from tests.expected import mlp_outputs
from tests.harness import ROOT, Repository, Server, mlp_request, wait_for
from tests.load import Load

Serve = Callable[..., Server]
NO_TAKING_UP = """

async def take_up(parts, state):
    raise RuntimeError("this program takes nothing up")
"""


class Code:
    """A copy of the program, to be changed while it runs."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        for package in ("supervisor", "gpu_worker"):
            shutil.copytree(ROOT / package, folder / package, symlinks=True)

    def append(self, file: str, text: str) -> None:
        path = self.folder / file
        path.write_text(path.read_text() + text)

    def restore(self, file: str) -> None:
        shutil.copy(ROOT / file, self.folder / file)

    def release(self, version: str) -> None:
        """Make it another version."""
        path = self.folder / "supervisor/__init__.py"
        path.write_text(
            re.sub(r'__version__ = "[^"]*"', f'__version__ = "{version}"', path.read_text())
        )


@pytest.fixture
def code(tmp_path: Path) -> Code:
    return Code(tmp_path / "code")


def version_of(server: Server) -> str:
    return str(server.get("/v2").json()["version"])


def pids(server: Server) -> list[int]:
    return sorted(worker["pid"] for worker in server.admin()["workers"])


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "supervisor", *arguments],
        capture_output=True, text=True, cwd=ROOT, timeout=90, check=False,
    )  # fmt: skip


def test_another_version_takes_over(
    serve: Serve, repository: Repository, models: Models, code: Code, tmp_path: Path
) -> None:
    repository.publish("mlp", "v1", models.mlp(1))
    socket = tmp_path / "admin.sock"
    log = tmp_path / "access.log"
    server = serve(
        repository, "--admin-socket", str(socket), "--access-log", str(log), code=code.folder
    ).wait_ready()  # fmt: skip
    before, workers = version_of(server), pids(server)
    code.release("9.9.9")
    with Load(server.port, {"v1": mlp_outputs(models.mlp(1))}) as load:
        load.wait_answers(50)
        done = run("upgrade", "--url", f"unix:{socket}")
        load.wait_answers(50)
    load.seen.assert_clean()
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"upgraded from {before} to 9.9.9" in done.stdout
    assert version_of(server) == "9.9.9"
    assert pids(server) == workers
    again = run("upgrade", "--json", "--url", f"unix:{socket}")
    assert again.returncode == 0
    outcome = json.loads(again.stdout)
    assert (outcome["number"], outcome["phase"], outcome["from"]) == (2, "done", "9.9.9")
    assert outcome["pause_ms"] > 0
    assert server.stop() == 0
    noted = [json.loads(line) for line in log.read_text().splitlines()]
    assert sum(line["call"] == "infer" for line in noted) == load.seen.answers
    assert not socket.exists()


BROKEN = [  # a file, what is appended to it, and what the operator reads
    ("supervisor/parts.py", "\nraise RuntimeError('not for this host')\n", "not for this host"),
    ("supervisor/app.py", "\nthis is no Python\n", "SyntaxError"),
    ("supervisor/kept/server.py", "\nPROTOCOL = 99\n", "restart the server"),
    ("supervisor/cli.py", "\nimport os\nos._exit(7)\n", "exit status 7"),
]


def test_a_program_that_does_not_start_leaves_the_old_one_alone(
    serve: Serve, repository: Repository, models: Models, code: Code
) -> None:
    repository.publish("mlp", "v1", models.mlp(1))
    server = serve(repository, code=code.folder).wait_ready()
    workers = pids(server)
    with Load(server.port, {"v1": mlp_outputs(models.mlp(1))}) as load:
        for file, text, reason in BROKEN:
            load.wait_answers(20)
            code.append(file, text)
            done = run("upgrade", "--url", f"http://127.0.0.1:{server.port}")
            assert done.returncode == 1
            assert "not upgraded" in done.stdout
            assert reason in done.stdout
            code.restore(file)
        load.wait_answers(20)
        assert version_of(server)
        assert server.upgrade()["phase"] == "done"
        load.wait_answers(20)
    load.seen.assert_clean()
    assert pids(server) == workers


def test_settings_are_read_anew_but_for_those_that_need_a_restart(
    serve: Serve, repository: Repository, models: Models, tmp_path: Path
) -> None:
    repository.publish("mlp", "v1", models.mlp(1))
    config = tmp_path / "hotpaddle.toml"
    config.write_text("arena_mb = 300\n")
    server = serve(repository, "--config", str(config)).wait_ready()
    config.write_text("arena_mb = 310\ndevice = 'cpu,cpu'\n")
    outcome = server.upgrade()
    assert outcome["phase"] == "refused"
    assert "device, arena_mb: changing that takes a restart" in outcome["reason"]
    config.write_text("arena_mb = 'large'\n")
    outcome = server.upgrade()
    assert outcome["phase"] == "refused"
    assert "arena_mb" in outcome["reason"]
    config.write_text("arena_mb = 300\nmax_requests_per_connection = 1\n")
    assert server.infer("mlp", mlp_request()).headers.get("Connection") is None
    assert server.upgrade()["phase"] == "done"
    assert server.infer("mlp", mlp_request()).headers["Connection"] == "close"


UNUSABLE = [  # settings with which no server would start, and what the operator reads
    ("access_log = '/nonexistent/access.log'", "access_log"),
    ("admin_token_file = '/nonexistent/token'", "admin_token_file"),
    ("admin_socket = '/nonexistent/admin.sock'", "admin_socket"),
    ("tls_certificate = '/nonexistent/cert.pem'\ntls_key = '/nonexistent/key.pem'", "tls_"),
]


def test_settings_with_which_no_server_would_start_are_refused(
    serve: Serve, repository: Repository, models: Models, tmp_path: Path
) -> None:
    repository.publish("mlp", "v1", models.mlp(1))
    config = tmp_path / "hotpaddle.toml"
    config.write_text("")
    server = serve(repository, "--config", str(config)).wait_ready()
    for setting, reason in UNUSABLE:
        config.write_text(f"{setting}\n")
        outcome = server.upgrade()
        assert outcome["phase"] == "refused"
        assert reason in outcome["reason"]
        assert server.infer("mlp", mlp_request()).status == 200


def test_a_program_that_cannot_go_on_begins_anew_on_the_same_sockets(
    serve: Serve, repository: Repository, models: Models, code: Code
) -> None:
    repository.publish("mlp", "v1", models.mlp(1))
    server = serve(repository, code=code.folder).wait_ready()
    before, children = pids(server), server.children()
    code.append("supervisor/upgrade/taking_up.py", NO_TAKING_UP)
    outcome = server.upgrade()  # who connects meanwhile waits
    assert outcome["phase"] == "refused"
    assert "began anew" in outcome["reason"]
    assert server.infer("mlp", mlp_request()).status == 200
    assert not set(before) & set(pids(server))
    wait_for(lambda: not any(child.is_running() for child in children), "the old ones have gone")
    assert any("takes nothing up" in line["reason"] for line in server.logged("beginning anew"))


def test_a_server_that_has_not_come_up_is_not_upgraded(
    serve: Serve, repository: Repository, models: Models
) -> None:
    repository.publish("mlp", "v1", models.mlp(1))
    server = serve(repository).wait_listening()
    server.process.send_signal(signal.SIGUSR2)
    wait_for(lambda: server.logged("no upgrade was begun"), "it was heard")
    server.wait_ready()
    assert server.upgrade()["number"] == 1


def test_one_upgrade_at_a_time(serve: Serve, repository: Repository, models: Models) -> None:
    repository.publish("mlp", "v1", models.mlp(1))
    server = serve(repository).wait_ready()
    assert server.get("/admin/upgrade").json()["phase"] == "none"
    first = server.post("/admin/upgrade")
    assert (first.status, first.json()) == (202, {"number": 1})
    second = server.post("/admin/upgrade")
    assert second.status == 503
    assert "under way" in second.error
    assert server.wait_upgraded(1)["phase"] == "done"
