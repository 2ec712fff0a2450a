"""Plans: whatever is kept, the answer is the one that decoding anew gives."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpu_worker.ipc.tensors import Contract
from supervisor.errors import BadRequest
from supervisor.http.codec.decode import decode_request
from supervisor.http.codec.plan import Arrays, InferPlan, Plans, plan_of
from tests.unit.supervisor.http.codec.requests import CONTRACT, Built, numbers, requests, spec
from tests.unit.supervisor.http.codec.test_decode_fuzz import places, values

AT = 256  # where the body stands, behind the table
MOST = 512  # plans that are kept
LISTS = [
    b"[]", b"[1]", b"[1,2]", b"[ 1 , 2,3 ]", b"[1,2,3,4]", b"[1.5,2]", b"[-0.0,0,1e-400]", b"[0,1]",
    b"[1e400]", b"[99999999999999999999]", b"[300,-1]", b"[true,false]", b"[null]", b"[{}]",
    b"[NaN]", b"[1,]", b"[01]", b"[1 2]", b"[\n1\t,2\r]", b"[\0]", b"\0", b"null", b"7", b'"data"',
    b"[[1,2]]", b"[[1],[2]]", b'["1"]', b'["hole 0"]', b'[1],"data":[2]', b'[1],"data":[1]',
    b"[1]]", b"[1", b"1]", b"[1}", b"", b"[\xff]",
]  # fmt: skip


def same(plan: InferPlan, arrays: Arrays) -> Any:
    """Everything that a plan decides, and the numbers, to the bit."""
    found = [(array.dtype, array.shape, array.tobytes()) for array in arrays]
    return (
        plan.layout, plan.request_id, plan.outputs, plan.output_mask, plan.shapes, plan.timeout_s,
        plan.form_key, found,
    )  # fmt: skip


def anew(body: bytes, length: int | None, contract: Contract, at: int = AT) -> Any:
    try:
        return same(*plan_of(decode_request(memoryview(body), length, contract), at, len(body)))
    except BadRequest as error:
        return str(error)


def kept(plans: Plans, body: bytes, length: int | None, at: int = AT) -> Any:
    try:
        return same(*plans.find(memoryview(body), length, at))
    except BadRequest as error:
        return str(error)


def check(plans: Plans, contract: Contract, body: bytes, length: int | None, at: int = AT) -> Any:
    expected = anew(body, length, contract, at)
    for time in ("first", "second", "third"):
        assert kept(plans, body, length, at) == expected, time
    return expected


def count(plans: Plans) -> int:
    return len(plans._plans)  # noqa: SLF001 - nothing else shows it


@given(requests())
def test_valid_requests_are_planned_as_they_are_decoded(built: Built) -> None:
    plans = Plans(built.contract)
    assert not isinstance(check(plans, built.contract, built.body, built.header_length), str)


@given(st.data(), requests(), values)
def test_mutated_requests_are_planned_or_refused_as_they_are_decoded(
    data: st.DataObject, built: Built, value: Any
) -> None:
    plans = Plans(built.contract)
    check(plans, built.contract, built.body, built.header_length)
    container, key = data.draw(st.sampled_from(places(built.header)))
    if data.draw(st.booleans()):
        container[key] = value
    else:
        del container[key]
    length = built.header_length
    if length is not None:
        length += data.draw(st.sampled_from([0, 0, -1, 1, -length]))
    check(plans, built.contract, built.body, length)


@given(st.data(), requests())
def test_requests_that_differ_in_their_numbers_do_not_see_each_other(
    data: st.DataObject, built: Built
) -> None:
    plans = Plans(built.contract)
    for _ in range(4):
        header = orjson.loads(orjson.dumps(built.header))
        for tensor in header["inputs"]:
            if "data" in tensor and data.draw(st.booleans()):
                tensor["data"] = data.draw(other_data(tensor["datatype"], len(tensor["data"])))
        body = orjson.dumps(header)
        length = len(body) if built.binary else None
        binary = bytes(data.draw(st.binary(min_size=len(built.binary), max_size=len(built.binary))))
        check(plans, built.contract, body + binary, length)


def other_data(datatype: str, length: int) -> st.SearchStrategy[Any]:
    right = st.lists(numbers(datatype), min_size=length, max_size=length)
    return (
        right
        | st.lists(numbers(datatype), max_size=4)
        | st.sampled_from(LISTS).map(orjson.Fragment)
    )


@given(st.data())
def test_any_texts_in_the_place_of_lists_are_read_or_refused_as_they_are_decoded(
    data: st.DataObject,
) -> None:
    """The same few words, in every order: kept plans meet all that only looks like them."""
    plans = Plans(CONTRACT)
    text = st.sampled_from(LISTS)
    for _ in range(5):
        x = tensor("x", "FP32", [1, 2], data.draw(text | st.just(b"[1,2]")))
        n = tensor("n", "INT64", [3], data.draw(text | st.just(b"[1,2,3]")))
        inputs = [x, n] if data.draw(st.booleans()) else [n, x]
        more = data.draw(st.sampled_from([b"", *EXTRAS]))
        check(plans, CONTRACT, body_of(inputs, more), None)


def tensor(name: str, datatype: str, shape: list[int], data: bytes, more: bytes = b"") -> bytes:
    head = orjson.dumps({"name": name, "datatype": datatype, "shape": shape})[:-1]
    return head + more + b',"data":' + data + b"}"


def body_of(inputs: list[bytes], more: bytes = b"") -> bytes:
    return b'{"inputs":[' + b",".join(inputs) + b"]" + more + b"}"


X = tensor("x", "FP32", [1, 2], b"[1,2]")
N = tensor("n", "INT64", [3], b"[1,2,3]")
EXTRAS = [
    b',"data":[1]',
    b',"id":"\\"data\\":[1,2]"',
    b',"id":"\\\\","data":[1,2]',
    b',"parameters":{"data":[1,2]}',
    b',"parameters":{"timeout":7,"x\\"data":[5]}',
    b',"outputs":[{"name":"y","data":[1,2]}]',
    b',"inputs":[]',
    b',"x":{"inputs":[{"name":"x","data":[1,2]}]}',
]


@pytest.mark.parametrize("more", EXTRAS)
def test_what_only_looks_like_data_is_none(more: bytes) -> None:
    plans = Plans(CONTRACT)
    check(plans, CONTRACT, body_of([X, N], more), None)
    nested = X.replace(b"[1,2]}", b"[[1,2]]}")  # one list is left, the other is elsewhere
    check(plans, CONTRACT, body_of([nested, N], more), None)
    other = more.replace(b"[1,2]", b"[8,9]").replace(b"[1]", b"[8]").replace(b"[5]", b"[8]")
    check(plans, CONTRACT, body_of([X, N], other), None)
    check(plans, CONTRACT, body_of([nested, N], other), None)


@pytest.mark.parametrize(
    "x",
    [
        tensor("x", "FP32", [1, 2], b"[8,9]", b',"data":[1,2]'),
        tensor("x", "FP32", [1, 2], b"[[8,9]]", b',"data":[1,2]'),
        tensor("x", "FP32", [1, 2], b"[8,9]", b',"data":[[1,2]]'),
        tensor("x", "FP32", [1, 2], b"[8,9]", b',"d\\u0061ta":[1,2]'),
        tensor("x", "FP32", [1, 2], b'[1,2],"d\\u0061ta":[8,9]'),
        tensor("x", "FP32", [1, 2], b"[[8,9]]", b',"x\\"data":[1,2]'),
        tensor("x", "FP32", [1, 2], b'[8,9],"shape":[2]'),
        tensor("x", "FP32", [1, 2], b'[8,9],"name":"n"'),
        tensor("n", "FP32", [1, 2], b'[8,9],"name":"x"'),
        tensor("x", "FP32", [1, 2], b'[8,9],"parameters":{"binary_data_size":8}'),
        tensor("x", "FP32", [1, 2], b'[8,9],"parameters":{"data":[1,2]}'),
    ],
)
def test_keys_that_come_twice_mean_what_they_mean_to_json(x: bytes) -> None:
    for inputs in ([x, N], [N, x], [x], [x, X], [x, N, X]):
        plans = Plans(CONTRACT)
        for number in (b"8", b"7", b"8"):
            check(plans, CONTRACT, body_of([one.replace(b"8", number) for one in inputs]), None)


def test_a_body_with_a_nul_in_the_place_of_numbers_is_refused() -> None:
    plans = Plans(CONTRACT)
    check(plans, CONTRACT, body_of([X, N]), None)
    for x, n in ((b"\0", b"[1,2,3]"), (b"[1,2]", b"\0"), (b"\0", b"\0")):
        body = body_of([tensor("x", "FP32", [1, 2], x), tensor("n", "INT64", [3], n)])
        assert "is not JSON" in check(plans, CONTRACT, body, None)
    plans = Plans(CONTRACT)
    check(plans, CONTRACT, body_of([N, X]), None)
    body = body_of([N, tensor("x", "FP32", [1, 2], b"\0")])
    assert "is not JSON" in check(plans, CONTRACT, body, None)


def test_inputs_in_any_order_get_their_own_numbers() -> None:
    contract = Contract(tuple(spec(name, "INT32", -1) for name in "abc"), ())
    for order in ("abc", "cba", "bca"):
        plans = Plans(contract)
        for shift in (0, 10):
            inputs = [tensor(one, "INT32", [1], b"[%d]" % (ord(one) + shift)) for one in order]
            check(plans, contract, body_of(inputs), None)
            _, arrays = plans.find(memoryview(body_of(inputs)), None, AT)
            assert [int(array[0]) for array in arrays] == [ord(one) + shift for one in "abc"]
        assert count(plans) == 1


def test_a_header_that_comes_again_is_not_decoded_again() -> None:
    plans = Plans(CONTRACT)
    first, _ = plans.find(memoryview(body_of([X, N])), None, AT)
    other = body_of([X.replace(b"[1,2]}", b"[ 3.5,\n4]}"), N.replace(b"[1,2,3]", b"[7,8,9]")])
    second, arrays = plans.find(memoryview(other), None, AT)
    assert second is first
    assert [array.ravel().tolist() for array in arrays] == [[3.5, 4.0], [7, 8, 9]]
    spaced, _ = plans.find(memoryview(other.replace(b'"data":', b'"data" : ')), None, AT)
    assert spaced is not first


def binary(fill: bytes, rows: int = 1) -> tuple[bytes, int]:
    sizes = {"x": 8 * rows, "n": 24}
    shapes = {"x": [rows, 2], "n": [3]}
    inputs = [
        {
            "name": name, "datatype": datatype, "shape": shapes[name],
            "parameters": {"binary_data_size": sizes[name]},
        }
        for name, datatype in (("x", "FP32"), ("n", "INT64"))
    ]  # fmt: skip
    header = orjson.dumps({"inputs": inputs})
    return header + fill * (sizes["x"] + 24), len(header)


def test_binary_data_leaves_nothing_to_decode_and_its_length_counts() -> None:
    plans = Plans(CONTRACT)
    body, length = binary(b"a")
    first, arrays = plans.find(memoryview(body), length, AT)
    assert arrays == []
    assert plans.find(memoryview(binary(b"b")[0]), length, AT)[0] is first
    for wrong in (body[:-1], body + b"c", body[:length]):
        assert "binary" in check(plans, CONTRACT, wrong, length)
    for wrong_length in (length - 1, length + 1, len(body), len(body) + 1, None, 0):
        assert isinstance(check(plans, CONTRACT, body, wrong_length), str)
    assert plans.find(memoryview(body), length, AT)[0] is first


@pytest.mark.parametrize("json", [True, False])
def test_a_body_that_stands_elsewhere_has_another_layout(json: bool) -> None:
    """A switch to a contract with more inputs, while a body comes, leaves it where it stands."""
    plans = Plans(CONTRACT)
    body, length = (body_of([X, N]), None) if json else binary(b"a")
    for at in (AT, AT + 128, AT + 64, AT):
        check(plans, CONTRACT, body, length, at)


def test_raw_bodies_are_told_apart_by_their_length() -> None:
    contract = Contract((spec("x", "FP32", -1, 2),), (spec("y", "FP32", -1),))
    plans = Plans(contract)
    for size in (8, 16, 8, 12, 0, 8):
        check(plans, contract, bytes(size), 0)
    wide = replace(contract, inputs=(spec("x", "FP32", -1, -1),))
    plans = Plans(wide)
    assert [check(plans, wide, bytes(size), 0)[4] for size in (8, 16, 8)] == [
        ((1, 2),), ((1, 4),), ((1, 2),)
    ]  # fmt: skip


def test_any_number_of_requests_leaves_few_plans() -> None:
    plans = Plans(CONTRACT)
    for number in range(MOST + 100):
        more = b',"id":"%d"' % number
        check(plans, CONTRACT, body_of([X, N], more), None)
        assert count(plans) <= MOST
    for rows in range(1, MOST + 100):
        body, length = binary(b"a", rows)
        check(plans, CONTRACT, body, length)
        assert count(plans) <= MOST


def test_long_headers_are_not_kept() -> None:
    plans = Plans(CONTRACT)
    long = b',"x":"%s"' % (b"y" * 5000)
    check(plans, CONTRACT, body_of([X, N], long), None)
    header = body_of([], long).replace(b"[]", orjson.dumps(BINARY_INPUTS))
    check(plans, CONTRACT, header + bytes(32), len(header))
    assert count(plans) == 0


BINARY_INPUTS = orjson.loads(binary(b"")[0])["inputs"]


def test_a_refused_request_is_not_kept() -> None:
    plans = Plans(CONTRACT)
    for body in (b"", b"{", body_of([X]), body_of([X, X]), body_of([N, X], b',"id":7')):
        assert isinstance(check(plans, CONTRACT, body, None), str)
    assert count(plans) == 0
