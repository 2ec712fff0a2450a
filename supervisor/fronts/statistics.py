"""Everything that one process which answers clients has counted, in a form that can be added up.

Owns the form only. Plain data, JSON-ready. Runs in every process that dispatches.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any, Self

from gpu_worker.ipc.link import RingMarks
from gpu_worker.ipc.slots import SlotAllocator
from supervisor.access.refusals import Refusals
from supervisor.dispatch.dispatcher import Dispatcher
from supervisor.dispatch.model_statistics import ModelStatistics


@dataclass(slots=True)
class ArenaUse:
    """How much of request arenas is lent."""

    total_bytes: int = 0
    lent_bytes: int = 0
    lent_slots: int = 0
    high_water_bytes: int = 0

    @classmethod
    def of(cls, slots: SlotAllocator) -> Self:
        """Read an arena."""
        return cls(slots.total_bytes, slots.lent_bytes, slots.lent_slots, slots.high_water_bytes)

    def add(self, other: ArenaUse) -> None:
        """Add another arena."""
        for one in fields(self):
            setattr(self, one.name, getattr(self, one.name) + getattr(other, one.name))


@dataclass(slots=True)
class FrontStatistics:
    """Models by name, the arena, the rings to all workers, and what concerns no model."""

    models: dict[str, ModelStatistics] = field(default_factory=dict)
    arena: ArenaUse = field(default_factory=ArenaUse)
    rings: RingMarks = field(default_factory=RingMarks)
    connections: int = 0
    unknown_models: int = 0  # requests for models that are not there
    refusals: Refusals = field(default_factory=Refusals)

    @classmethod
    def gather(
        cls,
        dispatchers: Mapping[str, Dispatcher],
        slots: SlotAllocator,
        rings: Iterable[RingMarks],
        connections: int,
        unknown_models: int,
        refusals: Refusals,
    ) -> Self:
        """Read the parts of this process."""
        now = cls(
            {
                name: one.ledger.snapshot(one.serving, one.retained, one.queued)
                for name, one in dispatchers.items()
            },
            ArenaUse.of(slots),
            connections=connections,
            unknown_models=unknown_models,
            refusals=replace(refusals),
        )
        for marks in rings:
            now.rings.add(marks)
        return now

    def ended(self) -> None:
        """Keep what may not fall: the process has ended."""
        self.arena, self.connections = ArenaUse(), 0
        for model in self.models.values():
            model.queued = model.in_flight = model.credit = 0

    def add(self, other: FrontStatistics) -> None:
        """Count what another process has counted."""
        for name, model in other.models.items():
            self.models.setdefault(name, ModelStatistics()).add(model)
        self.arena.add(other.arena)
        self.rings.add(other.rings)
        self.connections += other.connections
        self.unknown_models += other.unknown_models
        self.refusals.add(other.refusals)

    def to_dict(self) -> dict[str, Any]:
        """Give a JSON-ready form that shares nothing with this."""
        return {
            "models": {name: model.to_dict() for name, model in self.models.items()},
            "arena": asdict(self.arena),
            "rings": asdict(self.rings),
            "connections": self.connections,
            "unknown_models": self.unknown_models,
            "refusals": asdict(self.refusals),
        }

    @classmethod
    def from_dict(cls, value: dict[str, Any]) -> Self:
        """Read what `to_dict` gave."""
        return cls(
            {name: ModelStatistics.from_dict(model) for name, model in value["models"].items()},
            ArenaUse(**value["arena"]),
            RingMarks(**value["rings"]),
            value["connections"],
            value["unknown_models"],
            Refusals(**value["refusals"]),
        )
