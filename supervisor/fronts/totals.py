"""Totals: what all fronts have counted, those that have ended and this process among them.

Owns what ended fronts had counted, so that no total ever falls. Runs on the supervisor's event
loop.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Mapping, Sequence
from typing import Final

from supervisor.dispatch.dispatcher import Dispatcher
from supervisor.dispatch.lane import Lane
from supervisor.dispatch.model_statistics import ModelStatistics
from supervisor.dispatch.recent_shapes import Shapes
from supervisor.dispatch.statistics import VersionStatistics
from supervisor.fronts import messages
from supervisor.fronts.handle import FrontHandle
from supervisor.fronts.statistics import FrontStatistics
from supervisor.workers.port import WorkerPort
from supervisor.workers.tally import WorkerTally

_GATHER_S: Final = 1.0  # for counts; older ones do as well


class Totals:
    """Adds up; `running` and `published` belong to the fronts."""

    def __init__(self, running: Sequence[FrontHandle], published: Mapping[str, Dispatcher]) -> None:
        self._running = running
        self._published = published
        self._past = FrontStatistics()  # of fronts that have ended
        self._workers: dict[int, WorkerTally] = {}

    def keep(self, front: FrontHandle) -> None:
        """Keep what a front has counted that has ended."""
        front.statistics.ended()
        self._past.add(front.statistics)
        for dispatcher in self._published.values():
            self.settle(dispatcher)
        for number, done in front.workers.items():
            done.in_flight = 0
            self._workers.setdefault(number, WorkerTally()).add(done)

    def keep_past(self) -> tuple[FrontStatistics, Mapping[int, WorkerTally]]:
        """Give what fronts had counted that have ended, for another program; by worker, too."""
        return self._past, self._workers

    def take_up(self, past: FrontStatistics, workers: Mapping[int, WorkerTally]) -> None:
        """Go on from what fronts of another program had counted."""
        self._past.add(past)
        self._workers.update(workers)

    def settle(self, dispatcher: Dispatcher) -> None:
        """Count versions that are not loaded any more as gone."""
        past = self._past.models.get(dispatcher.model)
        if past is not None:
            past.keep([lane.version for lane in dispatcher.generations.lanes()])

    def forget_worker(self, number: int) -> None:
        """Forget a worker that has ended."""
        self._workers.pop(number, None)
        for front in self._running:
            front.workers.pop(number, None)

    async def gather(self) -> None:
        """Have all fronts say what they have counted up to now."""
        orders = [front.order(messages.Report) for front in self._running if front.listening]
        if orders:
            await asyncio.wait(orders, timeout=_GATHER_S)

    def counted(self) -> list[FrontStatistics]:
        """Give what other processes have counted, also those that have ended."""
        return [self._past, *(front.statistics for front in self._running)]

    def model_statistics(self, dispatcher: Dispatcher) -> ModelStatistics:
        """Give what all fronts, this process among them, have counted of a model."""
        total = dispatcher.ledger.snapshot(
            dispatcher.serving, dispatcher.retained, dispatcher.queued
        )
        for other in self.counted():
            found = other.models.get(dispatcher.model)
            if found is not None:
                total.add(found)
        return total

    def version_statistics(self, lane: Lane) -> VersionStatistics:
        """Give what all fronts have counted of a lane's version."""
        total = VersionStatistics()
        total.add(lane.statistics)
        for other in self.counted():
            model = other.models.get(lane.model)
            if model is not None and lane.version in model.versions:
                total.add(model.versions[lane.version])
        return total

    def shapes(self, dispatcher: Dispatcher) -> list[Shapes]:
        """Give the input shapes that a model's traffic shows at present, anywhere."""
        found = [front.shapes.get(dispatcher.model, []) for front in self._running]
        every = itertools.chain(*found, dispatcher.recent_shapes.list())
        return list(dict.fromkeys(every))

    def worker_tally(self, worker: WorkerPort) -> WorkerTally:
        """Give what all fronts have had done by a worker."""
        total = WorkerTally.of(worker)
        for tallies in (self._workers, *(front.workers for front in self._running)):
            found = tallies.get(worker.number)
            if found is not None:
                total.add(found)
        return total
