"""Packing: short lists of numbers to arrays, in a microsecond or two.

Owns the way that nearly every request with JSON data takes: one call of `struct` instead of numpy's
look at every element. It takes only what it knows to be right and never says what is wrong: that is
`json_tensors`' part. Pure. Runs in the supervisor, and in the JSON worker for what it cannot read
without Python numbers.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from functools import lru_cache
from itertools import chain
from math import isfinite, prod
from operator import countOf
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from gpu_worker.ipc.tensors import BY_NAME, DataType

_CODES: Final = {
    "BOOL": "?", "INT8": "b", "UINT8": "B", "INT32": "i", "INT64": "q", "FP32": "f", "FP64": "d",
}  # fmt: skip
_KINDS: Final = {"b": bool, "i": int, "u": int, "f": float}  # numpy's word for it, and Python's
_INT64: Final = BY_NAME["INT64"]


def pack(data: Any, datatype: DataType, shape: tuple[int, ...]) -> npt.NDArray[Any] | None:
    """Turn a list, flat or nested as `shape` says, into a read-only array of that shape.

    Gives None where the list may be wrong, or is right in a way that this function does not know.
    """
    if type(data) is not list or not data or datatype.name not in _CODES:
        return None
    count = prod(shape)
    flat = data if len(data) == count and type(data[0]) is not list else _flatten(data, shape)
    if flat is None or len(flat) != count:
        return None
    kind = _KINDS[datatype.dtype.kind]
    if countOf(map(type, flat), kind) == count:  # asked for, as struct takes True for 1.0
        return _pack(flat, datatype, shape)
    kinds = set(map(type, flat))
    if kind is float and kinds == {int, float}:
        return _pack(flat, datatype, shape)
    if kind is float and kinds == {int}:  # rounded once, as numpy does it: not by way of a double
        packed = _pack(flat, _INT64, shape)
        return None if packed is None else packed.astype(datatype.dtype)
    return None


def _pack(flat: list[Any], datatype: DataType, shape: tuple[int, ...]) -> npt.NDArray[Any] | None:
    try:
        packed = _packer(_CODES[datatype.name], len(flat))(*flat)
        if datatype.dtype.kind == "f" and not isfinite(sum(flat)):
            return None
    except (struct.error, OverflowError):  # a number outside the data type
        return None
    return np.ndarray(shape, datatype.dtype, packed)


def _flatten(data: list[Any], shape: tuple[int, ...]) -> list[Any] | None:
    """Give the numbers of nested lists in one; None where the nesting is not the shape's."""
    if len(data) != (shape[0] if shape else 0):
        return None
    for dim in shape[1:]:
        if countOf(map(type, data), list) != len(data) or countOf(map(len, data), dim) != len(data):
            return None
        data = data[0] if len(data) == 1 else list(chain.from_iterable(data))
    return data


@lru_cache(maxsize=256)  # a model's requests ask for the same few counts
def _packer(code: str, count: int) -> Callable[..., bytes]:
    return struct.Struct(f"<{count}{code}").pack
