"""The composition root: builds the parts, starts and stops them in order.

The only file that knows them all. Runs in the supervisor's process.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import resource
import time
from collections.abc import Coroutine
from functools import partial
from typing import Any

import structlog

from gpu_worker.ipc.arena import RequestArena
from gpu_worker.ipc.link import SupervisorEnd, close_fds
from gpu_worker.ipc.load_folder import remove_left_load_folders
from supervisor import __version__, signals
from supervisor.access.guard import Guard
from supervisor.errors import RequestError, SettingsError
from supervisor.fronts.fronts import Fronts
from supervisor.http.build import build_server
from supervisor.http.listening_sockets import listen, urls_of
from supervisor.http.server import HttpServer
from supervisor.json_worker.handle import JsonWorker
from supervisor.lifecycle.model_manager import ModelManager
from supervisor.lifecycle.settled_passes import passes_until_settled
from supervisor.repository.watcher import Watcher, file_system_of, must_poll
from supervisor.settings import Settings
from supervisor.systemd.handover import Handover
from supervisor.systemd.service import Service
from supervisor.workers.environment import worker_environment
from supervisor.workers.events import WorkerEvents
from supervisor.workers.handle import WorkerHandle
from supervisor.workers.pool import WorkerPool
from supervisor.workers.topology import place

log = structlog.get_logger()

_MB = 1 << 20
_WRITING_S = 1.0  # beyond the settling time: clients of the other models wait meanwhile


class App:
    """The running server."""

    def __init__(self, settings: Settings, handover: Handover) -> None:
        self._settings = settings
        self._handover = handover
        self._stop_asked = asyncio.Event()
        self._hurry = asyncio.Event()

    async def run(self) -> None:
        """Serve until SIGTERM or SIGINT.

        Raises:
            SettingsError: the address, the memory or a file of access cannot be had.
            DeviceRefusedError: a device cannot be used.

        """
        settings = self._settings
        _raise_descriptor_limit()
        guard = Guard(settings)
        try:
            arena = RequestArena(settings.arena_mb * _MB, settings.max_request_mb * _MB)
        except (OSError, ValueError) as error:
            raise SettingsError(f"arena_mb = {settings.arena_mb}: {error}") from error
        worker_cpus = await asyncio.to_thread(place, settings)
        await asyncio.to_thread(remove_left_load_folders)
        read_only = arena.segment.read_only_fd()
        environment = worker_environment(settings.worker_malloc, os.environ)

        async def spawn(
            number: int, index: int, device: str, events: WorkerEvents[WorkerHandle]
        ) -> WorkerHandle:
            # In a thread: the kernel takes milliseconds to hand megabytes out.
            link = await asyncio.to_thread(SupervisorEnd, settings.response_ring_mb * _MB)
            return WorkerHandle(
                number, index, device, read_only, link, events, environment, worker_cpus[index]
            )

        pool = WorkerPool(
            settings.devices(),
            spawn,
            settings.hang_timeout_ms / 1000,
            settings.start_timeout_ms / 1000,
        )
        watcher: Watcher | None = None
        fronts = Fronts(settings, pool)
        manager = ModelManager(
            settings,
            arena,
            pool,
            fronts,
            lambda listing: watcher.follow(listing.directories) if watcher else False,
            trust_ctime=not must_poll(file_system_of(settings.model_repository)),
        )
        watcher = Watcher(
            settings.model_repository, settings.watch, settings.poll_interval_ms / 1000,
            manager.look,
        )  # fmt: skip
        json_worker = JsonWorker(
            arena, read_only, 2 * settings.max_request_mb * _MB, settings.timeout_ms / 1000
        )
        server = build_server(settings, manager, arena, json_worker, fronts, pool, guard)
        guard.when_changed(fronts.reread)
        service = Service(self._handover, manager, pool.overdue)
        signals.install(self.stop, partial(self._reload, guard, service))
        reconciling: asyncio.Task[None] | None = None
        try:
            service.start()
            await server.start_for_operators(settings)
            await self._come_up(server, fronts, manager, pool)
            watcher.start()
            manager.look("start")
            reconciling = asyncio.create_task(manager.run())
            await self._settle(server, fronts, manager)
            await self._stop_asked.wait()
            await self._drain(server, fronts, service)
        finally:
            started = time.perf_counter()
            watcher.close()
            if reconciling is not None:
                reconciling.cancel()
                await asyncio.wait([reconciling])
            await self._stop_serving(server, fronts)
            await manager.close()
            await pool.stop(0 if self._hurry.is_set() else settings.stop_timeout_ms / 1000)
            await json_worker.stop()
            close_fds([read_only])
            service.close()
            log.info("stopped", seconds=round(time.perf_counter() - started, 2))

    async def _come_up(
        self, server: HttpServer, fronts: Fronts, manager: ModelManager, pool: WorkerPool
    ) -> None:
        """Listen, unless systemd does, and wait for a worker per device."""
        if not self._handover.sockets:
            await self._listen(server, fronts)
        manager.demand.level()  # a first worker on each device shows at once if it can be used
        await self._unless_stopped(pool.ready())

    async def _settle(self, server: HttpServer, fronts: Fronts, manager: ModelManager) -> None:
        """Accept from systemd's sockets, which hold clients until models can answer them."""
        if self._handover.sockets:
            await self._unless_stopped(self._first_passes(manager))
            if not self._stop_asked.is_set():
                await self._listen(server, fronts)
        gc.collect()
        gc.freeze()

    async def _first_passes(self, manager: ModelManager) -> None:
        """Wait until each model serves or was refused; not long for one that is being written."""
        loop, limit_s = asyncio.get_running_loop(), self._settings.settle_ms / 1000 + _WRITING_S
        deadline: float | None = None
        try:
            async with contextlib.aclosing(passes_until_settled(manager, "start")) as passes:
                async for _ in passes:
                    deadline = deadline or loop.time() + limit_s
                    if loop.time() > deadline:
                        break
        except RequestError as error:
            log.warning("accepting connections before the models are known", reason=str(error))

    async def _listen(self, server: HttpServer, fronts: Fronts) -> None:
        settings, handed = self._settings, self._handover.sockets
        if handed:
            own, url = [*handed], urls_of(handed, scheme=settings.scheme)
            others = [[one.dup() for one in handed] for _ in range(settings.fronts - 1)]
        else:
            own, *others = listen(settings.host, settings.port, settings.fronts)
            url = urls_of(own, settings.host, settings.scheme)
        await server.start(own, ours=not handed)
        fronts.start(others, server.adopt, ours=not handed)
        log.info(
            "listening", url=url, by="systemd" if handed else "hotpaddle",
            version=__version__, pid=os.getpid(), devices=",".join(settings.devices()),
            model_repository=str(settings.model_repository),
        )  # fmt: skip

    async def _unless_stopped(self, work: Coroutine[Any, Any, object]) -> None:
        """Wait for something, or for the order to stop."""
        doing = asyncio.create_task(work)
        stop = asyncio.create_task(self._stop_asked.wait())
        done, pending = await asyncio.wait({doing, stop}, return_when=asyncio.FIRST_COMPLETED)
        for task in pending:
            task.cancel()
        if doing in done:
            await doing

    async def _drain(self, server: HttpServer, fronts: Fronts, service: Service) -> None:
        """Fail readiness, and go on for a while, so that whoever watches it stays away."""
        settings = self._settings
        log.info("stopping: requests in flight finish first, a second signal hurries")
        service.stopping((settings.drain_ms + 2 * settings.stop_timeout_ms) / 1000)
        server.drain()
        fronts.drain()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(settings.drain_ms / 1000):
                await self._hurry.wait()

    async def _stop_serving(self, server: HttpServer, fronts: Fronts) -> None:
        timeout_s = self._settings.stop_timeout_ms / 1000
        both = [asyncio.create_task(one.stop(timeout_s)) for one in (server, fronts)]
        stopped = asyncio.create_task(asyncio.wait(both))
        hurry = asyncio.create_task(self._hurry.wait())
        await asyncio.wait({stopped, hurry}, return_when=asyncio.FIRST_COMPLETED)
        for task in (*both, hurry):
            task.cancel()
        await asyncio.wait({*both, stopped, hurry})
        await fronts.stop(0)  # those that were not waited for

    def _reload(self, guard: Guard, service: Service, trigger: str) -> None:
        guard.reread_soon()
        service.reload(trigger)

    def stop(self) -> None:
        """Stop; asked a second time, without waiting for requests."""
        if self._stop_asked.is_set():
            self._hurry.set()
        self._stop_asked.set()


def _raise_descriptor_limit() -> None:
    """Allow as many descriptors as may be: each client is one, each link between processes four."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
