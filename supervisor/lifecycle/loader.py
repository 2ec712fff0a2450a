"""The loader: takes one version from files to a lane that is ready to serve, or says why not.

Owns the steps stage, verify, load, warm, contract, the staged bytes of lanes, and the search for
spares. Never touches what serves: the switch is not its business. Runs on the supervisor's event
loop, file I/O in a thread.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import asdict

import structlog

from gpu_worker.ipc.messages import Load, Loaded, Warmup
from supervisor.dispatch.dispatcher import Dispatcher
from supervisor.dispatch.lane import Lane
from supervisor.dispatch.recent_shapes import Shapes
from supervisor.errors import VersionFailed, VersionRejected
from supervisor.lifecycle.states import VersionRecord, VersionState
from supervisor.repository.layout import VersionListing
from supervisor.repository.model_settings import ModelSettings, parse_model_settings
from supervisor.repository.staging import StagedVersion, stage, verify
from supervisor.settings import Settings
from supervisor.workers.events import WorkerState
from supervisor.workers.handle import WorkerHandle
from supervisor.workers.leftover import watched
from supervisor.workers.pool import WorkerPool

log = structlog.get_logger()

# Gives the input shapes that the traffic of a model shows at present.
Traffic = Callable[[Dispatcher], Sequence[Shapes]]
# Gives up a retained lane on a device for a model; false when there is none to give up.
Reclaim = Callable[[int, str], Awaitable[bool]]


class Loader:
    """Brings versions up in spares."""

    def __init__(
        self, settings: Settings, pool: WorkerPool, reclaim: Reclaim, traffic: Traffic
    ) -> None:
        self._settings = settings
        self._pool = pool
        self._reclaim = reclaim
        self._traffic = traffic
        self._staged: dict[Lane, StagedVersion] = {}
        self.next_load = 1  # id of the next load of a worker
        self._closing: set[asyncio.Future[None]] = set()  # staged bytes that are being given back
        self._urgent: Counter[int] = Counter()  # devices on which a serving lane lacks a worker

    # Steps

    async def stage(self, record: VersionRecord, listing: VersionListing) -> StagedVersion:
        """Copy, hash and verify a version's files.

        Raises:
            VersionRejected: they are not what they should be.
            VersionFailed: they cannot be read.

        """
        record.move(VersionState.VERIFYING)
        started = time.perf_counter()
        staged = await asyncio.to_thread(stage, listing)
        copied = time.perf_counter()
        try:
            await asyncio.to_thread(verify, staged)
        except VersionRejected:
            staged.close()
            raise
        record.phases_ms["stage"] = (copied - started) * 1000
        record.phases_ms["verify"] = (time.perf_counter() - copied) * 1000
        record.digest = staged.digest
        return staged

    def settings_of(self, staged: StagedVersion) -> ModelSettings:
        """Read the settings that were staged with a version.

        Raises:
            VersionRejected: `model.toml` is wrong.

        """
        return parse_model_settings(staged.settings_data, self._settings)

    def device_indices(self, settings: ModelSettings) -> list[int]:
        """List the devices that a model serves on."""
        return [
            index
            for index, device in enumerate(self._pool.devices)
            if not settings.devices or device in settings.devices
        ]

    async def load(
        self,
        record: VersionRecord,
        staged: StagedVersion,
        settings: ModelSettings,
        dispatcher: Dispatcher,
    ) -> Lane:
        """Load a staged version into spares on all its devices.

        Raises:
            VersionRejected: its contract is not the one being served, or differs among workers.
            VersionFailed: it could not be loaded or warmed up; the spares are free again.

        """
        record.move(VersionState.LOADING)
        started = time.perf_counter()
        workers = await self._spares(record.model, settings)
        record.phases_ms["spare"] = (time.perf_counter() - started) * 1000
        warmups = self._warmups(settings, dispatcher)
        emptied = dispatcher.serving is not None and not dispatcher.serving.workers
        results = await asyncio.gather(
            *(
                self._load_one(worker, record, staged, settings, warmups, urgent=emptied)
                for worker in workers
            ),
            return_exceptions=True,
        )
        loaded = [result for result in results if isinstance(result, Loaded)]
        errors = [result for result in results if isinstance(result, BaseException)]
        try:
            if errors:
                raise errors[0]
            if any(worker.state is not WorkerState.LOADING for worker in workers):
                raise VersionFailed("crash", "a worker ended just after it had loaded")
            contract = loaded[0].parsed_contract()
            if any(other.parsed_contract() != contract for other in loaded):
                raise VersionRejected("contract", "its workers disagree about the contract")
            serving = dispatcher.serving
            difference = serving.contract.difference(contract) if serving else None
            if difference is not None and not settings.allow_contract_change:
                raise VersionRejected(
                    "contract",
                    f"the contract that is being served changed: {difference}; if that is "
                    "meant, set allow_contract_change = true in the version's model.toml",
                )
        except BaseException:
            for worker, result in zip(workers, results, strict=True):
                if isinstance(result, Loaded):
                    worker.set_free()
            raise
        record.phases_ms["load"] = max(result.load_ms for result in loaded)
        record.phases_ms["warm"] = max(result.warm_ms for result in loaded)
        for warning in loaded[0].warnings:
            log.warning("warm-up", model=record.model, version=record.version, warning=warning)
        lane = Lane(record, contract, settings, [*workers], staged.platform)
        self._staged[lane] = staged
        for worker in workers:
            worker.hold(lane)
        return lane

    def staged(self, lane: Lane) -> StagedVersion:
        """Give the staged bytes of a lane."""
        return self._staged[lane]

    def take_up(self, lane: Lane, staged: StagedVersion) -> None:
        """Go on with a lane that another program has loaded."""
        self._staged[lane] = staged

    def forget(self, lane: Lane) -> None:
        """Give the staged bytes of a lane back."""
        # In a thread: the kernel takes a while to take a large model's pages back.
        loop = asyncio.get_running_loop()
        closing = loop.run_in_executor(None, self._staged.pop(lane).close)
        self._closing.add(closing)
        closing.add_done_callback(self._closing.discard)

    async def settled(self) -> None:
        """Wait until the staged bytes that were given back are."""
        await asyncio.gather(*self._closing)

    async def _load_one(
        self,
        worker: WorkerHandle,
        record: VersionRecord,
        staged: StagedVersion,
        settings: ModelSettings,
        warmups: Sequence[Warmup],
        *,
        urgent: bool,
    ) -> Loaded:
        """Load into one worker; at once, and before others, where requests wait for it."""

        def warming() -> None:
            if record.state is VersionState.LOADING:
                record.move(VersionState.WARMING)

        load_id, self.next_load = self.next_load, self.next_load + 1
        modest = not urgent and os.sched_getscheduler(0) == os.SCHED_OTHER  # as workers have it
        percent = self._settings.load_leftover_percent if modest else 0
        load = Load(
            load_id,
            staged.suffix,
            settings=asdict(settings.predictor()),
            batching=asdict(settings.batching()),
            warmups=[asdict(run) for run in warmups],
            check_finite=settings.check_finite,
            nice=self._settings.load_nice,
            idle=percent > 0,
            urgent=urgent,
        )
        fds = staged.program_fd, staged.params_fd
        with watched(worker.pid, percent):
            return await worker.load(load, fds, settings.load_timeout_ms / 1000, warming)

    def _warmups(self, settings: ModelSettings, dispatcher: Dispatcher) -> list[Warmup]:
        """Give the shapes declared by the model and those that its traffic shows at present."""
        runs = list(settings.warmup)
        serving = dispatcher.serving
        if serving is not None:
            names = [spec.name for spec in serving.contract.inputs]
            for shapes in self._traffic(dispatcher):
                seen = {name: list(shape) for name, shape in zip(names, shapes, strict=False)}
                if all(seen != run.shapes for run in runs):
                    runs.append(Warmup(seen, "traffic"))
        return runs

    async def load_again(self, lane: Lane, device_index: int, dispatcher: Dispatcher) -> None:
        """Replace a worker that a serving lane has lost; the same staged bytes, the same version.

        Raises:
            VersionFailed: it did not load this time.

        """
        self._urgent[device_index] += 1
        try:
            worker = await self._spare(device_index, lane.model, urgent=True)
        finally:
            self._urgent[device_index] -= 1
        if dispatcher.serving is not lane:  # its staged bytes may be gone
            worker.set_free()
            return
        self._pool.spare_memory.give_back(self._pool.workers)  # nobody has looked whether it fits
        warmups = self._warmups(lane.settings, dispatcher)
        await self._load_one(
            worker, lane.record, self._staged[lane], lane.settings, warmups,
            urgent=not lane.workers,
        )  # fmt: skip
        if dispatcher.serving is not lane:
            worker.set_free()
            return
        if worker.state is not WorkerState.LOADING:
            raise VersionFailed("crash", "the worker ended just after it had loaded")
        lane.workers.append(worker)
        worker.hold(lane)
        dispatcher.pump()

    # Spares

    async def _spares(self, model: str, settings: ModelSettings) -> list[WorkerHandle]:
        """Reserve as many spares as the model's instances on its devices need."""
        workers: list[WorkerHandle] = []
        wait_s = self._settings.start_timeout_ms / 1000
        try:
            async with asyncio.timeout(wait_s):
                for device_index in self.device_indices(settings):
                    for _ in range(settings.instances):
                        workers.append(  # noqa: PERF401 - what was taken must be given back
                            await self._spare(device_index, model, urgent=False)
                        )
                for number, worker in enumerate(workers):  # one may have died in the meantime
                    while workers[number].state is WorkerState.ENDED:
                        workers[number] = await self._spare(
                            worker.device_index, model, urgent=False
                        )
        except TimeoutError:
            _set_free(workers)
            raise VersionFailed(
                "no_worker", f"no spare worker became available within {wait_s:g} s"
            ) from None
        except BaseException:
            _set_free(workers)
            raise
        return workers

    async def _spare(self, device_index: int, model: str, *, urgent: bool) -> WorkerHandle:
        """Reserve one spare: an idle one, else a retained version's, else wait for the next."""
        while True:
            if urgent or not self._urgent[device_index]:
                worker = self._pool.take_spare(device_index, model)
                if worker is not None:
                    return worker
                if await self._reclaim(device_index, model):
                    continue
            await self._pool.change()


def _set_free(workers: Iterable[WorkerHandle]) -> None:
    for worker in workers:
        worker.set_free()
