"""Renewal: a worker that has grown over its versions gives its place to a new one.

Paddle keeps something of every version that it has loaded (a megabyte in three loads of
MobileNetV2), whatever is dropped and collected, so the memory of a worker that lives for months is
not bounded by what it holds. Owns which workers have grown too much; what serves goes on serving,
and is ended when its place has been taken. Runs on the supervisor's event loop.
"""

from __future__ import annotations

from collections.abc import Sequence

import structlog

from supervisor.workers.events import WorkerState
from supervisor.workers.handle import WorkerHandle

log = structlog.get_logger()

_MB = 1 << 20


class Renewal:
    """The workers that are to be replaced."""

    def __init__(self, limit_bytes: int) -> None:
        """Replace workers that have grown by more than `limit_bytes`; 0: none."""
        self._limit = limit_bytes
        self._worn: set[WorkerHandle] = set()

    def note(self, worker: WorkerHandle) -> bool:
        """Look at a worker that has changed; says whether there are any to be replaced."""
        if worker not in self._worn and 0 < self._limit < worker.grown_bytes:
            self._worn.add(worker)
            log.info(
                "worker has grown (worker_growth_mb), another takes its place",
                worker=worker.number, pid=worker.pid, grown_mb=worker.grown_bytes // _MB,
            )  # fmt: skip
        return bool(self._worn)

    def forget(self, worker: WorkerHandle) -> None:
        """Take note that a worker has ended."""
        self._worn.discard(worker)

    def lasting(self, workers: Sequence[WorkerHandle]) -> list[WorkerHandle]:
        """Give those that stay."""
        return [worker for worker in workers if worker not in self._worn]

    def done_with(self, workers: Sequence[WorkerHandle], wanted: int) -> list[WorkerHandle]:
        """Give those of a device's workers that may be ended: others are up in their place."""
        up = [one for one in self.lasting(workers) if one.state is not WorkerState.STARTING]
        if len(up) < wanted:
            return []
        return [one for one in workers if one in self._worn and one.state is WorkerState.IDLE]
