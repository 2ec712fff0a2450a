"""Reloads under load: a version every few seconds, against the same load without.

Owns one run: times with reloads and times without take turns of some ten seconds, so that both get
their share of what the machine does meanwhile. One generator runs through all of it. Closed loop
tells the throughput; open loop, at a constant rate well below it, tells what a client feels.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Final, Self

import numpy as np

from benchmarks.deployment import Deployment
from benchmarks.generator import Generator, Outcome
from benchmarks.percentiles import Latencies, corrected, slowest_of
from benchmarks.records import FirstAnswer, between, first_answers, good
from benchmarks.series import Series, latency_series

_LEAD_S: Final = 1.0  # not counted: connections open, caches fill
_SETTLE_S: Final = 2.0  # not counted: the last version of a turn may still be loading
_TURN_S: Final = 10.0
_CONCURRENCY: Final = 8
_OPEN_CONNECTIONS: Final = 32


@dataclass(frozen=True, slots=True)
class Windows:
    """The parts of a run, in seconds from its start: `turns` times with reloads, each as long."""

    seconds: float  # with reloads, and as much without
    turns: int = 1

    @classmethod
    def of(cls, seconds: float) -> Self:
        """Divide a time into turns."""
        return cls(seconds, max(1, round(seconds / _TURN_S)))

    @property
    def turn_s(self) -> float:
        """How long one turn is."""
        return self.seconds / self.turns

    @property
    def busy(self) -> list[tuple[float, float]]:
        """From when to when versions are published."""
        turn_s = self.turn_s
        starts = [
            _LEAD_S + turn_s / 2 + number * (2 * turn_s + _SETTLE_S) for number in range(self.turns)
        ]
        return [(start, start + turn_s) for start in starts]

    @property
    def quiet(self) -> list[tuple[float, float]]:
        """From when to when nothing is: half a turn before the first, half a turn in the end."""
        ends = [start for start, _ in self.busy] + [self.end]
        starts = [_LEAD_S] + [end + _SETTLE_S for _, end in self.busy]
        return list(zip(starts, ends, strict=True))

    @property
    def end(self) -> float:
        """When the load ends."""
        return _LEAD_S + self.turns * (2 * self.turn_s + _SETTLE_S)


@dataclass(frozen=True, slots=True)
class ReloadRow:
    """With reloads against without. `rate` 0 is a closed loop; times are in seconds of the run."""

    model: str
    mode: str
    rate: float
    published: int
    served: int
    errors: int
    error_kinds: dict[str, int]
    checked: int
    generator_late: Latencies  # open loop: the part of the latencies that is the generator's own
    requests_s_without: float
    requests_s_with: float
    without: Latencies
    with_reloads: Latencies
    first_ms: list[float]  # the latency of each version's first answer
    live_after_ms: list[float]
    switches_s: list[float]
    windows: Windows
    series: Series
    memory_before_mb: dict[str, float]
    memory_after_mb: dict[str, float]
    by_chance_ms: float = 0.0  # the slowest of as many answers that are drawn from those without

    @property
    def slowest_first_ms(self) -> float:
        """Give the slowest first answer of a version."""
        return max(self.first_ms, default=0.0)

    @property
    def throughput_ratio(self) -> float:
        """Give the throughput with reloads over that without."""
        return self.requests_s_with / self.requests_s_without if self.requests_s_without else 0.0

    @property
    def first_ratio(self) -> float:
        """Give the slowest first answer of a version over the median without reloads."""
        return self.slowest_first_ms / self.without.p50_ms if self.without.p50_ms else 0.0


def measure_reloads(
    deployment: Deployment, seconds: float, interval_s: float, rate: float = 0.0
) -> ReloadRow:
    """Load for twice `seconds`, and publish every `interval_s` in every other turn.

    Raises:
        BenchError: the generator failed.

    """
    server, publisher = deployment.server, deployment.publisher
    windows = Windows.of(seconds)
    memory_before = server.tree.memory_mb()
    first = publisher.count + 1
    generator = Generator(
        server.port, deployment.request("binary"), deployment.folder,
        concurrency=_OPEN_CONNECTIONS if rate else _CONCURRENCY,
        seconds=windows.end, rate=rate, expected=deployment.bare.outputs,
    )  # fmt: skip
    try:
        for start, end in windows.busy:
            time.sleep(max(0.0, generator.started + start - time.monotonic()))
            publisher.publish_every(interval_s, generator.started + end)
        outcome = generator.outcome()
    finally:
        if generator.running():
            generator.stop()
    new = {f"v{number}" for number in range(first, publisher.count + 1)}
    firsts = [f for f in first_answers(outcome.records, outcome.versions) if f.version in new]
    return _row(deployment, outcome, windows, rate, firsts, memory_before, len(new))


def _row(
    deployment: Deployment,
    outcome: Outcome,
    windows: Windows,
    rate: float,
    firsts: list[FirstAnswer],
    memory_before: dict[str, float],
    published: int,
) -> ReloadRow:
    start = outcome.started
    answers = good(outcome.records)
    busy, quiet = (
        np.concatenate([between(answers, start + since, start + until) for since, until in times])
        for times in (windows.busy, windows.quiet)
    )
    # One interval for both, or the one that is slower would be corrected less
    interval_ms = 0.0 if rate else 1000 * windows.seconds * _CONCURRENCY / max(1, len(quiet))
    commits = deployment.publisher.commits
    return ReloadRow(
        model=deployment.model.name,
        mode="open" if rate else "closed",
        rate=rate,
        published=published,
        served=len(firsts),
        errors=sum(outcome.problems.values()),
        error_kinds=outcome.problems,
        checked=outcome.checked,
        generator_late=outcome.late_ms,
        requests_s_without=len(quiet) / windows.seconds,
        requests_s_with=len(busy) / windows.seconds,
        without=Latencies.of(corrected(quiet["ms"], interval_ms)),
        with_reloads=Latencies.of(corrected(busy["ms"], interval_ms)),
        first_ms=[round(f.ms, 4) for f in firsts],
        live_after_ms=[round(1000 * (f.at - commits[f.version]), 1) for f in firsts],
        switches_s=[round(f.at - start, 4) for f in firsts],
        windows=windows,
        series=latency_series(outcome.records, start),
        memory_before_mb=memory_before,
        memory_after_mb=deployment.server.tree.memory_mb(),
        by_chance_ms=slowest_of(quiet["ms"], len(firsts)),
    )
