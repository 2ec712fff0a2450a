"""A result: what a request is answered with, read from what a worker wrote.

Owns the fields, and the errors that stand in their place. Pure. Runs in the supervisor.
"""

from __future__ import annotations

from dataclasses import dataclass

from gpu_worker.ipc.link import Completion, Status
from gpu_worker.ipc.tensors import Tensor, read_table
from supervisor.dispatch.lane import Lane
from supervisor.dispatch.request import InferRequest
from supervisor.errors import BadRequest, DeadlineExceeded, InferenceFailed, RequestError


@dataclass(slots=True)
class InferResult:
    """What a worker wrote for one request: a tensor table and, behind it, the tensors.

    `data` lies in the worker's response ring and is given back when the reply has returned; who
    needs it longer takes a copy.
    """

    lane: Lane
    data: memoryview

    def tensors(self) -> list[Tensor]:
        """Read the table.

        Raises:
            InferenceFailed: it is none; the worker is broken.

        """
        try:
            return read_table(self.data)
        except ValueError as error:
            raise InferenceFailed(
                f"model {self.lane.model!r} version {self.lane.version!r}: a worker's answer is "
                f"broken: {error}"
            ) from error

    def copy(self) -> InferResult:
        """Take the bytes out of the ring."""
        return InferResult(self.lane, memoryview(bytes(self.data)))


Answer = InferResult | RequestError


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


def error_of(
    lane: Lane, completion: Completion, data: memoryview
) -> DeadlineExceeded | InferenceFailed:
    """Give the error that a worker answered with."""
    where = f"model {lane.model!r} version {lane.version!r}"
    if completion.status == Status.EXPIRED:
        return DeadlineExceeded(f"{where} gave no answer in time")
    return InferenceFailed(f"{where}: {str(data, 'utf-8', 'replace')}")
