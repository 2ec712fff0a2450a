"""A lane: one version of a model that is loaded in workers and takes requests.

Owns which workers hold the version, its generation, contract and settings. Changed only by the
dispatcher (switch, retire) and by whoever builds it: the model manager, or in a further front the
mirror. Runs in every front.
"""

from __future__ import annotations

import asyncio
import itertools
import time
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from gpu_worker.ipc.tensors import Contract
from supervisor.dispatch.request import InferRequest
from supervisor.dispatch.statistics import VersionStatistics
from supervisor.lifecycle.states import VersionRecord
from supervisor.repository.model_settings import ModelSettings

if TYPE_CHECKING:
    from supervisor.workers.port import WorkerPort

_numbers = itertools.count(1)


@dataclass(slots=True, eq=False)
class Lane:
    """One loaded version. `generation` is 0 until it has been switched to for the first time."""

    record: VersionRecord
    contract: Contract
    settings: ModelSettings
    workers: list[WorkerPort]
    platform: str = ""  # name of the format, as the Open Inference Protocol builds it
    number: int = field(default_factory=lambda: next(_numbers))  # names it in other processes
    generation: int = 0
    since: float = field(default_factory=time.time)
    waiting: deque[InferRequest] = field(default_factory=deque)  # asked for by version
    statistics: VersionStatistics = field(default_factory=VersionStatistics)
    closing: bool = False  # takes no new request: its workers are wanted for a load
    idle: asyncio.Event = field(default_factory=asyncio.Event)
    awaited: int = 0  # by so many, to be drained

    @property
    def model(self) -> str:
        """Name of the model."""
        return self.record.model

    @property
    def version(self) -> str:
        """Name of the version."""
        return self.record.version

    @property
    def in_flight(self) -> int:
        """Count the requests that workers hold."""
        return sum(len(worker.in_flight) for worker in self.workers)

    def best_worker(self) -> WorkerPort | None:
        """Give the worker with the fewest requests, or None when all are at their credit."""
        best: WorkerPort | None = None
        fewest = self.settings.max_in_flight
        for worker in self.workers:
            held = len(worker.in_flight)
            if held < fewest:
                best, fewest = worker, held
        return best

    def note_idle(self) -> None:
        """Tell whoever waits for the drain, once nothing is left."""
        if not self.idle.is_set() and not self.waiting and not self.in_flight:
            self.idle.set()

    async def drained(self) -> None:
        """Wait until no request is left."""
        self.idle.clear()
        self.awaited += 1
        try:
            self.note_idle()
            await self.idle.wait()
        finally:
            self.awaited -= 1
