"""The demo's result: the figures, and whether everything held.

Owns `Summary` and its two forms, a table for people and an object for programs.
Measures nothing itself. Runs in the process of `hotpaddle demo`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

from supervisor.demo.publisher import FIRST_VERSION
from supervisor.demo.tally import Phase, Tally, percentile
from supervisor.demo.verdict import Verdict

_PROBLEMS_SHOWN = 5


@dataclass(frozen=True, slots=True)
class Latency:
    """p50 and p99 in milliseconds; None when nothing was measured."""

    p50_ms: float | None
    p99_ms: float | None

    @classmethod
    def of(cls, values: Sequence[float]) -> Self:
        """Take both percentiles of `values`."""
        return cls(percentile(values, 50), percentile(values, 99))

    def as_dict(self) -> dict[str, float | None]:
        """Return the figures for JSON."""
        return {"p50": _rounded(self.p50_ms), "p99": _rounded(self.p99_ms)}


@dataclass(frozen=True, slots=True)
class Summary:
    """Figures of one run.

    Attributes:
        requests: Requests that came to an end.
        failures: Those without a proper answer.
        texts_right: Answers with the text that was drawn.
        served: Versions that answered requests, in the order of their first answers.
        good: Versions that ought to have answered.
        refused: Broken versions that were refused.
        broken: Broken versions that were published.
        generation_violations: Answers of an older generation than one seen before sending.
        without_reloads: Latency before the first new version.
        with_reloads: Latency while versions were published.
        first_answers_ms: First answer of each version that was published while requests ran.
        problems: What went wrong, in words; empty when all went well.

    """

    requests: int
    failures: int
    texts_right: int
    served: tuple[str, ...]
    good: tuple[str, ...]
    refused: tuple[str, ...]
    broken: tuple[str, ...]
    generation_violations: int
    without_reloads: Latency
    with_reloads: Latency
    first_answers_ms: dict[str, float]
    problems: tuple[str, ...]

    @classmethod
    def of(cls, tally: Tally, verdicts: Sequence[Verdict]) -> Self:
        """Sum up what was counted and what the server decided."""
        broken = tuple(v.release.version for v in verdicts if not v.release.good)
        good = (FIRST_VERSION, *(v.release.version for v in verdicts if v.release.good))
        first = tally.first_answers_ms
        return cls(
            requests=tally.requests,
            failures=tally.failed,
            texts_right=tally.right,
            served=tuple(first),
            good=good,
            refused=tuple(
                v.release.version
                for v in verdicts
                if not v.release.good and v.as_it_should and v.release.version not in first
            ),
            broken=broken,
            generation_violations=tally.order.violations,
            without_reloads=Latency.of(tally.latencies_ms[Phase.WITHOUT_RELOADS]),
            with_reloads=Latency.of(tally.latencies_ms[Phase.WITH_RELOADS]),
            # The first version's first answer is no reload: nothing served before it.
            first_answers_ms={name: ms for name, ms in first.items() if name != FIRST_VERSION},
            problems=tuple(_problems(tally, verdicts)),
        )

    @property
    def ok(self) -> bool:
        """Whether nothing was lost, misread, missed or let through."""
        return not self.problems

    @property
    def slowest_first_answer(self) -> tuple[str, float] | None:
        """The version whose first answer took longest, and how many milliseconds."""
        return max(self.first_answers_ms.items(), key=lambda item: item[1], default=None)

    def as_dict(self) -> dict[str, Any]:
        """Return the figures for JSON."""
        slowest = self.slowest_first_answer
        return {
            "ok": self.ok,
            "requests": self.requests,
            "failures": self.failures,
            "texts_right": self.texts_right,
            "versions_served": list(self.served),
            "versions_good": list(self.good),
            "versions_refused": list(self.refused),
            "versions_broken": list(self.broken),
            "generation_violations": self.generation_violations,
            "latency_ms": {
                "without_reloads": self.without_reloads.as_dict(),
                "with_reloads": self.with_reloads.as_dict(),
            },
            "first_answers_ms": {name: _rounded(ms) for name, ms in self.first_answers_ms.items()},
            "slowest_first_answer": (
                None if slowest is None else {"version": slowest[0], "ms": _rounded(slowest[1])}
            ),
            "problems": list(self.problems),
        }

    def lines(self) -> list[str]:
        """Return the table, one string a line."""
        slowest = self.slowest_first_answer
        served = [version for version in self.good if version in self.served]
        rows = [
            ("requests", str(self.requests)),
            ("failures", str(self.failures)),
            ("texts read right", f"{self.texts_right} of {self.requests}"),
            ("versions served", f"{len(served)} of {len(self.good)}: {' '.join(self.served)}"),
            (
                "broken ones refused",
                f"{len(self.refused)} of {len(self.broken)}: {' '.join(self.refused)}",
            ),
            ("generation went back", str(self.generation_violations)),
            ("p50 / p99 without reloads", _pair(self.without_reloads)),
            ("p50 / p99 with reloads", _pair(self.with_reloads)),
            (
                "slowest first answer",
                "-" if slowest is None else f"{slowest[1]:.1f} ms ({slowest[0]})",
            ),
        ]
        return [f"{name:<27}{value.rstrip()}" for name, value in rows]


def _problems(tally: Tally, verdicts: Sequence[Verdict]) -> list[str]:
    problems = [
        f"{count} failed: {cause}" for cause, count in tally.failures.most_common(_PROBLEMS_SHOWN)
    ]
    problems += [
        f"{count} misread: {read!r} instead of {drawn!r}"
        for (drawn, read), count in tally.misread.most_common(_PROBLEMS_SHOWN)
    ]
    if tally.requests == 0:
        problems.append("no request was sent")
    if tally.order.violations:
        problems.append(f"{tally.order.violations} answers of an older generation than seen before")
    if not verdicts:
        problems.append("no version was published: give the run more time")
    for verdict in verdicts:
        version = verdict.release.version
        answered = version in tally.first_answers_ms
        if verdict.release.good and not verdict.as_it_should:
            problems.append(f"{version} is good but {verdict.outcome.value}: {verdict.reason}")
        elif verdict.release.good and not answered:
            problems.append(f"{version} is live but answered nothing")
        elif not verdict.release.good and (not verdict.as_it_should or answered):
            problems.append(f"{version} is broken but {'served' if answered else 'not refused'}")
    return problems


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 2)


def _pair(latency: Latency) -> str:
    if latency.p50_ms is None or latency.p99_ms is None:
        return "-"
    return f"{latency.p50_ms:.1f} / {latency.p99_ms:.1f} ms"
