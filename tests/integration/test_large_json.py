"""Large JSON: parsed and written by a process of its own, which may die without a request lost."""

from __future__ import annotations

import json
import os
import signal
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.conftest import Models
from tests.harness import Repository, Server, mlp_request, wait_for

ROWS = 20_000


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, models: Models) -> Iterator[Server]:
    folder: Path = tmp_path_factory.mktemp("large_json")
    repository = Repository(folder / "models")
    repository.publish("mlp", "v1", models.mlp(1))
    server = Server(repository.root, folder).wait_ready()
    yield server
    server.stop()
    server.kill()


def large() -> dict[str, Any]:
    values = [round(number % 997 * 0.001, 3) for number in range(ROWS * 16)]
    tensor = {"name": "x", "datatype": "FP32", "shape": [ROWS, 16], "data": values}
    return {"id": "large", "inputs": [tensor]}


def binary_answer(server: Server, request: dict[str, Any]) -> list[float]:
    values = request["inputs"][0]["data"]
    data = struct.pack(f"<{len(values)}f", *values)
    tensor = {"name": "x", "datatype": "FP32", "shape": [ROWS, 16],
              "parameters": {"binary_data_size": len(data)}}  # fmt: skip
    header = json.dumps({"inputs": [tensor], "parameters": {"binary_data_output": True}}).encode()
    answer = server.call(
        "POST", "/v2/models/mlp/infer", header + data,
        {"Inference-Header-Content-Length": str(len(header))},
    )  # fmt: skip
    length = int(answer.headers["Inference-Header-Content-Length"])
    return list(struct.unpack(f"<{ROWS * 4}f", answer.body[length:]))


def as_float32(values: list[float]) -> list[float]:
    return list(struct.unpack(f"<{len(values)}f", struct.pack(f"<{len(values)}f", *values)))


def json_worker(server: Server) -> psutil.Process:
    def find() -> psutil.Process | None:
        found = [c for c in server.children() if "supervisor.json_worker" in c.cmdline()]
        return found[0] if found else None

    found: psutil.Process = wait_for(find, "the JSON worker runs")
    return found


def test_large_json_gives_what_binary_gives(server: Server) -> None:
    request = large()
    answer = server.infer("mlp", request)
    assert answer.status == 200
    value = answer.json()
    assert value["id"] == "large"
    assert value["outputs"][0]["shape"] == [ROWS, 4]
    assert as_float32(value["outputs"][0]["data"]) == binary_answer(server, request)


@pytest.mark.parametrize(
    ("spoil", "field"),
    [
        (lambda r: r["inputs"][0].update(datatype="FP99"), "datatype"),
        (lambda r: r["inputs"][0].update(shape=[ROWS, 15]), "shape"),
        (lambda r: r["inputs"][0].update(shape=[ROWS + 1, 16]), "shape"),
        (lambda r: r["inputs"][0].update(shape=[1 << 62, 1 << 62]), "shape"),
        (lambda r: r["inputs"][0].update(name="y"), "name"),
        (lambda r: r["inputs"][0]["data"].__setitem__(5, "text"), "x"),
        (lambda r: r["inputs"][0]["data"].__setitem__(5, [1.0]), "x"),
        (lambda r: r["inputs"][0]["data"].__setitem__(5, 1e300), "FP32"),
        (lambda r: r["inputs"].append(5), "inputs[1]"),
        (lambda r: r.update(inputs={"x": r["inputs"]}), "inputs"),
        (lambda r: r.update(outputs=[{"name": "none"}]), "outputs[0].name"),
    ],
)
def test_wrong_large_json_is_refused_with_the_field(
    server: Server, spoil: Callable[[dict[str, Any]], Any], field: str
) -> None:
    request = large()
    spoil(request)
    answer = server.infer("mlp", request)
    assert answer.status == 400, answer.body[:200]
    assert field in answer.error
    assert server.infer("mlp", mlp_request()).status == 200
    assert server.admin()["arena"]["lent_slots"] == 0


@pytest.mark.parametrize(
    "text",
    [b"[" * 100_000, b'{"inputs": ' + b"[" * 100_000, b"\xff" * 100_000, b"[1," * 50_000,
     b'{"id":' + b"[" * 900 + b"]" * 900 + b',"inputs":[]}' + b" " * 100_000,
     b'{"inputs": [{"name": "x", "data": [NaN' + b" " * 100_000 + b"]}]}"],
)  # fmt: skip
def test_what_is_no_json_is_refused_by_the_json_worker_too(server: Server, text: bytes) -> None:
    answer = server.call("POST", "/v2/models/mlp/infer", text)
    assert answer.status == 400
    assert "JSON" in answer.error
    assert server.admin()["arena"]["lent_slots"] == 0


def test_a_killed_json_worker_loses_nothing(server: Server) -> None:
    expected = binary_answer(server, large())
    body = json.dumps(large()).encode()
    wrong: list[str] = []

    def client() -> None:
        for _ in range(6):
            answer = server.call("POST", "/v2/models/mlp/infer", body)
            if answer.status != 200 or as_float32(answer.json()["outputs"][0]["data"]) != expected:
                wrong.append(f"{answer.status}: {answer.body[:200]!r}")

    threads = [threading.Thread(target=client) for _ in range(3)]
    for thread in threads:
        thread.start()
    for _ in range(3):
        child = json_worker(server)
        wait_for(lambda: server.admin()["arena"]["lent_slots"] > 0 or done(threads), "work")
        os.kill(child.pid, signal.SIGKILL)
        child.wait(10)
    for thread in threads:
        thread.join(120)
    assert wrong == []
    assert server.admin()["arena"]["lent_slots"] == 0


def done(threads: list[threading.Thread]) -> bool:
    return not any(thread.is_alive() for thread in threads)


def test_a_client_that_goes_away_leaves_no_slot_behind(server: Server) -> None:
    body = json.dumps(large()).encode()
    head = f"POST /v2/models/mlp/infer HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n"
    for _ in range(5):
        with socket.create_connection(("127.0.0.1", server.port)) as sock:
            sock.sendall(head.encode() + body)
    wait_for(lambda: server.admin()["arena"]["lent_slots"] == 0, "all slots are back")
    assert server.infer("mlp", mlp_request()).status == 200
