"""What the JSON worker answers: the arrays of a request, the texts of a model's outputs.

Owns the form of both answers, a tensor table whose entries are the arrays, and texts as UINT8
tensors; and how outputs are written as JSON. Requests are parsed by `decoder`. Pure functions over
bytes. Runs in the JSON worker; the supervisor reads the answers.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import numpy.typing as npt
import orjson

from gpu_worker.ipc.tensors import (
    BY_DTYPE,
    Tensor,
    align,
    read_table,
    table_size,
    write_table,
)

DECODE: Final = 0  # kinds of work
ENCODE: Final = 1
HEADER_INDEX: Final = 0xFFFF  # the tensor that holds the request's JSON without its data

Arrays = list[tuple[int, npt.NDArray[Any]]]


def encode(payload: memoryview, mask: int) -> Arrays:
    """Write the tensors of a table whose bit is set in `mask` as flat JSON lists.

    Numbers are written in the shortest form that gives the same number back, straight from the
    payload.
    """
    texts: Arrays = []
    for tensor in read_table(payload):
        if mask >> tensor.index & 1:
            values = tensor.view(payload).ravel()
            text = orjson.dumps(values, option=orjson.OPT_SERIALIZE_NUMPY)
            texts.append((tensor.index, np.frombuffer(text, np.uint8)))
    return texts


def answer_size(arrays: Arrays) -> int:
    """Give the bytes that an answer takes."""
    return table_size(len(arrays)) + sum(align(array.nbytes) for _, array in arrays)


def write_answer(memory: memoryview, arrays: Arrays) -> None:
    """Write an answer: a table, and behind it the arrays."""
    at = table_size(len(arrays))
    table = []
    for index, array in arrays:
        tensor = Tensor(index, BY_DTYPE[array.dtype], array.shape, at, array.nbytes)
        table.append(tensor)
        at += align(array.nbytes)
    write_table(memory, table)
    for tensor, (_, array) in zip(table, arrays, strict=True):
        tensor.view(memory)[...] = array


def read_decoded(data: bytes | memoryview) -> dict[str, Any]:
    """Supervisor: give the parsed request, with arrays in the place of lists.

    The arrays are views of `data`: whoever gives its memory back copies them first.
    """
    memory = memoryview(data)
    arrays = {tensor.index: tensor.view(memory) for tensor in read_table(memory)}
    header: dict[str, Any] = orjson.loads(arrays.pop(HEADER_INDEX).data)
    for index, array in arrays.items():
        header["inputs"][index]["data"] = array
    return header


def read_encoded(data: bytes | memoryview) -> dict[int, bytes]:
    """Supervisor: give a copy of the JSON text of each output."""
    memory = memoryview(data)
    return {
        tensor.index: bytes(memory[tensor.offset : tensor.offset + tensor.nbytes])
        for tensor in read_table(memory)
    }
