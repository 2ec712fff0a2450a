"""Requests whose JSON or tensors are wrong: each is told what, and harms nothing."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

import pytest

from tests.conftest import Models
from tests.harness import Answer, Repository, Server, mlp_request
from tests.integration.tensors import json_tensor, multi_inputs

GOOD = mlp_request()["inputs"][0]
VALUES = GOOD["data"]
NUMBERS = "must hold whole numbers from 1"


@pytest.fixture(scope="module")
def server(share: Callable[..., Server], shared_repository: Repository, models: Models) -> Server:
    shared_repository.publish("mlp", "v1", models.mlp(1))
    shared_repository.publish("multi", "v1", models("multi_pdmodel")[0])
    return share()


def x(**changes: Any) -> dict[str, Any]:
    """Build a request with a changed input."""
    return {"inputs": [{**GOOD, **changes}]}


def x_without(*names: str) -> dict[str, Any]:
    return {"inputs": [{name: value for name, value in GOOD.items() if name not in names}]}


def good(**more: Any) -> dict[str, Any]:
    """Build a good request with more fields."""
    return {"inputs": [GOOD], **more}


def data(*first: Any) -> dict[str, Any]:
    return x(data=[*first, *VALUES[len(first) :]])


def literal(text: str) -> bytes:
    """Build a request with a literal in its data that Python's JSON would not write."""
    return json.dumps(data("LITERAL")).replace('"LITERAL"', text).encode()


# What is sent, and what the error says of it (a regular expression).
MLP: dict[str, tuple[Any, str]] = {
    "name unknown": (x(name="y"), r"'inputs\[0\].name' is 'y', the model's inputs are 'x'"),
    "name missing": (x_without("name"), r"'inputs\[0\].name' is None"),
    "name number": (x(name=1), r"'inputs\[0\].name' is 1"),
    "name list": (x(name=["x"]), r"'inputs\[0\].name'"),
    "name long": (x(name="y" * 100_000), r"'inputs\[0\].name' is 'yyy.*\.\.\."),
    "datatype other": (x(datatype="FP64"), "'x': datatype is 'FP64', the model takes FP32"),
    "datatype missing": (x_without("datatype"), "'x': datatype is None"),
    "datatype number": (x(datatype=32), "'x': datatype is 32"),
    "datatype lower case": (x(datatype="fp32"), "'x': datatype"),
    "datatype of strings": (x(datatype="BYTES"), "'x': datatype"),
    "shape missing": (x_without("shape"), "'x': shape must be a list"),
    "shape null": (x(shape=None), "'x': shape must be a list"),
    "shape text": (x(shape="1,16"), "'x': shape must be a list"),
    "shape number": (x(shape=16), "'x': shape must be a list"),
    "shape object": (x(shape={"0": 1}), "'x': shape must be a list"),
    "shape empty": (x(shape=[]), r"'x': shape is \[\], the model takes \[-1, 16\]"),
    "rank small": (x(shape=[16]), r"'x': shape is \[16\], the model takes \[-1, 16\]"),
    "rank large": (x(shape=[1, 16, 1]), "'x': shape is"),
    "rank huge": (x(shape=[1] * 100_000), "'x': shape must be a list of at most 9"),
    "dim other": (x(shape=[1, 17], data=[0] * 17), r"'x': shape is \[1, 17\]"),
    "dim zero": (x(shape=[0, 16], data=[]), f"'x': shape .* {NUMBERS}"),
    "dim negative": (x(shape=[-1, 16]), f"'x': shape .* {NUMBERS}"),
    "dim bool": (x(shape=[True, 16]), f"'x': shape .* {NUMBERS}"),
    "dim float": (x(shape=[1.0, 16]), f"'x': shape .* {NUMBERS}"),
    "dim text": (x(shape=["1", 16]), f"'x': shape .* {NUMBERS}"),
    "dim null": (x(shape=[None, 16]), f"'x': shape .* {NUMBERS}"),
    "dim list": (x(shape=[[1], 16]), f"'x': shape .* {NUMBERS}"),
    "product over 64 bits": (x(shape=[2**62, 16]), "'x': shape .* asks for 295147905179352825856"),
    "product wraps to 0": (x(shape=[2**60, 16], data=[]), "'x': shape .* asks for"),
    "product wraps to 64": (x(shape=[2**60 + 1, 16]), "'x': shape .* asks for"),
    "dim over 64 bits": (x(shape=[2**70, 16]), f"'x': shape .* {NUMBERS}"),
    "too few": (x(data=VALUES[:15]), r"'x': data has shape \[15\], neither \[1, 16\] nor flat"),
    "too many": (x(data=[*VALUES, 1]), r"'x': data has shape \[17\]"),
    "nested otherwise": (x(data=[[v] for v in VALUES]), r"'x': data has shape \[16, 1\]"),
    "ragged": (x(data=[VALUES[:15], VALUES[15:]]), "'x': data is not a regular list"),
    "ragged deeper": (x(data=[[*VALUES[:15], [1]]]), "'x': data is not a regular list"),
    "data missing": (x_without("data"), "'x' has neither 'data' nor 'binary_data_size'"),
    "data null": (x(data=None), "'x': data must be a list"),
    "data number": (x(data=1), "'x': data must be a list"),
    "data text": (x(data="AAAA"), "'x': data must be a list"),
    "data object": (x(data={"0": 1}), "'x': data must be a list"),
    "data empty": (x(data=[]), r"'x': data has shape \[0\]"),
    "data of text": (x(data=[str(v) for v in VALUES]), "'x': data holds texts"),
    "data with text": (data("1"), "'x': data holds texts"),
    "data with null": (data(None), "'x': data holds other than numbers"),
    "data with object": (data({}), "'x': data holds other than numbers"),
    "data of booleans": (x(data=[True] * 16), "'x': data holds booleans"),
    "data with a boolean": (data(True), "'x': data holds booleans"),
    "data over FP32": (data(1e39), "'x': data holds a number too large for FP32"),
    "data nested 500 deep": (literal("[" * 500 + "]" * 500), "'x': data "),
    "NaN": (literal("NaN"), "is not JSON"),
    "Infinity": (literal("Infinity"), "is not JSON"),
    "-Infinity": (literal("-Infinity"), "is not JSON"),
    "1e999": (literal("1e999"), "is not JSON"),
    "hexadecimal": (literal("0x10"), "is not JSON"),
    "data nested 10000 deep": (literal("[" * 10_000 + "]" * 10_000), "is not JSON: depth limit"),
    "nested 10000 deep": (b"[" * 10_000 + b"]" * 10_000, "is not JSON: depth limit"),
    "nested and open": (b'{"inputs":' * 10_000, "is not JSON"),
    "truncated": (json.dumps(good()).encode()[:-20], "is not JSON"),
    "goes on": (json.dumps(good()).encode() + b"{}", "is not JSON"),
    "not UTF-8": (b'{"id": "\xff"}', "is not JSON"),
    "UTF-16": (json.dumps(good()).encode("utf-16"), "is not JSON"),
    "list": (b"[]", "must be a JSON object with the field 'inputs'"),
    "number": (b"5", "must be a JSON object"),
    "null": (b"null", "must be a JSON object"),
    "empty": (b"", "the body is empty"),
    "blank": (b" \r\n ", "is not JSON"),
    "zero bytes": (b"\0" * 100, "is not JSON"),
    "inputs missing": ({}, "'inputs' must be a list"),
    "inputs object": ({"inputs": GOOD}, "'inputs' must be a list"),
    "inputs null": ({"inputs": None}, "'inputs' must be a list"),
    "inputs empty": ({"inputs": []}, "'inputs' lacks 'x'"),
    "input text": ({"inputs": ["x"]}, r"'inputs\[0\]' must be an object"),
    "input null": ({"inputs": [None]}, r"'inputs\[0\]' must be an object"),
    "input twice": ({"inputs": [GOOD, GOOD]}, "input 'x' is given twice"),
    "input extra": ({"inputs": [GOOD, {**GOOD, "name": "y"}]}, r"'inputs\[1\].name' is 'y'"),
    "outputs text": (good(outputs="fetch"), "'outputs' must be a list"),
    "outputs object": (good(outputs={"name": "fetch"}), "'outputs' must be a list"),
    "output text": (good(outputs=["fetch"]), r"'outputs\[0\]' must be an object"),
    "output empty": (good(outputs=[{}]), r"'outputs\[0\].name' is None"),
    "output unknown": (good(outputs=[{"name": "y"}]), r"'outputs\[0\].name' is 'y'"),
    "id number": (good(id=5), "'id' must be a text"),
    "id null": (good(id=None), "'id' must be a text"),
    "id long": (good(id="i" * 1025), "'id' must be a text of at most 1024"),
    "parameters list": (good(parameters=[]), "'parameters' must be an object"),
    "parameters text": (good(parameters="{}"), "'parameters' must be an object"),
    "all binary number": (
        good(parameters={"binary_data_output": 1}),
        "'parameters.binary_data_output' must be true or false",
    ),
    "timeout text": (good(parameters={"timeout": "9"}), "'parameters.timeout' must be a number"),
    "timeout negative": (good(parameters={"timeout": -1}), "'parameters.timeout'"),
    "timeout fraction": (good(parameters={"timeout": 1.5}), "'parameters.timeout'"),
    "timeout boolean": (good(parameters={"timeout": True}), "'parameters.timeout'"),
    "timeout null": (good(parameters={"timeout": None}), "'parameters.timeout'"),
    "input parameters": (x(parameters=[1]), "input 'x': parameters' must be an object"),
    "binary and data": (x(parameters={"binary_data_size": 64}), "both 'data' and 'binary_data"),
}  # fmt: skip


def _multi(name: str, value: Any) -> dict[str, Any]:
    inputs = [json_tensor(n, a) for n, a in multi_inputs().items() if n != "in_fp16"]
    for one in inputs:
        if one["name"] == name:
            one["data"] = [value, *one["data"][1:]]
    return {"inputs": inputs}


MULTI: dict[str, tuple[str, Any, str]] = {
    "INT64 fraction": ("in_int64", 1.5, "holds fractions, the input is INT64"),
    "INT64 whole fraction": ("in_int64", 1.0, "holds fractions, the input is INT64"),
    "INT64 over": ("in_int64", 2**63, "in_int64"),
    "INT64 far over": ("in_int64", 2**64, "in_int64"),
    "INT64 text": ("in_int64", "1", "holds texts, the input is INT64"),
    "INT32 over": ("in_int32", 2**31, r"outside INT32 \(-2147483648 to 2147483647\)"),
    "INT32 under": ("in_int32", -(2**31) - 1, "outside INT32"),
    "INT8 over": ("in_int8", 128, "outside INT8"),
    "INT8 under": ("in_int8", -129, "outside INT8"),
    "UINT8 over": ("in_uint8", 256, "outside UINT8"),
    "UINT8 under": ("in_uint8", -1, "outside UINT8"),
    "BOOL number": ("in_bool", 2, "must hold true and false only"),
    "BOOL fraction": ("in_bool", 0.5, "must hold true and false only"),
    "BOOL text": ("in_bool", "true", "'in_bool': data"),
    "FP64 text": ("in_fp64", "1", "holds texts, the input is FP64"),
    "FP16 missing": ("", None, "'inputs' lacks 'in_fp16'"),
}


def expect(answer: Answer, text: str) -> None:
    assert answer.status == 400, answer
    assert answer.headers["Content-Type"] == "application/json"
    assert answer.json().keys() == {"error"}
    assert re.search(text, answer.error), answer.error
    assert len(answer.error) < 600


@pytest.mark.parametrize(("sent", "text"), MLP.values(), ids=list(MLP))
def test_a_bad_request_is_told_what_is_wrong(
    sent: Any, text: str, server: Server, assert_right: Callable[[Server], None]
) -> None:
    body = sent if isinstance(sent, bytes) else json.dumps(sent).encode()
    expect(server.call("POST", "/v2/models/mlp/infer", body), text)
    assert_right(server)


@pytest.mark.parametrize(("name", "value", "text"), MULTI.values(), ids=list(MULTI))
def test_bad_values_are_told_by_their_data_type(
    name: str, value: Any, text: str, server: Server, assert_right: Callable[[Server], None]
) -> None:
    expect(server.infer("multi", _multi(name, value)), text)
    assert_right(server)


OUTPUTS: dict[str, tuple[Any, str]] = {
    "parameters": ([], r"'outputs\[0\].parameters' must be an object"),
    "binary_data": ({"binary_data": "yes"}, r"'outputs\[0\].parameters.binary_data' must be"),
    "binary_data null": ({"binary_data": None}, r"'outputs\[0\].parameters.binary_data' must be"),
    "classification": ({"classification": 2}, r"'outputs\[0\].parameters.classification' is not"),
    "shared memory": ({"shared_memory_region": "r"}, "shared_memory_region' is not supported"),
}


@pytest.mark.parametrize(("parameters", "text"), OUTPUTS.values(), ids=list(OUTPUTS))
def test_bad_output_wishes_are_told(
    parameters: Any, text: str, server: Server, assert_right: Callable[[Server], None]
) -> None:
    name = server.get("/v2/models/mlp").json()["outputs"][0]["name"]
    wish = {"name": name, "parameters": parameters}
    expect(server.infer("mlp", good(outputs=[wish])), text)
    twice = server.infer("mlp", good(outputs=[{"name": name}, {"name": name}]))
    expect(twice, f"output '{name}' is asked for twice")
    assert_right(server)
