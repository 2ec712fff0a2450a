"""What the JSON worker does: JSON to tensors, tensors to JSON.

Owns the form of both answers: a tensor table whose entries are the arrays, and texts as UINT8
tensors. Pure functions over bytes. Runs in the JSON worker; the supervisor reads the answers.
"""

from __future__ import annotations

from math import prod
from typing import Any, Final, TypeGuard

import numpy as np
import numpy.typing as npt
import orjson

from gpu_worker.ipc.tensors import (
    BY_DTYPE,
    BY_NAME,
    MAX_RANK,
    Tensor,
    align,
    read_table,
    table_size,
    write_table,
)
from supervisor.errors import BadRequest
from supervisor.http.codec.decode import parse_json
from supervisor.http.codec.json_tensors import to_array

DECODE: Final = 0  # kinds of work
ENCODE: Final = 1
HEADER_INDEX: Final = 0xFFFF  # the tensor that holds the request's JSON without its data
_LARGEST_BYTES: Final = 1 << 40

Arrays = list[tuple[int, npt.NDArray[Any]]]


def decode(text: memoryview) -> Arrays:
    """Parse a request's JSON; give each input's data as an array, and the rest as JSON text.

    An input whose data type or shape is not understood keeps no data: the supervisor's checks say
    what is wrong with it.

    Raises:
        BadRequest: it is not JSON, or an input's data does not fit its shape and type.

    """
    header = parse_json(text)
    arrays: Arrays = []
    inputs = header.get("inputs")
    for index, tensor in enumerate(inputs if isinstance(inputs, list) else []):
        if not isinstance(tensor, dict) or "data" not in tensor:
            continue
        data, datatype_name = tensor["data"], tensor.get("datatype")
        tensor["data"] = None
        datatype = BY_NAME.get(datatype_name) if isinstance(datatype_name, str) else None
        shape = tensor.get("shape")
        if datatype is not None and _is_shape(shape, datatype.itemsize):
            name = tensor.get("name")
            text_name = name if isinstance(name, str) else ""
            arrays.append((index, to_array(data, datatype, tuple(shape), text_name)))
    try:
        rest = orjson.dumps(header)
    except orjson.JSONEncodeError as error:
        raise BadRequest("the JSON is nested too deep beside its tensors' data") from error
    arrays.append((HEADER_INDEX, np.frombuffer(rest, np.uint8)))
    return arrays


def _is_shape(shape: Any, itemsize: int) -> TypeGuard[list[int]]:
    return (
        isinstance(shape, list)
        and len(shape) <= MAX_RANK
        and all(isinstance(dim, int) and not isinstance(dim, bool) and dim > 0 for dim in shape)
        and prod(shape) * itemsize <= _LARGEST_BYTES
    )


def encode(payload: memoryview, mask: int) -> Arrays:
    """Write the tensors of a table whose bit is set in `mask` as flat JSON lists."""
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


def read_decoded(data: bytes) -> dict[str, Any]:
    """Supervisor: give the parsed request, with arrays in the place of lists."""
    memory = memoryview(data)
    arrays = {tensor.index: tensor.view(memory) for tensor in read_table(memory)}
    header: dict[str, Any] = orjson.loads(arrays.pop(HEADER_INDEX).tobytes())
    for index, array in arrays.items():
        header["inputs"][index]["data"] = array
    return header


def read_encoded(data: bytes) -> dict[int, bytes]:
    """Supervisor: give the JSON text of each output."""
    memory = memoryview(data)
    return {tensor.index: tensor.view(memory).tobytes() for tensor in read_table(memory)}
