"""Room: what is done so that a version fits into memory, or is refused before it harms anybody.

Owns the readings before and after a load and the order of what is given up: retained versions, and
then, where the operator allows it, the serving one's workers. Whether it fits `memory_guard` says.
Runs on the supervisor's event loop, readings of GPUs in a thread.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

import structlog

from supervisor import host_memory, nvml
from supervisor.dispatch.lane import Lane
from supervisor.errors import VersionFailed
from supervisor.lifecycle.in_place import InPlace
from supervisor.lifecycle.lanes import Lanes
from supervisor.lifecycle.memory_guard import Shortage, Taken, beyond, shortage
from supervisor.lifecycle.model import Model
from supervisor.lifecycle.states import VersionState
from supervisor.lifecycle.version_policy import Wish
from supervisor.repository.model_settings import ModelSettings
from supervisor.repository.staging import size_of
from supervisor.settings import Settings
from supervisor.workers.events import WorkerState
from supervisor.workers.handle import WorkerHandle
from supervisor.workers.pool import WorkerPool

log = structlog.get_logger()

_MB: Final = 1 << 20
_UNLOAD_S: Final = 30.0  # within which a worker gives a version up, or is not waited for


@dataclass(frozen=True, slots=True)
class Claim:
    """What a load wants room for: a model, its new settings, the bytes of its files."""

    model: Model
    token: str
    settings: ModelSettings
    size: int


class Room:
    """Makes room for one load after the other."""

    def __init__(self, settings: Settings, lanes: Lanes, pool: WorkerPool) -> None:
        self.in_place = InPlace(lanes, pool, settings.load_timeout_ms / 1000)
        self._reserve = settings.memory_reserve_mb * _MB
        self._reclaims = settings.when_memory_is_short == "reclaim"
        self._lanes = lanes
        self._pool = pool
        self._refused: dict[str, Claim] = {}  # by model, until there is room
        self._not_copied: dict[str, Wish] = {}  # by model, until there is room for the copy
        self._used_before: dict[int, int] = {}  # bytes of GPUs, by device

    async def make_for_copy(self, model: Model, wish: Wish) -> None:
        """Give up retained versions, if the operator allows it, until the files can be copied.

        Where they still cannot be, staging refuses the version, with the figures.
        """
        self._not_copied.pop(model.name, None)
        while not await self._can_copy(wish):
            if not self._reclaims or not await self._give_up_retained(model, None):
                self._not_copied[model.name] = wish
                return

    async def make(self, claim: Claim) -> None:
        """See that a staged version can be loaded, be it in place of the one that serves.

        In that case the serving lane has no worker when this returns, and its requests wait:
        `in_place.restore` has to follow, whatever becomes of the load.

        Raises:
            VersionFailed: there is too little memory; what serves goes on.

        """
        self._refused.pop(claim.model.name, None)
        short = await self._shortage_at_last(claim)
        while (
            short is not None
            and self._reclaims
            and await self._give_up_retained(claim.model, short.device)
        ):
            short = await self._shortage(claim)
        if short is None:
            return
        if self._reclaims and await self._fits_in_place(claim):
            log.warning(
                "too little memory for two versions: the new one is loaded in place of the one "
                "that serves, requests wait",
                model=claim.model.name, reason=str(short),
            )  # fmt: skip
            if await self.in_place.vacate(claim.model):
                await self._settled()
                return
        self._refused[claim.model.name] = claim
        raise VersionFailed("memory", str(short))

    async def note(self, claim: Claim, lane: Lane) -> None:
        """Remember what a version took that has just been loaded."""
        workers = self._pool.holding(lane)
        after = await self._gpus_used(self._lanes.loader.device_indices(claim.settings))
        for index, used in after.items():
            here = [worker for worker in workers if worker.device_index == index]
            gained = max(0, used - self._used_before.get(index, used))
            for worker in here:
                worker.device_bytes += gained // len(here)
        if workers:
            claim.model.footprint.taken.append(
                Taken(
                    claim.size,
                    max(worker.version_bytes for worker in workers),
                    max(worker.device_bytes for worker in workers),
                )
            )

    async def look_again(self, model: Model) -> None:
        """Have a version that was refused for lack of memory tried again once it may fit."""
        wish = self._not_copied.get(model.name)
        if wish is not None and await self._can_copy(wish):
            del self._not_copied[model.name]
            model.refused.pop(wish.token, None)
        claim = self._refused.get(model.name)
        if claim is None:
            return
        if claim.token not in model.refused:
            del self._refused[model.name]
            return
        short = await self._shortage_at_last(claim, staged=False)
        if short is None or (self._reclaims and await self._fits_in_place(claim, staged=False)):
            del self._refused[model.name]
            del model.refused[claim.token]

    def postponed(self, model: Model) -> set[str]:
        """Name the wishes (tokens) that were refused for lack of memory alone."""
        found = (self._not_copied.get(model.name), self._refused.get(model.name))
        return {one.token for one in found if one is not None}

    # What is there and what is needed

    async def _can_copy(self, wish: Wish) -> bool:
        """Say whether there is memory for a version's files, be it by what spares keep."""
        if await asyncio.to_thread(_fits_now, wish):
            return True
        await self._settled()
        return await asyncio.to_thread(_fits_now, wish)

    async def _fits_in_place(self, claim: Claim, *, staged: bool = True) -> bool:
        """Say whether it fits once the serving version's workers hold nothing.

        The reserve may be drawn upon: in the end the machine is no fuller than now.
        """
        serving = claim.model.dispatcher.serving
        if serving is None or not serving.workers:
            return False
        return await self._shortage(claim, staged=staged, in_place=serving) is None

    async def _shortage_at_last(self, claim: Claim, *, staged: bool = True) -> Shortage | None:
        """Say where there is too little even when spares have given back what they keep."""
        short = await self._shortage(claim, staged=staged)
        if short is None:
            return None
        await self._settled()
        return await self._shortage(claim, staged=staged)

    async def _shortage(
        self, claim: Claim, *, staged: bool = True, in_place: Lane | None = None
    ) -> Shortage | None:
        """Say where there is too little; `staged` says that the version's files are in memory."""
        indices = self._lanes.loader.device_indices(claim.settings)
        reserve = 0 if in_place is not None else self._reserve
        needed = 0 if staged else claim.size
        count = claim.settings.instances
        estimate = claim.model.footprint.host(claim.size)
        choice = {index: self._choice(claim, index, in_place) for index in indices}
        for workers in choice.values():
            needed += beyond(estimate, [self._kept(worker) for worker in workers], count)
            needed += max(0, count - len(workers)) * self._fresh_worker()
        available = await asyncio.to_thread(host_memory.available_bytes)
        short = shortage(None, "memory", needed, available, reserve)
        if short is not None:
            return short
        estimate = claim.model.footprint.device(claim.size)
        self._used_before = {}
        for index in indices:
            memory = await self._gpu(index)
            if memory is None:
                continue
            self._used_before[index] = memory.used
            kept = [worker.device_bytes for worker in choice[index]]
            where = f"memory on {self._pool.devices[index]}"
            needed = beyond(estimate, kept, count)
            short = shortage(index, where, needed, memory.free, reserve)
            if short is not None:
                return short
        return None

    def _choice(self, claim: Claim, index: int, in_place: Lane | None) -> list[WorkerHandle]:
        """List the workers of a device that the load may come into."""
        here = self._pool.on_device(index)
        free = [one for one in here if one.state in (WorkerState.IDLE, WorkerState.STARTING)]
        if in_place is not None:
            return [*free, *(one for one in here if one.lane is in_place)]
        if len(free) >= claim.settings.instances:
            return free
        return [*free, *(one for one in here if _is_retained(one))]  # the loader takes those then

    def _kept(self, worker: WorkerHandle) -> int:
        """Give what a worker has beside its idle self, and a load would have instead.

        What spares keep counts for nothing: which of them the load comes into is not known yet.
        """
        if not worker.idle_bytes or self._pool.spare_memory.keeps(worker):  # or it is starting
            return 0
        return max(0, host_memory.private_bytes(worker.pid) - worker.idle_bytes)

    def _fresh_worker(self) -> int:
        """Give the memory of a worker that would have to be started."""
        return max((worker.idle_bytes for worker in self._pool.workers), default=0)

    async def _gpu(self, index: int) -> nvml.GpuMemory | None:
        device = self._pool.devices[index]
        if not device.startswith("gpu:"):
            return None
        return await asyncio.to_thread(nvml.gpu_memory, int(device.removeprefix("gpu:")))

    async def _gpus_used(self, indices: list[int]) -> dict[int, int]:
        readings = {index: await self._gpu(index) for index in indices}
        return {index: memory.used for index, memory in readings.items() if memory is not None}

    async def _give_up_retained(self, model: Model, device: int | None) -> bool:
        """Give up one retained version where that helps: the model's own first, else the oldest."""
        everywhere = range(len(self._pool.devices))
        for index in everywhere if device is None else (device,):
            if await self._lanes.reclaim(index, model.name):
                await self._settled()
                return True
        return False

    async def _settled(self) -> None:
        """Have the memory of what was given up go back to the system, and wait until it has."""
        self._pool.spare_memory.give_back(self._pool.workers)
        with suppress(TimeoutError):
            async with asyncio.timeout(_UNLOAD_S):
                while any(worker.unloading for worker in self._pool.workers):
                    await self._pool.change()
        await self._lanes.loader.settled()


def _fits_now(wish: Wish) -> bool:
    try:
        return size_of(wish.listing) <= host_memory.available_bytes()
    except OSError:  # staging says what is wrong with it
        return True


def _is_retained(worker: WorkerHandle) -> bool:
    lane = worker.lane
    after = (VersionState.DRAINING, VersionState.RETAINED)
    return isinstance(lane, Lane) and lane.record.state in after
