"""The reading of program files, on programs built here byte by byte; paddle is not needed."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gpu_worker import program
from gpu_worker.ipc.tensors import BY_NAME, Contract, TensorSpec
from gpu_worker.program import ProgramError, read_contract
from tests.unit.gpu_worker.programs import (
    MLP_JSON,
    MLP_PDMODEL,
    PIR,
    PROTO,
    Tensors,
    chunk,
    desc,
    feed,
    fetch,
    op,
    pdmodel,
    pir,
    var,
)


def refused(content: bytes | str | dict[str, Any], suffix: str) -> str:
    """Give the sentence with which a program is refused."""
    if isinstance(content, dict):
        content = json.dumps(content)
    with pytest.raises(ProgramError) as caught:
        read_contract(content if isinstance(content, bytes) else content.encode(), suffix)
    return str(caught.value)


def test_reads_every_data_type_of_a_pir_program_in_order() -> None:
    tensors = [(f"t{code}", datatype, [-1, code]) for code, datatype in enumerate(BY_NAME)]
    named: Tensors = [(name, PIR[datatype], shape) for name, datatype, shape in tensors]
    contract = read_contract(json.dumps(pir(named[::-1], named)).encode(), ".json")
    specs = tuple(TensorSpec(name, datatype, tuple(shape)) for name, datatype, shape in tensors)
    assert contract == Contract(specs[::-1], specs)


def test_reads_every_data_type_of_a_program_desc_in_order() -> None:
    tensors = [(f"t{code}", datatype, [-1, code]) for code, datatype in enumerate(BY_NAME)]
    named: Tensors = [(name, PROTO[datatype], shape) for name, datatype, shape in tensors]
    contract = read_contract(pdmodel(named[::-1], named), ".pdmodel")
    specs = tuple(TensorSpec(name, datatype, tuple(shape)) for name, datatype, shape in tensors)
    assert contract == Contract(specs[::-1], specs)


def test_columns_and_not_positions_order_the_outputs_of_a_pir_program() -> None:
    outputs: Tensors = [("a", "t_f32", []), ("b", "t_f32", []), ("c", "t_f32", [])]
    content = json.dumps(pir([("x", "t_f32", [1])], outputs, [5, 0, 2])).encode()
    assert [spec.name for spec in read_contract(content, ".json").outputs] == ["b", "c", "a"]


def test_columns_and_not_positions_order_a_program_desc() -> None:
    variables = [var(name, 5, [1]) for name in "abcd"]
    content = desc(*variables, feed("a", 1), feed("b", 0), fetch("c", 3), fetch("d", 2))
    contract = read_contract(content, ".pdmodel")
    assert [spec.name for spec in contract.inputs] == ["b", "a"]
    assert [spec.name for spec in contract.outputs] == ["d", "c"]


@pytest.mark.parametrize(
    ("datatype", "said"),
    [("t_bf16", "BF16"), ("t_i16", "INT16"), ("t_c64", "COMPLEX64"), ("t_new", "'0.t_new'")],
)
def test_a_pir_data_type_that_paddle_does_not_carry_is_named(datatype: str, said: str) -> None:
    good, bad = ("x", "t_f32", [1]), ("bad", datatype, [1])
    expected = (
        f"'bad' is {said}, which Paddle's Python inference API does not carry; "
        "allowed: BOOL, INT8, UINT8, INT32, INT64, FP16, FP32, FP64"
    )
    assert refused(pir([good, bad], [good]), ".json") == f"input {expected}"
    assert refused(pir([good], [bad]), ".json") == f"output {expected}"


@pytest.mark.parametrize(
    ("datatype", "said"), [(22, "BF16"), (1, "INT16"), (38, "UINT64"), (999, "data type 999")]
)
def test_a_program_desc_data_type_that_paddle_does_not_carry_is_named(
    datatype: int, said: str
) -> None:
    good, bad = ("x", 5, [1]), ("bad", datatype, [1])
    assert refused(pdmodel([good, bad], [good]), ".pdmodel").startswith(f"input 'bad' is {said}, ")
    assert refused(pdmodel([good], [bad]), ".pdmodel").startswith(f"output 'bad' is {said}, ")


ONE: Tensors = [("x", "t_f32", [1])]


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "not readable JSON"),
        (b"\xff\xfe{", "not readable JSON"),
        (MLP_JSON[: len(MLP_JSON) // 2], "not readable JSON"),
        ("[" * 10_000, "not readable JSON"),
        ('{"a":' * 10_000 + "1" + "}" * 10_000, "not readable JSON"),
        ("9" * 10_000, "not readable JSON"),
        ("{}", "not a program that Paddle 3 wrote"),
        ("null", "not a program that Paddle 3 wrote"),
        ({"base_code": {"magic": "pir"}, "program": {}}, "not a program that Paddle 3 wrote"),
        (MLP_JSON.replace('"pir"', '"rip"'), "not a program that Paddle 3 wrote"),
        (pir([], ONE), "no inputs"),
        (pir(ONE, []), "no outputs"),
        (pir(ONE * 2, ONE), "2 inputs are called 'x'"),
        (pir(ONE, ONE * 2), "2 outputs are called 'x'"),
        (pir(ONE, [("a", "t_f32", []), ("b", "t_f32", [])], [0, 0]), "two outputs"),
        (pir([("", "t_f32", [1])], ONE), "without its name"),
        (pir(ONE, ONE, ["0"]), "without its name or its column"),
        (pir([("\ud800", "t_f32", [1])], ONE), "not UTF-8"),
        (pir([("x", "t_f32", [-2])], ONE), "input 'x' has a dimension"),
        (pir([("x", "t_f32", [1 << 63])], ONE), "input 'x' has a dimension"),
        (pir([("x", "t_f32", [1.5])], ONE), "input 'x' has a dimension"),
        (pir([("x", "t_f32", [True])], ONE), "input 'x' has a dimension"),
        (pir([("x", "t_f32", [1] * 10)], ONE), "input 'x' has 10 dimensions"),
        (MLP_JSON.replace("0.t_dtensor", "0.t_vec"), "not a dense tensor"),
        (MLP_JSON.replace('"1.data", "A"', '"1.data", "B"'), "not a dense tensor"),
    ],
)
def test_a_json_file_that_cannot_be_served_is_refused(
    content: bytes | str | dict[str, Any], reason: str
) -> None:
    assert reason in refused(content, ".json")


X = var("x", 5, [1])


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "not a program that Paddle 2 wrote"),
        (MLP_PDMODEL[:-20], "cannot be parsed"),
        (MLP_PDMODEL[: len(MLP_PDMODEL) // 2], "cannot be parsed"),
        (b'{"base_code":{"magic":"pir"}}', "cannot be parsed"),
        (chunk(1, chunk(4, chunk(4, ""))), "not a program that Paddle 2 wrote"),
        (desc(X, fetch("x", 0)), "no inputs"),
        (desc(X, feed("x", 0)), "no outputs"),
        (desc(X, feed("x", 0), feed("x", 1), fetch("x", 0)), "2 inputs are called 'x'"),
        (desc(X, feed("x", 0), feed("x", 0), fetch("x", 0)), "two inputs"),
        (desc(X, feed("x", None), fetch("x", 0)), "without its name or its column"),
        (desc(X, feed("", 0), fetch("x", 0)), "without its name or its column"),
        (desc(X, op("feed", b"", 0), fetch("x", 0)), "without its name or its column"),
        (desc(feed("x", 0), fetch("x", 0)), "input 'x' is declared nowhere"),
        (desc(var("x", 5, [1], kind=8), feed("x", 0)), "input 'x' is not a dense tensor"),
        (desc(X, feed("feed", 0)), "input 'feed' is not a dense tensor"),
        (desc(X, op("feed", chunk(2, chunk(1, "Out") + chunk(2, b"\xff")), 0)), "not UTF-8"),
        (desc(var("x", 5, [-2]), feed("x", 0)), "input 'x' has a dimension"),
        (desc(var("x", 5, [1] * 10), feed("x", 0)), "input 'x' has 10 dimensions"),
    ],
)
def test_a_pdmodel_file_that_cannot_be_served_is_refused(content: bytes, reason: str) -> None:
    assert reason in refused(content, ".pdmodel")


def test_another_suffix_is_refused() -> None:
    assert refused(MLP_PDMODEL, ".onnx") == (
        "a program file ends in .json or .pdmodel, not in '.onnx'"
    )


def test_a_file_too_large_is_refused_unread(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(program, "MAX_PROGRAM_BYTES", 10)
    assert "bytes" in refused(MLP_JSON, ".json")


def read_or_refuse(content: bytes, suffix: str) -> None:
    """Read; anything raised but ProgramError fails the test, and so does a sentence not UTF-8."""
    try:
        contract = read_contract(content, suffix)
    except ProgramError as error:
        str(error).encode()
    else:
        json.dumps(contract.to_json(), ensure_ascii=False).encode()


@settings(deadline=None)
@given(st.binary(max_size=400), st.sampled_from([".json", ".pdmodel"]))
def test_random_bytes_raise_nothing_but_a_refusal(content: bytes, suffix: str) -> None:
    read_or_refuse(content, suffix)


VALID = [(MLP_JSON.encode(), ".json"), (MLP_PDMODEL, ".pdmodel")]


@settings(max_examples=300, deadline=None)
@given(
    st.sampled_from(VALID),
    st.lists(st.tuples(st.integers(0), st.integers(0, 3), st.binary(max_size=6)), max_size=4),
)
def test_mutated_programs_raise_nothing_but_a_refusal(
    valid: tuple[bytes, str], edits: list[tuple[int, int, bytes]]
) -> None:
    content = bytearray(valid[0])
    for at, gone, put in edits:
        start = at % (len(content) + 1)
        content[start : start + gone] = put
    read_or_refuse(bytes(content), valid[1])


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=5,
)


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_any_value_in_any_place_of_a_pir_program_raises_nothing_but_a_refusal(
    data: st.DataObject,
) -> None:
    node: Any = (document := json.loads(MLP_JSON))
    while True:
        keys = list(node) if isinstance(node, dict) else range(len(node))
        key = data.draw(st.sampled_from(keys))
        if not isinstance(node[key], dict | list) or not node[key] or data.draw(st.booleans()):
            break
        node = node[key]
    node[key] = data.draw(JSON)
    read_or_refuse(json.dumps(document).encode(), ".json")
