"""Promotion: one version's way from the repository's wish to the switch, or to a refusal.

Owns the order of the steps and what each failure leads to; whatever goes wrong changes nothing that
serves. Runs on the supervisor's event loop.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Final

import structlog

from gpu_worker.ipc.arena import RequestArena
from supervisor.dispatch.generations import CALM_S
from supervisor.dispatch.lane import Lane
from supervisor.errors import RepositoryError, VersionFailed, VersionRejected
from supervisor.lifecycle.demand import Demand, Need
from supervisor.lifecycle.lanes import Lanes
from supervisor.lifecycle.model import Model
from supervisor.lifecycle.rehearsal import rehearse
from supervisor.lifecycle.room import Claim, Room
from supervisor.lifecycle.states import VersionRecord, VersionState
from supervisor.lifecycle.verdict import Outcome, Verdict
from supervisor.lifecycle.version_policy import NoWish, Way, Wish, way_of
from supervisor.repository.model_settings import ModelSettings
from supervisor.repository.staging import StagedVersion

log = structlog.get_logger()

_FLAT_VERSION_DIGITS: Final = 12  # of the content digest that names a flat model's version

Newest = Callable[[Model], Awaitable[Wish | NoWish]]


class Promotion:
    """Brings wished versions up."""

    def __init__(
        self,
        lanes: Lanes,
        demand: Demand,
        arena: RequestArena,
        newest: Newest,
        look: Callable[[str], None],
        room: Room,
    ) -> None:
        """`newest` tells what the repository asks for at this moment, `look` has it met soon."""
        self.room = room
        self._look = look
        self._lanes = lanes
        self._loader = lanes.loader
        self._demand = demand
        self._arena = arena
        self._newest = newest

    def _need(self, settings: ModelSettings) -> Need:
        return Need(settings.instances, tuple(self._loader.device_indices(settings)))

    async def bring_up(self, model: Model, wish: Wish, trigger: str) -> Verdict:
        """Stage, load and switch to a version; whatever goes wrong changes nothing that serves."""
        try:
            verdict = await self._bring_up(model, wish, trigger)
        except Exception:
            await self.room.in_place.restore(model)
            raise
        await self.room.in_place.restore(model)
        return verdict

    async def _bring_up(self, model: Model, wish: Wish, trigger: str) -> Verdict:
        record = VersionRecord(model.name, wish.version, wish.token)
        passed_over, model.passed_over = model.passed_over, False
        model.candidate = record
        model.dispatcher.generations.why_not = model.reason_not_ready()
        started = time.perf_counter()
        staged: StagedVersion | None = None
        try:
            await self.room.make_for_copy(model, wish)
            staged = await self._loader.stage(record, wish.listing)
            record.version = wish.version or staged.digest[:_FLAT_VERSION_DIGITS]
            serving = model.dispatcher.serving
            if serving is not None and (serving.version, serving.record.digest) == (
                record.version,
                record.digest,
            ):
                await asyncio.to_thread(staged.close)
                model.reloads.ended("unchanged")
                return self._same_bytes(record, serving, model.name)
            settings = self._loader.settings_of(staged)
            claim = Claim(model, wish.token, settings, staged.size)
            await self.room.make(claim)
            self._demand.load(model.name, self._need(settings))
            lane = await self._loader.load(record, staged, settings, model.dispatcher)
            await self.room.note(claim, lane)
        except (VersionRejected, VersionFailed) as error:
            if staged is not None:
                await asyncio.to_thread(staged.close)
            refuse(model, record, error, trigger)
            return Verdict(model.name, Outcome.REFUSED, record.version, 0, error.reason)
        except BaseException:
            if staged is not None:
                staged.close()
            raise
        finally:
            model.candidate = None
            self._demand.loading = []
        return await self._offer(model, lane, wish, trigger, started, passed_over=passed_over)

    def _same_bytes(self, record: VersionRecord, serving: Lane, model: str) -> Verdict:
        record.move(VersionState.UNLOADED, "its bytes are those that serve")
        serving.record.token = record.token
        return Verdict(model, Outcome.UNCHANGED, serving.version, serving.generation)

    async def _offer(
        self,
        model: Model,
        lane: Lane,
        wish: Wish,
        trigger: str,
        started: float,
        *,
        passed_over: bool,
    ) -> Verdict:
        """Switch to a lane that is ready, unless something newer is wanted by now."""
        lane.record.move(VersionState.READY)
        newest = await self._newest(model)
        await self._rehearse(model, lane)
        before_switch = time.perf_counter()
        async with self._lanes.fronts.held(model.dispatcher):
            # Nothing waits from here to the switch.
            # What was loaded in place is switched to: nothing else could answer before the newer.
            way = way_of(newest, wish, model.snapshot(), passed_over=passed_over)
            gives_way = way.gives_way and not self.room.in_place.vacated(model)
            model.passed_over = gives_way and way is Way.SUPERSEDED
            superseded = model.unloaded or gives_way
            switched = not superseded and not self._lacks_worker(lane)
            if switched:
                self._demand.serve(model.name, self._need(lane.settings))
                self._lanes.switch(model, lane)
        if superseded or way is not Way.SERVE:
            self._look("superseded")
        if switched:
            lane.record.phases_ms["switch"] = (time.perf_counter() - before_switch) * 1000
            return await self._tell(model, lane, trigger, started)
        if superseded:
            lane.record.move(VersionState.UNLOADED, "superseded by a newer wish")
            self._lanes.free(lane)
            log.info("Superseded before the switch", model=model.name, version=lane.version)
            model.note("superseded", lane.version, trigger=trigger)
            model.reloads.ended("superseded")
            return Verdict(
                model.name, Outcome.PENDING, lane.version, 0, "superseded by a newer wish"
            )
        lost = VersionFailed("crash", "a worker ended between load and switch")
        self._lanes.free(lane)
        refuse(model, lane.record, lost, trigger)
        return Verdict(model.name, Outcome.REFUSED, lane.version, 0, lost.reason)

    def _lacks_worker(self, lane: Lane) -> bool:
        need = self._need(lane.settings)
        return len(lane.workers) != need.instances * len(need.devices)

    async def _tell(self, model: Model, lane: Lane, trigger: str, started: float) -> Verdict:
        cost_ms = (time.perf_counter() - started) * 1000
        await asyncio.sleep(0)  # first whatever came while the switch was made
        model.note("live", lane.version, trigger=trigger, cost_ms=round(cost_ms, 1))
        if lane.generation > 1:
            # Neither for the log nor for the next look, whose thread competes for the interpreter.
            await asyncio.sleep(CALM_S)
        phases = {name: f"{value:.1f}ms" for name, value in lane.record.phases_ms.items()}
        log.info(
            f"Loaded {lane.version}, cost={cost_ms:.0f}ms",
            model=model.name, generation=lane.generation, digest=lane.record.digest[:16],
            trigger=trigger, **phases,
        )  # fmt: skip
        model.reloads.live(lane.record.phases_ms, cost_ms)
        return Verdict(model.name, Outcome.LIVE, lane.version, lane.generation)

    async def _rehearse(self, model: Model, lane: Lane) -> None:
        """Make a lane ready for such requests as the serving one gets at present."""
        serving = model.dispatcher.serving
        shapes = self._lanes.fronts.totals.shapes(model.dispatcher)
        if serving is not None and serving.contract == lane.contract and shapes:
            await rehearse(lane, self._arena, shapes[-1])


def refuse(model: Model, record: VersionRecord, error: RepositoryError, trigger: str) -> None:
    """Note that a version is not to be served; the triggers stay armed for the next."""
    rejected = isinstance(error, VersionRejected)
    state = VersionState.REJECTED if rejected else VersionState.FAILED
    record.move(state, error.reason, error.kind)
    model.refuse(record.token, error.reason, may_retry=True)
    model.last_failure = record
    model.note("refused", record.version, reason=error.reason, kind=error.kind, trigger=trigger)
    model.reloads.refused(error.kind)
