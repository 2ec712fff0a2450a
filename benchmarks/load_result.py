"""What a closed-loop load came to, whichever generator made it. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class LoadResult:
    """Answers, latencies, errors by kind, and what the generator itself cost."""

    generator: str
    answers: int
    seconds: float
    p50_ms: float
    p99_ms: float
    max_ms: float
    cpu_s: float
    errors: dict[str, int] = field(default_factory=dict)

    @property
    def rate(self) -> float:
        """Give good answers per second."""
        return self.answers / self.seconds if self.seconds else 0.0

    @property
    def error_count(self) -> int:
        """Count everything that was no good answer."""
        return sum(self.errors.values())

    @property
    def cpu_us(self) -> float:
        """Give the generator's CPU time per answer."""
        return 1e6 * self.cpu_s / self.answers if self.answers else 0.0
