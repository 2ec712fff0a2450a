"""Layouts: what of a table is taken, what is padded, and who shares a group."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpu_worker.ipc.messages import BatchingSettings
from gpu_worker.ipc.tensors import (
    BY_NAME,
    Contract,
    Tensor,
    TensorSpec,
    align,
    encode_table,
    table_size,
)
from gpu_worker.layout import Layouts, can_batch, nbytes_of, padded_shape, wrong_padding

X = TensorSpec("x", "FP32", (-1, 3, -1, -1))
N = TensorSpec("n", "INT64", (-1,))
Y = TensorSpec("y", "FP32", (-1, 7))
CONTRACT = Contract((X, N), (Y,))
TYPES = (BY_NAME["FP32"], BY_NAME["INT64"])


def payload(*shapes: tuple[int, ...], types: Any = TYPES, order: int = 1) -> memoryview:
    """Give the payload of a request with tensors of these shapes."""
    at, tensors = table_size(len(shapes)), []
    for index, (shape, datatype) in enumerate(zip(shapes, types, strict=True)):
        nbytes = int(np.prod(shape)) * datatype.itemsize
        tensors.append(Tensor(index, datatype, shape, at, nbytes))
        at += align(nbytes)
    table = encode_table(tensors[::order])
    return memoryview(table + bytes(at - len(table)))


def layouts(limit: int = 8, contract: Contract = CONTRACT, **pad: list[int]) -> Layouts:
    return Layouts(contract, BatchingSettings(limit, pad=pad))


def test_a_layout_says_where_each_input_lies_in_the_contracts_order() -> None:
    for order in (1, -1):
        layout = layouts().read(payload((2, 3, 4, 5), (2,), order=order))
        start = table_size(2)
        assert layout.shapes == ((2, 3, 4, 5), (2,))
        assert layout.spans == ((start, start + 480), (start + 512, start + 528))
        assert (layout.rows, layout.padded, layout.end) == (2, False, start + 528)


def test_a_table_that_came_before_is_recognised() -> None:
    known = layouts()
    first = known.read(payload((2, 3, 4, 5), (2,)))
    assert known.read(payload((2, 3, 4, 5), (2,))) is first
    assert known.read(payload((1, 3, 4, 5), (1,))) is not first


def test_a_payload_shorter_than_its_table_says_is_refused_whatever_came_before() -> None:
    known = layouts()
    whole = payload((2, 3, 4, 5), (2,))
    layout = known.read(whole)
    with pytest.raises(ValueError, match="outside"):
        known.read(whole[: layout.end - 1])
    assert known.read(whole[: layout.end]) is layout


def test_those_that_differ_in_rows_alone_share_a_group() -> None:
    known = layouts()
    group = known.read(payload((2, 3, 4, 5), (2,))).group
    assert group is not None
    assert known.read(payload((1, 3, 4, 5), (1,))).group is group
    assert known.read(payload((1, 3, 4, 6), (1,))).group is not group
    assert group.shapes(3) == ((3, 3, 4, 5), (3,))


@pytest.mark.parametrize(
    ("limit", "shapes"),
    [
        (8, ((9, 3, 4, 4), (9,))),  # more rows than a batch has
        (8, ((0, 3, 4, 4), (0,))),  # none
        (8, ((2, 3, 4, 4), (3,))),  # which?
        (1, ((1, 3, 4, 4), (1,))),
    ],
)
def test_some_are_of_no_group(limit: int, shapes: Any) -> None:
    assert layouts(limit).read(payload(*shapes)).group is None


@pytest.mark.parametrize(
    ("shapes", "types", "said"),
    [
        (((1, 3, 4, 4),), TYPES[:1], "a request of 1 tensors, not 2 inputs"),
        (((1, 3, 4, 4), (1,), (1,)), (*TYPES, TYPES[1]), "a request of 3 tensors"),
        (((1, 3, 4, 4), (1,)), TYPES[::-1], r"'x' is INT64\[1, 3, 4, 4\], the model takes FP32"),
        (((1, 4, 4, 4), (1,)), TYPES, r"'x' is FP32\[1, 4, 4, 4\]"),
        (((1, 3, 4), (1,)), TYPES, r"'x' is FP32\[1, 3, 4\]"),
        (((1, 3, 4, 4), ()), TYPES, r"'n' is INT64\[\], the model takes INT64\[-1\]"),
    ],
)
def test_what_the_model_does_not_take_is_refused(shapes: Any, types: Any, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        layouts().read(payload(*shapes, types=types))


@given(st.binary(max_size=300))
def test_random_bytes_are_refused(data: bytes) -> None:
    with pytest.raises(ValueError, match=r"table|request of"):
        layouts().read(memoryview(data))


def test_memory_stays_flat_however_many_shapes_come() -> None:
    known = layouts()
    for width in range(1, 5000):
        known.read(payload((1, 3, 1, width), (1,)))
    assert len(known._kept) <= 1024  # noqa: SLF001 - there is no other way to see it
    assert len(known._groups) <= 1024  # noqa: SLF001


def test_padding_rounds_up_what_is_variable() -> None:
    known = layouts(x=[0, 5, 8, 32])
    layout = known.read(payload((2, 3, 9, 33), (2,)))
    assert layout.shapes == ((2, 3, 16, 64), (2,))
    assert layout.padded
    exact = known.read(payload((1, 3, 16, 64), (1,)))
    assert not exact.padded
    assert exact.group is layout.group


@pytest.mark.parametrize(
    ("shape", "multiples", "padded"),
    [
        ((1, 3, 9, 33), [], (1, 3, 9, 33)),
        ((1, 3, 9, 33), [0, 0, 8], (1, 3, 16, 33)),
        ((1, 3, 8, 32), [1, 1, 8, 32], (1, 3, 8, 32)),
        ((1, 3, 0, 1), [0, 0, 8, 32], (1, 3, 0, 32)),
    ],
)
def test_padded_shapes(
    shape: tuple[int, ...], multiples: list[int], padded: tuple[int, ...]
) -> None:
    assert padded_shape(X, shape, {"x": multiples}) == padded


@pytest.mark.parametrize(
    ("pad", "said"),
    [
        ({}, None),
        ({"x": [0, 0, 8, 8]}, None),
        ({"x": [1, 7]}, None),
        ({"z": [0]}, "pad names the input 'z', the model has ['n', 'x']"),
        ({"x": [0] * 5}, "pad of input 'x' is [0, 0, 0, 0, 0], it has 4 dimensions"),
        ({"x": [0, -1]}, "pad of input 'x' is [0, -1], it has 4 dimensions"),
        ({"n": [8]}, "pad of input 'n' pads its first dimension, which counts the batch's rows"),
    ],
)
def test_padding_that_does_not_suit_is_named(pad: dict[str, list[int]], said: str | None) -> None:
    assert wrong_padding(CONTRACT, pad) == said


def test_which_contracts_have_a_batch() -> None:
    assert can_batch(CONTRACT)
    assert not can_batch(Contract((), (Y,)))
    assert not can_batch(Contract((X, TensorSpec("k", "INT64", (1,))), (Y,)))
    assert not can_batch(Contract((X,), (Y, TensorSpec("sum", "FP32", ()))))


def test_the_bytes_of_inputs() -> None:
    assert nbytes_of(CONTRACT, ((2, 3, 4, 5), (2,))) == 480 + 16
