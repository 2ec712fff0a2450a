"""The memory guard: whether a version fits beside what serves.

Pure: estimates from what earlier versions took, the comparison with what is there, and its words.
What follows from it is `room`'s business. Runs in the supervisor.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

_MB: Final = 1 << 20
_REMEMBERED: Final = 4  # loads per model

# Of a model that has never been loaded: what ResNet50 takes (2.5 times its files) and a model of
# no size at all (25 MB), with something to spare. On a GPU, libraries want room for themselves.
_GUESSED_HOST: Final = (2.5, 48 * _MB)
_GUESSED_DEVICE: Final = (1.5, 256 * _MB)


@dataclass(frozen=True, slots=True)
class Taken:
    """What one version took in one worker at most, and how long its files are, in bytes."""

    size: int
    host: int
    device: int


@dataclass(slots=True)
class Footprint:
    """What the latest versions of one model took."""

    taken: deque[Taken] = field(default_factory=lambda: deque(maxlen=_REMEMBERED))

    def host(self, size: int) -> int:
        """Estimate what a version of `size` bytes takes of the host's memory, per worker."""
        return self._estimate(size, [(one.size, one.host) for one in self.taken], _GUESSED_HOST)

    def device(self, size: int) -> int:
        """Estimate what a version of `size` bytes takes of a GPU's memory, per worker."""
        taken = [(one.size, one.device) for one in self.taken if one.device]
        return self._estimate(size, taken, _GUESSED_DEVICE)

    @staticmethod
    def _estimate(size: int, taken: Iterable[tuple[int, int]], guess: tuple[float, int]) -> int:
        # A smaller version takes less, but how much less is not known.
        scaled = [int(took * max(1.0, size / max(1, of))) for of, took in taken]
        times, base = guess
        return max(scaled) if scaled else int(size * times) + base

    def to_json(self) -> dict[str, Any] | None:
        """Give the form in which `/admin/` shows it: an estimate for a version like the last."""
        if not self.taken:
            return None
        size = self.taken[-1].size
        measured_device = any(one.device for one in self.taken)
        return {
            "staged_bytes": size,
            "host_bytes_per_worker": self.host(size),
            "device_bytes_per_worker": self.device(size) if measured_device else None,
            "loads_measured": len(self.taken),
        }


@dataclass(frozen=True, slots=True)
class Shortage:
    """A place that has too little memory for a load; all in bytes. `device` is None for the host.

    `needed` is what the load takes beyond what its workers have already.
    """

    device: int | None
    where: str
    needed: int
    available: int
    reserve: int

    def __str__(self) -> str:
        return (
            f"too little {self.where}: the load needs about {_mb(self.needed)} MB, "
            f"{_mb(self.available)} MB are available, of which {_mb(self.reserve)} MB "
            "are kept in reserve (memory_reserve_mb)"
        )


def beyond(estimate: int, kept: Sequence[int], count: int) -> int:
    """Give what a load into `count` workers takes beyond what they have.

    `kept` is what each worker that may be chosen has already beside its idle self: those that have
    most come first. Missing ones have nothing.
    """
    chosen = sorted(kept, reverse=True)[:count]
    return sum(max(0, estimate - one) for one in chosen) + (count - len(chosen)) * estimate


def shortage(
    device: int | None, where: str, needed: int, available: int, reserve: int
) -> Shortage | None:
    """Say whether a place has too little; a load that needs nothing more always fits."""
    if needed <= 0 or needed + reserve <= available:
        return None
    return Shortage(device, where, needed, available, reserve)


def _mb(count: int) -> int:
    return round(count / _MB)
