"""Placing: tensors stand where the table says, in the body's slot or in a larger one."""

from __future__ import annotations

from typing import Any

import numpy as np
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpu_worker.ipc.arena import RequestArena
from gpu_worker.ipc.tensors import ALIGNMENT, Contract, read_table, table_size
from supervisor.errors import Overloaded, TooLarge
from supervisor.http.body import Body, start_of
from supervisor.http.codec.decode import decode_request
from supervisor.http.codec.plan import plan_of
from supervisor.http.placing import place
from tests.unit.supervisor.http.codec.requests import Array, Built, requests, spec

WIDE = Contract((spec("x", "FP64", -1),), (spec("y", "FP32", -1),))


def put(arena: RequestArena, data: bytes, table_bytes: int, json_length: int | None) -> Body:
    """Take a slot for a body as a connection does."""
    start = start_of(table_bytes, json_length or 0)
    slot = arena.slots.take(start + len(data))
    assert slot is not None
    arena.payload(slot)[start : start + len(data)] = data
    return Body(arena, slot, start, len(data))


def placed(body: Body, json_length: int | None, contract: Contract) -> list[Array]:
    """Place a body and read it as a worker does."""
    decoded = decode_request(body.view(), json_length, contract)
    plan, arrays = plan_of(decoded, body.at, body.length)
    place(body, plan, arrays)
    assert body.slot is not None
    payload = body.arena.payload(body.slot)[: plan.layout.length]
    assert len(payload) == plan.layout.length
    return [tensor.view(payload).copy() for tensor in read_table(payload)]


def check(found: list[Array], expected: list[Array]) -> None:
    for one, array in zip(found, expected, strict=True):
        assert one.dtype == array.dtype
        np.testing.assert_array_equal(one, array)


def zeros(count: int) -> bytes:
    tensor = {"name": "x", "datatype": "FP64", "shape": [count], "data": [0] * count}
    return orjson.dumps({"inputs": [tensor]})


@given(st.integers(0, 5000), st.integers(0, 10**12))
def test_binary_data_starts_on_a_cache_line_behind_the_table(table: int, json_length: int) -> None:
    start = start_of(table, json_length)
    assert table <= start < table + ALIGNMENT
    assert (start + json_length) % ALIGNMENT == 0


@given(requests())
def test_what_is_placed_is_what_was_sent(built: Built) -> None:
    arena = RequestArena.create(1 << 20, 1 << 14)
    table = table_size(len(built.contract.inputs))
    body = put(arena, built.body, table, built.header_length)
    check(placed(body, built.header_length, built.contract), built.arrays)
    body.drop()
    assert arena.slots.lent_slots == 0


def test_what_takes_more_room_than_its_text_moves_and_the_old_slot_goes_home() -> None:
    arena = RequestArena.create(1 << 20, 1 << 16)
    body = put(arena, zeros(4000), table_size(1), None)
    before = body.slot
    check(placed(body, None, WIDE), [np.zeros(4000)])
    assert body.slot is not before
    assert arena.slots.lent_slots == 1


def test_what_no_slot_can_hold_is_refused_and_keeps_its_slot() -> None:
    arena = RequestArena.create(1 << 20, 1 << 14)
    body = put(arena, zeros(6000), table_size(1), None)
    with pytest.raises(TooLarge, match=r"more than the largest slot .* send them as binary data"):
        placed(body, None, WIDE)
    assert body.slot is not None
    body.drop()
    assert arena.slots.lent_slots == 0


def test_what_no_free_slot_can_hold_is_refused_and_keeps_its_slot() -> None:
    arena = RequestArena.create(1 << 20, 1 << 16)
    body = put(arena, zeros(4000), table_size(1), None)
    while arena.slots.take(30_000) is not None:
        pass
    lent = arena.slots.lent_slots
    with pytest.raises(Overloaded, match="the request arena is full"):
        placed(body, None, WIDE)
    body.drop()
    assert arena.slots.lent_slots == lent - 1


@pytest.mark.parametrize("binary", [True, False])
@pytest.mark.parametrize("count", [2, 3, 16])
def test_a_body_that_came_for_a_model_with_fewer_inputs_is_not_written_over(
    count: int, binary: bool
) -> None:
    """The switch came while the body did: it stands where the old model's table ends."""
    contract = Contract(tuple(spec(f"x{nth}", "INT32", *[1] * 8) for nth in range(count)), ())
    expected = [np.full([1] * 8, nth + 1, "<i4") for nth in range(count)]
    listed, data = [], b""
    for one, array in zip(contract.inputs, expected, strict=True):
        tensor: dict[str, Any] = {"name": one.name, "datatype": "INT32", "shape": [1] * 8}
        if binary:
            tensor["parameters"] = {"binary_data_size": 4}
            data += array.tobytes()
        else:
            tensor["data"] = [int(array.ravel()[0])]
        listed.append(tensor)
    json = orjson.dumps({"inputs": listed})
    json_length = len(json) if binary else None
    body = put(RequestArena.create(1 << 20, 1 << 14), json + data, table_size(1), json_length)
    check(placed(body, json_length, contract), expected)
