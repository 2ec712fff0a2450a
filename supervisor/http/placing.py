"""Placing: a request's tensors are put where the worker will read them.

Owns the move to a larger slot, where what JSON says takes more room than its text. Runs on the
supervisor's event loop.
"""

from __future__ import annotations

from supervisor.errors import Overloaded, TooLarge
from supervisor.http.body import Body
from supervisor.http.codec.payload import write_payload
from supervisor.http.codec.plan import Arrays, InferPlan


def place(body: Body, plan: InferPlan, arrays: Arrays) -> None:
    """Write the tensor table and JSON's arrays into the body's slot, or into a larger one.

    Raises:
        TooLarge: no slot is large enough.
        Overloaded: none is free.

    """
    assert body.slot is not None
    if plan.layout.length > body.slot.capacity:
        _move(body, plan.layout.length)
    write_payload(body.arena.payload(body.slot), plan.layout, arrays)


def _move(body: Body, needed: int) -> None:
    slots = body.arena.slots
    if needed > slots.largest_payload:
        raise TooLarge(
            f"the tensors take {needed} bytes, more than the largest slot of the request "
            "arena (max_request_mb); send them as binary data"
        )
    slot = slots.take(needed)
    if slot is None:
        raise Overloaded("the request arena is full (arena_mb); try again later")
    body.arena.payload(slot)[body.at : body.at + body.length] = body.view()
    body.drop()
    body.slot = slot
