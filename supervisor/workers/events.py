"""What may happen to a worker: its states, and whom it tells.

Owns the words only. Runs in the supervisor.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum
from typing import Protocol, TypeVar

from gpu_worker.ipc.link import Completion
from supervisor.dispatch.request import InferRequest

W_contra = TypeVar("W_contra", contravariant=True)
Answered = tuple[InferRequest, Completion, memoryview]  # a request, and what a worker wrote for it


class WorkerState(Enum):
    """Where a worker stands."""

    STARTING = "starting"  # imports Paddle, opens its device
    IDLE = "idle"  # a spare: holds no version that is of use
    LOADING = "loading"
    HOLDING = "holding"  # in a lane, serving or retained
    ENDED = "ended"


class Holder(Protocol):
    """What a worker holds: one version of a model."""

    @property
    def model(self) -> str:
        """Name of the model."""

    @property
    def version(self) -> str:
        """Name of the version."""


class PortEvents(Protocol[W_contra]):
    """Whom a port tells of answers."""

    def worker_answered(self, worker: W_contra, answers: Sequence[Answered]) -> None:
        """Take all answers of one wake-up, whose bytes are gone when this returns."""


class WorkerEvents(PortEvents[W_contra], Protocol[W_contra]):
    """Whom a worker tells what became of it, beside its answers."""

    def worker_changed(self, worker: W_contra) -> None:
        """Take note that the state has changed."""

    def worker_needs_space(self, worker: W_contra, front: int) -> None:
        """Have a further front release all answers of this worker, then call `space_freed`."""

    def worker_ended(self, worker: W_contra) -> None:
        """Take note of the end; its last answers have been collected."""
