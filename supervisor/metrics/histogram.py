"""A histogram: how many values lie between fixed bounds, and their sum.

Owns counts and the sum of whole numbers (nanoseconds, rows). Cheap enough to be updated per
request. Pure. Runs in every process that counts.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from typing import Any, Final, Self

_SECOND: Final = 1_000_000_000

# Requests, in nanoseconds: from a quarter of a millisecond to the longest deadline in use.
LATENCY_BOUNDS: Final = tuple(
    int(seconds * _SECOND)
    for seconds in (
        0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05,
        0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30,
    )
)  # fmt: skip
# Phases of a reload, in nanoseconds: the switch takes microseconds, a large model minutes.
PHASE_BOUNDS: Final = tuple(
    int(seconds * _SECOND)
    for seconds in (0.001, 0.005, 0.025, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300)
)
ROW_BOUNDS: Final = (1, 2, 4, 8, 16, 32, 64, 128, 256)


class Histogram:
    """Counts per bucket. A value that equals a bound lies below it; the last bucket has none."""

    __slots__ = ("bounds", "counts", "sum")

    def __init__(self, bounds: tuple[int, ...], counts: Sequence[int] = (), total: int = 0) -> None:
        """Begin empty, or with what was counted before.

        Raises:
            ValueError: the counts are not one per bucket.

        """
        self.bounds = bounds
        self.counts = list(counts) or [0] * (len(bounds) + 1)
        self.sum = total
        if len(self.counts) != len(bounds) + 1:
            raise ValueError(f"{len(bounds) + 1} buckets, but {len(self.counts)} counts")

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, Histogram)
            and (self.bounds, self.counts, self.sum) == (other.bounds, other.counts, other.sum)
        )  # fmt: skip

    __hash__ = None  # type: ignore[assignment]  # it changes

    def __repr__(self) -> str:
        return f"Histogram(counts={self.counts}, sum={self.sum})"

    def note(self, value: int, times: int = 1) -> None:
        """Count a value."""
        self.counts[bisect_left(self.bounds, value)] += times
        self.sum += value * times

    def note_all(self, values: Sequence[int]) -> None:
        """Count values."""
        counts, bounds = self.counts, self.bounds
        for value in values:
            counts[bisect_left(bounds, value)] += 1
        self.sum += sum(values)

    def add(self, other: Histogram) -> None:
        """Count what another one with the same bounds has counted."""
        self.counts = [
            ours + theirs for ours, theirs in zip(self.counts, other.counts, strict=True)
        ]
        self.sum += other.sum

    @property
    def count(self) -> int:
        """How many values there were."""
        return sum(self.counts)

    def to_dict(self) -> dict[str, Any]:
        """Give a JSON-ready form, without the bounds."""
        return {"counts": list(self.counts), "sum": self.sum}

    @classmethod
    def from_dict(cls, bounds: tuple[int, ...], value: dict[str, Any]) -> Self:
        """Read what `to_dict` gave.

        Raises:
            ValueError: it was written with other bounds.

        """
        return cls(bounds, value["counts"], value["sum"])
