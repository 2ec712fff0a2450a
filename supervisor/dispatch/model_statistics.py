"""Counters of one model: those of its versions, and of what no version answered.

Owns the form in which they are added up over processes. Plain data. Runs in every process that
dispatches.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Any, Self

from supervisor.dispatch.statistics import VersionStatistics


@dataclass(slots=True)
class ModelStatistics:
    """What was counted of one model, and how it stands at the moment.

    `errors` counts answers other than 200 by HTTP status; `events` what else may happen (see
    `Ledger`); `gone` holds the sums of versions that are neither serving nor retained, so that
    totals do not fall. `queued`, `in_flight` and `credit` are the present figures.
    """

    errors: dict[int, int] = field(default_factory=dict)
    events: dict[str, int] = field(default_factory=dict)
    gone: VersionStatistics = field(default_factory=VersionStatistics)
    versions: dict[str, VersionStatistics] = field(default_factory=dict)
    queued: int = 0
    in_flight: int = 0
    credit: int = 0  # requests that workers would still take at once

    def total(self) -> VersionStatistics:
        """Give the sum over all versions, also those that are gone; never falls."""
        sums = VersionStatistics()
        sums.add(self.gone)
        for version in self.versions.values():
            sums.add(version)
        return sums

    def add(self, other: ModelStatistics) -> None:
        """Count what another process has counted."""
        for status, count in other.errors.items():
            self.errors[status] = self.errors.get(status, 0) + count
        for event, count in other.events.items():
            self.events[event] = self.events.get(event, 0) + count
        self.gone.add(other.gone)
        for version, statistics in other.versions.items():
            self.versions.setdefault(version, VersionStatistics()).add(statistics)
        self.queued += other.queued
        self.in_flight += other.in_flight
        self.credit += other.credit

    def keep(self, loaded: Collection[str]) -> None:
        """Count versions that are not among `loaded` as gone."""
        for version in self.versions.keys() - set(loaded):
            self.gone.add(self.versions.pop(version))

    def to_dict(self) -> dict[str, Any]:
        """Give a JSON-ready form that shares nothing with this."""
        return {
            "errors": {str(status): count for status, count in self.errors.items()},
            "events": dict(self.events),
            "gone": self.gone.to_dict(),
            "versions": {name: one.to_dict() for name, one in self.versions.items()},
            "queued": self.queued,
            "in_flight": self.in_flight,
            "credit": self.credit,
        }

    @classmethod
    def from_dict(cls, value: dict[str, Any]) -> Self:
        """Read what `to_dict` gave."""
        return cls(
            {int(status): count for status, count in value["errors"].items()},
            dict(value["events"]),
            VersionStatistics.from_dict(value["gone"]),
            {name: VersionStatistics.from_dict(one) for name, one in value["versions"].items()},
            value["queued"],
            value["in_flight"],
            value["credit"],
        )
