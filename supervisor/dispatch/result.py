"""A result: what a request is answered with, read from what a worker wrote.

Owns the fields, and the errors that stand in their place. Pure. Runs in the supervisor.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from gpu_worker.ipc.link import Completion, Status
from gpu_worker.ipc.tensors import Tensor, read_table
from supervisor.dispatch.lane import Lane
from supervisor.dispatch.request import InferRequest
from supervisor.errors import BadRequest, DeadlineExceeded, InferenceFailed


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
