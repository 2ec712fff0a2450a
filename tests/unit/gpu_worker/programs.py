"""Program files of both formats, built byte by byte."""

from __future__ import annotations

import json
from typing import Any

# (name, Paddle's data type, shape)
Tensors = list[tuple[str, Any, list[Any]]]

PIR = {
    "BOOL": "t_bool", "INT8": "t_i8", "UINT8": "t_ui8", "INT32": "t_i32", "INT64": "t_i64",
    "FP16": "t_f16", "FP32": "t_f32", "FP64": "t_f64",
}  # fmt: skip
PROTO = {
    "BOOL": 0, "INT8": 21, "UINT8": 20, "INT32": 2, "INT64": 3, "FP16": 4, "FP32": 5, "FP64": 6,
}  # fmt: skip


def attribute(name: str, kind: str, value: object) -> dict[str, Any]:
    return {"AT": {"#": kind, "D": value}, "N": name}


def result(datatype: str, shape: list[Any]) -> list[dict[str, Any]]:
    kind = {"#": "0.t_dtensor", "D": [{"#": f"0.{datatype}"}, shape, "NCHW", [], 0]}
    return [{"%": 1, "TT": kind}]


def pir(inputs: Tensors, outputs: Tensors, columns: list[Any] | None = None) -> dict[str, Any]:
    """Build a PIR program as Paddle 3.3.1 writes it, fetches last."""
    columns = list(range(len(outputs))) if columns is None else columns
    ops: list[dict[str, Any]] = [
        {"#": "p", "A": [0, 1, 1, "w_0"], "DA": [], "O": result("t_f32", [4])[0], "QA": []}
    ]
    for name, datatype, shape in inputs:
        attributes = [attribute("name", "0.a_str", name), attribute("col", "0.a_i32", 7)]
        ops.append({"#": "1.data", "A": attributes, "I": [], "O": result(datatype, shape)})
    # a loop's body may hold anything, but no input of the model
    body = {"#": "1.data", "A": [], "I": [], "O": []}
    ops.append({"#": "1.while", "A": [], "regions": [{"blocks": [{"ops": [body]}]}]})
    for (name, datatype, shape), column in zip(outputs, columns, strict=True):
        attributes = [attribute("name", "0.a_str", name), attribute("col", "0.a_i32", column)]
        ops.append({"#": "1.fetch", "A": attributes, "I": [{"%": 1}], "O": result(datatype, shape)})
    return {
        "base_code": {"magic": "pir", "trainable": True, "version": 4},
        "program": {"regions": [{"#": "region_0", "blocks": [{"#": "b", "args": [], "ops": ops}]}]},
    }


def varint(value: int) -> bytes:
    value &= (1 << 64) - 1
    encoded = bytearray()
    while value > 0x7F:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*encoded, value])


def number(field: int, value: int) -> bytes:
    return varint(field << 3) + varint(value)


def chunk(field: int, value: bytes | str) -> bytes:
    value = value.encode() if isinstance(value, str) else value
    return varint(field << 3 | 2) + varint(len(value)) + value


def var(name: str, datatype: int, shape: list[int], kind: int = 7) -> bytes:
    tensor = number(1, datatype) + b"".join(number(2, dim) for dim in shape)
    dense = chunk(1, tensor) + number(2, 0)
    return chunk(3, chunk(1, name) + chunk(2, number(1, kind) + chunk(3, dense)) + number(3, 0))


def op(kind: str, slots: bytes, column: int | None) -> bytes:
    col = b"" if column is None else chunk(4, chunk(1, "col") + number(2, 0) + number(3, column))
    return chunk(4, slots + chunk(3, kind) + col)


def feed(name: str, column: int | None) -> bytes:
    slots = chunk(1, chunk(1, "X") + chunk(2, "feed"))
    return op("feed", slots + chunk(2, chunk(1, "Out") + chunk(2, name)), column)


def fetch(name: str, column: int | None) -> bytes:
    slots = chunk(1, chunk(1, "X") + chunk(2, name))
    return op("fetch", slots + chunk(2, chunk(1, "Out") + chunk(2, "fetch")), column)


def desc(*parts: bytes) -> bytes:
    """Build a ProgramDesc with one block."""
    feed_list = chunk(3, chunk(1, "feed") + chunk(2, number(1, 9)))
    block = number(1, 0) + number(2, (1 << 64) - 1) + feed_list + b"".join(parts)
    return chunk(1, block) + chunk(4, number(1, 0))


def pdmodel(inputs: Tensors, outputs: Tensors) -> bytes:
    """Build a ProgramDesc as Paddle 2 does: feeds, operators, fetches."""
    variables = [var(*tensor) for tensor in [*inputs, *outputs]]
    feeds = [feed(name, column) for column, (name, _, _) in enumerate(inputs)]
    fetches = [fetch(name, column) for column, (name, _, _) in enumerate(outputs)]
    return desc(*variables, *feeds, op("relu", b"", None), *fetches)


MLP_JSON = json.dumps(pir([("x", "t_f32", [-1, 16])], [("fetch_name_0", "t_f32", [-1, 4])]))
MLP_PDMODEL = pdmodel([("x", 5, [-1, 16])], [("y", 5, [-1, 4])])
