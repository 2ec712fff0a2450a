"""The decoder: a request's JSON to arrays, and the rest of it as JSON.

Owns which of two ways a request takes. Long lists are cut out and read without a Python number
each; whatever that way does not prove right, the whole request is parsed again by the other, which
takes it or says what is wrong. So both ways are equally strict. Runs in the JSON worker.
"""

from __future__ import annotations

from math import prod
from typing import Any, Final, TypeGuard

import numpy as np
import orjson

from gpu_worker.ipc.tensors import BY_NAME, MAX_RANK, DataType
from supervisor.errors import BadRequest
from supervisor.http.codec.decode import parse_json
from supervisor.http.codec.json_tensors import to_array
from supervisor.json_worker.cut import SHORTEST, cut_lists
from supervisor.json_worker.number_list import PART_BYTES, NotProven, NumberListReader
from supervisor.json_worker.work import HEADER_INDEX, Arrays

_LARGEST_BYTES: Final = 1 << 40


class RequestDecoder:
    """Decodes one request after another; keeps its parser's memory, which has a fixed size."""

    def __init__(self, part_bytes: int = PART_BYTES, shortest: int = SHORTEST) -> None:
        """Leave lists of fewer than `shortest` bytes to the certain way."""
        self._reader = NumberListReader(part_bytes)
        self._shortest = shortest

    def decode(self, text: memoryview) -> Arrays:
        """Parse a request's JSON; give each input's data as an array, and the rest as JSON text.

        An input whose data type or shape is not understood keeps no data: the supervisor's checks
        say what is wrong with it.

        Raises:
            BadRequest: it is not JSON, or an input's data does not fit its shape and type.

        """
        rest, lists = cut_lists(text, self._shortest)
        if lists:
            try:
                return self._arrays(parse_json(memoryview(rest)), lists)
            except (NotProven, BadRequest):
                pass  # the marks in `rest` have no place in an error
        return self._arrays(parse_json(text), {})

    def _arrays(self, header: dict[str, Any], lists: dict[str, memoryview]) -> Arrays:
        """Take the data out of a parsed request; `lists` holds what was cut out of its text."""
        arrays: Arrays = []
        inputs = header.get("inputs")
        for index, tensor in enumerate(inputs if isinstance(inputs, list) else []):
            if not isinstance(tensor, dict) or "data" not in tensor:
                continue
            data, datatype, shape = tensor["data"], _datatype(tensor), tensor.get("shape")
            tensor["data"] = None
            if datatype is None or not _is_shape(shape, datatype.itemsize):
                continue
            if isinstance(data, str) and data in lists:
                array = self._reader.read(lists.pop(data), datatype, tuple(shape))
            else:
                name = tensor.get("name")
                array = to_array(data, datatype, tuple(shape), name if type(name) is str else "")
            arrays.append((index, array))
        if lists:  # cut out elsewhere, or of an input that is not understood
            raise NotProven
        try:
            rest = orjson.dumps(header)
        except orjson.JSONEncodeError as error:
            raise BadRequest("the JSON is nested too deep beside its tensors' data") from error
        arrays.append((HEADER_INDEX, np.frombuffer(rest, np.uint8)))
        return arrays


def _datatype(tensor: dict[str, Any]) -> DataType | None:
    name = tensor.get("datatype")
    return BY_NAME.get(name) if isinstance(name, str) else None


def _is_shape(shape: Any, itemsize: int) -> TypeGuard[list[int]]:
    return (
        isinstance(shape, list)
        and len(shape) <= MAX_RANK
        and all(isinstance(dim, int) and not isinstance(dim, bool) and dim > 0 for dim in shape)
        and prod(shape) * itemsize <= _LARGEST_BYTES
    )
