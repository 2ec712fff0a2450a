"""Raw requests: the whole body is the one input (`Inference-Header-Content-Length: 0`).

Owns how the shape follows from the length. Pure. Runs in the supervisor.
"""

from __future__ import annotations

from math import prod

from gpu_worker.ipc.tensors import BY_NAME, Contract
from supervisor.errors import BadRequest
from supervisor.http.codec.decoded import (
    HEADER_LENGTH,
    DecodedInput,
    DecodedRequest,
    OutputWish,
)


def decode_raw(body: memoryview, contract: Contract) -> DecodedRequest:
    """Read a raw request: the whole body is the one input, a batch of one; outputs are binary."""
    if len(contract.inputs) != 1:
        raise BadRequest(
            f"{HEADER_LENGTH} is 0 (raw binary), which takes a model with one input; this has "
            f"{len(contract.inputs)}"
        )
    spec = contract.inputs[0]
    datatype = BY_NAME[spec.datatype]
    shape = [1 if axis == 0 and dim == -1 else dim for axis, dim in enumerate(spec.shape)]
    variable = [axis for axis, dim in enumerate(shape) if dim == -1]
    if len(variable) > 1:
        raise BadRequest(
            f"{HEADER_LENGTH} is 0 (raw binary), which leaves one variable dimension at most; "
            f"input {spec.name!r} is {list(spec.shape)}"
        )
    unit = prod(dim for dim in shape if dim != -1) * datatype.itemsize
    if variable:
        shape[variable[0]] = len(body) // unit
    if not len(body) or prod(shape) * datatype.itemsize != len(body):
        raise BadRequest(
            f"input {spec.name!r}: a raw body of {len(body)} bytes is no {spec.datatype} of shape "
            f"{list(spec.shape)}"
        )
    one = DecodedInput(0, datatype, tuple(shape), len(body), offset=0)
    outputs = [OutputWish(index, binary=True) for index in range(len(contract.outputs))]
    return DecodedRequest("", [one], outputs, shapes=(one.shape,))
