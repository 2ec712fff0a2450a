"""A verdict: what a reconcile pass did about one model.

Owns the fields, and their JSON form for REST and the command line. Runs in the supervisor.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Any


class Outcome(Enum):
    """What a pass came to for one model."""

    LIVE = "live"  # another version serves now
    UNCHANGED = "unchanged"  # what serves is what is wanted
    REFUSED = "refused"  # what is wanted cannot be served; what served goes on
    PENDING = "pending"  # what is wanted is still being written, or was just superseded
    UNLOADED = "unloaded"  # out of service by request


@dataclass(frozen=True, slots=True)
class Verdict:
    """The verdict about one model; generation 0 where none is concerned."""

    model: str
    outcome: Outcome
    version: str = ""
    generation: int = 0
    reason: str = ""

    def to_json(self) -> dict[str, Any]:
        """Give a JSON-ready form."""
        return {
            "model": self.model,
            "outcome": self.outcome.value,
            "version": self.version,
            "generation": self.generation,
            "reason": self.reason,
        }
