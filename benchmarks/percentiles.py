"""Latencies: percentiles, and the correction of coordinated omission.

Pure. A closed loop that is held up by one slow answer sends nothing meanwhile, so the requests that
would have been slow, too, are missing from its samples. `corrected` puts them back, as HdrHistogram
and wrk do: a sample that is longer than the usual interval between a client's requests stands for
the requests that would have been sent while it was under way.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Self

import numpy as np
import numpy.typing as npt

Samples = npt.NDArray[Any]


@dataclass(frozen=True, slots=True)
class Latencies:
    """What a set of latencies comes to, in milliseconds."""

    count: int = 0
    p50_ms: float = 0.0
    p90_ms: float = 0.0
    p99_ms: float = 0.0
    p999_ms: float = 0.0
    max_ms: float = 0.0

    @classmethod
    def of(cls, samples_ms: Samples) -> Self:
        """Sum up samples; no samples give zeros."""
        if len(samples_ms) == 0:
            return cls()
        p50, p90, p99, p999 = np.percentile(samples_ms, (50, 90, 99, 99.9))
        return cls(
            len(samples_ms), float(p50), float(p90), float(p99), float(p999),
            float(np.max(samples_ms)),
        )  # fmt: skip

    def as_dict(self) -> dict[str, Any]:
        """Give plain data for JSON."""
        return asdict(self)


def corrected(samples_ms: Samples, interval_ms: float) -> Samples:
    """Add what a closed loop left out: for a sample s, also s-i, s-2i, ... down to the interval i.

    An interval of zero or less corrects nothing.
    """
    samples = np.asarray(samples_ms, np.float64)
    if interval_ms <= 0 or len(samples) == 0:
        return samples
    missing = np.floor(samples / interval_ms).astype(np.int64) - 1
    long = missing > 0
    counts = missing[long]
    if not len(counts):
        return samples
    repeated = np.repeat(samples[long], counts)
    steps = np.concatenate([np.arange(1, count + 1) for count in counts])
    return np.concatenate([samples, repeated - steps * interval_ms])


def slowest_of(samples_ms: Samples, count: int) -> float:
    """Give what the slowest of so many samples, drawn at random, comes to in half of all draws."""
    if count < 1 or len(samples_ms) == 0:
        return 0.0
    return float(np.quantile(samples_ms, 0.5 ** (1 / count)))
