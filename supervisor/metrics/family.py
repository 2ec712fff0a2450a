"""A family of metrics: name, type, labels, meaning, and how it is read.

Owns the form. Pure. Runs in the supervisor.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from supervisor.metrics.histogram import Histogram
from supervisor.metrics.reading import ModelReading, Reading

Labels = tuple[str, ...]
Rows = Iterator[tuple[Labels, float | Histogram]]  # values of labels, and the figure
Read = Callable[[Reading], Rows]


@dataclass(frozen=True, slots=True)
class Family:
    """One family. The values of a histogram of seconds are counted in nanoseconds."""

    name: str
    kind: str  # counter, gauge, histogram
    labels: Labels
    help: str
    read: Read


def one(value: Callable[[Reading], float]) -> Read:
    """Read a single figure."""

    def read(reading: Reading) -> Rows:
        yield (), value(reading)

    return read


def per_model(value: Callable[[ModelReading], float]) -> Read:
    """Read a figure of each model."""

    def read(reading: Reading) -> Rows:
        for model in reading.models:
            yield (model.name,), value(model)

    return read
