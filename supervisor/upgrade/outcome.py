"""An upgrade's outcome: how far it is, or how it ended.

Owns the fields, and the form in which `/admin/` shows them. Plain data. Runs in the supervisor.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Any


class Phase(Enum):
    """Where an upgrade stands."""

    NONE = "none"  # there has not been one
    TRYING = "trying"  # the new program is started on trial
    WAITING = "waiting"  # for what is under way and cannot be taken along
    DONE = "done"
    REFUSED = "refused"  # this program went on


@dataclass(slots=True)
class Outcome:
    """The latest upgrade. `pause_ms` is how long nobody was answered."""

    number: int = 0
    phase: Phase = Phase.NONE
    replaced: str = ""  # version of the program before
    reason: str = ""
    pause_ms: float = 0.0

    def to_json(self) -> dict[str, Any]:
        """Give the form in which `/admin/models` shows it."""
        return {
            "number": self.number,
            "phase": self.phase.value,
            "from": self.replaced,
            "reason": self.reason,
            "pause_ms": round(self.pause_ms, 1),
        }
