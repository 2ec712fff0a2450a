"""Tensor tables: what is written comes back, and nothing that is no table gets out of its bytes."""

from __future__ import annotations

import struct
from math import prod
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gpu_worker.ipc.tensors import (
    ALIGNMENT,
    BY_DTYPE,
    BY_NAME,
    DATA_TYPES,
    MAX_RANK,
    Contract,
    Tensor,
    TensorSpec,
    align,
    read_table,
    table_size,
    write_table,
)

ARRAYS = st.builds(
    lambda code, shape: np.arange(prod(shape)).reshape(shape).astype(DATA_TYPES[code].dtype),
    st.integers(0, len(DATA_TYPES) - 1),
    st.lists(st.integers(0, 4), max_size=5)
    | st.lists(st.integers(0, 2), min_size=5, max_size=MAX_RANK),
)


def pack(arrays: list[npt.NDArray[Any]]) -> tuple[bytearray, list[Tensor]]:
    """Lay arrays out behind their table, as both sides do."""
    offset = table_size(len(arrays))
    tensors = []
    for index, array in enumerate(arrays):
        tensors.append(Tensor(index, BY_DTYPE[array.dtype], array.shape, offset, array.nbytes))
        offset += align(array.nbytes)
    memory = bytearray(offset)
    write_table(memoryview(memory), tensors)
    for tensor, array in zip(tensors, arrays, strict=True):
        tensor.view(memoryview(memory))[...] = array
    return memory, tensors


@given(st.lists(ARRAYS, max_size=6))
def test_every_tensor_comes_back_equal(arrays: list[npt.NDArray[Any]]) -> None:
    memory, tensors = pack(arrays)
    read = read_table(memoryview(memory))
    assert read == tensors
    for tensor, array in zip(read, arrays, strict=True):
        seen = tensor.view(memoryview(memory))
        assert seen.dtype == array.dtype
        assert seen.shape == array.shape
        assert seen.tobytes() == array.tobytes()
        assert tensor.offset % ALIGNMENT == 0


@pytest.mark.parametrize("data_type", DATA_TYPES, ids=lambda data_type: data_type.name)
@pytest.mark.parametrize("rank", range(MAX_RANK + 1))
def test_every_data_type_travels_with_every_rank(data_type: Any, rank: int) -> None:
    array = np.ones([2] * rank, data_type.dtype)
    memory, _ = pack([array])
    (tensor,) = read_table(memoryview(memory))
    assert tensor.datatype is data_type
    assert np.array_equal(tensor.view(memoryview(memory)), array)


def test_names_and_dtypes_are_those_of_the_protocol() -> None:
    assert {name: data_type.itemsize for name, data_type in BY_NAME.items()} == {
        "BOOL": 1, "INT8": 1, "UINT8": 1, "INT32": 4, "INT64": 8, "FP16": 2, "FP32": 4, "FP64": 8,
    }  # fmt: skip
    assert [data_type.code for data_type in DATA_TYPES] == list(range(len(DATA_TYPES)))


def test_a_view_shares_the_memory() -> None:
    memory, (tensor,) = pack([np.zeros((2, 3), np.float32)])
    tensor.view(memoryview(memory))[1, 2] = 7.0
    assert struct.unpack_from("<f", memory, tensor.offset + 20) == (7.0,)


def test_a_view_of_read_only_memory_cannot_be_written() -> None:
    memory, (tensor,) = pack([np.zeros(3, np.int64)])
    view = tensor.view(memoryview(bytes(memory)))
    assert not view.flags.writeable
    with pytest.raises(ValueError, match="read-only"):
        view[0] = 1


def within(memory: bytes) -> None:
    """Read a table; only a ValueError, or tensors that stay inside their bytes, will do."""
    try:
        tensors = read_table(memoryview(memory))
    except ValueError:
        return
    for tensor in tensors:
        assert 0 <= tensor.offset <= tensor.offset + tensor.nbytes <= len(memory)
        assert prod(tensor.shape) * tensor.datatype.itemsize == tensor.nbytes
        assert all(dim >= 0 for dim in tensor.shape)
        try:
            view = tensor.view(memoryview(memory))
        except ValueError:  # no array of such a shape is possible, empty though it is
            assert tensor.nbytes == 0
        else:
            assert view.nbytes == tensor.nbytes


@given(st.lists(ARRAYS, max_size=3), st.data())
def test_a_truncated_table_never_leaves_its_bytes(
    arrays: list[npt.NDArray[Any]], data: st.DataObject
) -> None:
    memory, _ = pack(arrays)
    within(bytes(memory[: data.draw(st.integers(0, len(memory)))]))


@settings(max_examples=300)
@given(
    st.lists(ARRAYS, min_size=1, max_size=3),
    st.lists(st.tuples(st.integers(0), st.binary(min_size=1, max_size=8)), max_size=6),
)
def test_a_mutated_table_never_leaves_its_bytes(
    arrays: list[npt.NDArray[Any]], edits: list[tuple[int, bytes]]
) -> None:
    memory, _ = pack(arrays)
    for at, put in edits:
        start = at % table_size(len(arrays))
        memory[start : start + len(put)] = put
    within(bytes(memory))


@given(st.binary(max_size=300))
def test_random_bytes_never_leave_their_bytes(memory: bytes) -> None:
    within(memory)


EDGES = st.sampled_from([-(1 << 63), -4, -1, 0, 1, 4, 1 << 31, 1 << 62, (1 << 63) - 1])


@given(st.lists(EDGES, max_size=MAX_RANK), st.sampled_from([0, 1, 4, 16, (1 << 64) - 1]))
def test_dimensions_at_the_edges_never_leave_their_bytes(dims: list[int], nbytes: int) -> None:
    entry = struct.pack(f"<IIHHIQQ{len(dims)}q", 1, 0, 0, 2, len(dims), 128, nbytes, *dims)
    within(entry.ljust(128, b"\0") + bytes(16))


@pytest.mark.parametrize("dims", [[-1, -4], [-2, -2], [-4, -1, 1], [0, -1], [-1, -1, 4]])
def test_negative_dimensions_are_no_table(dims: list[int]) -> None:
    nbytes = prod(dims)
    entry = struct.pack(f"<IIHHIQQ{len(dims)}q", 1, 0, 0, 2, len(dims), 128, nbytes, *dims)
    with pytest.raises(ValueError, match="shape"):
        read_table(memoryview(entry.ljust(160, b"\0")))


@pytest.mark.parametrize(
    ("code", "rank", "offset", "nbytes"),
    [(8, 0, 64, 1), (65535, 0, 64, 1), (1, 10, 64, 1), (1, 1 << 31, 64, 1), (1, 0, 64, 0),
     (1, 0, 64, 2), (1, 0, 128, 1), (1, 0, (1 << 64) - 1, 1), (1, 0, 64, (1 << 64) - 1)],
)  # fmt: skip
def test_an_entry_that_points_outside_or_is_none_is_refused(
    code: int, rank: int, offset: int, nbytes: int
) -> None:
    entry = struct.pack("<IIHHIQQ", 1, 0, 0, code, rank, offset, nbytes)
    with pytest.raises(ValueError, match="table"):
        read_table(memoryview(entry.ljust(128, b"\0")))


def test_a_count_without_entries_is_refused() -> None:
    with pytest.raises(ValueError, match="table"):
        read_table(memoryview(struct.pack("<II", (1 << 32) - 1, 0)))


@given(st.integers(0, 1 << 60))
def test_aligned_is_the_next_multiple(offset: int) -> None:
    assert align(offset) % ALIGNMENT == 0
    assert 0 <= align(offset) - offset < ALIGNMENT


X, Y = TensorSpec("x", "FP32", (-1, 16)), TensorSpec("y", "FP32", (-1, 4))
WIDE, INTS = TensorSpec("x", "FP32", (-1, 32)), TensorSpec("x", "INT64", (-1, 16))


@pytest.mark.parametrize(
    ("other", "said"),
    [
        (Contract((X,), (Y,)), None),
        (Contract((WIDE,), (Y,)), "input 'x' was FP32[-1, 16], is FP32[-1, 32]"),
        (Contract((INTS,), (Y,)), "input 'x' was FP32[-1, 16], is INT64[-1, 16]"),
        (Contract((X,), (WIDE,)), "outputs were ['y'], are ['x']"),
        (Contract((X, Y), (Y,)), "inputs were ['x'], are ['x', 'y']"),
        (Contract((), (Y,)), "inputs were ['x'], are []"),
        (Contract((X,), (Y, Y)), "outputs were ['y'], are ['y', 'y']"),
    ],
)
def test_a_difference_is_said_in_words(other: Contract, said: str | None) -> None:
    assert Contract((X,), (Y,)).difference(other) == said


def test_a_contract_survives_json() -> None:
    contract = Contract((X, INTS), (Y,))
    assert Contract.from_json(contract.to_json()) == contract
    assert X.to_json() == {"name": "x", "datatype": "FP32", "shape": [-1, 16]}
