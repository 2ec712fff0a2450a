"""The parameter file, and whether it is whole.

Owns a walk over the headers of a `.pdiparams` file. Paddle reads one that lacks its last bytes
without a word and answers from whatever was in memory; this finds it before Paddle sees it. Reads
no parameter. Runs in the worker, during a load.

Source: Paddle's `SerializeToStream` (paddle/fluid/framework/lod_tensor.cc) and `TensorToStream`
(tensor_util.cc): per parameter a u32 version, u64 number of LoD levels, each a u64 size and that
many bytes, then a u32 version, an i32 size, that many bytes of `VarType.TensorDesc` (field 1 the
data type, field 2 the dimensions), then the data.
"""

from __future__ import annotations

import os
import struct
from math import prod
from typing import Final

from gpu_worker.ipc.tensors import MAX_RANK

_U32: Final = struct.Struct("<I")
_U64: Final = struct.Struct("<Q")
_I32: Final = struct.Struct("<i")
_MAX_HEADER: Final = 1 << 16

# framework.proto, VarType.Type: bytes per element
_ITEM_SIZES: Final = {
    0: 1, 1: 2, 2: 4, 3: 8, 4: 2, 5: 4, 6: 8, 20: 1, 21: 1, 22: 2, 23: 8, 24: 16, 32: 1, 33: 1,
}  # fmt: skip


class ParamsError(ValueError):
    """The file is no parameter file, or a part of it is missing."""


def check_params(fd: int) -> int:
    """Walk over the file behind `fd`; give the number of parameters.

    Raises:
        ParamsError: it ends too early, goes on too long, or is something else.

    """
    size = os.fstat(fd).st_size
    at = count = 0
    while at < size:
        at = _skip_parameter(fd, at, size, count)
        count += 1
    if not count:
        raise ParamsError("the parameter file is empty")
    return count


def _skip_parameter(fd: int, at: int, size: int, count: int) -> int:
    """Give the offset behind the parameter that starts at `at`."""

    def take(layout: struct.Struct) -> int:
        nonlocal at
        data = os.pread(fd, layout.size, at)
        if len(data) < layout.size:
            raise ParamsError(f"the parameter file ends inside parameter {count + 1}: truncated")
        at += layout.size
        return int(layout.unpack(data)[0])

    broken = ParamsError(f"parameter {count + 1} in the parameter file is not one: corrupt")
    if take(_U32) != 0:
        raise broken
    levels = take(_U64)
    if levels > _MAX_HEADER:
        raise broken
    for _ in range(levels):
        length = take(_U64)  # moves `at` as well
        at = min(at + length, size)  # behind the end, the next read says that it is truncated
    version, length = take(_U32), take(_I32)
    if version != 0 or not 0 < length <= _MAX_HEADER:
        raise broken
    header = os.pread(fd, length, at)
    if len(header) < length:
        raise ParamsError(f"the parameter file ends inside parameter {count + 1}: truncated")
    try:
        nbytes = _data_size(header)
    except (IndexError, KeyError) as error:
        raise broken from error
    at += length + nbytes
    if at > size:
        raise ParamsError(
            f"the parameter file ends inside parameter {count + 1}: {at - size} bytes are missing"
        )
    return at


def _data_size(header: bytes) -> int:
    """Read a `TensorDesc`: the bytes that its data takes."""
    at, item_size, dims = 0, 0, []
    while at < len(header):
        tag, at = _varint(header, at)
        value, at = _varint(header, at)
        if tag == 1 << 3:
            item_size = _ITEM_SIZES[value]
        elif tag == 2 << 3:
            dims.append(value)
        elif tag == (2 << 3 | 2):  # packed dimensions
            end = at + value
            while at < end:
                dim, at = _varint(header, at)
                dims.append(dim)
        else:
            raise KeyError(tag)
    if len(dims) > MAX_RANK:
        raise KeyError(len(dims))
    return item_size * prod(dims)


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 64, 7):  # ten bytes at most
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
    raise KeyError(at)
