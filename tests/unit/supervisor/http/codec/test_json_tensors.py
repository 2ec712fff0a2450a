"""JSON tensor data: taken strictly; and raw bodies, whose length is their shape."""

from __future__ import annotations

import tracemalloc
from typing import Any

import numpy as np
import pytest

from gpu_worker.ipc.tensors import BY_NAME, Contract
from supervisor.errors import BadRequest
from supervisor.http.codec.decode import decode_request
from supervisor.http.codec.json_tensors import to_array
from tests.unit.supervisor.http.codec.requests import JSON_TYPES, spec


def convert(data: Any, datatype: str, *shape: int) -> Any:
    return to_array(data, BY_NAME[datatype], shape, "x")


@pytest.mark.parametrize("datatype", JSON_TYPES)
def test_flat_and_nested_data_are_the_same(datatype: str) -> None:
    flat = convert([0, 1, 1, 0], datatype, 2, 2)
    nested = convert([[0, 1], [1, 0]], datatype, 2, 2)
    assert flat.dtype == nested.dtype == BY_NAME[datatype].dtype
    assert flat.tolist() == nested.tolist() == [[0, 1], [1, 0]]
    assert convert([1], datatype).shape == ()


@pytest.mark.parametrize(
    ("data", "datatype", "expected"),
    [
        ([True, False], "BOOL", [True, False]),
        ([-128, 127], "INT8", [-128, 127]),
        ([0, 255], "UINT8", [0, 255]),
        ([-(2**31), 2**31 - 1], "INT32", [-(2**31), 2**31 - 1]),
        ([-(2**63), 2**63 - 1], "INT64", [-(2**63), 2**63 - 1]),
        ([2**53 + 1], "INT64", [2**53 + 1]),
        ([1, 2.5], "FP64", [1, 2.5]),
        ([2**64 - 1], "FP64", [2.0**64]),
        ([1e-46], "FP32", [0.0]),
    ],
)
def test_what_the_data_type_holds_is_taken(data: Any, datatype: str, expected: Any) -> None:
    assert convert(data, datatype, len(data)).tolist() == expected


@pytest.mark.parametrize(
    ("data", "datatype", "message"),
    [
        (1, "FP32", "must be a list"),
        ("12", "FP32", "must be a list"),
        ({"0": 1}, "FP32", "must be a list"),
        (None, "FP32", "must be a list"),
        ([1], "FP32", "has shape [1], neither [2] nor flat [2]"),
        ([1, 2, 3], "FP32", "has shape [3]"),
        ([], "FP32", "has shape [0]"),
        ([[1, 2]], "FP32", "has shape [1, 2]"),
        ([[1], [2, 3]], "FP32", "is not a regular list of numbers"),
        ([1, [2]], "FP32", "is not a regular list of numbers"),
        (["1", "2"], "FP32", "holds texts, the input is FP32"),
        ([1, "2"], "INT64", "holds texts"),
        ([1, None], "FP32", "holds other than numbers"),
        ([{}, {}], "FP32", "holds other than numbers"),
        ([True, False], "FP32", "holds booleans"),
        ([True, 2], "INT64", "holds booleans"),
        ([True, 2.5], "FP64", "holds booleans"),
        ([1.0, 2.0], "INT64", "holds fractions"),
        ([1, 2.5], "INT8", "holds fractions"),
        ([0, 2], "BOOL", "must hold true and false only"),
        ([0.0, 1.0], "BOOL", "must hold true and false only"),
        ([0, 128], "INT8", "holds a number outside INT8 (-128 to 127)"),
        ([-1, 0], "UINT8", "holds a number outside UINT8 (0 to 255)"),
        ([0, 2**31], "INT32", "outside INT32"),
        ([2**63, 2**63], "INT64", "outside INT64"),
        ([1e39, 0], "FP32", "holds a number too large for FP32"),
        ([1, 2], "FP16", "FP16 has no JSON form, send it as binary data"),
    ],
)
def test_everything_else_is_refused_with_the_inputs_name(
    data: Any, datatype: str, message: str
) -> None:
    with pytest.raises(BadRequest) as caught:
        convert(data, datatype, 2)
    assert str(caught.value).startswith("input 'x': data")
    assert message in str(caught.value)


def test_one_long_text_among_short_ones_takes_no_memory() -> None:
    data = ["a" * 1_000_000, *["b"] * 20_000]
    tracemalloc.start()
    with pytest.raises(BadRequest, match="holds texts"):
        convert(data, "FP32", len(data))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 1 << 20


def test_lists_nested_too_deep_are_refused() -> None:
    data: list[Any] = [1]
    for _ in range(1000):
        data = [data]
    with pytest.raises(BadRequest):
        convert(data, "FP32", 1)


def raw(body: bytes, *shape: int, datatype: str = "FP32") -> tuple[int, ...]:
    contract = Contract(
        (spec("x", datatype, *shape),), (spec("y", "FP32", 1), spec("z", "FP32", 1))
    )
    request = decode_request(memoryview(body), 0, contract)
    (one,) = request.inputs
    assert (one.offset, one.nbytes, request.output_mask) == (0, len(body), 3)
    assert all(wish.binary for wish in request.outputs)
    assert request.shapes == (one.shape,)
    assert np.prod(one.shape) * one.datatype.itemsize == len(body)
    return one.shape


@pytest.mark.parametrize(
    ("length", "shape", "expected"),
    [
        (8, (2,), (2,)),
        (8, (-1, 2), (1, 2)),
        (24, (-1, -1, 2), (1, 3, 2)),
        (24, (3, -1), (3, 2)),
        (4, (-1,), (1,)),
        (4, (), ()),
    ],
)
def test_a_raw_bodys_shape_follows_from_its_length(
    length: int, shape: tuple[int, ...], expected: tuple[int, ...]
) -> None:
    assert raw(bytes(length), *shape) == expected


@pytest.mark.parametrize(
    ("length", "shape"),
    [(0, (2,)), (0, (1, -1)), (7, (2,)), (16, (-1, 2)), (4, (3, -1)), (25, (-1, -1, 2))],
)
def test_a_raw_body_of_another_length_is_refused(length: int, shape: tuple[int, ...]) -> None:
    with pytest.raises(BadRequest, match=f"a raw body of {length} bytes is no FP32 of shape"):
        raw(bytes(length), *shape)


def test_a_raw_body_leaves_one_dimension_and_one_input() -> None:
    with pytest.raises(BadRequest, match="leaves one variable dimension at most"):
        raw(bytes(8), -1, -1, -1)
    two = Contract((spec("a", "FP32", 1), spec("b", "FP32", 1)), ())
    with pytest.raises(BadRequest, match="takes a model with one input; this has 2"):
        decode_request(memoryview(bytes(8)), 0, two)
