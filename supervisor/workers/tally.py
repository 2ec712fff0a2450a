"""A worker's tally: what one front, or all of them together, have had done by a worker.

Owns the sums. Pure. Made in every front, added up in the supervisor.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

from supervisor.workers.port import WorkerPort


@dataclass(slots=True)
class WorkerTally:
    """What a worker holds and has done. `in_flight` is of this moment, the others of all time."""

    in_flight: int = 0
    answered: int = 0
    stale: int = 0

    @classmethod
    def of(cls, worker: WorkerPort) -> Self:
        """Count what this process has had done by a worker."""
        return cls(len(worker.in_flight), worker.answered, worker.stale)

    def add(self, other: WorkerTally) -> None:
        """Count what `other` has counted, too."""
        self.in_flight += other.in_flight
        self.answered += other.answered
        self.stale += other.stale
