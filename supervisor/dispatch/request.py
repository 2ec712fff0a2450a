"""A request between admission and answer.

Owns the fields only; the dispatcher moves them. Runs in the supervisor.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

from gpu_worker.ipc.link import SOLO, Completion, Submission
from gpu_worker.ipc.slots import Slot
from gpu_worker.ipc.tensors import Contract
from supervisor.errors import RequestError

if TYPE_CHECKING:
    from supervisor.dispatch.lane import Lane
    from supervisor.dispatch.result import InferResult

# Takes the answer. What an `InferResult` holds is gone when the call returns.
Reply = Callable[["InferResult | RequestError"], None]

ids = itertools.count(1)


def next_id() -> int:
    """Give an id that no request has had."""
    return next(ids)


def begin_ids_at(first: int) -> None:
    """Leave the ids below `first` to requests of another program."""
    global ids  # noqa: PLW0603 - one sequence in a process, whoever makes requests
    ids = itertools.count(first)


class RequestState(Enum):
    """Where a request stands."""

    QUEUED = "queued"
    IN_FLIGHT = "in flight"  # a worker may be reading its slot
    ENDED = "ended"


@dataclass(slots=True, eq=False)
class InferRequest:
    """One admitted request. Times are CLOCK_MONOTONIC nanoseconds.

    The payload stands in `slot` until the request has ended, so that it can be sent again when a
    worker dies. `crashes` counts the workers that died while they were running it; once there was
    one, it runs alone, so that nobody else is blamed for it. `answered` says that nobody waits for
    its answer any more: it was given, or the client has gone. `lane` and `completion` tell of the
    worker's answer, once it is there.
    """

    id: int
    slot: Slot
    length: int
    contract: Contract
    output_mask: int
    shapes: tuple[tuple[int, ...], ...]  # of the inputs, in the contract's order
    reply: Reply
    by_version: bool  # only the version that it was checked against may answer
    deadline_ns: int
    enqueued_ns: int
    submitted_ns: int = 0  # to the worker that holds it, or held it last
    state: RequestState = RequestState.QUEUED
    crashes: int = 0
    answered: bool = False
    lane: Lane | None = None
    completion: Completion | None = None

    @classmethod
    def begin(
        cls,
        limit_s: float,
        slot: Slot,
        length: int,
        contract: Contract,
        output_mask: int,
        shapes: tuple[tuple[int, ...], ...],
        reply: Reply,
        *,
        by_version: bool,
    ) -> InferRequest:
        """Make a request that is enqueued now and is to be answered within `limit_s`."""
        now_ns = time.monotonic_ns()
        return cls(
            next(ids),
            slot,
            length,
            contract,
            output_mask,
            shapes,
            reply,
            by_version,
            now_ns + int(limit_s * 1_000_000_000),
            now_ns,
        )

    def submission(self, load_id: int, now_ns: int) -> Submission:
        """Give its descriptor, for a submission at `now_ns`."""
        slot = self.slot
        self.submitted_ns = now_ns
        return Submission(
            self.id,
            slot.offset,
            slot.reuse,
            self.length,
            load_id | SOLO if self.crashes else load_id,
            self.output_mask,
            self.deadline_ns,
            now_ns,
        )
