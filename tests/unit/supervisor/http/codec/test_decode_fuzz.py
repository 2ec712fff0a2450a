"""Decoding under any bytes: the right arrays, or BadRequest; and the way on into a slot."""

from __future__ import annotations

import contextlib
import itertools
from typing import Any

import numpy as np
import orjson
from hypothesis import given
from hypothesis import strategies as st

from gpu_worker.ipc.tensors import ALIGNMENT, align, read_table, table_size
from supervisor.errors import BadRequest
from supervisor.http.codec.decode import decode_request
from supervisor.http.codec.payload import lay_out, write_payload
from tests.unit.supervisor.http.codec.requests import CONTRACT, Built, requests

scalars = (
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False,
    allow_infinity=False) | st.text(st.characters(exclude_categories=["Cs"]), max_size=5)
)  # fmt: skip
words = st.sampled_from(
    ["id", "inputs", "outputs", "parameters", "name", "datatype", "shape", "data", "x", "n",
     "binary_data_size", "binary_data", "timeout", "FP32", "INT64"]
)  # fmt: skip
values = st.recursive(
    scalars | words,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(words, inner, max_size=5),
    max_leaves=20,
)


def places(value: Any) -> list[tuple[Any, Any]]:
    """List every (container, key) in a JSON value."""
    found: list[tuple[Any, Any]] = []
    keys = value if isinstance(value, dict) else range(len(value) if isinstance(value, list) else 0)
    for key in list(keys):
        found += [(value, key), *places(value[key])]
    return found


@given(requests())
def test_valid_requests_give_their_arrays_back(built: Built) -> None:
    body = built.body
    request = decode_request(memoryview(body), built.header_length, built.contract)
    assert request.shapes == tuple(array.shape for array in built.arrays)
    for one, array in zip(request.inputs, built.arrays, strict=True):
        at = (built.header_length or 0) if one.array is None else 0
        assert one.offset == -1 or one.offset >= at
        found = one.array
        if found is None:
            data = body[one.offset : one.offset + one.nbytes]
            found = np.frombuffer(data, one.datatype.dtype).reshape(one.shape)
        assert found.dtype == array.dtype
        np.testing.assert_array_equal(found, array)


@given(values, st.none() | st.integers(0, 200), st.binary(max_size=20))
def test_any_json_is_decoded_or_refused(value: Any, length: int | None, more: bytes) -> None:
    with contextlib.suppress(BadRequest):
        decode_request(memoryview(orjson.dumps(value) + more), length, CONTRACT)


@given(st.binary(max_size=200), st.none() | st.integers(0, 250))
def test_any_bytes_are_decoded_or_refused(body: bytes, length: int | None) -> None:
    with contextlib.suppress(BadRequest):
        decode_request(memoryview(body), length, CONTRACT)


@given(st.data(), requests(), values)
def test_a_mutated_request_is_decoded_or_refused(
    data: st.DataObject, built: Built, value: Any
) -> None:
    container, key = data.draw(st.sampled_from(places(built.header)))
    if data.draw(st.booleans()):
        container[key] = value
    else:
        del container[key]
    with contextlib.suppress(BadRequest):
        decode_request(memoryview(built.body), built.header_length, built.contract)


@given(requests(), st.integers(0, 200))
def test_the_payload_holds_the_tensors_that_the_table_names(built: Built, gap: int) -> None:
    body = built.body
    request = decode_request(memoryview(body), built.header_length, built.contract)
    at = table_size(len(request.inputs)) + gap
    layout = lay_out(request.inputs, at, len(body))
    room = max(layout.length, at + len(body))
    payload = memoryview(bytearray(b"\xee" * (room + ALIGNMENT)))
    payload[at : at + len(body)] = body
    write_payload(payload, layout, [one.array for one in request.inputs if one.array is not None])
    length = layout.length
    assert bytes(payload[room:]) == b"\xee" * ALIGNMENT
    tensors = read_table(payload[:length])
    assert [tensor.index for tensor in tensors] == list(range(len(built.arrays)))
    spans = []
    for tensor, one, array in zip(tensors, request.inputs, built.arrays, strict=True):
        np.testing.assert_array_equal(tensor.view(payload[:length]), array)
        spans.append((tensor.offset, tensor.offset + tensor.nbytes))
        if one.array is None:
            assert tensor.offset == at + one.offset
        else:
            assert tensor.offset % ALIGNMENT == 0
    spans.sort()
    assert spans[0][0] >= table_size(len(tensors))
    assert all(end <= start for (_, end), (start, _) in itertools.pairwise(spans))


@given(requests())
def test_binary_data_that_starts_on_a_cache_line_stays_there(built: Built) -> None:
    header = built.header_length
    if header is None:
        return
    request = decode_request(memoryview(built.body), header, built.contract)
    at = align(table_size(len(request.inputs)) + header) - header
    first = min(one.offset for one in request.inputs if one.array is None)
    layout = lay_out(request.inputs, at, len(built.body))
    payload = memoryview(bytearray(layout.length))
    payload[at : at + len(built.body)] = built.body
    write_payload(payload, layout, [one.array for one in request.inputs if one.array is not None])
    offsets = [tensor.offset for tensor in read_table(payload)]
    assert at + first in offsets
    assert (at + first) % ALIGNMENT == 0
