"""A request between admission and answer.

Owns the fields only; the dispatcher moves them. Runs in the supervisor.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from enum import Enum
from typing import Any

from gpu_worker.ipc.arena import Slot
from gpu_worker.ipc.link import Submission
from gpu_worker.ipc.tensors import Contract


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
    future: asyncio.Future[Any]  # of `dispatch.result.InferResult`
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
