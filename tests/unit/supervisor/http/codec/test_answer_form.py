"""An answer's form: head, JSON and binary parts, in the order that was asked for."""

from __future__ import annotations

from email import message_from_bytes
from typing import Any

import numpy as np
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpu_worker.ipc.tensors import (
    BY_NAME,
    Contract,
    Tensor,
    align,
    encode_table,
    read_table,
    table_size,
)
from supervisor.dispatch.lane import Lane
from supervisor.dispatch.result import InferResult
from supervisor.errors import BadRequest, InferenceFailed
from supervisor.http.codec.answer_form import AnswerForm, AnswerForms
from supervisor.http.codec.decoded import HEADER_LENGTH, DecodedRequest, OutputWish
from supervisor.http.codec.plan import InferPlan, plan_of
from supervisor.lifecycle.states import VersionRecord
from supervisor.repository.model_settings import ModelSettings
from tests.unit.supervisor.http.codec.requests import JSON_TYPES, Array, numbers, spec

CONTRACT = Contract((), (spec("y", "FP32", -1), spec("z", "INT64", -1)))
Y, Z = np.array([[1.5, -2.0]], "<f4"), np.array([2**53 + 1, -1, 0], "<i8")
Wishes = list[tuple[int, bool]]


def lane_of(contract: Contract = CONTRACT) -> Lane:
    lane = Lane(VersionRecord("m", "v7", "v7@f"), contract, ModelSettings(), [])
    lane.generation = 3
    return lane


def plan(wishes: Wishes, request_id: str = "") -> InferPlan:
    return plan_of(DecodedRequest(request_id, [], [OutputWish(*wish) for wish in wishes]), 64, 0)[0]


def written(wishes: Wishes, arrays: list[Array], contract: Contract = CONTRACT) -> memoryview:
    """What a worker writes: the outputs that were asked for, in the contract's order."""
    indexes = sorted(index for index, _ in wishes)
    at, tensors, data = table_size(len(indexes)), [], b""
    for index in indexes:
        array, datatype = arrays[index], BY_NAME[contract.outputs[index].datatype]
        tensors.append(Tensor(index, datatype, array.shape, at + len(data), array.nbytes))
        data += array.tobytes().ljust(align(array.nbytes), b"\xee")
    return memoryview(encode_table(tensors) + data)


def encode(
    wishes: Wishes,
    arrays: list[Array],
    contract: Contract = CONTRACT,
    request_id: str = "",
    texts: dict[int, bytes] | None = None,
) -> tuple[dict[str, Any], bytes, int | None]:
    data = written(wishes, arrays, contract)
    form = AnswerForm(lane_of(contract), plan(wishes, request_id), read_table(data))
    assert form.json_mask == sum(1 << index for index, binary in wishes if not binary)
    json = form.header_json(data, texts or {})
    binary = b"".join(data[start:end] for start, end in form.spans)
    head = form.fixed_head or form.head(len(json))
    assert head == form.head(len(json))
    headers = headers_of(head)
    assert int(headers.pop("Content-Length")) == len(json) + len(binary)
    assert headers == form.headers(len(json))
    length = headers.get(HEADER_LENGTH)
    assert length == (str(len(json)) if form.spans else None)
    return orjson.loads(json), binary, None if length is None else len(json)


def headers_of(head: bytes) -> dict[str, str]:
    line, _, rest = head.partition(b"\r\n")
    assert line == b"HTTP/1.1 200 OK"
    assert rest.endswith(b"\r\n")
    assert not rest.endswith(b"\r\n\r\n"), "others add headers and the empty line"
    return dict(message_from_bytes(rest).items())


def test_json_outputs_are_flat_lists_with_their_shape() -> None:
    header, _, length = encode([(0, False), (1, False)], [Y, Z], request_id="7")
    assert length is None
    assert header == {
        "model_name": "m",
        "model_version": "v7",
        "id": "7",
        "outputs": [
            {"name": "y", "datatype": "FP32", "shape": [1, 2], "data": [1.5, -2.0]},
            {"name": "z", "datatype": "INT64", "shape": [3], "data": [2**53 + 1, -1, 0]},
        ],
    }


def test_binary_outputs_follow_the_json_in_the_order_asked_for() -> None:
    header, binary, length = encode([(1, True), (0, True)], [Y, Z])
    assert length is not None
    assert [one["name"] for one in header["outputs"]] == ["z", "y"]
    sizes = [one["parameters"] for one in header["outputs"]]
    assert sizes == [{"binary_data_size": 24}, {"binary_data_size": 8}]
    assert binary == Z.tobytes() + Y.tobytes()
    assert "id" not in header


def test_json_and_binary_outputs_mix() -> None:
    header, binary, _ = encode([(0, False), (1, True)], [Y, Z])
    assert header["outputs"][0]["data"] == [1.5, -2.0]
    assert "data" not in header["outputs"][1]
    assert binary == Z.tobytes()


@pytest.mark.parametrize("datatype", JSON_TYPES)
def test_every_data_type_but_fp16_has_a_json_form(datatype: str) -> None:
    array = np.array([0, 1], BY_NAME[datatype].dtype)
    header, _, _ = encode([(0, False)], [array], Contract((), (spec("y", datatype, 2),)))
    assert header["outputs"][0]["data"] == array.tolist()


def test_fp16_is_given_as_binary_data_only() -> None:
    contract, array = Contract((), (spec("y", "FP16", 1),)), np.array([1.5], "<f2")
    with pytest.raises(BadRequest, match="output 'y': FP16 has no JSON form"):
        encode([(0, False)], [array], contract)
    assert encode([(0, True)], [array], contract)[1] == array.tobytes()


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_what_json_cannot_say_is_an_error_that_names_the_output(value: float) -> None:
    array = np.array([1.0, value], "<f4")
    with pytest.raises(BadRequest, match="output 'y' holds NaN or infinity") as caught:
        encode([(0, False)], [array, Z])
    assert "binary_data" in str(caught.value)
    assert encode([(0, True)], [array, Z])[1] == array.tobytes()
    assert encode([(1, False)], [array, Z])[0]["outputs"][0]["data"] == Z.tolist()


def test_an_output_without_elements_is_an_empty_list() -> None:
    header, _, _ = encode([(0, False)], [np.zeros((0, 2), "<f4"), Z])
    assert header["outputs"][0]["data"] == []
    assert header["outputs"][0]["shape"] == [0, 2]


def test_json_that_was_written_elsewhere_is_put_in_as_it_is() -> None:
    header, _, _ = encode([(0, False), (1, False)], [Y, Z], texts={1: b"[5,6,7]"})
    assert [one["data"] for one in header["outputs"]] == [[1.5, -2.0], [5, 6, 7]]


@pytest.mark.parametrize(
    ("wishes", "content_type"),
    [
        ([(0, False), (1, False)], "application/json"),
        ([(0, True)], "application/octet-stream"),
        ([(0, False), (1, True)], "application/octet-stream"),
    ],
)
def test_the_head_says_which_version_answered_and_what_follows(
    wishes: Wishes, content_type: str
) -> None:
    form = AnswerForm(lane_of(), plan(wishes), read_table(written(wishes, [Y, Z])))
    headers = headers_of(form.head(50))
    binary = sum(end - start for start, end in form.spans)
    expected = {
        "X-Model-Version": "v7",
        "X-Model-Generation": "3",
        "Content-Type": content_type,
        "Content-Length": str(50 + binary),
    }
    if binary:
        expected[HEADER_LENGTH] = "50"
    assert headers == expected


def test_a_head_is_fixed_only_where_the_json_has_no_numbers() -> None:
    binary, mixed = [(0, True), (1, True)], [(0, True), (1, False)]
    form = AnswerForm(lane_of(), plan(binary), read_table(written(binary, [Y, Z])))
    assert form.fixed_head
    form = AnswerForm(lane_of(), plan(mixed), read_table(written(mixed, [Y, Z])))
    assert form.fixed_head == b""


@pytest.mark.parametrize("request_id", ["7", '"', "\\", "\0", "\u2028", "a" * 1024, "data\r\n"])
def test_an_id_comes_back_as_it_was(request_id: str) -> None:
    for wishes in ([(0, False), (1, False)], [(0, True), (1, False)]):
        header, _, _ = encode(wishes, [Y, Z], request_id=request_id)
        assert header["id"] == request_id


def find(forms: AnswerForms, lane: Lane, one: InferPlan, data: memoryview) -> AnswerForm:
    return forms.find(one, InferResult(lane, data))


def test_a_form_is_kept_per_wish_and_shape_and_filled_with_each_answers_numbers() -> None:
    lane = lane_of()
    forms, wishes = AnswerForms(lane), [(0, False), (1, True)]
    first = written(wishes, [Y, Z])
    form = find(forms, lane, plan(wishes), first)
    other = written(wishes, [Y * 2, Z + 1])
    assert find(forms, lane, plan(wishes), other) is form
    header = orjson.loads(form.header_json(other, {}))
    assert header["outputs"][0]["data"] == [3.0, -4.0]
    for again in (
        find(forms, lane, plan([(0, True), (1, False)]), first),
        find(forms, lane, plan([(1, True), (0, False)]), first),
        find(forms, lane, plan(wishes), written(wishes, [Y.reshape(2, 1), Z])),
        find(forms, lane, plan(wishes), written(wishes, [Y, Z[:2]])),
        find(forms, lane, plan([(0, False)]), written([(0, False)], [Y, Z])),
    ):
        assert again is not form


def test_a_request_with_an_id_has_a_form_of_its_own() -> None:
    lane = lane_of()
    forms, wishes = AnswerForms(lane), [(0, False)]
    data = written(wishes, [Y, Z])
    for request_id in ("a", "b", ""):
        header = orjson.loads(
            find(forms, lane, plan(wishes, request_id), data).header_json(data, {})
        )
        assert header.get("id", "") == request_id


@pytest.mark.parametrize("request_id", ["", "7"])
def test_a_version_that_was_switched_back_to_says_its_new_generation(request_id: str) -> None:
    lane = lane_of()
    forms, wishes = AnswerForms(lane), [(0, True)]
    data, one = written(wishes, [Y, Z]), plan(wishes, request_id)
    for generation in (3, 5):
        lane.generation = generation
        form = find(forms, lane, one, data)
        assert headers_of(form.fixed_head)["X-Model-Generation"] == str(generation)
        assert form.headers(9)["X-Model-Generation"] == str(generation)


def test_any_number_of_shapes_is_answered_and_few_are_kept() -> None:
    lane = lane_of()
    forms, wishes = AnswerForms(lane), [(0, False)]
    for count in range(600):
        array = np.arange(count, dtype="<f4")
        data = written(wishes, [array])
        form = find(forms, lane, plan(wishes), data)
        output = orjson.loads(form.header_json(data, {}))["outputs"][0]
        assert (output["shape"], output["data"]) == ([count], array.tolist())
        assert len(forms._forms) <= 256  # noqa: SLF001 - nothing else shows it


@pytest.mark.parametrize("data", [b"", b"\x01", b"\xff" * 200])
def test_an_answer_that_is_no_table_is_an_error_that_says_so(data: bytes) -> None:
    lane = lane_of()
    with pytest.raises(InferenceFailed, match="'m' version 'v7': a worker's answer is broken"):
        find(AnswerForms(lane), lane, plan([(0, False)]), memoryview(data))


def test_an_answer_that_ends_early_is_an_error_whatever_is_kept_of_its_table() -> None:
    lane, data = lane_of(), written([(0, True)], [Y, Z])
    forms, asked = AnswerForms(lane), plan([(0, True)])
    find(forms, lane, asked, data)
    with pytest.raises(InferenceFailed, match="a worker's answer is broken"):
        find(forms, lane, asked, data[: table_size(1) + Y.nbytes - 1])


def test_an_answer_that_lacks_an_output_is_an_error_that_says_so() -> None:
    lane, data = lane_of(), written([(0, False)], [Y, Z])
    for wishes in ([(1, False)], [(0, False), (1, True)]):
        with pytest.raises(InferenceFailed, match="'m' version 'v7': a worker's answer is broken"):
            find(AnswerForms(lane), lane, plan(wishes), data)


@given(st.data())
def test_a_kept_form_gives_what_a_new_one_gives(data: st.DataObject) -> None:
    contract = Contract((), (spec("y", "FP32", -1), spec("z", "INT64", -1), spec("b", "BOOL", -1)))
    lane = lane_of(contract)
    forms = AnswerForms(lane)
    for _ in range(4):
        order = data.draw(st.permutations(range(3)))[: data.draw(st.integers(1, 3))]
        wishes = [(index, data.draw(st.booleans())) for index in order]
        arrays = [
            np.array(
                data.draw(st.lists(numbers(one.datatype), max_size=3)), BY_NAME[one.datatype].dtype
            )
            for one in contract.outputs
        ]
        memory, one = written(wishes, arrays, contract), plan(wishes)
        kept = find(forms, lane, one, memory)
        new = AnswerForm(lane, one, read_table(memory))
        assert kept.header_json(memory, {}) == new.header_json(memory, {})
        assert (kept.spans, kept.fixed_head) == (new.spans, new.fixed_head)
