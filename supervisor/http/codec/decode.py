"""Decoding: from a request's body to checked inputs and wanted outputs.

Owns the JSON of the Open Inference Protocol and its binary tensor extension: what is checked of a
request against the model's contract, and in which order, from cheap to dear. Pure functions over
bytes; no I/O. Runs in the supervisor.
"""

from __future__ import annotations

from math import prod
from typing import Any, Final

import orjson

from gpu_worker.ipc.tensors import (
    BY_NAME,
    MAX_RANK,
    Contract,
    DataType,
    TensorSpec,
)
from supervisor.errors import BadRequest
from supervisor.http.codec.decoded import (
    HEADER_LENGTH,
    DecodedInput,
    DecodedRequest,
    OutputWish,
    short,
)
from supervisor.http.codec.json_tensors import to_array
from supervisor.http.codec.raw import decode_raw

_LARGEST_BYTES: Final = 1 << 40  # no product of dimensions is computed into a size beyond
_MAX_ID: Final = 1024


def decode_request(
    body: memoryview, header_length: int | None, contract: Contract
) -> DecodedRequest:
    """Read a body: JSON, JSON followed by binary data, or raw binary data (`header_length` 0).

    Raises:
        BadRequest: anything is wrong; names the field.

    """
    if header_length == 0:
        return decode_raw(body, contract)
    if header_length is not None and header_length > len(body):
        raise BadRequest(f"{HEADER_LENGTH} is {header_length}, the body has only {len(body)} bytes")
    header = parse_json(body if header_length is None else body[:header_length])
    binary_at = len(body) if header_length is None else header_length
    return decode_header(header, contract, binary_at, len(body))


def parse_json(data: memoryview) -> dict[str, Any]:
    """Parse a JSON object.

    Raises:
        BadRequest: it is not JSON (NaN and Infinity are not), too deep, not UTF-8, or no object.

    """
    try:
        value = orjson.loads(data)
    except orjson.JSONDecodeError as error:
        raise BadRequest(f"the body is not JSON: {error}") from error
    if not isinstance(value, dict):
        raise BadRequest("the body must be a JSON object with the field 'inputs'")
    return value


def decode_header(
    header: dict[str, Any], contract: Contract, binary_at: int, body_length: int
) -> DecodedRequest:
    """Check a parsed request against the contract; binary data starts at byte `binary_at`.

    Raises:
        BadRequest: anything is wrong; names the field.

    """
    request_id = header.get("id", "")
    if not isinstance(request_id, str) or len(request_id) > _MAX_ID:
        raise BadRequest(f"'id' must be a text of at most {_MAX_ID} characters")
    parameters = _object(header.get("parameters", {}), "parameters")
    inputs = _inputs(header, contract, binary_at, body_length)
    outputs = _outputs(header, contract, _flag(parameters, "binary_data_output", "parameters"))
    return DecodedRequest(
        request_id,
        inputs,
        outputs,
        _timeout(parameters),
        tuple(one.shape for one in inputs),
    )


def _object(value: Any, name: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise BadRequest(f"'{name}' must be an object")
    return value


def _flag(parameters: dict[str, Any], name: str, where: str) -> bool:
    value = parameters.get(name, False)
    if not isinstance(value, bool):
        raise BadRequest(f"'{where}.{name}' must be true or false")
    return value


def _timeout(parameters: dict[str, Any]) -> float | None:
    """Read Triton's `timeout` parameter, microseconds; 0 stands for none."""
    value = parameters.get("timeout", 0)
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise BadRequest("'parameters.timeout' must be a number of microseconds, 0 or more")
    return value / 1_000_000 if value else None


def _inputs(
    header: dict[str, Any], contract: Contract, binary_at: int, body_length: int
) -> list[DecodedInput]:
    listed = header.get("inputs")
    if not isinstance(listed, list):
        raise BadRequest("'inputs' must be a list of tensors")
    by_name = {spec.name: (index, spec) for index, spec in enumerate(contract.inputs)}
    found: dict[int, DecodedInput] = {}
    at = binary_at
    for position, one in enumerate(listed):
        tensor = _object(one, f"inputs[{position}]")
        name = tensor.get("name")
        if not isinstance(name, str) or name not in by_name:
            raise BadRequest(
                f"'inputs[{position}].name' is {short(name)}, the model's inputs are "
                f"{', '.join(repr(known) for known in by_name)}"
            )
        index, spec = by_name[name]
        if index in found:
            raise BadRequest(f"input {name!r} is given twice")
        decoded = _input(tensor, index, spec)
        if decoded.array is None:
            decoded.offset = at
            at += decoded.nbytes
            if at > body_length:
                raise BadRequest(
                    f"input {name!r}: the binary data ends after {body_length - binary_at} bytes, "
                    f"'binary_data_size' asks for {at - binary_at} up to here"
                )
        found[index] = decoded
    missing = [spec.name for index, spec in enumerate(contract.inputs) if index not in found]
    if missing:
        raise BadRequest(f"'inputs' lacks {', '.join(repr(name) for name in missing)}")
    if at != body_length:
        raise BadRequest(
            f"the body has {body_length - binary_at} bytes of binary data, the inputs' "
            f"'binary_data_size' add up to {at - binary_at}"
        )
    return [found[index] for index in range(len(contract.inputs))]


def _input(tensor: dict[str, Any], index: int, spec: TensorSpec) -> DecodedInput:
    name = spec.name
    datatype = tensor.get("datatype")
    if datatype != spec.datatype:
        raise BadRequest(
            f"input {name!r}: datatype is {short(datatype)}, the model takes {spec.datatype}"
        )
    data_type = BY_NAME[spec.datatype]
    shape = _shape(tensor.get("shape"), spec)
    nbytes = _size(shape, data_type, name)
    parameters = _object(tensor.get("parameters", {}), f"input {name!r}: parameters")
    binary_size = parameters.get("binary_data_size")
    if binary_size is None:
        if "data" not in tensor:
            raise BadRequest(f"input {name!r} has neither 'data' nor 'binary_data_size'")
        array = to_array(tensor["data"], data_type, shape, name)
        return DecodedInput(index, data_type, shape, nbytes, array=array)
    if "data" in tensor:
        raise BadRequest(f"input {name!r} has both 'data' and 'binary_data_size'")
    if not isinstance(binary_size, int) or isinstance(binary_size, bool) or binary_size != nbytes:
        raise BadRequest(
            f"input {name!r}: binary_data_size is {short(binary_size)}, {spec.datatype} of shape "
            f"{list(shape)} takes {nbytes} bytes"
        )
    return DecodedInput(index, data_type, shape, nbytes)


def _shape(value: Any, spec: TensorSpec) -> tuple[int, ...]:
    if not isinstance(value, list) or len(value) > MAX_RANK:
        raise BadRequest(f"input {spec.name!r}: shape must be a list of at most {MAX_RANK} numbers")
    for dim in value:
        if not isinstance(dim, int) or isinstance(dim, bool) or dim < 1:
            raise BadRequest(
                f"input {spec.name!r}: shape {short(value)} must hold whole numbers from 1"
            )
    shape = tuple(value)
    fits = len(shape) == len(spec.shape) and all(
        wanted in (-1, dim) for dim, wanted in zip(shape, spec.shape, strict=True)
    )
    if not fits:
        raise BadRequest(
            f"input {spec.name!r}: shape is {short(value)}, the model takes {list(spec.shape)} "
            "(-1 is variable)"
        )
    return shape


def _size(shape: tuple[int, ...], datatype: DataType, name: str) -> int:
    nbytes = prod(shape) * datatype.itemsize  # Python's integers do not overflow
    if nbytes > _LARGEST_BYTES:
        raise BadRequest(f"input {name!r}: shape {list(shape)} asks for {nbytes} bytes")
    return nbytes


def _outputs(header: dict[str, Any], contract: Contract, all_binary: bool) -> list[OutputWish]:
    listed = header.get("outputs")
    if listed is None or listed == []:
        return [OutputWish(index, all_binary) for index in range(len(contract.outputs))]
    if not isinstance(listed, list):
        raise BadRequest("'outputs' must be a list")
    by_name = {spec.name: index for index, spec in enumerate(contract.outputs)}
    wishes: dict[int, OutputWish] = {}
    for position, one in enumerate(listed):
        output = _object(one, f"outputs[{position}]")
        name = output.get("name")
        if not isinstance(name, str) or name not in by_name:
            raise BadRequest(
                f"'outputs[{position}].name' is {short(name)}, the model's outputs are "
                f"{', '.join(repr(known) for known in by_name)}"
            )
        where = f"outputs[{position}].parameters"
        parameters = _object(output.get("parameters", {}), where)
        for unknown in ("classification", "shared_memory_region"):
            if parameters.get(unknown):
                raise BadRequest(f"'{where}.{unknown}' is not supported")
        binary = all_binary
        if "binary_data" in parameters:
            binary = _flag(parameters, "binary_data", where)
        if by_name[name] in wishes:
            raise BadRequest(f"output {name!r} is asked for twice")
        wishes[by_name[name]] = OutputWish(by_name[name], binary)
    return list(wishes.values())
