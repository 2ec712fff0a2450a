"""Servers and the bare predictor by turns: short loads, round after round, in changing order.

A machine's speed drifts by half within a minute when others use it, too: what is measured one after
the other is then no comparison. Here every round measures everybody within seconds, and what is
compared are the quotients of one round. Owns the rounds, and what they came to.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol, TypeVar

from benchmarks.table import table

BARE: Final = "bare loop"


class Rated(Protocol):
    """Whatever one turn came to, its answers per second among it."""

    @property
    def rate(self) -> float:
        """Give the answers per second."""


RatedT = TypeVar("RatedT", bound=Rated)


@dataclass(frozen=True, slots=True)
class Turn:
    """One short load: answers per second, and how many answers were wrong."""

    rate: float
    errors: int = 0


@dataclass(frozen=True, slots=True)
class TurnsRow:
    """All turns of one of those compared; `rates` has one figure per round."""

    model: str
    who: str
    max_batch_size: int
    concurrency: int
    rates: list[float] = field(default_factory=list)
    errors: int = 0

    @property
    def median(self) -> float:
        """Give the answers per second of a round in the middle."""
        return statistics.median(self.rates)

    def times(self, other: TurnsRow) -> float:
        """Give how many times as fast as another this is: the median of the rounds' quotients."""
        return statistics.median(
            ours / theirs for ours, theirs in zip(self.rates, other.rates, strict=True)
        )


def take_turns(
    names: Sequence[str], takers: Sequence[Callable[[], RatedT]], rounds: int
) -> list[list[RatedT]]:
    """Have each take its turn in every round, with a line per round; gives the turns of each."""
    turns: list[list[RatedT]] = [[] for _ in takers]
    for number in range(rounds):
        for place in range(len(takers)):
            who = (number + place) % len(takers)
            turns[who].append(takers[who]())
        found = (f"{name} {own[-1].rate:,.0f}/s" for name, own in zip(names, turns, strict=True))
        print(f"  round {number + 1}/{rounds}: {', '.join(found)}", flush=True)
    return turns


def turns_table(rows: Sequence[TurnsRow], ours: str) -> str:
    """Show rows; a comparison is one model, batch size and concurrency. `ours` leads each."""
    lines = [[
        "model", "batching", "c", "who", "rounds", "median/s", "lowest", "highest", "× bare",
        f"{ours} is ×", "errors",
    ]]  # fmt: skip
    for row in rows:
        compared = same_comparison(rows, row)
        bare = next((other for other in compared if other.who == BARE), None)
        leader = next((other for other in compared if other.who == ours), None)
        lines.append([
            row.model, str(row.max_batch_size) if row.max_batch_size > 1 else "-",
            str(row.concurrency), row.who, str(len(row.rates)), f"{row.median:,.0f}",
            f"{min(row.rates):,.0f}", f"{max(row.rates):,.0f}",
            f"{row.times(bare):.2f}" if bare else "",
            f"{leader.times(row):.2f}" if leader else "", str(row.errors),
        ])  # fmt: skip
    return table(lines)


def same_comparison(rows: Sequence[TurnsRow], row: TurnsRow) -> list[TurnsRow]:
    """Give the rows that were measured in the same rounds as `row`, itself among them."""
    like = (row.model, row.max_batch_size)
    return [other for other in rows if (other.model, other.max_batch_size) == like]
