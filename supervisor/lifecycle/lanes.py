"""The lanes of all models: the switch from one to the next, and what becomes of the old one.

Owns drain, retirement and reclaim, the crash of a worker that was in a lane, and the repair of a
serving lane. Decides nothing about versions. Runs on the supervisor's event loop.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Coroutine
from typing import Any, Final

import structlog

from supervisor.dispatch.delivery import Delivery
from supervisor.dispatch.lane import Lane
from supervisor.fronts.fronts import Fronts
from supervisor.lifecycle.loader import Loader
from supervisor.lifecycle.model import Model
from supervisor.lifecycle.states import VersionState
from supervisor.settings import Settings
from supervisor.workers.events import WorkerState
from supervisor.workers.handle import WorkerHandle
from supervisor.workers.pool import WorkerPool

log = structlog.get_logger()

_REPAIR_PAUSE_S: Final = 0.5
_LONGEST_REPAIR_PAUSE_S: Final = 30.0


class Lanes:
    """Moves lanes, and hears from their workers."""

    def __init__(
        self,
        models: dict[str, Model],
        settings: Settings,
        pool: WorkerPool,
        fronts: Fronts,
        freed: Callable[[], None],
    ) -> None:
        """`freed` is called when workers have become spares."""
        self.loader = Loader(settings, pool, self.reclaim, fronts.totals.shapes)
        self._models = models
        self._pool = pool
        self.fronts = fronts
        self._freed = freed
        self._tasks: set[asyncio.Task[None]] = set()
        self.repairing: set[Lane] = set()  # or kept from being repaired
        delivery = Delivery(lambda name: models[name].dispatcher if name in models else None)
        pool.on_answered = delivery.answered
        pool.on_ended = self._worker_ended

    # From one lane to the next

    def switch(self, model: Model, lane: Lane) -> None:
        """Make `lane` serve; the old one drains and is retained, the one retained so far goes."""
        dispatcher = model.dispatcher
        forgotten = dispatcher.retained
        lane.closing = False
        lane.idle.set()  # whoever waited to reclaim it need not wait for its traffic
        old = dispatcher.switch(lane)
        lane.record.move(VersionState.SERVING)
        if forgotten is not None and forgotten is not lane:
            self.retire(forgotten)
        if old is not None:
            old.record.move(VersionState.DRAINING)
            self._spawn(self._drain(model, old))
        self.fronts.publish(dispatcher)
        self.see_to(model, lane)

    def stop_serving(self, model: Model, why: str) -> None:
        """Take a model out of service: both lanes finish what they have and go."""
        old = model.dispatcher.stop_serving(why)
        retained = model.dispatcher.retained
        model.dispatcher.forget_retained()
        self.fronts.publish(model.dispatcher)
        if old is not None:
            old.record.move(VersionState.DRAINING)
            self.retire(old)
        if retained is not None:
            self.retire(retained)

    def retire(self, lane: Lane) -> None:
        """Let a lane that nobody is sent to any more finish, then make its workers spares."""
        lane.closing = True
        self._spawn(self._retire(lane))

    def free(self, lane: Lane) -> None:
        """Make a lane's workers spares and give its staged bytes back."""
        lane.workers = []
        for worker in self._pool.holding(lane):
            worker.set_free()
        self.loader.forget(lane)
        self._freed()

    async def reclaim(self, device_index: int, model_name: str) -> bool:
        """Give up a retained version on a device: the model's own first, else the oldest."""
        holders = [
            (model.name != model_name, lane.since, model, lane)
            for model in self._models.values()
            if (lane := model.dispatcher.retained) is not None
            and any(worker.device_index == device_index for worker in self._pool.holding(lane))
        ]
        if not holders:
            return False
        _, _, model, lane = min(holders, key=lambda holder: holder[:2])
        lane.closing = True
        self.fronts.publish(model.dispatcher)
        try:
            await self.drained(lane)
        finally:
            lane.closing = False
        reclaimed = model.dispatcher.retained is lane  # else it was switched back to meanwhile
        if reclaimed:
            model.dispatcher.forget_retained()
        self.fronts.publish(model.dispatcher)
        if reclaimed:
            lane.record.move(VersionState.UNLOADED, "its worker is needed for a load")
            self.free(lane)
        return True

    async def drained(self, lane: Lane) -> None:
        """Wait until no front has a request left in a lane."""
        await lane.drained()
        await self.fronts.drained(lane)

    def _forget_retained(self, model: Model, lane: Lane) -> None:
        model.dispatcher.forget_retained()
        self.fronts.publish(model.dispatcher)
        self.retire(lane)

    async def _drain(self, model: Model, lane: Lane) -> None:
        await self.drained(lane)
        if lane.record.state is not VersionState.DRAINING:
            return
        lane.record.move(VersionState.RETAINED)
        if model.dispatcher.retained is lane and self._lacks_worker(lane) is not None:
            self._forget_retained(model, lane)  # it lost a worker: no instant rollback to it

    async def _retire(self, lane: Lane) -> None:
        await self.drained(lane)
        if lane.record.state is not VersionState.UNLOADED:
            lane.record.move(VersionState.UNLOADED)
        self.free(lane)

    # From the workers

    def _worker_ended(self, worker: WorkerHandle) -> None:
        self.fronts.worker_gone(worker)
        lane, worker.lane = worker.lane, None
        if not isinstance(lane, Lane):
            return
        model = self._models[lane.model]
        model.dispatcher.worker_died(lane, worker)
        if lane is model.dispatcher.serving:
            log.warning(
                "a serving worker ended, its requests are sent again",
                model=lane.model, version=lane.version, worker=worker.number,
            )  # fmt: skip
            self.see_to(model, lane)
        elif lane is model.dispatcher.retained:
            self._forget_retained(model, lane)

    def see_to(self, model: Model, lane: Lane) -> asyncio.Task[None] | None:
        """Have a serving lane repaired if it lacks a worker, unless that is under way."""
        if lane in self.repairing or self._lacks_worker(lane) is None:
            return None
        self.repairing.add(lane)
        return self._spawn(self._repair(model, lane))

    async def _repair(self, model: Model, lane: Lane) -> None:
        """Bring a serving lane back to its full number of workers; try for as long as it serves."""
        pause_s = _REPAIR_PAUSE_S
        try:
            while model.dispatcher.serving is lane:
                device_index = self._lacks_worker(lane)
                if device_index is None:
                    return
                started = time.perf_counter()
                try:
                    await self.loader.load_again(lane, device_index, model.dispatcher)
                except Exception as error:  # noqa: BLE001 - whatever it is, the lane needs a worker
                    log.error("a lost worker could not be replaced yet", reason=str(error))
                    await asyncio.sleep(pause_s)
                    pause_s = min(2 * pause_s, _LONGEST_REPAIR_PAUSE_S)
                else:
                    self.fronts.publish(model.dispatcher)
                    cost_ms = (time.perf_counter() - started) * 1000
                    log.info(f"Restored {lane.version}, cost={cost_ms:.0f}ms", model=model.name)
        finally:
            self.repairing.discard(lane)

    def _lacks_worker(self, lane: Lane) -> int | None:
        for device_index in self.loader.device_indices(lane.settings):
            alive = [
                worker
                for worker in self._pool.holding(lane)
                if worker.device_index == device_index and worker.state is WorkerState.HOLDING
            ]
            if len(alive) < lane.settings.instances:
                return device_index
        return None

    @property
    def at_rest(self) -> bool:
        """Say whether no lane drains, goes, or is being repaired."""
        return not self._tasks

    # Tasks

    def _spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def close(self) -> None:
        """Cancel what is under way."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        for task in tasks:
            with contextlib.suppress(asyncio.CancelledError, Exception):
                await task
