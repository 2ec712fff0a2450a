"""The Open Inference Protocol's binary form, as a client writes and reads it.

Owns the bytes of one infer request and of its answer: a JSON head, its length in a header,
then the tensors' little-endian bytes. Does no input or output.
Runs in the process of `hotpaddle demo`.
"""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

HEAD_LENGTH: Final = "Inference-Header-Content-Length"
VERSION: Final = "X-Model-Version"
GENERATION: Final = "X-Model-Generation"


class AnswerError(Exception):
    """An answer that isn't the asked-for result; the message says what is wrong with it."""


@dataclass(frozen=True, slots=True)
class Signature:
    """Names of the model's one input and one output."""

    input: str
    output: str


@dataclass(frozen=True, slots=True)
class EncodedRequest:
    """One infer request, ready to be sent any number of times."""

    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True, slots=True)
class Answer:
    """What a request brought back, and which version and generation gave it."""

    version: str
    generation: int
    scores: NDArray[np.float32]


def parse_signature(metadata: Mapping[str, Any]) -> Signature:
    """Take the names from the answer of `GET /v2/models/MODEL`.

    Raises:
        AnswerError: The model hasn't exactly one input and one output.

    """
    try:
        inputs = [str(tensor["name"]) for tensor in metadata["inputs"]]
        outputs = [str(tensor["name"]) for tensor in metadata["outputs"]]
    except (KeyError, TypeError) as error:
        raise AnswerError(f"metadata without inputs and outputs: {metadata}") from error
    if len(inputs) != 1 or len(outputs) != 1:
        raise AnswerError(f"a recogniser has one input and one output, not {inputs}, {outputs}")
    return Signature(inputs[0], outputs[0])


def encode_request(signature: Signature, tensor: NDArray[np.float32]) -> EncodedRequest:
    """Encode one request whose input and output both travel as raw bytes."""
    data = np.ascontiguousarray(tensor, dtype="<f4").tobytes()
    head = json.dumps(
        {
            "inputs": [
                {
                    "name": signature.input,
                    "shape": list(tensor.shape),
                    "datatype": "FP32",
                    "parameters": {"binary_data_size": len(data)},
                }
            ],
            "outputs": [{"name": signature.output, "parameters": {"binary_data": True}}],
        },
        separators=(",", ":"),
    ).encode()
    headers = {
        HEAD_LENGTH: str(len(head)),
        "Content-Type": "application/octet-stream",
        # Compressing the scores would cost more than it saves on one host.
        "Accept-Encoding": "identity",
    }
    return EncodedRequest(headers, head + data)


def decode_answer(signature: Signature, headers: Mapping[str, str], body: bytes) -> Answer:
    """Read the answer of a request that `encode_request` made.

    Raises:
        AnswerError: A header is missing, or the body isn't what its head announces.

    """
    try:
        length = int(headers[HEAD_LENGTH])
        version = headers[VERSION]
        generation = int(headers[GENERATION])
    except (KeyError, ValueError) as error:
        raise AnswerError(f"answer with a missing or malformed header: {error}") from error
    try:
        head = json.loads(body[:length])
        output = head["outputs"][0]
        name, datatype = output["name"], output["datatype"]
        shape = [int(size) for size in output["shape"]]
        size = int(output["parameters"]["binary_data_size"])
    except (ValueError, KeyError, IndexError, TypeError) as error:
        raise AnswerError(f"answer with a malformed JSON head: {error!r}") from error
    if name != signature.output or datatype != "FP32":
        raise AnswerError(f"answer holds {name} ({datatype}), not {signature.output} (FP32)")
    if size != 4 * math.prod(shape) or len(body) != length + size:
        raise AnswerError(
            f"answer of {len(body)} bytes; its head announces {length} + {size} bytes "
            f"for shape {shape}"
        )
    scores = np.frombuffer(body, dtype="<f4", offset=length).reshape(shape)
    return Answer(version, generation, scores)
