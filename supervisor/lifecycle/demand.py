"""Demand: how many workers each device shall have.

Owns the figure; the pool makes it so. Runs in the supervisor.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from supervisor.workers.pool import WorkerPool


@dataclass(frozen=True, slots=True)
class Need:
    """What one model needs: so many workers on each of these devices."""

    instances: int
    devices: tuple[int, ...]


def workers_per_device(
    devices: int,
    serving: Iterable[Need],
    loading: Sequence[Need],
    unknown: int,
    spares: int,
) -> list[int]:
    """Give the workers for each of `devices` devices.

    One per instance that serves, one for each model whose settings are not known yet, and spares:
    as many as `spares` says, or (-1) as the largest model needs to switch all instances at once;
    in any case as many as the load under way needs.
    """
    serving = list(serving)
    counts = []
    for device in range(devices):
        held = [need.instances for need in serving if device in need.devices]
        loads = [need.instances for need in loading if device in need.devices]
        wanted = max([1, *held, *loads]) if spares < 0 else max([spares, *loads])
        counts.append(sum(held) + unknown + wanted)
    return counts


class Demand:
    """What the models need at present, and the number of workers that follows."""

    def __init__(self, pool: WorkerPool, spares: int) -> None:
        self.loading: list[Need] = []  # the load under way
        self._serving: dict[str, Need] = {}
        self._unknown: set[str] = set()
        self._pool = pool
        self._spares = spares

    def expect(self, model: str) -> None:
        """Count a model whose settings are not known yet as one worker."""
        if model not in self._serving:
            self._unknown.add(model)

    def load(self, model: str, need: Need) -> None:
        """Have the workers that a load needs beside those that serve."""
        fresh = model in self._unknown  # which counts as one worker already
        self.loading = [Need(need.instances - fresh, need.devices)]
        self.level()

    def serve(self, model: str, need: Need) -> None:
        """Note what a model needs that serves now."""
        self._unknown.discard(model)
        self._serving[model] = need

    def forget(self, model: str) -> None:
        """Note that a model needs nothing."""
        self._unknown.discard(model)
        self._serving.pop(model, None)

    def level(self) -> None:
        """Have the pool hold that many workers."""
        self._pool.demand(
            workers_per_device(
                len(self._pool.devices),
                self._serving.values(),
                self.loading,
                len(self._unknown),
                self._spares,
            )
        )
