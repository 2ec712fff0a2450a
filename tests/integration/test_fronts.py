"""Several fronts on one port: each answers by itself, together they are one server."""

from __future__ import annotations

import http.client
import json
import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

import psutil
import pytest

from tests.conftest import Models
from tests.harness import ROOT, Repository, Server, mlp_request, wait_for

Serve = Callable[..., Server]


@pytest.fixture
def server(serve: Serve, repository: Repository, models: Models) -> Server:
    repository.publish("mlp", "v1", models.mlp(1))
    server = serve(repository, "--fronts", "3").wait_ready()
    wait_for(lambda: all(front["listening"] for front in server.admin()["fronts"]), "three fronts")
    return server


@contextmanager
def connections(server: Server, count: int) -> Iterator[list[http.client.HTTPConnection]]:
    with ExitStack() as stack:
        opened = []
        for _ in range(count):
            one = http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)
            stack.callback(one.close)
            one.connect()
            opened.append(one)
        yield opened


def pids(server: Server) -> list[int]:
    return [server.process.pid, *(front["pid"] for front in server.admin()["fronts"])]


def peers(pid: int, port: int) -> set[int]:
    """List the client ports of the connections that a process serves."""
    return {
        one.raddr.port
        for one in psutil.Process(pid).net_connections("tcp")
        if one.status == psutil.CONN_ESTABLISHED and one.laddr.port == port
    }


def infer(
    connection: http.client.HTTPConnection, body: bytes | None = None
) -> http.client.HTTPResponse:
    connection.request("POST", "/v2/models/mlp/infer", body or json.dumps(mlp_request()).encode())
    return connection.getresponse()


def lent(server: Server) -> int:
    state = server.admin()
    arenas = [state["arena"], *(front["arena"] for front in state["fronts"])]
    return sum(arena["lent_slots"] for arena in arenas)


def test_each_front_answers_what_the_supervisor_would(server: Server) -> None:
    with connections(server, 48) as opened:
        answers = set()
        for connection in opened:
            response = infer(connection)
            answers.add((response.status, response.headers["X-Model-Version"], response.read()))
        served = [peers(pid, server.port) for pid in pids(server)]
    assert len(served) == 3
    assert all(served), "the kernel gave each front some of 48 connections"
    assert sum(len(ports) for ports in served) >= 48
    assert len(answers) == 1
    assert next(iter(answers))[0] == 200


def test_counts_are_those_of_all_fronts(server: Server) -> None:
    with connections(server, 40) as opened:
        for connection in opened:
            assert infer(connection).read()
        for connection in opened[:20]:
            response = infer(connection, b'{"inputs": []}')
            assert response.status == 400, response.read()
            response.read()
    state = server.admin("mlp")
    assert state["serving"]["requests"] == 40
    assert state["serving"]["workers"][0]["answered"] == 40
    assert state["queued"] == 0
    stats = server.get("/v2/models/mlp/stats").json()["model_stats"][0]
    assert (stats["inference_count"], stats["execution_count"]) == (40, 40)
    assert stats["inference_stats"]["success"]["count"] == 40
    assert [batch["batch_size"] for batch in stats["batch_stats"]] == [1]


@pytest.mark.parametrize("path", ["/v2/health/ready", "/v2/models/mlp", "/admin/models/mlp"])
def test_what_is_no_inference_is_answered_on_every_connection(server: Server, path: str) -> None:
    with connections(server, 24) as opened:
        for connection in opened:
            connection.request("GET", path)
            response = connection.getresponse()
            assert response.status == 200
            assert response.read()
            answer = infer(connection)  # the same connection takes the short way again
            assert answer.status == 200
            answer.read()


def test_bodies_that_only_the_supervisor_reads(server: Server) -> None:
    body = json.dumps(mlp_request()).encode()
    with connections(server, 24) as opened:
        for connection in opened:
            connection.request(
                "POST", "/v2/models/mlp/infer", iter([body[:50], body[50:]]), encode_chunked=True,
                headers={"Transfer-Encoding": "chunked"},
            )  # fmt: skip
            response = connection.getresponse()
            assert (response.status, response.headers["X-Model-Version"]) == (200, "v1")
            response.read()


def test_an_unknown_model_and_a_version_that_is_not_loaded(server: Server) -> None:
    for _ in range(12):
        assert server.infer("nothing", mlp_request()).status == 404
        answer = server.infer("mlp", mlp_request(), "v9")
        assert (answer.status, "v9" in answer.error) == (404, True)


def test_status_shows_the_fronts(server: Server) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "supervisor", "status", "--url", f"http://127.0.0.1:{server.port}"],
        cwd=ROOT, capture_output=True, text=True, check=True,
    )  # fmt: skip
    for pid in pids(server)[1:]:
        assert str(pid) in done.stdout


def test_models_that_come_and_go_are_known_to_all(server: Server, models: Models) -> None:
    server.repository.publish("other", "v1", models.mlp(2))
    server.wait_serving("other", "v1")
    for _ in range(12):
        assert server.infer("other", mlp_request()).status == 200
    assert server.post("/v2/repository/models/other/unload").status == 200
    for _ in range(12):
        answer = server.infer("other", mlp_request())
        assert (answer.status, "unloaded" in answer.error) == (503, True)
    assert server.post("/v2/repository/models/other/load").status == 200
    for _ in range(12):
        assert server.infer("other", mlp_request()).headers["X-Model-Generation"] == "2"


def test_once_an_unload_is_answered_no_front_answers_for_the_model(server: Server) -> None:
    body = json.dumps(mlp_request()).encode()
    with connections(server, 12) as opened:
        for _ in range(5):
            wait_for(lambda: {_status(one, body) for one in opened} == {200}, "it serves")
            assert server.post("/v2/repository/models/mlp/unload", {}).status == 200
            assert {_status(one, body) for one in opened} == {503}
            assert server.post("/v2/repository/models/mlp/load", {}).status == 200


def _status(connection: http.client.HTTPConnection, body: bytes) -> int:
    response = infer(connection, body)
    response.read()
    return response.status


def test_a_stop_ends_all_of_them_and_idle_connections(server: Server) -> None:
    children = server.children()
    with connections(server, 24) as opened:
        for connection in opened:
            infer(connection).read()
        assert server.stop() == 0
        for connection in opened:
            assert connection.sock.recv(1) == b""
    assert [child for child in children if child.is_running()] == []
    assert len(server.logged("front ended")) == 2
    assert all("exit status 0" in line["how"] for line in server.logged("front ended"))


def test_a_port_that_another_server_has_is_refused(server: Server) -> None:
    """With SO_REUSEPORT the kernel would share it without a word."""
    done = subprocess.run(
        [
            sys.executable, "-m", "supervisor", "serve", "--fronts", "2",
            "--model-repository", str(server.repository.root), "--port", str(server.port),
        ],
        cwd=ROOT, capture_output=True, text=True, check=False, timeout=60,
        env={name: value for name, value in os.environ.items() if "HOTPADDLE" not in name},
    )  # fmt: skip
    assert done.returncode == 2
    assert f"cannot listen on 127.0.0.1:{server.port}" in done.stderr


def test_a_client_that_goes_away_costs_no_slot(server: Server) -> None:
    head = (
        b'POST /v2/models/mlp/infer HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\n{"inputs":'
    )
    for _ in range(24):
        with socket.create_connection(("127.0.0.1", server.port)) as client:
            client.sendall(head)
    for _ in range(24):
        assert server.infer("mlp", mlp_request()).status == 200
    wait_for(lambda: not lent(server), "slots are back")
