"""A tally: what one front, or all of them together, have counted of a model.

Owns the sums. Pure. Made in every front, added up in the supervisor.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any, Self

from supervisor.dispatch.dispatcher import Dispatcher
from supervisor.dispatch.recent_shapes import Shapes
from supervisor.dispatch.statistics import VersionStatistics


@dataclass(slots=True)
class Tally:
    """Counts of one model; `lanes` are by their number.

    `queued` is of this moment, `shapes` are those that the traffic shows at present.
    """

    queued: int = 0
    counts: Counter[str] = field(default_factory=Counter)
    lanes: dict[int, VersionStatistics] = field(default_factory=dict)
    shapes: list[Shapes] = field(default_factory=list)

    @classmethod
    def of(cls, dispatcher: Dispatcher) -> Self:
        """Count what this process has done for a model."""
        tally = cls(dispatcher.queued, Counter(dispatcher.counts))
        tally.shapes = dispatcher.recent_shapes.list()
        for lane in dispatcher.generations.lanes():
            statistics = tally.lanes[lane.number] = VersionStatistics()
            statistics.add(lane.statistics)
        return tally

    def add(self, other: Tally) -> None:
        """Count what `other` has counted, too."""
        self.queued += other.queued
        self.counts += other.counts
        for number, lane in other.lanes.items():
            self.lanes.setdefault(number, VersionStatistics()).add(lane)
        self.shapes += [shapes for shapes in other.shapes if shapes not in self.shapes]

    def to_dict(self) -> dict[str, Any]:
        """Give the fields as plain values, for `from_dict` in another process."""
        return {
            "queued": self.queued,
            "counts": dict(self.counts),
            "lanes": {number: lane.to_dict() for number, lane in self.lanes.items()},
            "shapes": self.shapes,
        }

    @classmethod
    def from_dict(cls, fields: dict[str, Any]) -> Self:
        """Read what `to_dict` gave, also when it has been JSON meanwhile."""
        return cls(
            fields["queued"],
            Counter(fields["counts"]),
            {
                int(number): VersionStatistics.from_dict(lane)
                for number, lane in fields["lanes"].items()
            },
            [tuple(tuple(shape) for shape in shapes) for shapes in fields["shapes"]],
        )
