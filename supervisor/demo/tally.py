"""What the requests of one run brought: counts, latencies, and the order of generations.

Owns the bookkeeping of every request and the arithmetic on it. Does no input or output and
reads no clock. Runs in the process of `hotpaddle demo`.
"""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import Enum


class Phase(Enum):
    """Part of the run in which a request was sent."""

    SETTLING = "settling"
    WITHOUT_RELOADS = "without_reloads"
    WITH_RELOADS = "with_reloads"


def percentile(values: Sequence[float], percent: float) -> float | None:
    """Return the smallest value that at least `percent` of all values don't exceed.

    None for no values.

    Raises:
        ValueError: `percent` isn't above 0 and at most 100.

    """
    if not 0 < percent <= 100:
        raise ValueError("percent must be above 0 and at most 100")
    if not values:
        return None
    rank = math.ceil(percent / 100 * len(values))
    return sorted(values)[rank - 1]


class GenerationOrder:
    """Checks that generations never go backwards as this client sees them.

    A request is held against the highest generation that had been answered *before it was
    sent*. Requests that were under way together may come back in any order.
    """

    def __init__(self) -> None:
        self._highest = 0
        self.violations = 0

    @property
    def highest(self) -> int:
        """The highest generation answered so far; to be noted when a request is sent."""
        return self._highest

    def answered(self, *, highest_when_sent: int, generation: int) -> bool:
        """Note an answer; return whether its generation is in order."""
        in_order = generation >= highest_when_sent
        if not in_order:
            self.violations += 1
        self._highest = max(self._highest, generation)
        return in_order


@dataclass
class Tally:
    """Running totals of all requests.

    Attributes:
        requests: Requests that came to an end, well or not.
        right: Answers whose text is the one that was drawn.
        failures: Requests without a proper answer, counted by cause.
        misread: Answers with another text, counted by what was drawn and what was read.
        first_answers_ms: For each version, how long its first answer took, oldest first.
        latencies_ms: How long answers took, by the phase of their request.
        order: The check of the generations' order.

    """

    requests: int = 0
    right: int = 0
    failures: Counter[str] = field(default_factory=Counter)
    misread: Counter[tuple[str, str]] = field(default_factory=Counter)
    first_answers_ms: dict[str, float] = field(default_factory=dict)
    latencies_ms: dict[Phase, list[float]] = field(
        default_factory=lambda: {phase: [] for phase in Phase}
    )
    order: GenerationOrder = field(default_factory=GenerationOrder)

    @property
    def failed(self) -> int:
        """How many requests had no proper answer."""
        return self.failures.total()

    def count_failure(self, cause: str) -> None:
        """Note a request without a proper answer."""
        self.requests += 1
        self.failures[cause] += 1

    def count_answer(
        self, *, phase: Phase, version: str, latency_ms: float, drawn: str, read: str
    ) -> None:
        """Note a proper answer and the text it holds."""
        self.requests += 1
        self.latencies_ms[phase].append(latency_ms)
        self.first_answers_ms.setdefault(version, latency_ms)
        if read == drawn:
            self.right += 1
        else:
            self.misread[drawn, read] += 1
