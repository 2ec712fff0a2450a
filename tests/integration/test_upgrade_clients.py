"""Clients in the middle of something while the program is replaced: each gets its answer."""

from __future__ import annotations

import json
import signal
import struct
from collections.abc import Callable
from contextlib import ExitStack, suppress

import psutil
import pytest

from tests.conftest import Models
from tests.expected import mlp_outputs
from tests.harness import Answer, Repository, Server, mlp_request, wait_for
from tests.integration.wire import Wire, head
from tests.load import ROW

Serve = Callable[..., Server]
PATH = "/v2/models/mlp/infer"
LARGE_ROWS = 4000  # 256,000 bytes: part of it waits in the kernel


@pytest.fixture
def server(serve: Serve, repository: Repository, models: Models) -> Server:
    repository.publish("mlp", "v1", models.mlp(1))
    return serve(repository, "--fronts", "1").wait_ready()  # of another one, clients are sent away


def binary(rows: int = 1, request_id: str = "") -> tuple[dict[str, str], bytes]:
    """Give headers and body of a binary request."""
    header = {
        "inputs": [
            {
                "name": "x", "datatype": "FP32", "shape": [rows, 16],
                "parameters": {"binary_data_size": 64 * rows},
            }
        ],
        "parameters": {"binary_data_output": True},
    }  # fmt: skip
    text = json.dumps({"id": request_id, **header} if request_id else header).encode()
    body = text + struct.pack("<16f", *ROW) * rows
    return {
        "Content-Length": str(len(body)),
        "Inference-Header-Content-Length": str(len(text)),
    }, body


def fill(wire: Wire, data: bytes) -> None:
    """Send until nothing more is taken."""
    wire.socket.settimeout(1)
    with suppress(TimeoutError):
        while True:
            wire.send(data)


def outputs(answer: Answer) -> list[float]:
    assert answer.status == 200, (answer.status, answer.body)
    at = int(answer.headers["Inference-Header-Content-Length"])
    return list(struct.unpack("<4f", answer.body[at : at + 16]))


def test_requests_that_have_begun_are_finished(server: Server, models: Models) -> None:
    wanted = mlp_outputs(models.mlp(1))
    headers, body = binary()
    request = head("POST", PATH, headers) + body
    large_headers, large_body = binary(LARGE_ROWS)
    large = head("POST", PATH, large_headers) + large_body
    with ExitStack() as stack:
        cuts = [0, 1, 40, len(request) - len(body), len(request) - 1]
        begun = [(stack.enter_context(Wire(server)), request, cut) for cut in cuts]
        begun += [
            (stack.enter_context(Wire(server)), large, cut)
            for cut in (len(large) - len(large_body), len(large) // 2, len(large) - 1)
        ]
        for wire, data, cut in begun:  # all of them have been served before
            assert outputs(wire.send(request).answer()) == wanted
            wire.send(data[:cut])
        assert server.upgrade()["phase"] == "done"
        for wire, data, cut in begun:
            assert outputs(wire.send(data[cut:]).answer()) == wanted
        for wire, _, _ in begun:  # and go on to be
            assert outputs(wire.send(request).answer()) == wanted
    wait_for(lambda: server.admin()["arena"]["lent_slots"] == 0, "all slots are back")


def test_requests_that_a_worker_holds_are_answered_in_their_form(
    server: Server, models: Models
) -> None:
    wanted = mlp_outputs(models.mlp(1))
    headers, body = binary(request_id="mine")
    request = head("POST", PATH, headers) + body
    text = json.dumps({**mlp_request(ROW), "id": "text"}).encode()
    by_version = "/v2/models/mlp/versions/v1/infer"
    worker = psutil.Process(server.admin("mlp")["serving"]["workers"][0]["pid"])
    with ExitStack() as stack:
        wires = [stack.enter_context(Wire(server)) for _ in range(5)]
        worker.suspend()
        wires[0].send(request)
        wires[1].request("POST", PATH, text)
        wires[2].request("POST", by_version, text)
        wires[3].send(request + request)  # the second one waits for the first one's answer
        wires[4].send(request)
        wait_for(lambda: server.admin()["arena"]["lent_slots"] == 5, "they are held, or queued")
        wires[4].close()  # its client goes
        server.process.send_signal(signal.SIGUSR2)
        assert server.wait_upgraded(1)["phase"] == "done"
        assert 4 <= server.admin()["arena"]["lent_slots"] <= 5  # one's client has gone
        worker.resume()
        answer = wires[0].answer()
        assert outputs(answer) == wanted
        at = int(answer.headers["Inference-Header-Content-Length"])
        assert json.loads(answer.body[:at])["id"] == "mine"
        for wire in wires[1:3]:
            said = wire.answer().json()
            assert said["id"] == "text"
            assert said["outputs"][0]["data"] == pytest.approx(wanted)
        assert outputs(wires[3].answer()) == wanted
        assert outputs(wires[3].answer()) == wanted
    wait_for(lambda: server.admin()["arena"]["lent_slots"] == 0, "all slots are back")


def test_a_request_past_its_deadline_is_told_so_by_the_new_program(
    serve: Serve, repository: Repository, models: Models
) -> None:
    repository.publish("mlp", "v1", models.mlp(1))
    server = serve(
        repository, "--timeout-ms", "6000", "--hang-timeout-ms", "60000", "--fronts", "1"
    ).wait_ready()
    worker = psutil.Process(server.admin("mlp")["serving"]["workers"][0]["pid"])
    headers, body = binary()
    with Wire(server) as wire:
        worker.suspend()
        wire.send(head("POST", PATH, headers) + body)
        wait_for(lambda: server.admin()["workers"][0]["in_flight"] == 1, "the worker holds it")
        assert server.upgrade()["phase"] == "done"
        answer = wire.answer()
        worker.resume()
        assert answer.status == 504
        assert "no answer in time" in answer.error
    wait_for(lambda: server.admin()["arena"]["lent_slots"] == 0, "all slots are back")


def test_a_client_that_does_not_read_its_answer_puts_the_upgrade_off_and_no_more(
    server: Server, models: Models
) -> None:
    wanted = mlp_outputs(models.mlp(1))
    headers, body = binary()
    request = head("POST", PATH, headers) + body
    with Wire(server) as choked, Wire(server) as wire:
        fill(choked, request * 100)
        outcome = server.upgrade()
        assert outcome["phase"] == "refused"
        assert "does not read its answers" in outcome["reason"]
        assert outputs(wire.send(request).answer()) == wanted
    assert server.upgrade()["phase"] == "done"
    assert server.get("/v2/health/ready").status == 200
