"""In place: the serving version's own workers are emptied for its successor, while requests wait.

Owns which models are in that state, and the way back. For hosts that cannot hold two versions, and
only where the operator asks for it: it is the one exception to "what serves is not unloaded before
its successor is ready". Runs on the supervisor's event loop.
"""

from __future__ import annotations

import asyncio

from supervisor.dispatch.lane import Lane
from supervisor.lifecycle.lanes import Lanes
from supervisor.lifecycle.model import Model
from supervisor.workers.pool import WorkerPool


class InPlace:
    """Empties serving lanes and fills them again."""

    def __init__(self, lanes: Lanes, pool: WorkerPool, restore_s: float) -> None:
        """Wait for an old version that is loaded again for `restore_s` at most."""
        self._lanes = lanes
        self._pool = pool
        self._restore_s = restore_s
        self._vacated: dict[str, Lane] = {}  # by model

    def vacated(self, model: Model) -> bool:
        """Say whether the serving lane's workers were taken for a load."""
        return model.name in self._vacated

    async def vacate(self, model: Model) -> bool:
        """Let the serving lane finish what it has, then take its workers; requests wait.

        It is still the lane that serves, until the switch or `restore`. Who asks for its version by
        name meanwhile is refused. Gives False where it stopped serving, or is being repaired.
        """
        dispatcher, lanes = model.dispatcher, self._lanes
        lane = dispatcher.serving
        if lane is None or lane in lanes.repairing:
            return False
        lanes.repairing.add(lane)  # so that nobody gives it a worker
        lane.closing = True
        lanes.fronts.publish(dispatcher)
        try:
            async with lanes.fronts.held(dispatcher):
                dispatcher.held = True
                await lanes.drained(lane)
                if dispatcher.serving is lane:
                    self._vacated[model.name] = lane
                    lane.workers = []
                    for worker in self._pool.holding(lane):
                        worker.set_free()
        finally:
            dispatcher.held = False
            if not self.vacated(model):
                self._reopen(model, lane)
            dispatcher.pump()
        return self.vacated(model)

    async def restore(self, model: Model) -> None:
        """After a load in place: if the old version still serves, load it again."""
        lane = self._vacated.pop(model.name, None)
        if lane is None:
            return
        repair = self._reopen(model, lane)
        if repair is not None:
            await asyncio.wait({repair}, timeout=self._restore_s)

    def _reopen(self, model: Model, lane: Lane) -> asyncio.Task[None] | None:
        self._lanes.repairing.discard(lane)
        lane.closing = False
        self._lanes.fronts.publish(model.dispatcher)
        return self._lanes.see_to(model, lane) if model.dispatcher.serving is lane else None
