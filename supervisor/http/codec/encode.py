"""Encoding: from a worker's outputs to a response's body.

Owns the JSON and the binary parts of an answer. Pure. Runs in the supervisor.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import orjson

from gpu_worker.ipc.tensors import Contract, Tensor
from supervisor.errors import BadRequest
from supervisor.http.codec.decoded import DecodedRequest


def check_json_outputs(
    request: DecodedRequest, contract: Contract, data: bytes, tensors: Sequence[Tensor]
) -> int:
    """Check that the outputs wanted as JSON have a JSON form; give their bits.

    Raises:
        BadRequest: one has not (FP16, NaN); names it.

    """
    memory, mask = memoryview(data), 0
    wanted = {wish.index for wish in request.outputs if not wish.binary}
    for tensor in tensors:
        if tensor.index not in wanted:
            continue
        mask |= 1 << tensor.index
        name = contract.outputs[tensor.index].name
        if tensor.datatype.name == "FP16":
            raise BadRequest(f"output {name!r}: FP16 has no JSON form, ask for binary_data")
        if tensor.datatype.dtype.kind == "f" and not np.isfinite(tensor.view(memory)).all():
            raise BadRequest(
                f"output {name!r} holds NaN or infinity, which JSON has not; ask for binary_data"
            )
    return mask


def encode_response(
    model: str,
    version: str,
    request: DecodedRequest,
    contract: Contract,
    data: bytes,
    tensors: Sequence[Tensor],
    texts: Mapping[int, bytes],
) -> tuple[list[bytes | memoryview], int | None]:
    """Build a response's body. `texts` holds outputs whose JSON was written elsewhere.

    Returns the parts of the body and the length of the JSON when binary data follows it.
    """
    memory = memoryview(data)
    by_index = {tensor.index: tensor for tensor in tensors}
    outputs: list[dict[str, Any]] = []
    binary: list[bytes | memoryview] = []
    for wish in request.outputs:
        tensor = by_index[wish.index]
        spec = contract.outputs[wish.index]
        output: dict[str, Any] = {
            "name": spec.name,
            "datatype": spec.datatype,
            "shape": list(tensor.shape),
        }
        if wish.binary:
            output["parameters"] = {"binary_data_size": tensor.nbytes}
            binary.append(memory[tensor.offset : tensor.offset + tensor.nbytes])
        elif wish.index in texts:
            output["data"] = orjson.Fragment(texts[wish.index])
        else:
            output["data"] = tensor.view(memory).ravel()
        outputs.append(output)
    header: dict[str, Any] = {"model_name": model, "model_version": version}
    if request.request_id:
        header["id"] = request.request_id
    header["outputs"] = outputs
    encoded = orjson.dumps(header, option=orjson.OPT_SERIALIZE_NUMPY)
    if not binary:
        return [encoded], None
    return [encoded, *binary], len(encoded)
