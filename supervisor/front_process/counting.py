"""Counting: what a further front tells the supervisor that it has done.

Owns which part of it goes into which message, so that none grows with the number of models. Runs on
the front's event loop.
"""

from __future__ import annotations

from collections.abc import Iterator

from supervisor.front_process.mirror import Mirror
from supervisor.front_process.ports import Ports
from supervisor.fronts.messages import FrontCounted, ModelCounted
from supervisor.fronts.statistics import FrontStatistics
from supervisor.http.front import Front


class Counting:
    """Reads the parts of this process."""

    def __init__(self, front: Front, mirror: Mirror, ports: Ports) -> None:
        self._front = front
        self._mirror = mirror
        self._ports = ports

    def messages(self) -> Iterator[ModelCounted | FrontCounted]:
        """Say everything that was counted since this front began."""
        yield from self._mirror.counted()
        front = self._front
        rest = FrontStatistics.gather(
            {}, front.arena.slots, self._ports.marks(), len(front.connections), 0, front.refusals
        ).to_dict()
        yield FrontCounted(rest, self._ports.tallies())
