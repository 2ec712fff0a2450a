"""The payload: a request's tensors in its slot, with the table that names them.

Owns where JSON arrays go; binary data stays where the body put it. Pure over a memoryview. Runs in
the supervisor.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from gpu_worker.ipc.tensors import Tensor, align, encode_table, table_size
from supervisor.http.codec.decoded import DecodedInput


@dataclass(frozen=True, slots=True)
class PayloadLayout:
    """Where everything lies, from the payload's first byte.

    `table` goes to the start; `places` are the offsets of the arrays that JSON gave, in the order
    of the inputs; `length` is what is used.
    """

    table: bytes
    places: tuple[int, ...]
    length: int


def lay_out(inputs: Sequence[DecodedInput], body_at: int, body_length: int) -> PayloadLayout:
    """Plan the payload of inputs whose body stands at `body_at`, behind the table."""
    binary = any(one.array is None for one in inputs)
    at = align(body_at + body_length if binary else max(body_at, table_size(len(inputs))))
    end = body_at + body_length if binary else at
    tensors, places = [], []
    for one in inputs:
        offset = body_at + one.offset
        if one.array is not None:
            offset = at
            places.append(at)
            at += align(one.nbytes)
            end = offset + one.nbytes
        tensors.append(Tensor(one.index, one.datatype, one.shape, offset, one.nbytes))
    return PayloadLayout(encode_table(tensors), tuple(places), max(end, table_size(len(tensors))))


def write_payload(
    payload: memoryview, layout: PayloadLayout, arrays: Sequence[npt.NDArray[Any]]
) -> None:
    """Write table and arrays; binary data stands there already."""
    payload[: len(layout.table)] = layout.table
    for place, array in zip(layout.places, arrays, strict=True):
        np.frombuffer(payload, array.dtype, array.size, place)[:] = array.ravel()
