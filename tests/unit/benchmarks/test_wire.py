"""Requests and answers as bytes."""

from __future__ import annotations

import json

import numpy as np
import pytest

from benchmarks.connection import Connection, Head, parse_head
from benchmarks.errors import BenchError
from benchmarks.models import MODELS
from benchmarks.wire import build_request, check_answer, difference, read_values

MLP = MODELS["mlp"]


def test_a_binary_request_carries_the_sample() -> None:
    request = build_request(MLP, "mlp", "binary")
    length = int(request.headers["Inference-Header-Content-Length"])
    header = json.loads(request.body[:length])

    assert request.path == "/v2/models/mlp/infer"
    assert header["inputs"][0]["parameters"] == {"binary_data_size": 64}
    assert header["parameters"] == {"binary_data_output": True}
    assert np.frombuffer(request.body[length:], np.float32).tolist() == MLP.sample()[0].tolist()


def test_a_json_request_carries_the_same_values() -> None:
    tensor = json.loads(build_request(MLP, "mlp", "json").body)["inputs"][0]

    assert tensor["shape"] == [1, 16]
    assert np.array(tensor["data"], np.float32).tolist() == MLP.sample()[0].tolist()


def test_the_message_is_complete_http() -> None:
    request = build_request(MLP, "mlp", "json")
    head, _, body = request.http(8000).partition(b"\r\n\r\n")

    assert head.startswith(b"POST /v2/models/mlp/infer HTTP/1.1\r\n")
    assert f"Content-Length: {len(body)}".encode() in head.splitlines()
    assert body == request.body


def test_a_batch_repeats_one_row() -> None:
    batch = MLP.sample(3)

    assert batch.shape == (3, 16)
    assert (batch == MLP.sample()[0]).all()


def test_values_of_both_forms_of_answer() -> None:
    values = np.array([1, 2], np.float32)
    body = json.dumps({"outputs": [{"data": [1, 2]}]}).encode()

    assert read_values({}, body).tolist() == [1, 2]
    binary = {"inference-header-content-length": "3"}
    assert read_values(binary, b"{ }" + values.tobytes()).tolist() == [1, 2]


@pytest.mark.parametrize(
    ("values", "problem"),
    [([1.0, 2.0], ""), ([1.0, 2.001], ""), ([1.0, 2.1], "differs by"), ([1.0], "1 values")],
)
def test_difference(values: list[float], problem: str) -> None:
    found = difference(np.array(values, np.float32), np.array([1.0, 2.0], np.float32))

    assert found.startswith(problem)
    assert bool(found) == bool(problem)


def test_a_wrong_answer_is_named() -> None:
    with pytest.raises(BenchError, match="mlp, json: the answer is not the bare predictor's"):
        check_answer({}, b"{}", np.zeros(2, np.float32), "mlp, json")


HEAD = b"HTTP/1.1 200 OK\r\nX-Model-Version: v7\r\ncontent-length: 4\r\n\r\n"


def test_a_head() -> None:
    head = parse_head(HEAD[:-4])

    assert (head.status, head.length, head.version) == (200, 4, "v7")


def test_a_head_without_length_is_refused() -> None:
    with pytest.raises(ValueError, match="without Content-Length"):
        parse_head(b"HTTP/1.1 200 OK")


@pytest.mark.parametrize("size", [1, 7, 40, 1000])
@pytest.mark.parametrize("keep", [False, True])
def test_answers_are_read_however_they_are_cut(size: int, keep: bool) -> None:
    answers: list[tuple[int, str, bytes]] = []

    def answered(_: Connection, head: Head, body: bytes) -> None:
        answers.append((head.status, head.version, body))

    connection = Connection(b"", {}, answered, lambda _: None)
    connection.keep = keep
    for _ in range(2):
        message = HEAD + b"abcd"
        for at in range(0, len(message), size):
            connection.data_received(message[at : at + size])

    assert answers == [(200, "v7", b"abcd" if keep else b"")] * 2


def test_the_body_of_an_error_is_kept() -> None:
    answers: list[bytes] = []
    connection = Connection(b"", {}, lambda _c, _h, body: answers.append(body), lambda _: None)
    connection.data_received(b"HTTP/1.1 503 x\r\nContent-Length: 2\r\n\r\n{}")

    assert answers == [b"{}"]
