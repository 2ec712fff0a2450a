"""Who may call: the operators' socket, tokens, loopback; with one front and with two."""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import psutil
import pytest

from tests.conftest import Models
from tests.harness import ROOT, Answer, Repository, Server, mlp_request, wait_for

Serve = Callable[..., Server]
CONNECTIONS = 12  # enough for the kernel to give some to each of two fronts


@pytest.fixture
def folder() -> Iterator[Path]:
    with TemporaryDirectory() as name:  # a socket's path may have 107 bytes
        yield Path(name)


@pytest.fixture(params=["1", "2"], ids=["one front", "two fronts"])
def server(
    request: pytest.FixtureRequest, serve: Serve, repository: Repository, models: Models,
    folder: Path,
) -> Server:  # fmt: skip
    for name in ("admin", "inference"):
        (folder / name).touch(0o600)
        (folder / name).write_text(f"{name}-token\n")
    repository.publish("mlp", "v1", models.mlp(1))
    started = serve(
        repository, "--fronts", request.param, "--admin-from-loopback", "false",
        "--admin-socket", str(folder / "admin.sock"), "--admin-socket-mode", "0600",
        "--admin-token-file", str(folder / "admin"),
        "--inference-token-file", str(folder / "inference"),
    ).wait_ready()  # fmt: skip
    wait_for(lambda: all(front["listening"] for front in fronts(started)), "the fronts listen")
    return started


def fronts(server: Server) -> list[dict[str, object]]:
    listed: list[dict[str, object]] = call(server, "/admin/models", "admin-token").json()["fronts"]
    return listed


def call(server: Server, path: str, token: str = "", *, method: str = "GET") -> Answer:
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    body = json.dumps(mlp_request()).encode() if path.endswith("/infer") else None
    return server.call("POST" if body else method, path, body, headers)


def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "supervisor", *arguments],
        cwd=ROOT, capture_output=True, text=True, check=False, timeout=60,
        env={**os.environ, **environment},
    )  # fmt: skip


CALLS = [
    ("/v2/health/ready", "GET", (200, 200, 200, 200)),
    ("/metrics", "GET", (200, 200, 200, 200)),
    ("/v2/models/mlp", "GET", (401, 403, 200, 200)),
    ("/v2/models/mlp/infer", "POST", (401, 403, 200, 200)),
    ("/v2/repository/index", "POST", (401, 403, 403, 200)),
    ("/v2/repository/models/mlp/load", "POST", (401, 403, 403, 200)),
    ("/admin/models", "GET", (401, 403, 403, 200)),
    ("/admin/reload", "POST", (401, 403, 403, 202)),
]


def test_each_call_takes_the_tokens_that_are_meant_for_it(server: Server) -> None:
    for path, method, statuses in CALLS:
        tokens = ("", "nonsense", "inference-token", "admin-token")
        for _ in range(3):
            found = tuple(call(server, path, token, method=method).status for token in tokens)
            assert found == statuses, path
    refused = call(server, "/admin/models")
    assert refused.headers["WWW-Authenticate"] == "Bearer"
    assert "'Authorization: Bearer TOKEN'" in refused.error


def test_the_operators_socket_allows_everything(server: Server, folder: Path) -> None:
    path = folder / "admin.sock"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    url = f"unix:{path}"
    status = run("status", "--json", "--url", url)
    assert json.loads(status.stdout)["ready"] is True, status.stderr
    assert run("reload", "--wait", HOTPADDLE_URL=url).returncode == 0
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(path))
        body = json.dumps(mlp_request()).encode()
        head = "POST /v2/models/mlp/infer HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
        client.sendall(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
        answer = client.makefile("rb").read()
    assert answer.startswith(b"HTTP/1.1 200 OK\r\n")
    assert server.stop() == 0
    assert not path.exists()


def test_commands_take_a_token_file(server: Server, folder: Path) -> None:
    url = f"http://127.0.0.1:{server.port}"
    refused = run("status", "--url", url)
    assert refused.returncode == 1
    assert "give the token with --token-file" in refused.stderr
    for done in (
        run("status", "--url", url, "--token-file", str(folder / "admin")),
        run("status", "--url", url, HOTPADDLE_TOKEN_FILE=str(folder / "admin")),
    ):
        assert done.returncode == 0, done.stderr
    wrong = run("rollback", "mlp", "--url", url, "--token-file", str(folder / "inference"))
    assert (wrong.returncode, "the token is for inferences" in wrong.stderr) == (1, True)


def test_new_tokens_count_after_sighup_on_open_connections(server: Server, folder: Path) -> None:
    body = json.dumps(mlp_request()).encode()
    opened = [
        http.client.HTTPConnection("127.0.0.1", server.port, timeout=30) for _ in range(CONNECTIONS)
    ]

    def statuses(token: str) -> set[int]:
        found = set()
        for connection in opened:
            headers = {"Authorization": f"Bearer {token}"}
            connection.request("POST", "/v2/models/mlp/infer", body, headers)
            response = connection.getresponse()
            response.read()
            found.add(response.status)
        return found

    assert statuses("inference-token") == {200}
    (folder / "inference").write_text("another-token")
    server.process.send_signal(signal.SIGHUP)
    wait_for(lambda: statuses("another-token") == {200}, "the new token counts")
    assert statuses("inference-token") == {403}
    (folder / "inference").write_text("no token")
    server.process.send_signal(signal.SIGHUP)
    wait_for(lambda: server.logged("the tokens stay as they were"), "a complaint")
    assert statuses("another-token") == {200}
    for connection in opened:
        connection.close()


@pytest.mark.parametrize("count", ["1", "2"])
def test_who_comes_from_elsewhere_is_no_operator(
    serve: Serve, repository: Repository, models: Models, count: str
) -> None:
    """Further fronts tell the supervisor whom they pass on."""
    own = [
        one.address
        for addresses in psutil.net_if_addrs().values()
        for one in addresses
        if one.family is socket.AF_INET and not one.address.startswith("127.")
    ]
    if not own:
        pytest.skip("this host has loopback addresses only")
    repository.publish("mlp", "v1", models.mlp(1))
    server = serve(repository, "--fronts", count, "--host", "0.0.0.0").wait_ready()
    wait_for(lambda: all(front["listening"] for front in server.admin()["fronts"]), "all listen")
    for host, status in ((own[0], 401), ("127.0.0.1", 200)):
        for _ in range(CONNECTIONS):
            connection = http.client.HTTPConnection(host, server.port, timeout=30)
            connection.request("GET", "/admin/models")
            response = connection.getresponse()
            assert response.status == status, host
            response.read()
            connection.request("POST", "/v2/models/mlp/infer", json.dumps(mlp_request()))
            response = connection.getresponse()
            assert response.status == 200
            response.read()
            connection.close()


@pytest.mark.parametrize("count", ["1", "2"])
def test_limits_and_the_access_log_hold_in_each_front(
    serve: Serve, repository: Repository, models: Models, tmp_path: Path, count: str
) -> None:
    repository.publish("mlp", "v1", models.mlp(1))
    path = tmp_path / "access.log"
    server = serve(
        repository, "--fronts", count, "--access-log", str(path),
        "--head-timeout-ms", "300", "--max-requests-per-connection", "2",
    ).wait_ready()  # fmt: skip
    wait_for(lambda: all(front["listening"] for front in server.admin()["fronts"]), "all listen")
    slow = [socket.create_connection(("127.0.0.1", server.port), 30) for _ in range(CONNECTIONS)]
    for at, one in enumerate(slow):
        one.sendall([b"GET /v2/hea", b"POST /v2/models/mlp/in"][at % 2])
    for one in slow:
        with one, one.makefile("rb") as answer:
            assert answer.readline() == b"HTTP/1.1 408 Request Timeout\r\n"
            answer.read()  # to the end
    for _ in range(CONNECTIONS):
        connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)
        for close in (None, "close"):
            connection.request("POST", "/v2/models/mlp/infer", json.dumps(mlp_request()))
            response = connection.getresponse()
            assert (response.status, response.headers["Connection"]) == (200, close)
            response.read()
        connection.close()

    def inferences() -> int:
        lines = [json.loads(line) for line in path.read_text().splitlines()]
        found = [
            line for line in lines
            if (line["call"], line["status"], line["version"]) == ("infer", 200, "v1")
        ]  # fmt: skip
        return len(found)

    wait_for(lambda: inferences() == 2 * CONNECTIONS, "a line for each")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--admin-token-file", "/nowhere/token"), "admin_token_file = '/nowhere/token': cannot"),
        (("--admin-socket", "/nowhere/socket"), "admin_socket = '/nowhere/socket': cannot listen"),
        (("--admin-socket-mode", "rw"), "admin_socket_mode = 'rw': must be three octal digits"),
    ],
)
def test_what_cannot_be_used_is_refused_at_the_start(
    options: tuple[str, str], message: str, tmp_path: Path
) -> None:
    done = run("serve", "--model-repository", str(tmp_path), "--port", "0", *options)
    assert done.returncode == 2
    assert message in done.stderr
