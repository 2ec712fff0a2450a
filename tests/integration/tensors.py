"""Tensors on their way: arrays to the bare predictor, to JSON and to binary bodies, and back.

Owns the forms in which tests send and compare tensors. Never imports paddle.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from tests.conftest import run_bare
from tests.harness import Answer

Arrays = Mapping[str, npt.NDArray[Any]]

HEADER_LENGTH = "Inference-Header-Content-Length"
DTYPES: dict[str, str] = {
    "BOOL": "bool", "INT8": "int8", "UINT8": "uint8", "INT32": "int32", "INT64": "int64",
    "FP16": "float16", "FP32": "float32", "FP64": "float64",
}  # fmt: skip
_NAMES = {dtype: name for name, dtype in DTYPES.items()}


def datatype(array: npt.NDArray[Any]) -> str:
    """Name an array's type as the protocol does."""
    return _NAMES[array.dtype.name]


def multi_inputs(rows: int = 2, columns: int = 3) -> dict[str, npt.NDArray[Any]]:
    """Build one input of each data type for the model `multi`."""

    def count(shape: tuple[int, ...], dtype: str) -> npt.NDArray[Any]:
        return (np.arange(int(np.prod(shape))) % 50 - 20).reshape(shape).astype(dtype)

    return {
        "in_fp32": count((rows, 8), "float32") / np.float32(3),
        "in_int64": count((rows, columns), "int64") * 2**40,
        "in_bool": count((rows, 3), "int64") % 2 == 0,
        "in_int32": count((rows,), "int32"),
        "in_fp16": count((rows, 4), "float16") / np.float16(3),
        "in_fp64": count((rows, 2), "float64") / 3,
        "in_int8": count((rows, 4), "int8"),
        "in_uint8": count((rows, 4), "uint8"),
    }


def bare_answers(folder: Path, runs: Sequence[Arrays]) -> list[dict[str, npt.NDArray[Any]]]:
    """Run the bare predictor, with one math thread and oneDNN as the server's defaults are."""
    given = [
        {
            name: {
                "shape": list(array.shape),
                "dtype": array.dtype.name,
                "data": base64.b64encode(np.ascontiguousarray(array).tobytes()).decode(),
            }
            for name, array in run.items()
        }
        for run in runs
    ]
    return [
        {name: _array(one["data"], one["dtype"], one["shape"]) for name, one in outputs.items()}
        for outputs in run_bare(folder, given)
    ]


def _array(data: str, dtype: str, shape: list[int]) -> npt.NDArray[Any]:
    return np.frombuffer(base64.b64decode(data), dtype).reshape(shape)


def json_tensor(name: str, array: npt.NDArray[Any], *, flat: bool = True) -> dict[str, Any]:
    """Build an input with JSON data."""
    data = array.ravel().tolist() if flat else array.tolist()
    return {"name": name, "datatype": datatype(array), "shape": list(array.shape), "data": data}


def binary_tensor(name: str, array: npt.NDArray[Any]) -> dict[str, Any]:
    """Build an input whose data follow the JSON."""
    return {
        "name": name,
        "datatype": datatype(array),
        "shape": list(array.shape),
        "parameters": {"binary_data_size": array.nbytes},
    }


def binary_body(header: Any, *blobs: bytes) -> tuple[bytes, dict[str, str]]:
    """Build a body of JSON and binary data, and the headers that it takes."""
    encoded = json.dumps(header).encode()
    return b"".join([encoded, *blobs]), {HEADER_LENGTH: str(len(encoded))}


def outputs_of(answer: Answer) -> dict[str, npt.NDArray[Any]]:
    """Read the outputs of an answer, JSON and binary."""
    assert answer.status == 200, answer
    length = answer.headers.get(HEADER_LENGTH)
    at = int(length) if length else len(answer.body)
    found: dict[str, npt.NDArray[Any]] = {}
    for output in json.loads(answer.body[:at])["outputs"]:
        dtype = DTYPES[output["datatype"]]
        if "data" in output:
            array = np.array(output["data"], dtype)
        else:
            size = output["parameters"]["binary_data_size"]
            array = np.frombuffer(answer.body[at : at + size], dtype)
            at += size
        found[output["name"]] = array.reshape(output["shape"])
    assert at == len(answer.body)
    return found


def assert_same(found: Arrays, wanted: Arrays) -> None:
    """See that two sets of tensors are the same, bit for bit."""
    assert found.keys() == wanted.keys()
    for name, array in wanted.items():
        assert found[name].dtype == array.dtype, name
        np.testing.assert_array_equal(found[name], array, err_msg=name, strict=True)
