"""Inference requests and answers as bytes, in both encodings of the Open Inference Protocol.

Owns the two forms that are measured: JSON as a Python client writes it (a flat list of what
`ndarray.tolist()` gives), and Triton's binary tensors for request and answer. Pure.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import orjson

from benchmarks.errors import BenchError
from benchmarks.models import BenchModel, Floats

ENCODINGS: Final = ("binary", "json")
_HEADER_LENGTH: Final = "Inference-Header-Content-Length"
_TOLERANCE: Final = 1e-3  # of the largest value: batches of other sizes run other kernels


@dataclass(frozen=True, slots=True)
class Request:
    """One request, built once."""

    path: str
    headers: dict[str, str]
    body: bytes

    def http(self, port: int) -> bytes:
        """Give the whole message for a kept connection."""
        headers = {**self.headers, "Host": f"127.0.0.1:{port}", "Content-Length": len(self.body)}
        head = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        return f"POST {self.path} HTTP/1.1\r\n{head}\r\n".encode() + self.body


def build_request(model: BenchModel, served_as: str, encoding: str) -> Request:
    """Build the request that carries the model's sample."""
    sample = model.sample()
    tensor: dict[str, Any] = {
        "name": model.input_name, "datatype": "FP32", "shape": list(sample.shape),
    }  # fmt: skip
    path = f"/v2/models/{served_as}/infer"
    if encoding == "json":
        tensor["data"] = sample.ravel().tolist()
        body = orjson.dumps({"inputs": [tensor]})
        return Request(path, {"Content-Type": "application/json"}, body)
    tensor["parameters"] = {"binary_data_size": sample.nbytes}
    header = orjson.dumps({"inputs": [tensor], "parameters": {"binary_data_output": True}})
    headers = {"Content-Type": "application/octet-stream", _HEADER_LENGTH: str(len(header))}
    return Request(path, headers, header + sample.tobytes())


def read_values(headers: dict[str, str], body: bytes) -> Floats:
    """Give the values of all FP32 outputs of an answer; header names in lower case.

    Raises:
        ValueError, KeyError: the answer is not in the protocol's form.

    """
    length = headers.get(_HEADER_LENGTH.lower())
    if length is not None:
        return np.frombuffer(body, np.float32, offset=int(length))
    outputs = orjson.loads(body)["outputs"]
    return np.concatenate([np.array(output["data"], np.float32).ravel() for output in outputs])


def difference(values: Floats, expected: Floats) -> str:
    """Say how an answer differs from the bare predictor's; nothing when it does not."""
    if values.shape != expected.shape:
        return f"{values.size} values instead of {expected.size}"
    scale = float(np.max(np.abs(expected))) or 1.0
    off = float(np.max(np.abs(values - expected))) / scale
    return "" if off <= _TOLERANCE else f"differs by {off:.2g} of the largest value"


def check_answer(headers: dict[str, str], body: bytes, expected: Floats, what: str) -> None:
    """Compare an answer with the bare predictor's.

    Raises:
        BenchError: it is another one.

    """
    try:
        problem = difference(read_values(headers, body), expected)
    except (ValueError, KeyError) as error:
        problem = f"cannot be read: {error!r}"
    if problem:
        raise BenchError(f"{what}: the answer is not the bare predictor's: {problem}")
