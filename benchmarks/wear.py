"""Wear: a server that has loaded many versions and a fresh one, by turns.

A machine's speed drifts by more within half an hour than a server may. So what a long run has done
to a server is not read off its own first and last minutes: a fresh one is started beside it, both
get the same load in turns of seconds, and what is compared are the quotients of one round. Who
waits for its turn sleeps. Owns the rounds, and what they came to.
"""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

from benchmarks.deployment import Deployment
from benchmarks.errors import BenchError
from benchmarks.generator import Generator
from benchmarks.process_cost import cpu_between
from benchmarks.table import table
from benchmarks.turns import take_turns

LoadTurn = Callable[[Deployment], "WearTurn"]


@dataclass(frozen=True, slots=True)
class WearTurn:
    """One server's turn; `cpu_ms` is what a request costs its front and workers together."""

    requests_s: float
    p50_ms: float
    p99_ms: float
    cpu_ms: float
    errors: dict[str, int]

    @property
    def rate(self) -> float:
        """Give the answers per second."""
        return self.requests_s


@dataclass(frozen=True, slots=True)
class Wear:
    """The turns of both, one each per round."""

    worn: list[WearTurn] = field(default_factory=list)
    fresh: list[WearTurn] = field(default_factory=list)

    def times(self, figure: str) -> float:
        """Give how many times the fresh server's figure the worn one's is, in a middle round."""
        quotients: list[float] = [
            getattr(worn, figure) / getattr(fresh, figure)
            for worn, fresh in zip(self.worn, self.fresh, strict=True)
        ]
        return statistics.median(quotients)

    @property
    def errors(self) -> Counter[str]:
        """Count by kind everything that was no good answer."""
        turns = (*self.worn, *self.fresh)
        return sum((Counter(turn.errors) for turn in turns), Counter())


def load_turn(seconds: float, interval_s: float, concurrency: int, rate: float) -> LoadTurn:
    """Give a turn under such load with a version every `interval_s`; `rate` 0 is a closed loop.

    Raises, when it is taken:
        BenchError: the server answers nothing, or the load generator failed.

    """

    def take(deployment: Deployment) -> WearTurn:
        before = deployment.server.tree.cpu()
        generator = Generator(
            deployment.server.port, deployment.request("binary"), deployment.folder,
            concurrency=concurrency, seconds=seconds, rate=rate, expected=deployment.expected,
        )  # fmt: skip
        try:
            deployment.publisher.publish_every(interval_s, generator.started + seconds)
            outcome = generator.outcome()
        finally:
            if generator.running():
                generator.stop()
        spent = cpu_between(before, deployment.server.tree.cpu())
        result = outcome.result(concurrency, rate)
        if not result.answers:
            raise BenchError(f"no answers in a turn of {seconds:g} s: {outcome.problems}")
        cost = 1000 * sum(spent.values()) / result.answers
        return WearTurn(result.rate, result.p50_ms, result.p99_ms, cost, outcome.problems)

    return take


def measure_wear(worn: Deployment, fresh: Deployment, take: LoadTurn, rounds: int) -> Wear:
    """Let both take `rounds` turns, the first of a round by turns, too.

    Raises:
        BenchError: a server or the load generator failed.

    """
    sides = [partial(take, worn), partial(take, fresh)]
    return Wear(*take_turns(("worn", "fresh"), sides, rounds))


def wear_table(wear: Wear) -> str:
    """Show both servers' medians and what the quotients of a round come to."""
    lines = [["", "worn server", "fresh server", "worn is ×"]]
    figures = (
        ("requests/s", "requests_s"), ("p50 ms", "p50_ms"), ("p99 ms", "p99_ms"),
        ("CPU ms per request", "cpu_ms"),
    )  # fmt: skip
    for title, figure in figures:
        worn, fresh = (
            statistics.median(getattr(turn, figure) for turn in turns)
            for turns in (wear.worn, wear.fresh)
        )
        lines.append([title, f"{worn:,.2f}", f"{fresh:,.2f}", f"{wear.times(figure):.3f}"])
    return table(lines)
