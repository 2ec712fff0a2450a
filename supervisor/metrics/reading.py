"""A reading: everything that metrics tell, taken in one step of the event loop.

Owns the figures at one moment, so that writing them out may take several steps. Changes nothing.
Runs in the supervisor.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

from supervisor import __version__
from supervisor.fronts.fronts import Fronts
from supervisor.fronts.statistics import FrontStatistics
from supervisor.http.front import Front
from supervisor.http.inference import InferenceHandlers
from supervisor.json_worker.handle import JsonWorker
from supervisor.lifecycle.model import Model
from supervisor.lifecycle.model_manager import ModelManager
from supervisor.lifecycle.reload_statistics import ReloadStatistics
from supervisor.metrics.machine import Machine, MachineReading, ProcessName
from supervisor.workers.pool import WorkerPool


@dataclass(frozen=True, slots=True)
class ModelReading:
    """How one model stands. `versions` names them by role; times are seconds since the epoch."""

    name: str
    ready: bool
    generation: int
    versions: Mapping[str, str]
    mismatched: bool
    reloading: bool
    last_switch: float
    last_failure: float
    queue_limit: int
    reloads: ReloadStatistics

    @classmethod
    def of(cls, model: Model) -> Self:
        """Read a model."""
        dispatcher, failure = model.dispatcher, model.last_failure
        serving, retained, candidate = dispatcher.serving, dispatcher.retained, model.candidate
        roles = {
            "serving": serving.version if serving else "",
            "retained": retained.version if retained else "",
            "candidate": candidate.version if candidate else "",
            "desired": model.desired_version,
        }
        return cls(
            model.name,
            dispatcher.ready,
            dispatcher.generations.number,
            {role: version for role, version in roles.items() if version},
            model.mismatched,
            candidate is not None,
            serving.since if serving else 0.0,
            failure.changed_at if failure else 0.0,
            serving.settings.queue_limit if serving else 0,
            model.reloads,
        )


@dataclass(frozen=True, slots=True)
class Reading:
    """The server at one moment. `workers` counts them by device and state."""

    ready: bool
    repository_readable: bool
    passes: int
    fronts: FrontStatistics
    models: tuple[ModelReading, ...]
    workers: Mapping[tuple[str, str], int]
    restarts: int
    machine: MachineReading
    version: str = __version__


class Reader:
    """Takes readings of the running server."""

    def __init__(
        self,
        manager: ModelManager,
        pool: WorkerPool,
        front: Front,
        inference: InferenceHandlers,
        json_worker: JsonWorker,
        fronts: Fronts,
    ) -> None:
        self._manager = manager
        self._pool = pool
        self._front = front
        self._inference = inference
        self._json_worker = json_worker
        self._further = fronts
        self._machine = Machine(self._pids)

    async def read(self) -> Reading:
        """Give everything as it is now; what the machine says may be a second old."""
        machine = await self._machine.read()
        await self._further.totals.gather()
        manager, pool = self._manager, self._pool
        return Reading(
            manager.ready and not self._front.draining,
            not manager.repository_problem,
            manager.passes,
            self._fronts(),
            tuple(ModelReading.of(model) for _, model in sorted(manager.models.items())),
            Counter((worker.device, worker.state.value) for worker in pool.workers),
            pool.restarts,
            machine,
        )

    def _fronts(self) -> FrontStatistics:
        now = FrontStatistics.gather(
            {name: model.dispatcher for name, model in self._manager.models.items()},
            self._front.arena.slots,
            (worker.marks for worker in self._pool.workers),
            len(self._front.connections),
            self._inference.unknown_models,
            self._front.refusals,
        )
        for other in self._further.totals.counted():
            now.add(other)
        return now

    def _pids(self) -> dict[ProcessName, int]:
        return {
            ProcessName("supervisor"): os.getpid(),
            ProcessName("json_worker"): self._json_worker.pid,
            **{
                ProcessName("front", str(front.number)): front.pid
                for front in self._further.running
            },
            **{
                ProcessName("worker", str(worker.number), worker.device): worker.pid
                for worker in self._pool.workers
            },
        }
