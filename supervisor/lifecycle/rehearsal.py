"""The rehearsal: requests that nobody has asked for, just before a lane is switched to.

A load walks through hundreds of megabytes, and then the worker sleeps until its first request: what
that one needs of code, layouts, buffers and weights would be made or fetched from memory while a
client waits. So a few made-up requests go the very way of real ones, rings and doorbells included.
Owns those requests; their answers go nowhere and count nowhere, and what is wrong with them the
warm-up has found. Runs on the supervisor's event loop.
"""

from __future__ import annotations

import time
from math import prod
from typing import Final

from gpu_worker.ipc.arena import RequestArena
from gpu_worker.ipc.tensors import BY_NAME, Contract, Tensor, align, encode_table, table_size
from supervisor.dispatch.lane import Lane
from supervisor.dispatch.recent_shapes import Shapes
from supervisor.dispatch.request import InferRequest, RequestState
from supervisor.dispatch.result import Answer

_ROUNDS: Final = 4  # a model of 50 µs takes as long as ever from the third request on
_ENOUGH_S: Final = 0.005  # no further round after so long: what takes longer does not feel it
_LARGEST: Final = 1 << 20  # bytes of a request, which are zeroed on the event loop


async def rehearse(lane: Lane, arena: RequestArena, shapes: Shapes) -> None:
    """Have every worker of a lane that does not serve yet answer requests of these input shapes.

    Comes back when no worker holds one any more, be it because it has ended. Does nothing where the
    requests would be large or the arena is full.
    """
    table, length = _layout(lane.contract, shapes)
    if length > _LARGEST:
        return
    enough = time.monotonic() + _ENOUGH_S
    for _ in range(_ROUNDS):
        if not _ask_all(lane, arena, table, length, shapes):
            return
        await lane.drained()
        if time.monotonic() > enough:
            return


def _ask_all(lane: Lane, arena: RequestArena, table: bytes, length: int, shapes: Shapes) -> bool:
    """Send each worker one request; False when there is none or no slot for it."""
    for worker in lane.workers:
        slot = arena.slots.take(length)
        if slot is None:
            return False
        payload = arena.payload(slot)
        payload[: len(table)] = table
        payload[len(table) : length] = bytes(length - len(table))  # as an index, 0 fits any table
        request = InferRequest.begin(
            lane.settings.timeout_ms / 1000,
            slot,
            length,
            lane.contract,
            (1 << len(lane.contract.outputs)) - 1,
            shapes,
            _nobody_asked,
            by_version=True,
        )
        request.answered = True  # so that whoever completes it only gives its slot back
        request.state = RequestState.IN_FLIGHT
        arena.stamp(slot, request.id)
        worker.in_flight[request.id] = request
        worker.submit([request])
    return bool(lane.workers)


def _nobody_asked(answer: Answer) -> None:
    raise AssertionError(f"a rehearsal was answered with {answer}")


def _layout(contract: Contract, shapes: Shapes) -> tuple[bytes, int]:
    """Lay tensors of these shapes out; gives their table, and the length of all together."""
    tensors, at = [], table_size(len(shapes))
    for index, (spec, shape) in enumerate(zip(contract.inputs, shapes, strict=True)):
        datatype = BY_NAME[spec.datatype]
        nbytes = prod(shape) * datatype.itemsize
        tensors.append(Tensor(index, datatype, shape, at, nbytes))
        at += align(nbytes)
    return encode_table(tensors), at
