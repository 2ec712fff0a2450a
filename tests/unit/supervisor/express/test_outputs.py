"""Models of several outputs, those asked for, in any form; and of inputs in both forms at once."""

from __future__ import annotations

from typing import Any

import numpy as np
import orjson
import pytest

from gpu_worker.ipc.tensors import BY_NAME, Contract, TensorSpec
from supervisor.http.codec.decoded import HEADER_LENGTH
from tests.unit.supervisor.dispatch.bench import CONTRACT
from tests.unit.supervisor.express.both_ways import both_ways, exchanged
from tests.unit.supervisor.express.ring_site import COMPILED, RingSite
from tests.unit.supervisor.http.client import PATH, ask, http, numbers, y_of
from tests.unit.supervisor.http.codec.requests import Array
from tests.unit.supervisor.http.loops import on_both_loops

pytestmark = COMPILED
DATATYPES = ["FP32", "INT64", "UINT8", "BOOL", "FP16", "FP64", "INT8", "INT32", "FP32", "INT64"]


def contract(count: int) -> Contract:
    named = [TensorSpec(f"y{at}", DATATYPES[at], (-1, 2)) for at in range(count)]
    return Contract(CONTRACT.inputs, tuple(named))


def outputs(x: Array, count: int) -> list[Array]:
    """Give outputs of different types; the third has no rows."""
    y = y_of(x) % 100
    made = [(y + at).astype(BY_NAME[DATATYPES[at]].dtype) for at in range(count)]
    made[2:3] = [one[:0] for one in made[2:3]]
    return made


def wish(at: int, *, binary: bool = True) -> dict[str, Any]:
    return {"name": f"y{at}", "parameters": {"binary_data": binary}}


@on_both_loops
@pytest.mark.parametrize("count", [1, 2, 7, 8, 9, 10])
async def test_all_outputs_are_given_whatever_their_number(count: int) -> None:
    async def talk(one: RingSite) -> list[bytes]:
        (worker,) = one.serve_rings(contract=contract(count))
        worker.model = lambda x: outputs(x, count)
        client = await one.client()
        found = [await exchanged(client, ask(numbers(seed))) for seed in range(4)]
        assert one.express in (0, 3)
        return found

    for seed, found in enumerate(await both_ways(talk)):
        assert found.endswith(b"".join(one.tobytes() for one in outputs(numbers(seed), count)))


@on_both_loops
@pytest.mark.parametrize(
    "wishes",
    [[wish(0)], [wish(2)], [wish(7)], [wish(3), wish(1)], [wish(at) for at in reversed(range(8))]],
    ids=["first", "empty", "last", "two", "reversed"],
)
async def test_the_outputs_wished_for_are_given_in_their_order(wishes: list[Any]) -> None:
    async def talk(one: RingSite) -> list[bytes]:
        (worker,) = one.serve_rings(contract=contract(8))
        worker.model = lambda x: outputs(x, 8)
        client = await one.client()
        found = []
        for seed in range(3):
            wished = ask(numbers(seed), more={"outputs": wishes})
            found.append(await exchanged(client, wished))
            found.append(await exchanged(client, ask(numbers(seed))))
        assert one.express in (0, 4)
        return found

    found = await both_ways(talk)
    for seed in range(3):
        every = outputs(numbers(seed), 8)
        named = [every[int(one["name"][1:])].tobytes() for one in wishes]
        head, _, body = found[2 * seed].partition(b"\r\n\r\n")
        length = int(head.partition(b"Inference-Header-Content-Length: ")[2].split()[0])
        assert body[length:] == b"".join(named)
        assert [one["name"] for one in orjson.loads(body[:length])["outputs"]] == [
            one["name"] for one in wishes
        ]


@on_both_loops
@pytest.mark.parametrize("count", [2, 8, 9])
async def test_outputs_in_both_forms_are_each_in_their_own(count: int) -> None:
    wishes = [wish(0, binary=False), wish(1)]

    async def talk(one: RingSite) -> list[bytes]:
        (worker,) = one.serve_rings(contract=contract(count))
        worker.model = lambda x: outputs(x, count)
        client = await one.client()
        requests = [ask(numbers(seed), more={"outputs": wishes}) for seed in range(3)]
        found = [await exchanged(client, request) for request in requests]
        assert one.express in (0, 2)
        return found

    for seed, found in enumerate(await both_ways(talk)):
        first, second = outputs(numbers(seed), 2)
        assert found.endswith(second.tobytes())
        assert orjson.dumps(first.ravel().tolist()) in found


@on_both_loops
async def test_outputs_whose_rows_change_by_themselves_are_told_right() -> None:
    rows = iter([1, 2, 1, 0, 5, 5, 1] * 2)

    def model(x: Array) -> list[Array]:
        count = next(rows)
        return [np.resize(y_of(x), (count, 2)), np.resize(y_of(x), (6 - count, 2)).astype("<i8")]

    async def talk(one: RingSite) -> list[bytes]:
        (worker,) = one.serve_rings(contract=contract(2))
        worker.model = model
        client = await one.client()
        return [await exchanged(client, ask(numbers(seed))) for seed in range(7)]

    found = await both_ways(talk)
    for seed, count in enumerate([1, 2, 1, 0, 5, 5, 1]):
        y = y_of(numbers(seed))
        second = np.resize(y, (6 - count, 2)).astype("<i8")
        assert found[seed].endswith(np.resize(y, (count, 2)).tobytes() + second.tobytes())


@on_both_loops
async def test_numbers_in_json_beside_binary_data_are_read_each_time() -> None:
    inputs = (*CONTRACT.inputs, TensorSpec("w", "FP32", (-1, 4)))
    told = {"name": "x", "datatype": "FP32", "shape": [1, 4], "data": [1, 2, 3, 4]}
    wide = {"name": "w", "datatype": "FP32", "shape": [1, 4]}

    def mixed(seed: int) -> bytes:
        binary = {**wide, "parameters": {"binary_data_size": 16}}
        json = orjson.dumps({"inputs": [told, binary], "parameters": {"binary_data_output": True}})
        length = f"{HEADER_LENGTH}: {len(json)}"
        return http("POST", PATH, json + numbers(seed).tobytes(), length)

    async def talk(one: RingSite) -> list[bytes]:
        one.serve_rings(contract=Contract(inputs, CONTRACT.outputs))
        client = await one.client()
        found = []
        for seed in range(4):
            slot = one.arena.slots.take(100)
            assert slot is not None
            one.arena.payload(slot)[:] = bytes(slot.capacity)  # what was there before is no help
            one.arena.slots.give_back(slot)
            found.append(await exchanged(client, mixed(seed)))
        return found

    for seed, answer in enumerate(await both_ways(talk)):
        y = np.array([4, 6, *y_of(numbers(seed)).ravel()], "<f4")
        assert answer.endswith(y.tobytes())
