"""Contracts, and requests that fit them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import orjson
from hypothesis import strategies as st

from gpu_worker.ipc.tensors import BY_NAME, DATA_TYPES, Contract, TensorSpec

Array = npt.NDArray[Any]
JSON_TYPES = [data_type.name for data_type in DATA_TYPES if data_type.name != "FP16"]


def spec(name: str, datatype: str = "FP32", *shape: int) -> TensorSpec:
    return TensorSpec(name, datatype, shape)


CONTRACT = Contract(
    (spec("x", "FP32", -1, 2), spec("n", "INT64", 3)), (spec("y", "FP32", -1), spec("z", "BOOL", 1))
)


@dataclass(frozen=True)
class Built:
    """A request's body, the length of its JSON where binary data follows, and what it says."""

    contract: Contract
    header: dict[str, Any]
    binary: bytes
    arrays: list[Array]

    @property
    def body(self) -> bytes:
        return orjson.dumps(self.header) + self.binary

    @property
    def header_length(self) -> int | None:
        return len(orjson.dumps(self.header)) if self.binary else None


def numbers(datatype: str) -> st.SearchStrategy[Any]:
    dtype = BY_NAME[datatype].dtype
    if dtype.kind == "b":
        return st.booleans()
    if dtype.kind == "f":
        return st.floats(width=dtype.itemsize * 8, allow_nan=False, allow_infinity=False)  # type: ignore[arg-type]  # 16, 32 or 64
    limits = np.iinfo(dtype)
    return st.integers(int(limits.min), int(limits.max))


@st.composite
def requests(draw: st.DrawFn) -> Built:
    """Draw a contract and a valid request of it: JSON flat or nested, and binary, mixed."""
    inputs, arrays, listed, binary = [], [], [], b""
    for index in range(draw(st.integers(1, 4))):
        datatype = draw(st.sampled_from(list(BY_NAME)))
        shape = tuple(draw(st.lists(st.integers(1, 3), max_size=4)))
        declared = tuple(-1 if draw(st.booleans()) else dim for dim in shape)
        inputs.append(TensorSpec(f"in{index}", datatype, declared))
        count = int(np.prod(shape, dtype=int))
        values = draw(st.lists(numbers(datatype), min_size=count, max_size=count))
        arrays.append(np.array(values, BY_NAME[datatype].dtype).reshape(shape))
    for index in draw(st.permutations(range(len(inputs)))):
        one, array = inputs[index], arrays[index]
        tensor: dict[str, Any] = {
            "name": one.name, "datatype": one.datatype, "shape": list(array.shape)
        }  # fmt: skip
        if one.datatype == "FP16" or draw(st.booleans()):
            tensor["parameters"] = {"binary_data_size": array.nbytes}
            binary += array.tobytes()
        else:
            nested = draw(st.booleans()) and array.ndim > 0
            tensor["data"] = array.tolist() if nested else array.ravel().tolist()
        listed.append(tensor)
    contract = Contract(tuple(inputs), (spec("out", "FP32", -1), spec("more", "INT32", 1)))
    return Built(contract, {"id": "7", "inputs": listed}, binary, arrays)
