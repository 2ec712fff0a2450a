"""Tensors as both processes see them: data types, specs, the contract, the table that names bytes.

Owns the layout of a *tensor table*: what stands at the start of a slot or a response and says where
each tensor's bytes lie. Never touches tensor data itself. Runs in supervisor and worker.

Layout, little-endian, offsets from the table's own first byte::

    u32 count | u32 reserved | count x entry
    entry: u16 tensor index | u16 data type code | u32 rank | u64 offset | u64 nbytes | rank x i64
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from math import prod
from typing import Any, Final

import numpy as np
import numpy.typing as npt

MAX_RANK: Final = 9  # Paddle's phi::DDim::kMaxRank
ALIGNMENT: Final = 64  # one cache line; also what oneDNN wants of a buffer

_HEADER = struct.Struct("<II")
_ENTRY = struct.Struct("<HHIQQ")
_DIMS = tuple(struct.Struct(f"<{rank}q") for rank in range(MAX_RANK + 1))


@dataclass(frozen=True, slots=True)
class DataType:
    """One data type: its Open Inference Protocol name, its numpy dtype, its code on the wire."""

    name: str
    dtype: np.dtype[Any]
    code: int

    @property
    def itemsize(self) -> int:
        """Size of one element in bytes."""
        return self.dtype.itemsize


# What Paddle's Python inference API carries both ways without changing it, tried on 3.3.1 and 2.6.2
# (copy_from_cpu turns INT16 and UINT16 into INT32, UINT32 into INT64, UINT64 into FP64).
DATA_TYPES: Final = tuple(
    DataType(name, np.dtype(dtype), code)
    for code, (name, dtype) in enumerate(
        [
            ("BOOL", "bool"),
            ("INT8", "<i1"),
            ("UINT8", "<u1"),
            ("INT32", "<i4"),
            ("INT64", "<i8"),
            ("FP16", "<f2"),
            ("FP32", "<f4"),
            ("FP64", "<f8"),
        ]
    )
)
BY_NAME: Final = {data_type.name: data_type for data_type in DATA_TYPES}
BY_DTYPE: Final = {data_type.dtype: data_type for data_type in DATA_TYPES}


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """Name, data type and shape of one input or output; a dimension of -1 is variable."""

    name: str
    datatype: str
    shape: tuple[int, ...]

    def to_json(self) -> dict[str, Any]:
        """Give the form in which the Open Inference Protocol lists a tensor."""
        return {"name": self.name, "datatype": self.datatype, "shape": list(self.shape)}

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> TensorSpec:
        """Read back what `to_json` gave."""
        return cls(value["name"], value["datatype"], tuple(value["shape"]))


@dataclass(frozen=True, slots=True)
class Contract:
    """What a model version takes and gives; two versions with equal contracts can be exchanged."""

    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]

    def to_json(self) -> dict[str, Any]:
        """Give a JSON-ready form."""
        return {
            "inputs": [spec.to_json() for spec in self.inputs],
            "outputs": [spec.to_json() for spec in self.outputs],
        }

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> Contract:
        """Read back what `to_json` gave."""
        return cls(
            tuple(TensorSpec.from_json(spec) for spec in value["inputs"]),
            tuple(TensorSpec.from_json(spec) for spec in value["outputs"]),
        )

    def difference(self, other: Contract) -> str | None:
        """Say in words how `other` differs from this contract, or None when it does not."""
        for kind, ours, theirs in (
            ("input", self.inputs, other.inputs),
            ("output", self.outputs, other.outputs),
        ):
            if ours == theirs:
                continue
            names, new_names = [s.name for s in ours], [s.name for s in theirs]
            if names != new_names:
                return f"{kind}s were {names}, are {new_names}"
            for old, new in zip(ours, theirs, strict=True):
                if old != new:
                    was = f"{old.datatype}{list(old.shape)}"
                    return f"{kind} {old.name!r} was {was}, is {new.datatype}{list(new.shape)}"
        return None


@dataclass(frozen=True, slots=True)
class Tensor:
    """One entry of a tensor table: which tensor, its type and shape, and where its bytes lie."""

    index: int
    datatype: DataType
    shape: tuple[int, ...]
    offset: int
    nbytes: int

    def view(self, memory: memoryview) -> npt.NDArray[Any]:
        """View the tensor's bytes in `memory` (which starts at the table) without a copy."""
        count = prod(self.shape)
        array = np.frombuffer(memory, self.datatype.dtype, count, self.offset)
        return array.reshape(self.shape)


def align(offset: int) -> int:
    """Round `offset` up to the next multiple of `ALIGNMENT`."""
    return (offset + ALIGNMENT - 1) & -ALIGNMENT


@cache
def table_size(count: int) -> int:
    """Give the bytes that a table of `count` tensors may need, whatever their rank (aligned)."""
    return align(_HEADER.size + count * (_ENTRY.size + 8 * MAX_RANK))


def encode_table(tensors: Sequence[Tensor]) -> bytes:
    """Give the bytes of a table, padded with zeros to `table_size`.

    The same tensors always give the same bytes, so that a table may be kept and recognised whole.
    """
    table = bytearray(table_size(len(tensors)))
    _HEADER.pack_into(table, 0, len(tensors), 0)
    at = _HEADER.size
    for tensor in tensors:
        rank = len(tensor.shape)
        _ENTRY.pack_into(
            table, at, tensor.index, tensor.datatype.code, rank, tensor.offset, tensor.nbytes
        )
        _DIMS[rank].pack_into(table, at + _ENTRY.size, *tensor.shape)
        at += _ENTRY.size + 8 * rank
    return bytes(table)


def write_table(memory: memoryview, tensors: Sequence[Tensor]) -> None:
    """Write a table to the start of `memory`, which nobody reads before a ring has published it."""
    table = encode_table(tensors)
    memory[: len(table)] = table


def read_table(memory: memoryview) -> list[Tensor]:
    """Read the table at the start of `memory`.

    Raises:
        ValueError: the bytes are no table, or an entry points outside `memory`.

    """
    try:
        count, _ = _HEADER.unpack_from(memory, 0)
        at = _HEADER.size
        tensors = []
        for _ in range(count):
            index, code, rank, offset, nbytes = _ENTRY.unpack_from(memory, at)
            shape = _DIMS[rank].unpack_from(memory, at + _ENTRY.size)
            tensor = Tensor(index, DATA_TYPES[code], shape, offset, nbytes)
            if min(shape, default=0) < 0:
                raise ValueError(f"tensor {index} of a table has the shape {list(shape)}")
            if offset + nbytes > len(memory) or prod(shape) * tensor.datatype.itemsize != nbytes:
                raise ValueError(f"tensor {index} of a table points outside its bytes")
            tensors.append(tensor)
            at += _ENTRY.size + 8 * rank
    except (struct.error, IndexError) as error:
        raise ValueError("not a tensor table") from error
    return tensors
