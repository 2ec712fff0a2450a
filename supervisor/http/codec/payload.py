"""The payload: a request's tensors in its slot, with the table that names them.

Owns where JSON arrays go; binary data stays where the body put it. Pure over a memoryview. Runs in
the supervisor.
"""

from __future__ import annotations

import numpy as np

from gpu_worker.ipc.tensors import Tensor, align, table_size, write_table
from supervisor.http.codec.decoded import DecodedRequest


def payload_size(request: DecodedRequest, body_at: int, body_length: int) -> int:
    """Give the payload bytes that a request needs when its body stands at `body_at`."""
    arrays = sum(align(one.nbytes) for one in request.inputs if one.array is not None)
    binary = any(one.array is None for one in request.inputs)
    return align(body_at + body_length if binary else body_at) + arrays


def write_payload(
    payload: memoryview, request: DecodedRequest, body_at: int, body_length: int
) -> int:
    """Write table and arrays; binary data stays where the body put it. Gives the length used.

    `payload` starts with room for the table; the body stands at `body_at`.
    """
    binary = any(one.array is None for one in request.inputs)
    at = align(body_at + body_length if binary else body_at)
    end = body_at + body_length if binary else at
    tensors = []
    for one in request.inputs:
        if one.array is None:
            offset = body_at + one.offset
        else:
            offset = at
            flat = np.frombuffer(payload, one.datatype.dtype, one.array.size, offset)
            flat[:] = one.array.ravel()
            at += align(one.nbytes)
            end = offset + one.nbytes
        tensors.append(Tensor(one.index, one.datatype, one.shape, offset, one.nbytes))
    write_table(payload, tensors)
    return max(end, table_size(len(tensors)))
