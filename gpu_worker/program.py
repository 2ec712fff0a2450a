"""What a program file says of its model: names, data types and shapes of inputs and outputs.

Owns the reading of Paddle's two program formats, `.json` (Paddle 3, PIR) and `.pdmodel` (Paddle 2,
ProgramDesc), as far as a `Contract` needs it: Paddle's Python inference API tells neither shapes
nor data types before a first run. Never imports paddle, opens no file, and trusts no byte: whatever
is wrong with a program ends in `ProgramError`. Runs in the worker process.

Names and order are those of the predictor's `get_input_names()` and `get_output_names()`
(PaddlePaddle/Paddle, paddle/fluid/inference/api/analysis_predictor.cc). The field numbers of
ProgramDesc are those of paddle/fluid/framework/framework.proto, the keys of PIR those of
paddle/fluid/pir/serialize_deserialize/include/schema.h.
"""

from __future__ import annotations

import json
from collections import Counter
from typing import TYPE_CHECKING, Any, Final

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.message import DecodeError

from gpu_worker.ipc.tensors import BY_NAME, MAX_RANK, Contract, TensorSpec

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

# A parsed program takes some twenty times its bytes; the largest language models stay far below.
MAX_PROGRAM_BYTES: Final = 128 << 20

_PIR_TYPES: Final = {
    "0.t_bool": "BOOL",
    "0.t_i8": "INT8",
    "0.t_ui8": "UINT8",
    "0.t_i16": "INT16",
    "0.t_i32": "INT32",
    "0.t_i64": "INT64",
    "0.t_f16": "FP16",
    "0.t_bf16": "BF16",
    "0.t_f32": "FP32",
    "0.t_f64": "FP64",
    "0.t_c64": "COMPLEX64",
    "0.t_c128": "COMPLEX128",
    "0.t_f8e4m3fn": "FP8_E4M3FN",
    "0.t_f8e5m2": "FP8_E5M2",
}

_DENSE_TENSOR: Final = 7  # VarType.Type.DENSE_TENSOR, before Paddle 3 LOD_TENSOR
_VAR_TYPES: Final = {
    0: "BOOL",
    1: "INT16",
    2: "INT32",
    3: "INT64",
    4: "FP16",
    5: "FP32",
    6: "FP64",
    20: "UINT8",
    21: "INT8",
    22: "BF16",
    23: "COMPLEX64",
    24: "COMPLEX128",
    25: "STRING",
    32: "FP8_E4M3FN",
    33: "FP8_E5M2",
    36: "UINT16",
    37: "UINT32",
    38: "UINT64",
}

# (field, number, kind): "+" is repeated, "!" required, and a capital letter names another message.
# Strings are read as bytes and enumerations as numbers, so that what Paddle does not define gets a
# sentence of ours and not an exception of the library's.
_SCHEMA: Final[Mapping[str, Sequence[tuple[str, int, str]]]] = {
    "Program": [("blocks", 1, "+Block")],
    "Block": [("vars", 3, "+Var"), ("ops", 4, "+Op")],
    "Op": [
        ("inputs", 1, "+Slot"),
        ("outputs", 2, "+Slot"),
        ("type", 3, "!bytes"),
        ("attrs", 4, "+Attr"),
    ],
    "Slot": [("parameter", 1, "!bytes"), ("arguments", 2, "+bytes")],
    "Attr": [("name", 1, "!bytes"), ("i", 3, "int32")],
    "Var": [("name", 1, "!bytes"), ("type", 2, "!VarType")],
    "VarType": [("type", 1, "!int32"), ("dense_tensor", 3, "DenseTensor")],
    "DenseTensor": [("tensor", 1, "!Tensor")],
    "Tensor": [("data_type", 1, "!int32"), ("dims", 2, "+int64")],
}


class ProgramError(ValueError):
    """The program file cannot be served; the message says why in one sentence."""


def read_contract(program: bytes, suffix: str) -> Contract:
    """Read what a model takes and gives from the bytes of its program file.

    Args:
        program: the whole file.
        suffix: how the file's name ends: `.json` or `.pdmodel`.

    Raises:
        ProgramError: the bytes are no Paddle program, or not one that can be served.

    """
    if len(program) > MAX_PROGRAM_BYTES:
        raise ProgramError(
            f"the program file has {len(program)} bytes; at most {MAX_PROGRAM_BYTES} are read"
        )
    if suffix == ".json":
        contract = _read_pir(program)
    elif suffix == ".pdmodel":
        contract = _read_program_desc(program)
    else:
        raise ProgramError(f"a program file ends in .json or .pdmodel, not in {suffix!r}")
    for kind, specs in (("input", contract.inputs), ("output", contract.outputs)):
        _check(kind, specs)
    return contract


def _check(kind: str, specs: Sequence[TensorSpec]) -> None:
    if not specs:
        raise ProgramError(f"the program has no {kind}s: was it exported for inference?")
    name, count = Counter(spec.name for spec in specs).most_common(1)[0]
    if count > 1:
        raise ProgramError(f"{count} {kind}s are called {name!r}")
    for spec in specs:
        if spec.datatype not in BY_NAME:
            raise ProgramError(
                f"{kind} {spec.name!r} is {spec.datatype}, which Paddle's Python inference API "
                f"does not carry; allowed: {', '.join(BY_NAME)}"
            )


def _spec(kind: str, name: str, datatype: str, dims: Iterable[Any]) -> TensorSpec:
    shape = tuple(dims)
    if len(shape) > MAX_RANK:
        raise ProgramError(f"{kind} {name!r} has {len(shape)} dimensions, Paddle has {MAX_RANK}")
    for dim in shape:
        if type(dim) is not int or not -1 <= dim < 1 << 63:
            raise ProgramError(f"{kind} {name!r} has a dimension that is none")
    return TensorSpec(name, datatype, shape)


def _in_order(kind: str, columns: Iterable[tuple[int, TensorSpec]]) -> tuple[TensorSpec, ...]:
    by_column: dict[int, TensorSpec] = {}
    for column, spec in columns:
        if by_column.setdefault(column, spec) is not spec:
            raise ProgramError(f"two {kind}s of the program stand in column {column}")
    return tuple(by_column[column] for column in sorted(by_column))


def _read_pir(program: bytes) -> Contract:
    try:
        document = json.loads(program.decode())
    except (ValueError, RecursionError) as error:
        raise ProgramError(f"the program file is not readable JSON: {error}") from error
    match document:
        case {
            "base_code": {"magic": "pir"},
            "program": {"regions": [{"blocks": [{"ops": [*ops]}, *_]}]},
        }:
            pass
        case _:
            raise ProgramError("the program file is JSON, but not a program that Paddle 3 wrote")
    inputs, outputs = [], []
    for op in ops:
        match op:
            case {"#": "1.data" | "1.feed"}:
                inputs.append(_pir_spec("input", op)[1])
            case {"#": "1.fetch"}:
                outputs.append(_pir_spec("output", op))
    return Contract(tuple(inputs), _in_order("output", outputs))


def _pir_spec(kind: str, op: dict[str, Any]) -> tuple[int, TensorSpec]:
    """Read one data or fetch operation: its column (inputs have none and get 0) and its tensor."""
    name, column = None, None if kind == "output" else 0
    match op:
        case {
            "A": [*attributes],
            "O": [{"TT": {"#": "0.t_dtensor", "D": [{"#": str(pir_type)}, [*dims], *_]}}],
        }:
            pass
        case _:
            raise ProgramError(f"the program declares an {kind} that is not a dense tensor")
    for attribute in attributes:
        match attribute:
            case {"N": "name", "AT": {"D": str(value)}}:
                name = _text(value.encode(errors="surrogatepass"))
            case {"N": "col", "AT": {"D": int(value)}} if kind == "output":
                column = value
    if not name or column is None:
        raise ProgramError(f"the program declares an {kind} without its name or its column")
    return column, _spec(kind, name, _PIR_TYPES.get(pir_type, repr(pir_type)), dims)


def _read_program_desc(program: bytes) -> Contract:
    desc = _PROGRAM()
    try:
        desc.ParseFromString(program)
    except (DecodeError, ValueError, RecursionError) as error:
        raise ProgramError("the program file cannot be parsed as a Paddle 2 program") from error
    if not desc.blocks or not desc.IsInitialized():
        raise ProgramError("the program file is not a program that Paddle 2 wrote")
    block = desc.blocks[0]
    variables = {var.name: var.type for var in block.vars}
    inputs, outputs = [], []
    for op in block.ops:
        if op.type == b"feed":
            inputs.append(_column("input", op, op.outputs, b"Out", variables))
        elif op.type == b"fetch":
            outputs.append(_column("output", op, op.inputs, b"X", variables))
    return Contract(_in_order("input", inputs), _in_order("output", outputs))


def _column(
    kind: str, op: Any, slots: Any, parameter: bytes, variables: Mapping[bytes, Any]
) -> tuple[int, TensorSpec]:
    """Read one feed or fetch operation: its column and the tensor that it names."""
    arguments = [name for slot in slots if slot.parameter == parameter for name in slot.arguments]
    columns = [attr.i for attr in op.attrs if attr.name == b"col" and attr.HasField("i")]
    if len(arguments) != 1 or len(columns) != 1 or not arguments[0]:
        raise ProgramError(f"the program declares an {kind} without its name or its column")
    name = _text(arguments[0])
    var_type = variables.get(arguments[0])
    if var_type is None:
        raise ProgramError(f"{kind} {name!r} is declared nowhere in the program")
    if var_type.type != _DENSE_TENSOR or not var_type.HasField("dense_tensor"):
        raise ProgramError(f"{kind} {name!r} is not a dense tensor")
    tensor = var_type.dense_tensor.tensor
    datatype = _VAR_TYPES.get(tensor.data_type, f"data type {tensor.data_type}")
    return columns[0], _spec(kind, name, datatype, tensor.dims)


def _text(name: bytes) -> str:
    try:
        return name.decode()
    except UnicodeDecodeError as error:
        raise ProgramError(f"the tensor name {name!r} is not UTF-8") from error


def _program_class() -> Any:
    """Build ProgramDesc's message class from `_SCHEMA`, in a pool that paddle's own cannot meet."""
    file = descriptor_pb2.FileDescriptorProto(name="hotpaddle/program.proto", package="hotpaddle")
    field_type = descriptor_pb2.FieldDescriptorProto
    labels = {"+": field_type.LABEL_REPEATED, "!": field_type.LABEL_REQUIRED}
    scalars = {
        "bytes": field_type.TYPE_BYTES,
        "int32": field_type.TYPE_INT32,
        "int64": field_type.TYPE_INT64,
    }
    for message_name, fields in _SCHEMA.items():
        message = file.message_type.add(name=message_name)
        for name, number, kind in fields:
            field = message.field.add(name=name, number=number)
            field.label = labels.get(kind[0], field_type.LABEL_OPTIONAL)
            type_name = kind.lstrip("+!")
            if type_name in scalars:
                field.type = scalars[type_name]
            else:
                field.type = field_type.TYPE_MESSAGE
                field.type_name = f".hotpaddle.{type_name}"
    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(file.SerializeToString())
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("hotpaddle.Program"))


_PROGRAM: Final = _program_class()
