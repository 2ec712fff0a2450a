"""A request between admission and answer, and the answer that it gets.

Owns the fields only; the dispatcher moves them. Runs in the supervisor.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING

from gpu_worker.ipc.arena import Slot
from gpu_worker.ipc.link import Completion, Status, Submission
from gpu_worker.ipc.tensors import Contract, Tensor, read_table
from supervisor.errors import BadRequest, DeadlineExceeded, InferenceFailed

if TYPE_CHECKING:
    from supervisor.dispatch.lane import Lane


class RequestState(Enum):
    """Where a request stands."""

    QUEUED = "queued"
    IN_FLIGHT = "in flight"  # a worker may be reading its slot
    ENDED = "ended"


@dataclass(slots=True, eq=False)
class InferRequest:
    """One admitted request. `deadline` is in seconds of the loop's clock.

    The payload stands in `slot` until the request has ended, so that it can be sent again when a
    worker dies. `crashes` counts the workers that died while they were running it.
    """

    id: int
    slot: Slot
    length: int
    contract: Contract
    output_mask: int
    shapes: tuple[tuple[int, ...], ...]  # of the inputs, in the contract's order
    deadline: float
    future: asyncio.Future[InferResult]
    by_version: bool = False  # only the version that it was checked against may answer
    enqueued_ns: int = 0
    state: RequestState = RequestState.QUEUED
    crashes: int = 0
    timer: asyncio.TimerHandle | None = None

    def submission(self, load_id: int, now: float, now_ns: int) -> Submission:
        """Give its descriptor; `now` on the loop's clock and `now_ns` are the same moment."""
        return Submission(
            self.id,
            self.slot.offset,
            self.slot.reuse,
            self.length,
            load_id,
            self.output_mask,
            now_ns + int((self.deadline - now) * 1_000_000_000),
            now_ns,
        )


@dataclass(frozen=True, slots=True)
class InferResult:
    """Outputs of one request: `tensors` lie in `data`. Durations in nanoseconds."""

    lane: Lane
    data: bytes
    tensors: list[Tensor] = field(default_factory=list)
    queue_ns: int = 0
    infer_ns: int = 0
    output_ns: int = 0


def contract_change(lane: Lane, request: InferRequest) -> BadRequest | None:
    """Say why a request that was checked against an older contract does not fit this lane."""
    if request.contract is lane.contract:
        return None
    difference = request.contract.difference(lane.contract)
    if difference is None:
        request.contract = lane.contract
        return None
    return BadRequest(
        f"version {lane.version!r} of {lane.model!r} took over while the request waited and its "
        f"contract differs: {difference}"
    )


def result_of(
    lane: Lane, request: InferRequest, completion: Completion, data: bytes
) -> InferResult:
    """Read a worker's answer; `data` is what it wrote.

    Raises:
        DeadlineExceeded: the worker came to it too late.
        InferenceFailed: the worker says why it has no outputs, or its answer is broken.

    """
    where = f"model {lane.model!r} version {lane.version!r}"
    if completion.status == Status.EXPIRED:
        raise DeadlineExceeded(f"{where} gave no answer in time")
    if completion.status != Status.OK:
        raise InferenceFailed(f"{where}: {data.decode(errors='replace')}")
    try:
        tensors = read_table(memoryview(data))
    except ValueError as error:
        raise InferenceFailed(f"{where}: a worker's answer is broken: {error}") from error
    return InferResult(
        lane,
        data,
        tensors,
        completion.started_ns - request.enqueued_ns,
        completion.inferred_ns - completion.started_ns,
        completion.finished_ns - completion.inferred_ns,
    )
