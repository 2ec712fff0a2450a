"""JSON tensor data: from lists of numbers to arrays, and strictly so.

Owns what `data` may look like and what is said when it does not. Pure; runs in the supervisor, and
in the JSON worker for large bodies.
"""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np
import numpy.typing as npt

from gpu_worker.ipc.tensors import MAX_RANK, DataType
from supervisor.errors import BadRequest
from supervisor.http.codec.packing import pack


def to_array(data: Any, datatype: DataType, shape: tuple[int, ...], name: str) -> npt.NDArray[Any]:
    """Turn `data`, flat or nested as `shape` says, into an array of that shape, maybe read-only.

    Raises:
        BadRequest: `data` is no list of numbers, has another shape, or holds a value that the data
            type does not; names the input.

    """
    packed = pack(data, datatype, shape)
    if packed is not None:
        return packed
    if isinstance(data, np.ndarray):  # parsed elsewhere, with the type and shape of its request
        assert data.dtype == datatype.dtype, f"input {name!r}"
        return data.reshape(shape)
    return check_list(data, datatype, shape, name)


def check_list(
    data: Any, datatype: DataType, shape: tuple[int, ...], name: str
) -> npt.NDArray[Any]:
    """Do what `to_array` does, for whatever stands in a request's `data`, the slow and certain way.

    Raises:
        BadRequest: as `to_array`.

    """
    where = f"input {name!r}: data"
    if datatype.name == "FP16":
        raise BadRequest(f"{where}: FP16 has no JSON form, send it as binary data")
    if not isinstance(data, list):
        raise BadRequest(f"{where} must be a list, flat or nested as the shape says")
    _check_kinds(data, datatype, where)
    try:
        found = np.asarray(data)
    except (ValueError, OverflowError) as error:
        raise BadRequest(f"{where} is not a regular list of numbers: {error}") from error
    count = prod(shape)
    if found.shape not in (shape, (count,)):
        raise BadRequest(
            f"{where} has shape {list(found.shape)}, neither {list(shape)} nor flat [{count}]"
        )
    if found.size == 0:
        found = found.astype(datatype.dtype)
    return _convert(found, datatype, where).reshape(shape)


def _check_kinds(data: list[Any], datatype: DataType, where: str) -> None:
    """Refuse what is no number, before numpy makes room for the longest text in every element."""
    kinds = _kinds(data, MAX_RANK)
    if not kinds <= {int, float, bool}:
        what = "texts" if str in kinds else "other than numbers"
        raise BadRequest(f"{where} holds {what}, the input is {datatype.name}")
    if bool in kinds and datatype.name != "BOOL":
        raise BadRequest(f"{where} holds booleans, the input is {datatype.name}")


def _kinds(data: list[Any], depth: int) -> set[type]:
    """Give the types of all elements; lists deeper than `depth` are not looked into."""
    kinds = set(map(type, data))
    if list in kinds and depth:
        kinds.discard(list)
        for part in data:
            if type(part) is list:
                kinds |= _kinds(part, depth - 1)
    return kinds


def _convert(found: npt.NDArray[Any], datatype: DataType, where: str) -> npt.NDArray[Any]:
    kind, wanted = found.dtype.kind, datatype.dtype.kind
    if wanted == "b":
        if kind == "b" or (kind in "iu" and bool(np.isin(found, (0, 1)).all())):
            return found.astype(np.bool_)
        raise BadRequest(f"{where} must hold true and false only")
    if kind not in ("iuf" if wanted == "f" else "iu"):
        raise BadRequest(f"{where} holds fractions, the input is {datatype.name}")
    if wanted == "f":
        with np.errstate(over="ignore"):
            array = found.astype(datatype.dtype)
        if not np.isfinite(array).all():
            raise BadRequest(f"{where} holds a number too large for {datatype.name}")
        return array
    limits = np.iinfo(datatype.dtype)
    if found.size and (int(found.min()) < limits.min or int(found.max()) > limits.max):
        raise BadRequest(
            f"{where} holds a number outside {datatype.name} ({limits.min} to {limits.max})"
        )
    return found.astype(datatype.dtype)
