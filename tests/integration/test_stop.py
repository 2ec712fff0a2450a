"""The stop: nobody whose request was sent in time goes without an answer."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.conftest import Models
from tests.expected import mlp_outputs
from tests.harness import Repository, Server, mlp_request, wait_for
from tests.integration.wire import Wire
from tests.load import Load

Serve = Callable[..., Server]
INFER = "/v2/models/mlp/infer"
BODY = json.dumps(mlp_request()).encode()


@pytest.fixture
def v1(repository: Repository, models: Models) -> Path:
    repository.publish("mlp", "v1", models.mlp(1))
    return models.mlp(1)


@pytest.mark.parametrize("drain_ms", [0, 700])
@pytest.mark.parametrize("keep_alive", [True, False], ids=["kept", "one request each"])
def test_a_stop_under_load_answers_every_request_that_was_sent(
    serve: Serve, repository: Repository, v1: Path, keep_alive: bool, drain_ms: int
) -> None:
    """From SIGTERM on, a client is answered, or is not let in; never cut off."""
    server = serve(repository, "--drain-ms", str(drain_ms)).wait_ready()
    expected = {"v1": mlp_outputs(v1)}
    with ExitStack() as loads:
        load = loads.enter_context(
            Load(server.port, expected, concurrency=32, keep_alive=keep_alive)
        )
        load.wait_answers(200)
        before = load.seen.answers
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(30) == 0
    assert load.seen.wrong == []
    assert load.seen.answers > before
    assert len(load.seen.errors) == 32  # each client ends when it is not let in
    assert {error.partition(":")[0] for error in load.seen.errors} == {"ClientConnectorError"}


def test_a_drain_goes_on_and_sends_clients_away_with_their_answers(
    serve: Serve, repository: Repository, v1: Path, models: Models
) -> None:
    server = serve(repository, "--drain-ms", "600000").wait_ready()
    with Wire(server) as kept, Wire(server) as slow, Wire(server) as idle:
        for wire in (kept, idle):
            assert wire.request("POST", INFER, BODY).answer().headers.get("Connection") is None
        assert slow.request("GET", "/v2/health/live").answer().status == 200
        server.process.send_signal(signal.SIGTERM)
        wait_for(lambda: server.get("/v2/health/ready").status == 503, "readiness fails")
        assert server.get("/v2/health/ready").error == "not ready: stopping"
        assert server.get("/v2/health/live").status == 200
        for wire, (method, path, body) in (
            (kept, ("POST", INFER, BODY)),
            (slow, ("GET", "/v2/health/live", b"")),
        ):
            answer = wire.request(method, path, body).answer()
            assert (answer.status, answer.headers["Connection"]) == (200, "close")
            assert wire.closed()
        # Everything still works, models are even replaced.
        repository.publish("mlp", "v2", models.mlp(2))
        server.wait_serving("mlp", "v2")
        answer = server.infer("mlp", mlp_request())
        assert (answer.status, answer.headers["Connection"]) == (200, "close")
        answer = idle.request("POST", INFER, BODY).answer()
        assert (answer.status, answer.headers["X-Model-Version"]) == (200, "v2")
        assert server.process.poll() is None
        server.process.send_signal(signal.SIGINT)  # a second one hurries
        assert server.process.wait(20) == 0


def test_a_request_that_comes_on_a_quiet_connection_during_the_drain_is_answered(
    serve: Serve, repository: Repository, v1: Path
) -> None:
    """One that was quiet for long is closed only when the drain is over."""
    del v1
    server = serve(repository, "--drain-ms", "2000").wait_ready()
    with Wire(server) as asks, Wire(server) as quiet:
        server.process.send_signal(signal.SIGTERM)
        wait_for(lambda: server.get("/v2/health/ready").status == 503, "readiness fails")
        assert asks.request("POST", INFER, BODY).answer().headers["Connection"] == "close"
        assert server.process.wait(30) == 0
        assert quiet.closed()


def test_a_socket_that_was_handed_over_loses_nobody_between_two_servers(
    serve: Serve, repository: Repository, v1: Path
) -> None:
    """As `systemctl restart` does: the first ends under load, the second begins."""
    import socket

    expected = {"v1": mlp_outputs(v1)}
    with socket.create_server(("127.0.0.1", 0), backlog=1024) as listener:
        first = serve(repository, listener=listener).wait_ready()
        with ExitStack() as stack:
            loads = [
                stack.enter_context(
                    Load(first.port, expected, concurrency=16, keep_alive=keep_alive)
                )
                for keep_alive in (True, False)
            ]
            for load in loads:
                load.wait_answers(100)
            assert first.stop() == 0
            serve(repository, listener=listener)
            for load in loads:
                load.wait_answers(200)
        for load in loads:
            assert (load.seen.errors, load.seen.wrong) == ([], [])


def test_a_server_without_standard_input_serves_and_stops(
    serve: Serve, repository: Repository, models: Models
) -> None:
    repository.publish("mlp", "v1", models.mlp(1))
    was = os.get_inheritable(0)
    os.set_inheritable(0, False)
    try:
        server = serve(repository).wait_ready()
    finally:
        os.set_inheritable(0, was)
    assert server.upgrade()["phase"] == "done"
    assert server.infer("mlp", mlp_request()).status == 200
    assert server.stop() == 0
