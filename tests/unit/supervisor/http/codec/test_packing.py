"""Packing: what it takes is what the slow way makes of it, to the bit."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from gpu_worker.ipc.tensors import BY_NAME, DATA_TYPES
from supervisor.errors import BadRequest
from supervisor.http.codec.json_tensors import check_list, to_array
from supervisor.http.codec.packing import pack
from tests.unit.supervisor.http.codec.requests import JSON_TYPES, numbers

scalars = (
    st.integers(-(2**63), 2**64 - 1) | st.integers(-130, 260) | st.floats() | st.booleans()
    | st.floats(width=32) | st.none() | st.just("1")
)  # fmt: skip
one_kind = st.sampled_from(
    [st.integers(-(2**63), 2**64 - 1), st.integers(-130, 260), st.floats(), st.booleans()]
).flatmap(lambda kind: st.lists(kind, max_size=6))
anything = (
    st.lists(scalars, max_size=6) | one_kind | st.lists(st.lists(scalars, max_size=3), max_size=3)
    | st.lists(st.lists(st.lists(scalars, max_size=2), max_size=2), max_size=2) | scalars
)  # fmt: skip
shapes = st.lists(st.integers(1, 3), max_size=3).map(tuple)
datatypes = st.sampled_from(DATA_TYPES)


def outcome(convert: Any, *arguments: Any) -> tuple[Any, ...]:
    try:
        array = convert(*arguments, "x")
    except BadRequest as error:
        return ("refused", str(error))
    return (array.dtype, array.shape, array.tobytes())


@given(anything, datatypes, shapes)
@example([2**53 + 1, 1], BY_NAME["FP32"], (2,))
@example([2**24 + 1, 2**60 + 2**36 + 1], BY_NAME["FP32"], (2,))
@example([2**64 - 1, 0.5], BY_NAME["FP32"], (2,))
@example([2**64 - 1, 5], BY_NAME["FP64"], (2,))
@example([float("nan"), 1.0], BY_NAME["FP32"], (2,))
@example([float("inf"), float("-inf")], BY_NAME["FP64"], (2,))
@example([3.5e38, 1.0], BY_NAME["FP32"], (2,))
@example([True, 1.0], BY_NAME["FP32"], (2,))
@example([[1, 2], [3]], BY_NAME["INT8"], (2, 2))
@example([[[1]], [2]], BY_NAME["INT8"], (2, 1, 1))
@example(["ab"], BY_NAME["INT8"], (1, 2))
@example([], BY_NAME["FP32"], (1,))
def test_the_quick_way_gives_what_the_slow_way_gives(
    data: Any, datatype: Any, shape: tuple[int, ...]
) -> None:
    assert outcome(to_array, data, datatype, shape) == outcome(check_list, data, datatype, shape)


@given(st.data(), st.sampled_from(JSON_TYPES), shapes)
def test_what_clients_send_is_taken_the_quick_way(
    data: st.DataObject, name: str, shape: tuple[int, ...]
) -> None:
    datatype, count = BY_NAME[name], int(np.prod(shape, dtype=int))
    values = data.draw(st.lists(numbers(name), min_size=count, max_size=count))
    nested = np.array(values, datatype.dtype).reshape(shape).tolist() if shape else values
    for form in (values, nested):
        array = pack(form, datatype, shape)
        if array is None:
            assert not np.isfinite(sum(values))  # the one doubt that right numbers can raise
        else:
            expected = np.array(values, datatype.dtype).reshape(shape)
            assert (array.dtype, array.shape) == (expected.dtype, expected.shape)
            assert array.tobytes() == expected.tobytes()


@pytest.mark.parametrize("values", [[0, 255, 7], [1, 2.5, -3], [2**40, 1, 2]])
def test_whole_numbers_are_taken_for_fractions(values: list[float]) -> None:
    array = pack(values, BY_NAME["FP32"], (3,))
    assert array is not None
    assert array.tolist() == values
