"""Refusals: what a request is told that no worker answers.

Owns the texts. Pure. Runs in the supervisor.
"""

from __future__ import annotations

from typing import Final

from supervisor.dispatch.generations import Generations
from supervisor.dispatch.lane import Lane
from supervisor.dispatch.request import InferRequest, RequestState
from supervisor.errors import (
    DeadlineExceeded,
    NotFound,
    NotReady,
    Overloaded,
    PoisonRequest,
    RequestError,
)

_CRASHES_OF_POISON: Final = 2


def queue_full(model: str, waiting: int) -> Overloaded:
    """Say that too many wait already."""
    return Overloaded(
        f"model {model!r} has {waiting} requests waiting, its queue_limit; try again later"
    )


def after_death(
    model: str, request: InferRequest, lane: Lane, generations: Generations
) -> RequestError | None:
    """Say why a request that a dead worker held is not sent again; None when it is."""
    if request.crashes >= _CRASHES_OF_POISON:
        return poison(model)
    if request.by_version and lane not in generations.lanes():
        return gone(lane)
    if generations.serving is None and not request.by_version:
        return not_ready(model, generations.why_not)
    return None


def gone(lane: Lane) -> NotFound:
    """Say that the version asked for is on its way out."""
    return NotFound(f"version {lane.version!r} of {lane.model!r} is no longer loaded")


def not_ready(model: str, why: str) -> NotReady:
    """Say that nothing serves any more."""
    return NotReady(f"model {model!r}: {why}")


def late(model: str, request: InferRequest) -> DeadlineExceeded:
    """Say that its deadline has passed."""
    where = "in a worker" if request.state is RequestState.IN_FLIGHT else "in the queue"
    return DeadlineExceeded(f"model {model!r} gave no answer in time; it was {where}")


def poison(model: str) -> PoisonRequest:
    """Say that it was running when two workers died."""
    return PoisonRequest(f"model {model!r}: two workers could not run it")
