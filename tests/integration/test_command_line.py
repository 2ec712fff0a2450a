"""The command `hotpaddle` against a running server, and what it says when it cannot run."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests import model_faults
from tests.conftest import Models
from tests.harness import ROOT, Repository, Server

COMMANDS = ("serve", "status", "reload", "rollback", "manifest", "install-systemd", "demo")


def hotpaddle(
    *arguments: str, url: str = "http://127.0.0.1:1", **environment: str
) -> subprocess.CompletedProcess[str]:
    """Run the command to its end."""
    return subprocess.run(
        [sys.executable, "-m", "supervisor", *arguments],
        env={**os.environ, "HOTPADDLE_URL": url, **environment},
        capture_output=True, text=True, cwd=ROOT, timeout=60, check=False,
    )  # fmt: skip


@pytest.fixture(scope="module")
def server(share: Callable[..., Server], shared_repository: Repository, models: Models) -> Server:
    shared_repository.publish("mlp", "v1", models.mlp(1))
    return share()


@pytest.fixture(scope="module")
def url(server: Server) -> str:
    return f"http://127.0.0.1:{server.port}"


def test_status_for_people(url: str, server: Server) -> None:
    done = hotpaddle("status", url=url)
    assert (done.returncode, done.stderr) == (0, "")
    first, *_ = done.stdout.splitlines()
    assert first.split()[2:] == ["pid", str(server.process.pid), "ready"]
    for word in ("MODEL", "SERVING", "mlp", "v", "WORKER", "cpu"):
        assert word in done.stdout


def test_status_for_programs(url: str) -> None:
    done = hotpaddle("status", "--json", "--url", url)
    assert done.returncode == 0
    assert json.loads(done.stdout)["ready"] is True


def test_reload_and_rollback(url: str, server: Server, models: Models) -> None:
    done = hotpaddle("reload", url=url)
    assert (done.returncode, "accepted" in done.stdout) == (0, True)
    server.repository.publish("mlp", "v2", models.mlp(2))
    done = hotpaddle("reload", "--wait", url=url)
    assert (done.returncode, "mlp: " in done.stdout, "v2" in done.stdout) == (0, True, True)
    server.wait_serving("mlp", "v2")

    bad = server.repository.copy("mlp", "v3", models.mlp(3))
    model_faults.truncate_params(bad)
    server.repository.point("mlp", "v3")
    done = hotpaddle("reload", "--wait", "60", url=url)
    assert done.returncode == 1
    assert re.search(r"^mlp: refused v3\b.*: load: the parameter file ends", done.stdout), (
        done.stdout
    )
    done = hotpaddle("reload", "--wait", "--json", url=url)
    verdict = json.loads(done.stdout)["verdicts"]["mlp"]
    assert (done.returncode, verdict["outcome"], verdict["version"]) == (1, "refused", "v3")
    status = hotpaddle("status", url=url)
    assert (status.returncode, "mlp: v3 FAILED at" in status.stdout) == (0, True)

    server.repository.publish("mlp", "v4", models.mlp(4))
    server.wait_serving("mlp", "v4")
    done = hotpaddle("rollback", "mlp", url=url)
    assert done.returncode == 0
    assert done.stdout.startswith("mlp: v2 serves, generation ")
    done = hotpaddle("rollback", "mlp", "--json", url=url)
    assert (done.returncode, json.loads(done.stdout)["version"]) == (0, "v4")
    done = hotpaddle("rollback", "nobody", url=url)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "hotpaddle: model 'nobody' is not in the repository\n"


def test_manifest(server: Server, models: Models) -> None:
    good = server.repository.copy("mlp", "m1", models.mlp(1))
    done = hotpaddle("manifest", str(good))
    assert (done.returncode, done.stdout) == (0, f"{good / 'manifest.json'}\n")
    server.repository.point("mlp", "m1")
    server.wait_serving("mlp", "m1")

    bad = server.repository.copy("mlp", "m2", models.mlp(2))
    assert hotpaddle("manifest", str(bad)).returncode == 0
    params = bad / "inference.pdiparams"
    data = bytearray(params.read_bytes())
    data[-1] ^= 1
    params.write_bytes(data)
    server.repository.point("mlp", "m2")
    failure = server.wait_refused("mlp", "m2")
    assert failure["state"] == "REJECTED"
    assert "inference.pdiparams has SHA-256" in failure["reason"]
    assert "the file was changed or copied badly" in failure["reason"]
    assert server.admin("mlp")["serving"]["version"] == "m1"


def test_a_manifest_of_nothing(tmp_path: Path) -> None:
    missing = tmp_path / "missing"
    done = hotpaddle("manifest", str(missing))
    assert (done.returncode, done.stderr) == (
        1, f"hotpaddle: {missing}: No such file or directory\n",
    )  # fmt: skip


@pytest.mark.parametrize("arguments", [("status",), ("reload", "--wait"), ("rollback", "mlp")])
def test_no_server_answers(arguments: tuple[str, ...]) -> None:
    done = hotpaddle(*arguments)
    assert (done.returncode, done.stdout) == (1, "")
    assert "no Hotpaddle answers at http://127.0.0.1:1" in done.stderr
    assert "--url or HOTPADDLE_URL" in done.stderr
    assert "Traceback" not in done.stderr


def test_an_address_must_be_one() -> None:
    done = hotpaddle("status", "--url", "localhost:8000")
    assert done.returncode == 1
    assert "--url 'localhost:8000' must start with http:// or https://" in done.stderr


@pytest.mark.parametrize("command", COMMANDS)
def test_help(command: str) -> None:
    done = hotpaddle(command, "--help")
    assert (done.returncode, done.stderr) == (0, "")
    assert "usage: hotpaddle" in done.stdout


def test_help_lists_the_commands() -> None:
    done = hotpaddle("--help")
    assert done.returncode == 0
    assert all(command in done.stdout for command in COMMANDS)
    assert hotpaddle("--version").stdout.startswith("hotpaddle ")
    assert hotpaddle().returncode == 2
    assert hotpaddle("unknown").returncode == 2


# Options or environment or file, and what is said of them.
SETTINGS: dict[str, tuple[list[str], dict[str, str], str | None, list[str]]] = {
    "text for a number": (["--port", "http"], {}, None, ["command line: port = 'http'", "from 0"]),
    "too large": (["--port", "65536"], {}, None, ["port = '65536'", "0 to 65535"]),
    "too small": (["--max-request-mb", "0"], {}, None, ["max_request_mb = '0'", "from 1 to 4096"]),
    "fraction": (["--queue-limit", "1.5"], {}, None, ["queue_limit = '1.5'", "a whole number"]),
    "no choice": (["--watch", "maybe"], {}, None, ["watch = 'maybe'", "auto, inotify, poll, off"]),
    "device": (["--device", "tpu:0"], {}, None, ["device = 'tpu:0'", "must be cpu, gpu:N"]),
    "device twice": (["--device", "gpu:0,gpu:0"], {}, None, ["names a GPU twice"]),
    "two settings": (["--arena-mb", "8"], {}, None, ["arena_mb = 8", "three times max_request_mb"]),
    "no URL": (["--trace-endpoint", "c:4318"], {}, None, ["trace_endpoint = 'c:4318'", "http://"]),
    "environment": ([], {"HOTPADDLE_PORT": "-1"}, None, ["environment: port = '-1'", "65535"]),
    "environment unknown": ([], {"HOTPADDLE_PROT": "1"}, None, ["'HOTPADDLE_PROT'", "known are"]),
    "file": ([], {}, "port = true", ["port = True", "0 to 65535"]),
    "file unknown": ([], {}, "prot = 1", ["unknown setting 'prot'", "known are access_log"]),
    "file is not TOML": ([], {}, "port: 1", ["is not TOML"]),
    "no file": (["--config", "/nonexistent/x.toml"], {}, None, ["/nonexistent/x.toml: cannot be"]),
}  # fmt: skip


@pytest.mark.parametrize(
    ("options", "environment", "file", "said"), SETTINGS.values(), ids=list(SETTINGS)
)
def test_bad_settings_are_named(
    options: list[str],
    environment: dict[str, str],
    file: str | None,
    said: list[str],
    tmp_path: Path,
) -> None:
    if file is not None:
        path = tmp_path / "hotpaddle.toml"
        path.write_text(file)
        options = ["--config", str(path)]
    done = hotpaddle("serve", "--model-repository", str(tmp_path), *options, **environment)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("hotpaddle: ")
    assert len(done.stderr.splitlines()) == 1
    for words in said:
        assert words in done.stderr


def test_a_repository_must_be_given() -> None:
    done = hotpaddle("serve")
    assert done.returncode == 2
    assert "model_repository is not set: give --model-repository DIR" in done.stderr


def test_a_port_that_is_taken_is_told(server: Server, tmp_path: Path) -> None:
    done = hotpaddle("serve", "--model-repository", str(tmp_path), "--port", str(server.port))
    assert done.returncode == 2
    assert f"cannot listen on 127.0.0.1:{server.port}" in done.stderr.splitlines()[-1]
