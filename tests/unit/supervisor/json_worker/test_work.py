"""The JSON worker's answers: written by one process, read by the other."""

from __future__ import annotations

import numpy as np
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpu_worker.ipc.tensors import BY_DTYPE, Tensor, align, table_size, write_table
from supervisor.json_worker.work import (
    HEADER_INDEX,
    Arrays,
    answer_size,
    encode,
    read_decoded,
    read_encoded,
    write_answer,
)
from tests.unit.supervisor.http.codec.requests import Array


def payload(*arrays: Array) -> memoryview:
    at, tensors = table_size(len(arrays)), []
    for index, array in enumerate(arrays):
        tensors.append(Tensor(index, BY_DTYPE[array.dtype], array.shape, at, array.nbytes))
        at += align(array.nbytes)
    memory = memoryview(bytearray(at))
    write_table(memory, tensors)
    for tensor, array in zip(tensors, arrays, strict=True):
        tensor.view(memory)[...] = array
    return memory


def answer(arrays: Arrays) -> memoryview:
    memory = memoryview(bytearray(answer_size(arrays)))
    write_answer(memory, arrays)
    return memory


@given(st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), min_size=1))
def test_a_number_that_is_written_is_read_as_the_same(values: list[float]) -> None:
    array = np.array(values, "<f4")
    ((_, text),) = encode(payload(array).toreadonly(), 1)
    found = orjson.loads(text.tobytes())
    assert np.array(found, "<f4").tobytes() == array.tobytes()


def test_numbers_are_written_in_the_shortest_form() -> None:
    array = np.array([0.1, 1 / 3, 16777216, 1e-45], "<f4")
    ((_, text),) = encode(payload(array), 1)
    assert text.tobytes() == b"[0.1,0.33333334,16777216.0,1e-45]"


@pytest.mark.parametrize("copied", [True, False])
def test_outputs_come_back_as_texts(copied: bool) -> None:
    first, second = np.arange(6, dtype="<i8").reshape(2, 3), np.array([True, False])
    memory = answer(encode(payload(first, np.array([1.5], "<f8"), second), 0b101))
    texts = read_encoded(bytes(memory) if copied else memory)
    assert texts == {0: b"[0,1,2,3,4,5]", 2: b"[true,false]"}


@pytest.mark.parametrize("copied", [True, False])
def test_requests_come_back_with_arrays_in_the_place_of_lists(copied: bool) -> None:
    header = {"id": "7", "inputs": [{"data": None}, {"name": "b"}, {"data": None}]}
    rest = np.frombuffer(orjson.dumps(header), np.uint8)
    first, third = np.array([[1.5, 2.5]], "<f4"), np.array([2**53 + 1], "<i8")
    memory = answer([(0, first), (2, third), (HEADER_INDEX, rest)])
    found = read_decoded(bytes(memory) if copied else memory.toreadonly())
    inputs = found["inputs"]
    assert (found["id"], inputs[1]) == ("7", {"name": "b"})
    for wanted, one in ((first, inputs[0]["data"]), (third, inputs[2]["data"])):
        assert (one.dtype, one.shape) == (wanted.dtype, wanted.shape)
        np.testing.assert_array_equal(one, wanted)
