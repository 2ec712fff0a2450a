"""A plan: what is the same for all requests that differ in their numbers only.

Clients send the same header again and again. What was checked of it, and what follows from it, is
kept under its exact bytes, so that the next such request costs a look-up. Where numbers stand in
JSON, the plan has *holes*: flat lists, which are parsed for each request. Owns the plans of one
contract. Pure. Runs on the supervisor's event loop.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Final

import numpy.typing as npt
import orjson

from gpu_worker.ipc.tensors import Contract, DataType
from supervisor.errors import BadRequest
from supervisor.http.codec.decode import decode_request
from supervisor.http.codec.decoded import DecodedRequest, OutputWish
from supervisor.http.codec.json_tensors import to_array
from supervisor.http.codec.payload import PayloadLayout, lay_out

Arrays = list[npt.NDArray[Any]]

_MOST: Final = 512  # plans that are kept
_LARGEST_KEY: Final = 4096  # bytes of a header that is kept
_LISTS: Final = re.compile(rb'"data"\s*:\s*(\[[^\[\]"]*\])')


@dataclass(frozen=True, slots=True)
class Hole:
    """A flat list of numbers in a request's JSON, and what it must become."""

    place: int  # among the arrays of the payload's layout
    datatype: DataType
    shape: tuple[int, ...]
    name: str


@dataclass(slots=True, eq=False)
class InferPlan:
    """One kind of request, checked. `form_key` tells apart the forms of its answers."""

    layout: PayloadLayout
    request_id: str
    outputs: list[OutputWish]
    output_mask: int
    shapes: tuple[tuple[int, ...], ...]
    timeout_s: float | None
    form_key: bytes
    holes: tuple[Hole, ...] = ()


def plan_of(decoded: DecodedRequest, body_at: int, body_length: int) -> tuple[InferPlan, Arrays]:
    """Plan one decoded request; gives its JSON arrays, too, in the order of the layout's places."""
    plan = InferPlan(
        lay_out(decoded.inputs, body_at, body_length),
        decoded.request_id,
        decoded.outputs,
        decoded.output_mask,
        decoded.shapes,
        decoded.timeout_s,
        _form_key(decoded.outputs),
    )
    return plan, [one.array for one in decoded.inputs if one.array is not None]


def answer_plan(request_id: str, outputs: list[OutputWish]) -> InferPlan:
    """Plan the answer alone, to a request that has been queued already."""
    nothing = PayloadLayout(b"", (), 0)
    return InferPlan(nothing, request_id, outputs, 0, (), None, _form_key(outputs))


def _form_key(outputs: list[OutputWish]) -> bytes:
    return b"".join(b"%d%c" % (wish.index, b"jb"[wish.binary]) for wish in outputs)


class Plans:
    """The plans of one contract."""

    def __init__(self, contract: Contract) -> None:
        self._contract = contract
        self._plans: dict[tuple[bytes, int, int], InferPlan] = {}

    def find(
        self, body: memoryview, header_length: int | None, body_at: int
    ) -> tuple[InferPlan, Arrays]:
        """Give the plan of a body that stands at `body_at`, and the arrays of its JSON.

        Raises:
            BadRequest: anything is wrong with it; names the field.

        """
        if header_length is None:
            return self._json(body, body_at)
        key = bytes(body[:header_length]), len(body), body_at
        plan = self._plans.get(key)
        if plan is not None:
            return plan, []
        plan, arrays = plan_of(
            decode_request(body, header_length, self._contract), body_at, len(body)
        )
        if not arrays:
            self._keep(key, plan)
        return plan, arrays

    def _json(self, body: memoryview, body_at: int) -> tuple[InferPlan, Arrays]:
        text = bytes(body)
        lists = [match.span(1) for match in _LISTS.finditer(text)]
        rest, at = [], 0
        for start, end in lists:
            rest.append(text[at:start])
            at = end
        rest.append(text[at:])
        key = b"\0".join(rest), -1, body_at  # NUL cannot be part of JSON
        plan = self._plans.get(key)
        if plan is not None:
            arrays = _fill(plan, [text[start:end] for start, end in lists])
            if arrays is not None:
                return plan, arrays
        decoded = decode_request(body, None, self._contract)
        plan, arrays = plan_of(decoded, body_at, len(body))
        if key not in self._plans and len(key[0]) <= _LARGEST_KEY:
            holes = _holes(rest, decoded, self._contract)
            if holes is not None:
                plan.holes = holes
                self._keep(key, plan)
        return plan, arrays

    def _keep(self, key: tuple[bytes, int, int], plan: InferPlan) -> None:
        if len(key[0]) > _LARGEST_KEY:
            return
        if len(self._plans) >= _MOST:  # every request differs: better begin again than grow
            self._plans.clear()
        self._plans[key] = plan


def _fill(plan: InferPlan, lists: list[bytes]) -> Arrays | None:
    """Parse the numbers; None where one is not what it must be, which is explained elsewhere."""
    if len(lists) != len(plan.holes):  # a NUL in the place of a list
        return None
    arrays: Arrays = [None] * len(lists)  # type: ignore[list-item]  # each is set below
    try:
        for hole, text in zip(plan.holes, lists, strict=True):
            arrays[hole.place] = to_array(orjson.loads(text), hole.datatype, hole.shape, hole.name)
    except (BadRequest, ValueError):  # no JSON
        return None
    return arrays


def _holes(
    rest: list[bytes], decoded: DecodedRequest, contract: Contract
) -> tuple[Hole, ...] | None:
    """Find which input each list belongs to; None unless every input is exactly one of them.

    The lists are replaced by marks and the JSON is parsed again, so that a text that only looks
    like a list cannot be taken for one.
    """
    if len(rest) - 1 != len(decoded.inputs):
        return None
    marked = b"".join(
        piece + (b'["hole %d"]' % number if number < len(rest) - 1 else b"")
        for number, piece in enumerate(rest)
    )
    try:
        header = orjson.loads(marked)
    except orjson.JSONDecodeError:
        return None
    by_name = {spec.name: index for index, spec in enumerate(contract.inputs)}
    holes = []
    for number, tensor in enumerate(header["inputs"]):
        if tensor.get("data") != [f"hole {number}"]:
            return None
        place = by_name[tensor["name"]]
        one = decoded.inputs[place]
        holes.append(Hole(place, one.datatype, one.shape, tensor["name"]))
    return tuple(holes)
