"""The model manager: makes what serves follow what the repository asks for.

Owns the models and the one reconcile loop; load, unload and rollback by request. Triggers only say
"look"; each pass compares the repository with what serves and does what is missing, one load after
the other, so that any number of triggers during a load ends in one pass. Never unloads what serves
because of what storage looks like. Runs on the supervisor's event loop.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection
from typing import Final

import structlog

from gpu_worker.ipc.arena import RequestArena
from supervisor.dispatch.dispatcher import Dispatcher
from supervisor.errors import NotFound, VersionRejected
from supervisor.fronts.fronts import Fronts
from supervisor.lifecycle.demand import Demand
from supervisor.lifecycle.lanes import Lanes
from supervisor.lifecycle.model import Model
from supervisor.lifecycle.promotion import Promotion, refuse
from supervisor.lifecycle.rollback import roll_back, switch_back
from supervisor.lifecycle.room import Room
from supervisor.lifecycle.settling import Settling
from supervisor.lifecycle.states import VersionRecord
from supervisor.lifecycle.triggers import Triggers, Verdicts, refuse_all
from supervisor.lifecycle.verdict import Outcome, Verdict
from supervisor.lifecycle.version_policy import ActionKind, NoWish, Wish, next_action, wanted
from supervisor.repository.layout import ModelListing, RepositoryListing, scan, scan_model
from supervisor.settings import Settings
from supervisor.workers.pool import WorkerPool

log = structlog.get_logger()

_RETRY_S: Final = 5.0  # after a defect of ours, not of a version


class ModelManager:
    """Holds all models and runs the reconcile loop."""

    def __init__(
        self,
        settings: Settings,
        arena: RequestArena,
        pool: WorkerPool,
        fronts: Fronts,
        follow: Callable[[RepositoryListing], bool],
        *,
        trust_ctime: bool,
    ) -> None:
        self.models: dict[str, Model] = {}
        self.passes = 0
        self.repository_problem = "the model repository has not been read yet"
        self._settings = settings
        self.arena = arena
        self._follow = follow
        self._loop = asyncio.get_running_loop()
        self._settling = Settling(
            settings.settle_ms / 1000, self._loop.time, trust_ctime=trust_ctime
        )
        self.demand = Demand(pool, settings.spares)
        self.lanes = Lanes(self.models, settings, pool, fronts, self.demand.level)
        self.room = Room(settings, self.lanes, pool)
        self._promotion = Promotion(
            self.lanes, self.demand, arena, self._newest, self.look, self.room
        )
        self._triggers = Triggers()
        self._passing = False

    # Asking for a look

    def look(self, trigger: str) -> None:
        """Have the repository looked at soon; cheap, and any number of calls become one pass."""
        self._triggers.add(trigger)

    def reload(self, trigger: str) -> None:
        """Look, and try failed versions once more (SIGHUP, `/admin/reload`)."""
        for model in self.models.values():
            model.forgive(everything=False)
        self.look(trigger)

    async def reconciled(self, trigger: str) -> Verdicts:
        """Look, and give the verdicts of a pass that began after this call."""
        return await self._triggers.verdicts(trigger)

    async def run(self) -> None:
        """Reconcile for ever. One broken pass is logged and does not end the loop."""
        while True:
            trigger, waiters = await self._triggers.take()
            self._passing = True
            try:
                verdicts = await self._pass(trigger)
            except Exception:
                log.exception("a reconcile pass broke off; the next trigger starts another")
            else:
                for waiter in waiters:
                    if not waiter.done():
                        waiter.set_result(verdicts)
            finally:
                self._passing = False
                refuse_all(waiters)

    async def _pass(self, trigger: str) -> Verdicts:
        self.passes += 1
        listing = await asyncio.to_thread(scan, self._settings.model_repository)
        if listing.problem:
            if listing.problem != self.repository_problem:
                log.error(listing.problem, hint="what serves goes on; looking again on any change")
            self.repository_problem = listing.problem
            self._follow(listing)
            return {}
        self.repository_problem = ""
        if self._follow(listing):
            self.look("inotify")  # what was written before it was watched
        self._know(listing)
        self.demand.level()
        verdicts = {}
        for name, model in sorted(self.models.items()):
            try:
                verdicts[name] = await self._reconcile(model, trigger)
            except Exception as error:
                log.exception("the reconciling of a model broke off", model=name)
                self._loop.call_later(_RETRY_S, self.look, "broken pass")
                reason = f"internal error: {error!r}"
                verdicts[name] = Verdict(name, Outcome.REFUSED, reason=reason)
        self.demand.level()
        log.debug("reconciled", trigger=trigger, number=self.passes)
        return verdicts

    def _know(self, listing: RepositoryListing) -> None:
        """Take up the models that have come, forget those that have gone and never served."""
        for name, model in listing.models.items():
            if name not in self.models and not model.is_blank:
                self.models[name] = Model(name, Dispatcher(name, self.arena))
                self.demand.expect(name)
        for name in self.models.keys() - listing.models.keys():
            # One that has served may still have answers under way.
            if not self.models[name].dispatcher.generations.number:
                del self.models[name]
                self.demand.forget(name)

    # One model

    async def _reconcile(self, model: Model, trigger: str) -> Verdict:
        listing = await self._list(model)
        self._settling.keep(model.name, listing.versions)
        if listing.pointer is not None and listing.pointer.version:
            model.forgive_rollback_of_others(listing.pointer.version)
        await self.room.look_again(model)
        wish = self._wish(model, listing)
        model.desired = self._wish(model, listing, refused=())
        action = next_action(wish, model.snapshot())
        if wish.look_again:
            self._loop.call_later(self._settling.settle_s + 0.01, self.look, "settled")
        model.problem = wish.reason if isinstance(wish, NoWish) else ""
        verdict = self._standing(model, wish)
        if action is ActionKind.REPORT and isinstance(wish, NoWish):
            record = VersionRecord(model.name, wish.version, wish.token)
            refuse(model, record, VersionRejected("missing", wish.reason), trigger)
            verdict = Verdict(model.name, Outcome.REFUSED, wish.version, 0, wish.reason)
        elif action is ActionKind.SWITCH_BACK:
            async with self.lanes.fronts.held(model.dispatcher):
                if next_action(wish, model.snapshot()) is action:  # it still stands
                    verdict = switch_back(
                        self.lanes, model, "the repository asks for it again", trigger
                    )
        elif action is ActionKind.LOAD and isinstance(wish, Wish):
            ledgers = [one.dispatcher.ledger for one in self.models.values()]
            with self.lanes.fronts.reloading(ledgers):
                verdict = await self._promotion.bring_up(model, wish, trigger)
        model.dispatcher.generations.why_not = model.reason_not_ready()
        return verdict

    def _standing(self, model: Model, wish: Wish | NoWish) -> Verdict:
        """Give the verdict when nothing is to be done."""
        lane = model.dispatcher.serving
        version, generation = (lane.version, lane.generation) if lane else ("", 0)
        if model.unloaded:
            return Verdict(model.name, Outcome.UNLOADED)
        if wish.look_again:
            return Verdict(
                model.name, Outcome.PENDING, wish.version, generation, "is being written"
            )
        refused = model.refused.get(wish.token)
        if refused is not None:
            return Verdict(model.name, Outcome.REFUSED, wish.version, 0, refused[0])
        reason = wish.reason if isinstance(wish, NoWish) else ""
        return Verdict(model.name, Outcome.UNCHANGED, version, generation, reason)

    async def _newest(self, model: Model) -> Wish | NoWish:
        """Look once more what is wanted, just before a switch."""
        return self._wish(model, await self._list(model))

    async def _list(self, model: Model) -> ModelListing:
        return await asyncio.to_thread(scan_model, self._settings.model_repository / model.name)

    def _wish(
        self, model: Model, listing: ModelListing, refused: Collection[str] | None = None
    ) -> Wish | NoWish:
        return wanted(
            listing,
            lambda version: self._settling.settled(model.name, version),
            model.refused.keys() if refused is None else refused,
            model.comparable_version(),
        )

    # What operators ask for

    def model(self, name: str) -> Model:
        """Find a model.

        Raises:
            NotFound: there is none of this name.

        """
        model = self.models.get(name)
        if model is None:
            raise NotFound(f"model {name!r} is not in the repository")
        return model

    def dispatcher(self, name: str) -> Dispatcher | None:
        """Give a model's dispatcher, if there is such a model."""
        model = self.models.get(name)
        return None if model is None else model.dispatcher

    async def rollback(self, name: str) -> Verdict:
        """Switch to the retained version at once, and refuse the one that served.

        Raises:
            NotFound: there is no such model.
            NotReady: no version is retained.

        """
        model = self.model(name)
        async with self.lanes.fronts.held(model.dispatcher):
            return roll_back(self.lanes, model)

    async def load(self, name: str) -> Verdict:
        """Bring a model into service as the repository says, whatever was refused before.

        Raises:
            NotFound: the repository has no such model.

        """
        if name in self.models:
            self.models[name].forgive(everything=True)
            self.models[name].unloaded = False
        verdicts = await self.reconciled("rest")
        if name not in verdicts:
            raise NotFound(f"model {name!r} is not in the repository")
        return verdicts[name]

    def unload(self, name: str) -> None:
        """Take a model out of service until `load` is called.

        Raises:
            NotFound: there is no such model.

        """
        model = self.model(name)
        model.unloaded = True
        self.demand.forget(name)
        if model.dispatcher.serving is not None:
            model.note("unloaded", model.dispatcher.serving.version)
            log.info("Unloaded by request", model=name, version=model.dispatcher.serving.version)
        self.lanes.stop_serving(model, "it was unloaded by request")

    @property
    def ready(self) -> bool:
        """Say whether every model that shall serve does."""
        return not self.never_read and all(
            model.dispatcher.ready for model in self.models.values() if not model.unloaded
        )

    @property
    def never_read(self) -> bool:
        """Say whether the repository could not be read even once."""
        return bool(self.repository_problem) and not self.models

    def rest(self) -> bool:
        """Begin no pass until `wake`, if none is under way and no lane moves; gives whether so."""
        return not self._passing and self.lanes.at_rest and self._triggers.hold()

    @property
    def awaited(self) -> bool:
        """Say whether somebody waits for the verdicts of a pass."""
        return self._triggers.awaited

    def wake(self) -> None:
        """Begin passes again."""
        self._triggers.let_go()

    async def close(self) -> None:
        """Cancel what is under way, and answer who waits for a verdict."""
        self._triggers.close()
        await self.lanes.close()
