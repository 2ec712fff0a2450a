"""The parts of the server, and how they are put together.

The only file that knows them all. Starts nothing that answers. Runs in the supervisor, once at
start.
"""

from __future__ import annotations

import asyncio
import os
from dataclasses import dataclass

from gpu_worker.ipc.arena import RequestArena
from gpu_worker.ipc.link import SupervisorEnd
from gpu_worker.ipc.load_folder import remove_left_load_folders
from supervisor.access.guard import Guard
from supervisor.errors import SettingsError
from supervisor.fronts.fronts import Fronts
from supervisor.http.build import build_server
from supervisor.http.server import HttpServer
from supervisor.json_worker.handle import JsonWorker
from supervisor.kept.server import KeptArena
from supervisor.lifecycle.model_manager import ModelManager
from supervisor.repository.watcher import Watcher, file_system_of, must_poll
from supervisor.settings import Settings
from supervisor.workers.environment import worker_environment
from supervisor.workers.events import WorkerEvents
from supervisor.workers.handle import WorkerHandle
from supervisor.workers.pool import WorkerPool
from supervisor.workers.renewal import Renewal
from supervisor.workers.spare_memory import SpareMemory
from supervisor.workers.start import new_process
from supervisor.workers.topology import place

_MB = 1 << 20


@dataclass(frozen=True, slots=True)
class Parts:
    """All of them. `arena_fd` is for workers, to be closed at the end."""

    settings: Settings
    guard: Guard
    arena: RequestArena
    arena_fd: int
    pool: WorkerPool
    fronts: Fronts
    manager: ModelManager
    watcher: Watcher
    json_worker: JsonWorker
    server: HttpServer


async def build(settings: Settings, kept: KeptArena | None) -> Parts:
    """Put the parts together; `kept` is the arena of another program, to go on with.

    Raises:
        SettingsError: the memory or a file of access cannot be had.

    """
    guard = Guard(settings)
    arena = _arena(settings, kept)
    worker_cpus = await asyncio.to_thread(place, settings)
    if kept is None:
        await asyncio.to_thread(remove_left_load_folders)
    read_only = arena.segment.read_only_fd()
    environment = worker_environment(settings.worker_malloc, os.environ)

    async def spawn(
        number: int, index: int, device: str, events: WorkerEvents[WorkerHandle]
    ) -> WorkerHandle:
        # In a thread: the kernel takes milliseconds to hand megabytes out.
        link = await asyncio.to_thread(SupervisorEnd.create, settings.response_ring_mb * _MB)
        cpus, express = worker_cpus[index], settings.express != "off"
        begin = new_process(device, read_only, environment, cpus, express=express)
        return WorkerHandle(number, index, device, link, events, begin)

    pool = WorkerPool(
        settings.devices(),
        spawn,
        settings.hang_timeout_ms / 1000,
        settings.start_timeout_ms / 1000,
        Renewal(settings.worker_growth_mb * _MB),
        SpareMemory(settings.worker_keep_s),
    )
    fronts = Fronts(settings, pool)
    watcher: Watcher | None = None
    manager = ModelManager(
        settings,
        arena,
        pool,
        fronts,
        lambda listing: watcher.follow(listing.directories) if watcher else False,
        trust_ctime=not must_poll(file_system_of(settings.model_repository)),
    )
    watcher = Watcher(
        settings.model_repository, settings.watch, settings.poll_interval_ms / 1000, manager.look
    )
    json_worker = JsonWorker(
        arena, read_only, 2 * settings.max_request_mb * _MB, settings.timeout_ms / 1000
    )
    server = build_server(settings, manager, arena, json_worker, fronts, pool, guard)
    guard.when_changed(fronts.reread)
    return Parts(
        settings, guard, arena, read_only, pool, fronts, manager, watcher, json_worker, server
    )


def _arena(settings: Settings, kept: KeptArena | None) -> RequestArena:
    if kept is not None:
        return RequestArena.attach(kept.fd, kept.plan)
    try:
        return RequestArena.create(settings.arena_mb * _MB, settings.max_request_mb * _MB)
    except (OSError, ValueError) as error:
        raise SettingsError(f"arena_mb = {settings.arena_mb}: {error}") from error
