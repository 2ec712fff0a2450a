"""The decoder: with lists cut out and without, a request is taken or refused alike."""

from __future__ import annotations

import json
from typing import Any, TypeGuard

import numpy as np
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpu_worker.ipc.tensors import BY_NAME
from supervisor.errors import BadRequest
from supervisor.http.codec.decode import parse_json
from supervisor.http.codec.json_tensors import check_list
from supervisor.json_worker.decoder import RequestDecoder
from supervisor.json_worker.work import HEADER_INDEX, Arrays
from tests.unit.supervisor.http.codec.requests import Built, requests

Outcome = list[tuple[Any, ...]] | str
pieces = st.sampled_from(
    [b"", b"[", b"]", b",", b"{", b"}", b'"', b"1", b".5", b"e", b" ", b":", b"\\", b"\xff",
     b"null", b"true", b'"data":[1,2]', b'"data":[]', b',"data":[1]', b'"inputs":[]', b"NaN",
     b"\xef\xbb\xbf"]
)  # fmt: skip


def plain(arrays: Arrays) -> Outcome:
    return [(index, one.dtype, one.shape, one.tobytes()) for index, one in arrays]


def decode(text: bytes, part: int = 64, shortest: int = 2) -> Outcome:
    try:
        return plain(RequestDecoder(part, shortest).decode(memoryview(text)))
    except BadRequest as error:
        return str(error)


def is_shape(shape: Any) -> TypeGuard[list[int]]:
    return (
        isinstance(shape, list)
        and len(shape) < 10
        and all(type(dim) is int and 0 < dim < 1 << 30 for dim in shape)
    )


def certain(text: bytes) -> Outcome:
    """Decode a request with one parser, whole, and the slow way for its lists."""
    try:
        header, arrays = parse_json(memoryview(text)), []
        inputs = header.get("inputs")
        for index, tensor in enumerate(inputs if isinstance(inputs, list) else []):
            if not isinstance(tensor, dict) or "data" not in tensor:
                continue
            data, tensor["data"] = tensor["data"], None
            name, shape = tensor.get("datatype"), tensor.get("shape")
            if isinstance(name, str) and name in BY_NAME and is_shape(shape):
                called = tensor.get("name")
                array = check_list(
                    data, BY_NAME[name], tuple(shape), called if isinstance(called, str) else ""
                )
                arrays.append((index, array))
        rest = np.frombuffer(orjson.dumps(header), np.uint8)
        return plain([*arrays, (HEADER_INDEX, rest)])
    except BadRequest as error:
        return str(error)


def with_data(built: Built) -> bytes:
    """Give a request's JSON with all data in it that JSON can hold."""
    names = (spec.name for spec in built.contract.inputs)
    arrays = dict(zip(names, built.arrays, strict=True))
    for tensor in built.header["inputs"]:
        if tensor["datatype"] != "FP16":
            tensor.pop("parameters", None)
            tensor.setdefault("data", arrays[tensor["name"]].ravel().tolist())
    return json.dumps(built.header).encode()


@given(requests(), st.integers(4, 200), st.integers(1, 40))
def test_right_requests_are_decoded_alike(built: Built, part: int, shortest: int) -> None:
    text = with_data(built)
    assert decode(text, part, shortest) == certain(text)


@given(st.data(), requests())
def test_spoilt_requests_are_decoded_or_refused_alike(data: st.DataObject, built: Built) -> None:
    text = with_data(built)
    for _ in range(data.draw(st.integers(1, 3))):
        start = data.draw(st.integers(0, len(text)))
        end = data.draw(st.integers(start, min(start + 6, len(text))))
        text = text[:start] + data.draw(pieces) + text[end:]
    assert decode(text) == certain(text)


def request(data: str, **more: Any) -> bytes:
    tensor = {"name": "x", "datatype": "FP32", "shape": [2], "data": 0, **more}
    return json.dumps({"inputs": [tensor]}).replace('"data": 0', f'"data": {data}').encode()


@pytest.mark.parametrize(
    "text",
    [
        request("[1, 2]"),
        request("[1, 2, 3]"),
        request("[1, true]"),
        request("[1, 2.5]", datatype="INT8"),
        request("[1, 2]", datatype="INT99"),
        request("[1, 2]", datatype=5),
        request("[1, 2]", shape="2"),
        request("[1, 2]", shape=[True]),
        request("[1, 2]", shape=[1 << 62, 1 << 62]),
        request('[1, 2], "data": [3, 4]'),
        request('[1, 2], "data": 5'),
        request('5, "data": [1, 2]'),
        request("[1, 2", shape=[2]),
        request("[NaN, 1]"),
        request("[1, 2] 3"),
        request("[1, 2]]"),
        b'{"data": [1, 2], "inputs": []}',
        b'{"parameters": {"data": [1, 2]}, "inputs": [{"data": [1, 2]}]}',
        b'{"inputs": [{"data": [1, 2]}], "inputs": []}',
        b'{"inputs": {"data": [1, 2]}}',
        b'{"inputs": [[{"data": [1, 2]}]]}',
        b'{"id": "\\"data\\": [1, 2]", "inputs": []}',
        b'{"id": "\\\\"data": [1, 2], "inputs": []}',
        b"\xef\xbb\xbf" + request("[1, 2]"),
        request("[1, 2]") + b"x",
        request("[1, 2]") + b"\xff",
        request("[" * 10_000 + "1" + "]" * 10_000),
        b'[{"data": [1, 2]}]',
        b'"data": [1, 2]',
        b"",
    ],
)  # fmt: skip
def test_both_ways_say_the_same(text: bytes) -> None:
    assert decode(text) == certain(text)


def test_data_of_a_type_that_is_not_known_is_left_out_without_a_mark() -> None:
    text = request("[1, 2]", datatype="FP99")
    ((index, rest),) = RequestDecoder(64, 2).decode(memoryview(text))
    assert index == HEADER_INDEX
    assert orjson.loads(rest.tobytes())["inputs"][0]["data"] is None


def test_json_nested_too_deep_beside_the_data_is_refused() -> None:
    deep = "[" * 900 + "]" * 900
    assert "nested too deep" in str(decode(f'{{"id":{deep},"inputs":[{{"data":[1]}}]}}'.encode()))
