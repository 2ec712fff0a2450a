"""The walk over parameter files, on files built here byte by byte; paddle is not needed."""

from __future__ import annotations

import contextlib
import os
import struct
import tracemalloc
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gpu_worker.params import ParamsError, check_params

FP32, INT64, BOOL, BF16 = 5, 3, 0, 22
MINUS_ONE = (1 << 64) - 1


def varint(value: int) -> bytes:
    encoded = bytearray()
    while value > 0x7F:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*encoded, value])


def desc(datatype: int, dims: list[int], packed: bool = False) -> bytes:
    """Build a TensorDesc; Paddle writes the dimensions unpacked, other writers may pack them."""
    head = b"\x08" + varint(datatype)
    if packed:
        body = b"".join(varint(dim) for dim in dims)
        return head + b"\x12" + varint(len(body)) + body
    return head + b"".join(b"\x10" + varint(dim) for dim in dims)


def parameter(header: bytes, data: bytes, lod: tuple[bytes, ...] = ()) -> bytes:
    levels = b"".join(struct.pack("<Q", len(level)) + level for level in lod)
    start = struct.pack("<IQ", 0, len(lod)) + levels
    return start + struct.pack("<Ii", 0, len(header)) + header + data


def check(content: bytes) -> int:
    """Give the content as a worker gets it: behind a descriptor."""
    fd = os.memfd_create("params")
    try:
        os.write(fd, content)
        return check_params(fd)
    finally:
        os.close(fd)


WEIGHT = parameter(desc(FP32, [16, 4]), bytes(range(256)))
SCALAR = parameter(desc(FP32, []), b"abcd")
PACKED = parameter(desc(INT64, [2, 3], packed=True), bytes(48))
EMPTY = parameter(desc(BOOL, [0, 7]), b"")
WITH_LOD = parameter(desc(BF16, [200, 1]), bytes(400), (bytes(16), b"", bytes(8)))
WHOLE = [WEIGHT, PACKED, SCALAR, EMPTY, WITH_LOD, WEIGHT]


@pytest.mark.parametrize("count", range(1, len(WHOLE) + 1))
def test_a_whole_file_gives_the_number_of_its_parameters(count: int) -> None:
    assert check(b"".join(WHOLE[:count])) == count


@pytest.mark.parametrize(
    ("datatype", "size"),
    [(0, 1), (1, 2), (2, 4), (3, 8), (4, 2), (5, 4), (6, 8), (20, 1), (21, 1), (22, 2), (23, 8),
     (24, 16), (32, 1), (33, 1)],
)  # fmt: skip
def test_every_data_type_has_its_size(datatype: int, size: int) -> None:
    header = desc(datatype, [3, 5])
    assert check(parameter(header, bytes(15 * size))) == 1
    with pytest.raises(ParamsError, match="1 bytes are missing"):
        check(parameter(header, bytes(15 * size - 1)))


def test_a_file_that_ends_anywhere_inside_a_parameter_is_refused() -> None:
    whole = b"".join(WHOLE)
    edges = {len(b"".join(WHOLE[:count])): count for count in range(1, len(WHOLE) + 1)}
    for end in range(len(whole) + 1):
        if end in edges:  # a whole file with fewer parameters; only the program knows how many
            assert check(whole[:end]) == edges[end]
        else:
            with pytest.raises(ParamsError):
                check(whole[:end])


def test_one_missing_byte_is_named() -> None:
    with pytest.raises(ParamsError, match="ends inside parameter 2: 1 bytes are missing"):
        check((SCALAR + WEIGHT)[:-1])


@pytest.mark.parametrize("more", [b"\0", b"\n", b"\xff", bytes(100), b"x" * 100])
@pytest.mark.parametrize("whole", WHOLE)
def test_bytes_behind_the_last_parameter_are_refused(whole: bytes, more: bytes) -> None:
    with pytest.raises(ParamsError, match="parameter 2"):
        check(whole + more)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "empty"),
        (b"\x01" + WEIGHT[1:], "corrupt"),
        (b"version https://git-lfs.github.com/spec/v1\n", "corrupt"),
        (struct.pack("<IQ", 0, 1 << 40), "corrupt"),
        (struct.pack("<IQQ", 0, 1, MINUS_ONE), "truncated"),
        (struct.pack("<IQQQ", 0, 2, 1 << 63, 5) + WEIGHT, "truncated"),
        (struct.pack("<IQIi", 0, 0, 1, 4) + WEIGHT, "corrupt"),
        (struct.pack("<IQIi", 0, 0, 0, 0) + WEIGHT, "corrupt"),
        (struct.pack("<IQIi", 0, 0, 0, -1) + WEIGHT, "corrupt"),
        (struct.pack("<IQIi", 0, 0, 0, (1 << 31) - 1) + WEIGHT, "corrupt"),
        (parameter(desc(7, [1]), bytes(64)), "corrupt"),
        (parameter(desc(FP32, [MINUS_ONE]), bytes(64)), "missing"),
        (parameter(desc(FP32, [MINUS_ONE] * 9), bytes(64)), "missing"),
        (parameter(desc(FP32, [MINUS_ONE] * 10), bytes(64)), "corrupt"),
        (parameter(desc(FP32, [1] * 30_000), bytes(4)), "corrupt"),
        (parameter(desc(FP32, [1 << 7000]), bytes(4)), "corrupt"),
        (parameter(b"\x08\x05\x12\x7f\x01", bytes(4)), "corrupt"),
        (parameter(b"\x1a\x01\x01", bytes(4)), "corrupt"),
        (parameter(b"\x80" * 60_000, bytes(4)), "corrupt"),
        (parameter(b"\x08", bytes(4)), "corrupt"),
    ],
)
def test_what_is_no_parameter_file_is_refused(content: bytes, said: str) -> None:
    with pytest.raises(ParamsError, match=said):
        check(content)


def check_or_refuse(content: bytes) -> None:
    """Walk; anything raised but ParamsError fails the test."""
    with contextlib.suppress(ParamsError):
        assert check(content) >= 1


@given(st.binary(max_size=500))
def test_random_bytes_raise_nothing_but_a_refusal(content: bytes) -> None:
    check_or_refuse(content)


HEADERS = st.binary(max_size=40) | st.builds(
    desc,
    st.integers(0, 40),
    st.lists(st.integers(0, MINUS_ONE), max_size=12),
    st.booleans(),
)


@given(HEADERS, st.binary(max_size=64), st.lists(st.binary(max_size=9), max_size=3).map(tuple))
def test_random_headers_raise_nothing_but_a_refusal(
    header: bytes, data: bytes, lod: tuple[bytes, ...]
) -> None:
    check_or_refuse(parameter(header, data, lod))


@settings(max_examples=300)
@given(st.lists(st.tuples(st.integers(0), st.integers(0, 3), st.binary(max_size=8)), max_size=4))
def test_a_mutated_file_raises_nothing_but_a_refusal(edits: list[tuple[int, int, bytes]]) -> None:
    content = bytearray(SCALAR + WITH_LOD + EMPTY)
    for at, gone, put in edits:
        start = at % (len(content) + 1)
        content[start : start + gone] = put
    check_or_refuse(bytes(content))


def test_a_large_parameter_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "inference.pdiparams"
    header = parameter(desc(FP32, [1 << 28]), b"")
    path.write_bytes(header)
    os.truncate(path, len(header) + (1 << 30))  # a hole: nothing is stored
    fd = os.open(path, os.O_RDONLY)
    tracemalloc.start()
    try:
        assert check_params(fd) == 1
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()
        os.close(fd)


def test_the_position_of_the_descriptor_stays_where_it_was(tmp_path: Path) -> None:
    path = tmp_path / "inference.pdiparams"
    path.write_bytes(WEIGHT)
    fd = os.open(path, os.O_RDONLY)
    os.lseek(fd, 5, os.SEEK_SET)
    assert check_params(fd) == 1
    assert os.lseek(fd, 0, os.SEEK_CUR) == 5
    os.close(fd)
