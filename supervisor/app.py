"""The composition root: builds the parts, starts and stops them in order.

The only file that knows them all. Runs in the supervisor's process.
"""

from __future__ import annotations

import asyncio
import gc
import os
import resource
import time

import structlog

from gpu_worker.ipc.arena import RequestArena
from gpu_worker.ipc.link import SupervisorEnd, close_fds
from gpu_worker.ipc.load_folder import remove_left_load_folders
from supervisor import __version__, signals
from supervisor.errors import SettingsError
from supervisor.fronts.fronts import Fronts
from supervisor.http.admin import AdminHandlers
from supervisor.http.body import BodyReader
from supervisor.http.codec.lane_codec import Codecs
from supervisor.http.front import Front
from supervisor.http.inference import InferenceHandlers
from supervisor.http.large_json import LargeJson
from supervisor.http.listener import listen, port_of
from supervisor.http.metadata import MetadataHandlers
from supervisor.http.metrics import MetricsHandlers
from supervisor.http.repository import RepositoryHandlers
from supervisor.http.server import HttpServer
from supervisor.json_worker.handle import JsonWorker
from supervisor.lifecycle.model_manager import ModelManager
from supervisor.metrics.reading import Reader
from supervisor.repository.watcher import Watcher, file_system_of, must_poll
from supervisor.settings import Settings
from supervisor.workers.environment import worker_environment
from supervisor.workers.events import WorkerEvents
from supervisor.workers.handle import WorkerHandle
from supervisor.workers.pool import WorkerPool

log = structlog.get_logger()

_MB = 1 << 20


class App:
    """The running server."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._stop_asked = asyncio.Event()
        self._hurry = asyncio.Event()

    async def run(self) -> None:
        """Serve until SIGTERM or SIGINT.

        Raises:
            SettingsError: the address or the memory cannot be had.
            DeviceRefusedError: a device cannot be used.

        """
        settings = self._settings
        _raise_descriptor_limit()
        try:
            arena = RequestArena(settings.arena_mb * _MB, settings.max_request_mb * _MB)
        except (OSError, ValueError) as error:
            raise SettingsError(f"arena_mb = {settings.arena_mb}: {error}") from error
        await asyncio.to_thread(remove_left_load_folders)
        read_only = arena.segment.read_only_fd()
        environment = worker_environment(settings.worker_malloc, os.environ)

        async def spawn(
            number: int, index: int, device: str, events: WorkerEvents[WorkerHandle]
        ) -> WorkerHandle:
            # In a thread: the kernel takes milliseconds to hand megabytes out.
            link = await asyncio.to_thread(SupervisorEnd, settings.response_ring_mb * _MB)
            return WorkerHandle(number, index, device, read_only, link, events, environment)

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
        server = self._server(manager, arena, json_worker, fronts, pool)
        signals.install(self.stop, manager.reload)
        reconciling: asyncio.Task[None] | None = None
        try:
            own, *others = listen(settings.host, settings.port, settings.fronts)
            await server.start(own)
            fronts.start(others, server.adopt)
            log.info(
                "listening", url=f"http://{settings.host}:{port_of(own)}", version=__version__,
                pid=os.getpid(), devices=",".join(settings.devices()),
                model_repository=str(settings.model_repository),
            )  # fmt: skip
            manager.demand.level()  # a first worker on each device shows at once if it can be used
            await self._until_up(pool)
            watcher.start()
            manager.look("start")
            reconciling = asyncio.create_task(manager.run())
            gc.collect()
            gc.freeze()
            await self._stop_asked.wait()
            log.info("stopping: requests in flight finish first, a second signal hurries")
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
            log.info("stopped", seconds=round(time.perf_counter() - started, 2))

    def _server(
        self,
        manager: ModelManager,
        arena: RequestArena,
        json_worker: JsonWorker,
        fronts: Fronts,
        pool: WorkerPool,
    ) -> HttpServer:
        settings, codecs = self._settings, Codecs()
        large_json = LargeJson(json_worker, settings.json_inline_kb << 10)
        largest_body, body_timeout_s = (
            settings.max_request_mb * _MB,
            settings.body_timeout_ms / 1000,
        )
        front = Front(
            arena, manager.dispatcher, codecs, large_json,
            largest_body=largest_body, body_timeout_s=body_timeout_s,
        )  # fmt: skip
        server = HttpServer(manager, front)
        inference = InferenceHandlers(
            manager, BodyReader(arena, largest_body, body_timeout_s), codecs, large_json
        )
        for handlers in (
            inference,
            MetadataHandlers(manager),
            RepositoryHandlers(manager, fronts),
            AdminHandlers(manager, pool, fronts),
            MetricsHandlers(Reader(manager, pool, front, inference, json_worker, fronts)),
        ):
            handlers.routes(server.router)
        return server

    async def _until_up(self, pool: WorkerPool) -> None:
        """Wait for a worker per device, or for the order to stop."""
        up = asyncio.create_task(pool.ready())
        stop = asyncio.create_task(self._stop_asked.wait())
        done, pending = await asyncio.wait({up, stop}, return_when=asyncio.FIRST_COMPLETED)
        for task in pending:
            task.cancel()
        if up in done:
            await up

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

    def stop(self) -> None:
        """Stop; asked a second time, without waiting for requests."""
        if self._stop_asked.is_set():
            self._hurry.set()
        self._stop_asked.set()


def _raise_descriptor_limit() -> None:
    """Allow as many descriptors as may be: each client is one, each link between processes four."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
