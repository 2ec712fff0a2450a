"""Decoding: each thing that can be wrong with a request, and what is said of it."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from supervisor.errors import BadRequest
from supervisor.http.codec.decode import decode_request
from supervisor.http.codec.decoded import DecodedRequest, OutputWish
from tests.unit.supervisor.http.codec.requests import CONTRACT

X = {"name": "x", "datatype": "FP32", "shape": [2, 2], "data": [1, 2, 3, 4]}
N = {"name": "n", "datatype": "INT64", "shape": [3], "data": [5, 6, 7]}
DEEP = orjson.Fragment(b"[" * 1000 + b"]" * 1000)  # as deep as JSON may be
BINARY = {"name": "x", "datatype": "FP32", "shape": [2, 2], "parameters": {"binary_data_size": 16}}


def decode(header: Any, binary: bytes = b"") -> DecodedRequest:
    data = orjson.dumps(header)
    return decode_request(memoryview(data + binary), len(data) if binary else None, CONTRACT)


def test_inputs_come_in_the_contracts_order() -> None:
    request = decode({"id": "a", "inputs": [N, X]})
    assert request.request_id == "a"
    assert [one.index for one in request.inputs] == [0, 1]
    assert request.shapes == ((2, 2), (3,))
    assert request.timeout_s is None


@pytest.mark.parametrize(
    ("more", "wishes", "mask"),
    [
        ({}, [(0, False), (1, False)], 3),
        ({"outputs": []}, [(0, False), (1, False)], 3),
        ({"outputs": None}, [(0, False), (1, False)], 3),
        ({"parameters": {"binary_data_output": True}}, [(0, True), (1, True)], 3),
        ({"outputs": [{"name": "z"}]}, [(1, False)], 2),
        (
            {"outputs": [{"name": "z", "parameters": {"binary_data": True}}, {"name": "y"}]},
            [(1, True), (0, False)],
            3,
        ),
        (
            {
                "parameters": {"binary_data_output": True},
                "outputs": [{"name": "y", "parameters": {"binary_data": False}}, {"name": "z"}],
            },
            [(0, False), (1, True)],
            3,
        ),
    ],
)
def test_wanted_outputs(more: dict[str, Any], wishes: list[tuple[int, bool]], mask: int) -> None:
    request = decode({"inputs": [X, N], **more})
    assert request.outputs == [OutputWish(*wish) for wish in wishes]
    assert request.output_mask == mask


@pytest.mark.parametrize(("timeout", "expected"), [(0, None), (1, 1e-6), (2_500_000, 2.5)])
def test_a_timeout_is_in_microseconds(timeout: int, expected: float | None) -> None:
    request = decode({"inputs": [X, N], "parameters": {"timeout": timeout}})
    assert request.timeout_s == expected


@pytest.mark.parametrize(
    ("header", "message"),
    [
        ([], "must be a JSON object"),
        ({}, "'inputs' must be a list of tensors"),
        ({"inputs": {}}, "'inputs' must be a list"),
        ({"inputs": [1]}, "'inputs[0]' must be an object"),
        ({"inputs": []}, "'inputs' lacks 'x', 'n'"),
        ({"inputs": [X]}, "'inputs' lacks 'n'"),
        ({"inputs": [X, X]}, "input 'x' is given twice"),
        ({"inputs": [{**X, "name": "q"}]}, "'inputs[0].name' is 'q', the model's inputs are 'x'"),
        ({"inputs": [{**X, "name": ["x"]}]}, "'inputs[0].name' is ['x']"),
        ({"inputs": [{**X, "name": DEEP}]}, "'inputs[0].name' is [[["),
        ({"inputs": [{**X, "name": "q" * 5000}]}, "..."),
        ({"inputs": [{**X, "datatype": "FP64"}]}, "input 'x': datatype is 'FP64', the model"),
        ({"inputs": [{**X, "datatype": None}]}, "datatype is None"),
        ({"inputs": [{**X, "shape": "2,2"}]}, "shape must be a list of at most 9 numbers"),
        ({"inputs": [{**X, "shape": [1] * 10}]}, "shape must be a list of at most 9 numbers"),
        ({"inputs": [{**X, "shape": [0, 2]}]}, "shape [0, 2] must hold whole numbers from 1"),
        ({"inputs": [{**X, "shape": [-1, 2]}]}, "must hold whole numbers from 1"),
        ({"inputs": [{**X, "shape": [2.0, 2]}]}, "must hold whole numbers from 1"),
        ({"inputs": [{**X, "shape": [True, 2]}]}, "must hold whole numbers from 1"),
        ({"inputs": [{**X, "shape": DEEP}]}, "must hold whole numbers from 1"),
        ({"inputs": [{**X, "shape": [4]}]}, "shape is [4], the model takes [-1, 2] (-1 is"),
        ({"inputs": [{**X, "shape": [2, 3]}]}, "shape is [2, 3], the model takes [-1, 2]"),
        ({"inputs": [{**X, "shape": [2**62, 2]}]}, f"asks for {2**65} bytes"),
        ({"inputs": [{**X, "parameters": []}]}, "'input 'x': parameters' must be an object"),
        ({"inputs": [{**X, "parameters": {"binary_data_size": 16}}]}, "has both 'data' and"),
        ({"inputs": [{k: v for k, v in X.items() if k != "data"}]}, "has neither 'data' nor"),
        ({"inputs": [X, N], "id": 7}, "'id' must be a text of at most 1024 characters"),
        ({"inputs": [X, N], "id": "i" * 1025}, "'id' must be a text"),
        ({"inputs": [X, N], "parameters": 1}, "'parameters' must be an object"),
        ({"inputs": [X, N], "parameters": {"timeout": -1}}, "'parameters.timeout' must be"),
        ({"inputs": [X, N], "parameters": {"timeout": 1.5}}, "'parameters.timeout' must be"),
        ({"inputs": [X, N], "parameters": {"timeout": True}}, "'parameters.timeout' must be"),
        (
            {"inputs": [X, N], "parameters": {"binary_data_output": 1}},
            "'parameters.binary_data_output' must be true or false",
        ),
        ({"inputs": [X, N], "outputs": {}}, "'outputs' must be a list"),
        ({"inputs": [X, N], "outputs": ["y"]}, "'outputs[0]' must be an object"),
        ({"inputs": [X, N], "outputs": [{"name": "x"}]}, "the model's outputs are 'y', 'z'"),
        ({"inputs": [X, N], "outputs": [{"name": "y"}] * 2}, "output 'y' is asked for twice"),
        (
            {"inputs": [X, N], "outputs": [{"name": "y", "parameters": {"binary_data": 1}}]},
            "'outputs[0].parameters.binary_data' must be true or false",
        ),
        (
            {"inputs": [X, N], "outputs": [{"name": "y", "parameters": {"classification": 3}}]},
            "'outputs[0].parameters.classification' is not supported",
        ),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said_by_field(header: Any, message: str) -> None:
    with pytest.raises(BadRequest) as caught:
        decode(header)
    assert message in str(caught.value)
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize(
    ("size", "binary", "message"),
    [
        (16, bytes(15), "the binary data ends after 15 bytes, 'binary_data_size' asks for 16"),
        (16, bytes(17), "the body has 17 bytes of binary data, the inputs' 'binary_data_size' add"),
        (15, bytes(15), "binary_data_size is 15, FP32 of shape [2, 2] takes 16 bytes"),
        (16.0, bytes(16), "binary_data_size is 16.0"),
        ("16", bytes(16), "binary_data_size is '16'"),
        (True, bytes(16), "binary_data_size is True"),
    ],
)
def test_binary_data_must_be_as_long_as_it_says(size: Any, binary: bytes, message: str) -> None:
    tensor = {**BINARY, "parameters": {"binary_data_size": size}}
    with pytest.raises(BadRequest) as caught:
        decode({"inputs": [tensor, N]}, binary)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("body", "length", "message"),
    [
        (b"", None, "the body is not JSON"),
        (b"{", None, "the body is not JSON"),
        (b'{"inputs": [NaN]}', None, "the body is not JSON"),
        (b'"\xff"', None, "the body is not JSON"),
        (b"[" * 2000, None, "the body is not JSON"),
        (b"{}", 3, "Inference-Header-Content-Length is 3, the body has only 2 bytes"),
        (b"{}\0\0", None, "the body is not JSON"),
        (b"{} ", 1, "the body is not JSON"),
    ],
)
def test_a_body_that_is_no_json_is_refused(body: bytes, length: int | None, message: str) -> None:
    with pytest.raises(BadRequest) as caught:
        decode_request(memoryview(body), length, CONTRACT)
    assert message in str(caught.value)
