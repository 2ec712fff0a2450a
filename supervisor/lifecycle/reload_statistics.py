"""Reload statistics: how the reloads of one model ended, and how long each phase took.

Owns counts since the server's start. Decides nothing. Runs in the supervisor.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from supervisor.metrics.histogram import PHASE_BOUNDS, Histogram

OUTCOMES: Final = ("live", "refused", "superseded", "unchanged", "rollback")
PHASES: Final = ("stage", "verify", "spare", "load", "warm", "switch", "total")
_MS: Final = 1_000_000  # nanoseconds


@dataclass(slots=True)
class ReloadStatistics:
    """Outcomes; why versions were refused; phases of reloads that ended with a live version."""

    outcomes: Counter[str] = field(default_factory=Counter)
    refusals: Counter[str] = field(default_factory=Counter)
    phases: dict[str, Histogram] = field(
        default_factory=lambda: {phase: Histogram(PHASE_BOUNDS) for phase in PHASES}
    )

    def live(self, phases_ms: Mapping[str, float], total_ms: float) -> None:
        """Count a reload whose version serves now."""
        self.outcomes["live"] += 1
        for phase, ms in {**phases_ms, "total": total_ms}.items():
            self.phases.setdefault(phase, Histogram(PHASE_BOUNDS)).note(int(ms * _MS))

    def refused(self, kind: str) -> None:
        """Count a version that was rejected or failed; `kind` is a word of ours, not a text."""
        self.outcomes["refused"] += 1
        self.refusals[kind] += 1

    def ended(self, outcome: str) -> None:
        """Count another of `OUTCOMES`."""
        self.outcomes[outcome] += 1

    def take_up(
        self,
        outcomes: Mapping[str, int],
        refusals: Mapping[str, int],
        phases: Mapping[str, dict[str, Any]],
    ) -> None:
        """Go on from what another program has counted; phases are `Histogram.to_dict()`."""
        self.outcomes.update(outcomes)
        self.refusals.update(refusals)
        for phase, histogram in phases.items():
            self.phases[phase] = Histogram.from_dict(PHASE_BOUNDS, histogram)
