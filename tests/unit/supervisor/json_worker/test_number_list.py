"""Number lists: what the reader takes, the certain way takes too, and makes the same of it."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import orjson
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from gpu_worker.ipc.tensors import BY_NAME, DataType
from supervisor.http.codec.json_tensors import check_list
from supervisor.json_worker.number_list import PART_BYTES, NotProven, NumberListReader
from tests.unit.supervisor.http.codec.requests import JSON_TYPES, Array, numbers

NUMBER_TYPES = [name for name in JSON_TYPES if name != "BOOL"]
FP32, INT64 = BY_NAME["FP32"], BY_NAME["INT64"]
shapes = st.lists(st.integers(1, 4), max_size=4).map(tuple)
part_sizes = st.integers(1, 60) | st.just(PART_BYTES)
pieces = st.sampled_from(
    ["[", "]", ",", "1", "-", "0", ".", "e", " ", "\n", "[]", "],[", "1,", "null", "true", '"1"',
     "{}", "\x00", "\ufeff", "1e400", "18446744073709551615", "9007199254740993"]
)  # fmt: skip


def read(text: bytes, datatype: DataType, *shape: int, part: int = PART_BYTES) -> Array:
    return NumberListReader(part).read(memoryview(text), datatype, shape)


def agrees(
    reader: NumberListReader, text: bytes, datatype: DataType, shape: tuple[int, ...]
) -> bool:
    """Check that what the reader gives is right; say whether it gives anything."""
    try:
        array = reader.read(memoryview(text), datatype, shape)
    except NotProven:
        return False
    expected = check_list(orjson.loads(text), datatype, shape, "x")
    assert (array.dtype, array.shape) == (expected.dtype, expected.shape)
    assert array.tobytes() == expected.tobytes()
    return True


def written(draw: st.DrawFn, name: str, shape: tuple[int, ...]) -> str:
    count = int(np.prod(shape, dtype=int))
    values = draw(st.lists(numbers(name), min_size=count, max_size=count))
    nested = draw(st.booleans()) and shape
    data = np.array(values, object).reshape(shape).tolist() if nested else values
    return json.dumps(data, separators=draw(st.sampled_from([(",", ":"), (", ", ": ")])))


@st.composite
def lists(draw: st.DrawFn) -> tuple[str, str, tuple[int, ...]]:
    """Draw the text of a right list, its data type and shape."""
    name, shape = draw(st.sampled_from(NUMBER_TYPES)), draw(shapes)
    return written(draw, name, shape), name, shape


@given(lists())
def test_what_clients_send_is_taken(drawn: tuple[str, str, tuple[int, ...]]) -> None:
    text, name, shape = drawn
    values = np.array(json.loads(text), float)
    taken = agrees(NumberListReader(), text.encode(), BY_NAME[name], shape)
    assert taken or (name in ("FP32", "FP64") and abs(values).max() >= 2**53)


@given(lists(), part_sizes)
def test_it_does_not_matter_where_a_part_ends(
    drawn: tuple[str, str, tuple[int, ...]], part: int
) -> None:
    text, name, shape = drawn
    agrees(NumberListReader(part), text.encode(), BY_NAME[name], shape)


@given(st.data(), lists(), part_sizes)
def test_a_spoilt_list_is_not_taken_for_a_right_one(
    data: st.DataObject, drawn: tuple[str, str, tuple[int, ...]], part: int
) -> None:
    text, name, shape = drawn
    for _ in range(data.draw(st.integers(1, 3))):
        start = data.draw(st.integers(0, len(text)))
        end = data.draw(st.integers(start, min(start + 3, len(text))))
        text = text[:start] + data.draw(pieces) * data.draw(st.integers(0, 2)) + text[end:]
    reader = NumberListReader(part)
    agrees(reader, text.encode(), BY_NAME[name], shape)
    assert agrees(reader, b"[1,2]", FP32, (2,)) or part < 5  # what was wrong leaves nothing behind


@given(st.lists(pieces, max_size=12).map("".join), shapes, part_sizes)
@example("[[1],],[2]", (2, 1, 1), 100)
@example("[[1,2],[3,4]", (2, 2), 100)
def test_any_text_is_read_right_or_not_at_all(text: str, shape: tuple[int, ...], part: int) -> None:
    for bracketed in (text, f"[{text}]"):
        agrees(NumberListReader(part), bracketed.encode(), BY_NAME["INT8"], shape)


@given(st.data(), lists())
def test_any_bytes_are_read_right_or_not_at_all(
    data: st.DataObject, drawn: tuple[str, str, tuple[int, ...]]
) -> None:
    text, name, shape = drawn
    spoilt = bytearray(text.encode())
    spoilt[data.draw(st.integers(0, len(spoilt) - 1))] = data.draw(st.integers(0, 255))
    agrees(NumberListReader(), bytes(spoilt), BY_NAME[name], shape)


@given(st.lists(st.floats(allow_nan=False, allow_infinity=False).filter(lambda x: abs(x) < 2**53)
       | st.floats(-1e-300, 1e-300) | st.floats(-1e-37, 1e-37), min_size=1))  # fmt: skip
def test_fractions_are_rounded_as_the_certain_way_rounds_them(values: list[float]) -> None:
    text = json.dumps(values).encode()
    for name in ("FP32", "FP64"):
        assert agrees(NumberListReader(), text, BY_NAME[name], (len(values),))


@given(st.lists(st.from_regex(rb"-?(0|[1-9][0-9]{0,24})(\.[0-9]{1,30})?([eE][-+]?[0-9]{1,3})?",
                              fullmatch=True), min_size=1, max_size=4))  # fmt: skip
def test_digits_are_read_as_the_certain_way_reads_them(digits: list[bytes]) -> None:
    text = b"[" + b",".join(digits) + b"]"
    for name in ("FP32", "FP64", "INT64"):
        agrees(NumberListReader(), text, BY_NAME[name], (len(digits),))


@pytest.mark.parametrize("part", [24, 64, PART_BYTES])
@pytest.mark.parametrize("shape", [(300,), (1, 300), (300, 1), (3, 100), (2, 1, 5, 30), (100, 3)])
def test_rows_longer_and_shorter_than_a_part(shape: tuple[int, ...], part: int) -> None:
    expected = (np.arange(300) % 200 - 100).reshape(shape)
    for separator in (",", ", "):
        for data in (expected.tolist(), expected.ravel().tolist()):
            text = json.dumps(data, separators=(separator, ":")).encode()
            for name in ("INT8", "INT64", "FP32"):
                array = read(text, BY_NAME[name], *shape, part=part)
                np.testing.assert_array_equal(array, expected)


def test_whole_numbers_stay_exact() -> None:
    values = [2**53 + 1, -(2**63), 2**63 - 1]
    assert read(json.dumps(values).encode(), INT64, 3).tolist() == values


def test_a_read_only_text_is_read_and_left_as_it_is() -> None:
    text = memoryview(b"[[1, 2.5], [3, 4]]")
    assert read(bytes(text), FP32, 2, 2).tolist() == [[1, 2.5], [3, 4]]
    assert bytes(text) == b"[[1, 2.5], [3, 4]]"


@pytest.mark.parametrize(
    ("text", "datatype", "shape"),
    [
        (b"[true]", "FP32", (1,)),
        (b"[1, true]", "INT64", (2,)),
        (b"[true]", "BOOL", (1,)),
        (b"[1.0]", "INT64", (1,)),
        (b"[1.5]", "FP16", (1,)),
        (b"[128]", "INT8", (1,)),
        (b"[-1]", "UINT8", (1,)),
        (b"[2147483648]", "INT32", (1,)),
        (b"[9223372036854775808]", "INT64", (1,)),
        (b"[1e39]", "FP32", (1,)),
        (b"[1e400]", "FP64", (1,)),
        (b"[NaN]", "FP32", (1,)),
        (b"[Infinity]", "FP32", (1,)),
        (b"[9007199254740993]", "FP32", (1,)),
        (b"[null]", "FP32", (1,)),
        (b'["1"]', "FP32", (1,)),
        (b"[1] ]", "FP32", (1,)),
        (b"[1],", "FP32", (1,)),
        (b"[1", "FP32", (1,)),
        (b"[1,]", "FP32", (1,)),
        (b"[,1]", "FP32", (1,)),
        (b"[1,,2]", "FP32", (2,)),
        (b"[01]", "FP32", (1,)),
        (b"[1 2]", "FP32", (2,)),
        (b"[1,2]", "FP32", (3,)),
        (b"[1,2]", "FP32", (1,)),
        (b"[[1,2]]", "FP32", (2,)),
        (b"[[1,2],[3]]", "FP32", (2, 2)),
        (b"[[1],[2,3]]", "FP32", (3, 1)),
        (b"[[1,2,3],[4]]", "FP32", (2, 2)),
        (b"[[1,2],3,4]", "FP32", (2, 2)),
        (b"[1,2,[3,4]]", "FP32", (2, 2)),
        (b"[1[,2],[3,4]]", "FP32", (2, 2)),
        (b"[[1,2],[3,4],]", "FP32", (2, 2)),
        (b"[[[1],],[[2]]]", "FP32", (2, 1, 1)),
        (b"[[[1],[2]][,[3],[4]]]", "FP32", (2, 2, 1)),
        (b"[[],[1]]", "FP32", (2, 1)),
        (b"[]", "FP32", (1,)),
        (b"[\xff]", "FP32", (1,)),
        (b"[1" + b" " * 100, "FP32", (1,)),
        (b"[" * 10_000 + b"1" + b"]" * 10_000, "FP32", (1,)),
        (b"[" * 10_000 + b"1" + b"]" * 10_000, "FP32", (1, 1)),
        (b"[1]", "FP32", (1 << 30,)),
    ],
)
def test_what_is_not_certain_is_left_to_the_other_parser(
    text: bytes, datatype: str, shape: tuple[int, ...]
) -> None:
    for part in (4, 7, PART_BYTES):
        with pytest.raises(NotProven):
            read(text, BY_NAME[datatype], *shape, part=part)


def test_a_reader_goes_on_after_what_it_does_not_take() -> None:
    reader = NumberListReader()
    for text in (b"[1,2", b"[1,true]", b"[[1],2]", b"[]", b"[1,2,3]"):
        kept: Any = None
        try:
            reader.read(memoryview(text), FP32, (2,))
        except NotProven as error:
            kept = error  # with all the frames that its trace holds
        assert kept is not None
        assert reader.read(memoryview(b"[1,2]"), FP32, (2,)).tolist() == [1, 2]
