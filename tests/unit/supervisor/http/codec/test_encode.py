"""Encoding: JSON and binary parts of an answer, in the order that was asked for."""

from __future__ import annotations

from typing import Any

import numpy as np
import orjson
import pytest

from gpu_worker.ipc.tensors import BY_NAME, Contract, Tensor
from supervisor.errors import BadRequest
from supervisor.http.codec.decoded import DecodedRequest, OutputWish
from supervisor.http.codec.encode import check_json_outputs, encode_response
from tests.unit.supervisor.http.codec.requests import JSON_TYPES, Array, spec

CONTRACT = Contract((), (spec("y", "FP32", -1), spec("z", "INT64", -1)))
Y, Z = np.array([[1.5, -2.0]], "<f4"), np.array([2**53 + 1, -1, 0], "<i8")


def encode(
    wishes: list[tuple[int, bool]],
    arrays: list[Array],
    contract: Contract = CONTRACT,
    request_id: str = "",
    texts: dict[int, bytes] | None = None,
) -> tuple[dict[str, Any], bytes, int | None]:
    data, tensors = b"\xee" * 64, []
    for index, array in enumerate(arrays):
        datatype = BY_NAME[contract.outputs[index].datatype]
        tensors.append(Tensor(index, datatype, array.shape, len(data), array.nbytes))
        data += array.tobytes()
    request = DecodedRequest(request_id, [], [OutputWish(*wish) for wish in wishes])
    json_outputs = sum(1 << index for index, binary in wishes if not binary)
    assert check_json_outputs(request, contract, data, tensors) == json_outputs
    parts, length = encode_response("m", "v7", request, contract, data, tensors, texts or {})
    body = b"".join(parts)
    header = orjson.loads(body if length is None else body[:length])
    return header, b"" if length is None else body[length:], length


def test_json_outputs_are_flat_lists_with_their_shape() -> None:
    header, _, length = encode([(0, False), (1, False)], [Y, Z], request_id="7")
    assert length is None
    assert header == {
        "model_name": "m",
        "model_version": "v7",
        "id": "7",
        "outputs": [
            {"name": "y", "datatype": "FP32", "shape": [1, 2], "data": [1.5, -2.0]},
            {"name": "z", "datatype": "INT64", "shape": [3], "data": [2**53 + 1, -1, 0]},
        ],
    }


def test_binary_outputs_follow_the_json_in_the_order_asked_for() -> None:
    header, binary, length = encode([(1, True), (0, True)], [Y, Z])
    assert length is not None
    assert [one["name"] for one in header["outputs"]] == ["z", "y"]
    sizes = [one["parameters"] for one in header["outputs"]]
    assert sizes == [{"binary_data_size": 24}, {"binary_data_size": 8}]
    assert binary == Z.tobytes() + Y.tobytes()
    assert "id" not in header


def test_json_and_binary_outputs_mix() -> None:
    header, binary, _ = encode([(0, False), (1, True)], [Y, Z])
    assert header["outputs"][0]["data"] == [1.5, -2.0]
    assert "data" not in header["outputs"][1]
    assert binary == Z.tobytes()


@pytest.mark.parametrize("datatype", JSON_TYPES)
def test_every_data_type_but_fp16_has_a_json_form(datatype: str) -> None:
    array = np.array([0, 1], BY_NAME[datatype].dtype)
    header, _, _ = encode([(0, False)], [array], Contract((), (spec("y", datatype, 2),)))
    assert header["outputs"][0]["data"] == array.tolist()


def test_fp16_is_given_as_binary_data_only() -> None:
    contract, array = Contract((), (spec("y", "FP16", 1),)), np.array([1.5], "<f2")
    with pytest.raises(BadRequest, match="output 'y': FP16 has no JSON form"):
        encode([(0, False)], [array], contract)
    assert encode([(0, True)], [array], contract)[1] == array.tobytes()


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_what_json_cannot_say_is_an_error_that_names_the_output(value: float) -> None:
    array = np.array([1.0, value], "<f4")
    with pytest.raises(BadRequest, match="output 'y' holds NaN or infinity") as caught:
        encode([(0, False)], [array, Z])
    assert "binary_data" in str(caught.value)
    assert encode([(0, True)], [array, Z])[1] == array.tobytes()
    assert encode([(1, False)], [array, Z])[0]["outputs"][0]["data"] == Z.tolist()


def test_an_output_without_elements_is_an_empty_list() -> None:
    header, _, _ = encode([(0, False)], [np.zeros((0, 2), "<f4"), Z])
    assert header["outputs"][0]["data"] == []
    assert header["outputs"][0]["shape"] == [0, 2]


def test_json_that_was_written_elsewhere_is_put_in_as_it_is() -> None:
    header, _, _ = encode([(0, False), (1, False)], [Y, Z], texts={1: b"[5,6,7]"})
    assert [one["data"] for one in header["outputs"]] == [[1.5, -2.0], [5, 6, 7]]
