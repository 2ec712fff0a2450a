"""Latency: where the time of answered requests went, as histograms of each stage.

Owns the stages and their histograms. Durations are noted one after the other and counted in lots,
or when somebody looks: the memory of four histograms is then touched once per lot, where each
request would find it cold. Pure. Runs in every process that dispatches.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, Self

from supervisor.metrics.histogram import LATENCY_BOUNDS, Histogram

STAGES: Final = ("queue", "batch_wait", "inference", "total")
LOT: Final = 64  # requests; counting them takes some 40 µs


class Latency:
    """Durations in nanoseconds, by stage."""

    __slots__ = ("_stages", "noted")

    def __init__(self, stages: Sequence[Histogram] = ()) -> None:
        """Begin empty, or with what was counted before, a histogram per stage."""
        self._stages = tuple(stages) or tuple(Histogram(LATENCY_BOUNDS) for _ in STAGES)
        self.noted: list[tuple[int, int, int, int]] = []

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Latency) and self.counted() == other.counted()

    __hash__ = None  # type: ignore[assignment]  # it changes

    def note(self, queue: int, batch_wait: int, inference: int, total: int) -> None:
        """Count a request."""
        noted = self.noted
        noted.append((queue, batch_wait, inference, total))
        if len(noted) >= LOT:
            self.counted()

    def counted(self) -> tuple[Histogram, ...]:
        """Give the histograms, with everything in them that was noted."""
        if self.noted:
            for histogram, values in zip(self._stages, zip(*self.noted, strict=True), strict=True):
                histogram.note_all(values)
            self.noted.clear()
        return self._stages

    @property
    def queue(self) -> Histogram:
        """From admission to the submission to a worker."""
        return self.counted()[0]

    @property
    def batch_wait(self) -> Histogram:
        """From there to the start of the execution."""
        return self.counted()[1]

    @property
    def inference(self) -> Histogram:
        """The execution."""
        return self.counted()[2]

    @property
    def total(self) -> Histogram:
        """From admission to the answer's arrival."""
        return self.counted()[3]

    def stage(self, name: str) -> Histogram:
        """Give one of `STAGES`."""
        return self.counted()[STAGES.index(name)]

    def add(self, other: Latency) -> None:
        """Count what another one has counted."""
        for ours, theirs in zip(self.counted(), other.counted(), strict=True):
            ours.add(theirs)

    def to_dict(self) -> dict[str, Any]:
        """Give a JSON-ready form."""
        return {name: self.stage(name).to_dict() for name in STAGES}

    @classmethod
    def from_dict(cls, value: dict[str, Any]) -> Self:
        """Read what `to_dict` gave."""
        return cls([Histogram.from_dict(LATENCY_BOUNDS, value[name]) for name in STAGES])
