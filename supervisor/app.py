"""The app: starts and stops the server's parts in order.

Owns what happens between the first step and the last. What parts there are stands in `parts`. Runs
in the supervisor's process.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import resource
import socket
import time
from collections.abc import Coroutine
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import structlog

from gpu_worker.ipc.link import close_fds
from supervisor import __version__, signals
from supervisor.access.admin_socket import AdminSocket
from supervisor.errors import RequestError
from supervisor.http.listening_sockets import listen, urls_of
from supervisor.kept.server import Kept, KeptSockets, KeptState
from supervisor.lifecycle.model_manager import ModelManager
from supervisor.lifecycle.settled_passes import passes_until_settled
from supervisor.parts import Parts, build
from supervisor.settings import Settings
from supervisor.systemd.handover import Handover
from supervisor.systemd.service import Service
from supervisor.upgrade.handlers import UpgradeHandlers
from supervisor.upgrade.keeping import listening
from supervisor.upgrade.outcome import Outcome, Phase
from supervisor.upgrade.taking_up import take_up
from supervisor.upgrade.upgrade import Upgrade

log = structlog.get_logger()

_WRITING_S = 1.0  # beyond the settling time: clients of the other models wait meanwhile


class App:
    """The running server."""

    def __init__(self, settings: Settings, handover: Handover, kept: Kept | None = None) -> None:
        """`kept` is what another program has left to this one."""
        self._settings = settings
        self._handover = handover
        self._kept = kept
        # Sockets that others have opened hold clients until models can answer them.
        self._patient = bool(handover.sockets) if kept is None else kept.state is None
        self.is_up = False  # with what another program has left
        self._outcome = _outcome_of(kept)
        self._stop_asked = asyncio.Event()
        self._hurry = asyncio.Event()

    async def run(self) -> None:
        """Serve until SIGTERM or SIGINT.

        Raises:
            SettingsError: the address, the memory or a file of access cannot be had.
            DeviceRefusedError: a device cannot be used.

        """
        settings, kept = self._settings, self._kept
        state = None if kept is None else kept.state
        _raise_descriptor_limit()
        # Signals are for the main thread: one that came to another would be lost in an upgrade.
        threads = ThreadPoolExecutor(initializer=signals.block)
        asyncio.get_running_loop().set_default_executor(threads)
        parts = await build(settings, None if state is None else state.arena)
        manager, server = parts.manager, parts.server
        service = Service(self._handover, manager, parts.pool.overdue)
        upgrade = Upgrade(parts, service, self._outcome)
        UpgradeHandlers(upgrade).routes(server.router)
        signals.install(self.stop, partial(self._reload, parts, service), upgrade.begin_by_signal)
        reconciling: asyncio.Task[None] | None = None
        try:
            if kept is None or state is None:
                await self._come_up(parts, service)
            else:
                await self._take_up(parts, service, state, kept.began_ns)
            parts.watcher.start()
            manager.look("start")
            reconciling = asyncio.create_task(manager.run())
            if self._patient:
                await self._unless_stopped(self._first_passes(manager))
                if not self._stop_asked.is_set():
                    await self._listen(parts)
            if state is None:
                _keep_garbage_collector_off()
            upgrade.open()
            await self._stop_asked.wait()
            await upgrade.stop()
            await self._drain(parts, service)
        finally:
            started = time.perf_counter()
            parts.watcher.close()
            if reconciling is not None:
                reconciling.cancel()
                await asyncio.wait([reconciling])
            await self._stop_serving(parts)
            await manager.close()
            await parts.pool.stop(0 if self._hurry.is_set() else settings.stop_timeout_ms / 1000)
            await parts.json_worker.stop()
            close_fds([parts.arena_fd])
            service.close()
            log.info("stopped", seconds=round(time.perf_counter() - started, 2))

    # The start

    async def _come_up(self, parts: Parts, service: Service) -> None:
        """Listen, unless others do, and wait for a worker per device."""
        service.start()
        await self._listen_for_operators(parts)
        if not self._patient:
            await self._listen(parts)
        parts.manager.demand.level()  # a first worker on each device shows at once if it works
        await self._unless_stopped(parts.pool.ready())

    async def _take_up(
        self, parts: Parts, service: Service, state: KeptState, began_ns: int
    ) -> None:
        """Go on with what another program has left; whatever fails, there is no use in waiting."""
        front = parts.server.front
        front.holding = True
        self._hurry.set()
        await take_up(parts, state)
        service.start()
        service.take_up(told_ready=state.ready)
        await self._listen_for_operators(parts)
        await self._listen(parts)
        _keep_garbage_collector_off()
        self._hurry.clear()
        self.is_up = True
        front.go_on()
        outcome = self._outcome
        outcome.pause_ms = (time.monotonic_ns() - began_ns) / 1e6
        log.info(
            f"Upgraded from {outcome.replaced} to {__version__}, cost={outcome.pause_ms:.0f}ms",
            workers=len(state.workers), clients=len(state.clients),
        )  # fmt: skip

    async def _listen_for_operators(self, parts: Parts) -> None:
        kept = self._kept
        if kept is None:
            handed = self._handover.admin_sockets
            await parts.server.start_for_operators(self._settings, handed)
            return
        handed = tuple(_socket(fd) for fd in kept.sockets.operators)
        own = _admin_socket_of(kept.sockets, self._settings)
        await parts.server.start_for_operators(self._settings, handed, own)

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

    async def _listen(self, parts: Parts) -> None:
        settings = self._settings
        (own, *others), ours = self._sockets()
        await parts.server.start(own, ours=ours)
        parts.fronts.start(others, parts.server.adopt, ours=ours)
        if self._kept is not None:  # up to now this program might have had to begin anew with them
            close_fds(listening(self._kept.sockets))
            self._kept = None
        log.info(
            "listening", url=urls_of(own, settings.host if ours else "", settings.scheme),
            by="hotpaddle" if ours else "systemd",
            version=__version__, pid=os.getpid(), devices=",".join(settings.devices()),
            model_repository=str(settings.model_repository), express=parts.server.front.express_is,
        )  # fmt: skip

    def _sockets(self) -> tuple[list[list[socket.socket]], bool]:
        """Give each front's sockets, which listen, and whether they are ours, not systemd's."""
        settings, handed = self._settings, self._handover.sockets
        if self._kept is not None:
            kept = self._kept.sockets
            return [[_socket(fd) for fd in fds] for fds in kept.fronts], kept.ours
        if handed:
            others = [[one.dup() for one in handed] for _ in range(settings.fronts - 1)]
            return [[*handed], *others], False
        return listen(settings.host, settings.port, settings.fronts), True

    # The end

    async def _unless_stopped(self, work: Coroutine[Any, Any, object]) -> None:
        """Wait for something, or for the order to stop."""
        doing = asyncio.create_task(work)
        stop = asyncio.create_task(self._stop_asked.wait())
        done, pending = await asyncio.wait({doing, stop}, return_when=asyncio.FIRST_COMPLETED)
        for task in pending:
            task.cancel()
        if doing in done:
            await doing

    async def _drain(self, parts: Parts, service: Service) -> None:
        """Fail readiness, and go on for a while, so that whoever watches it stays away."""
        settings = self._settings
        log.info("stopping: requests in flight finish first, a second signal hurries")
        service.stopping((settings.drain_ms + 2 * settings.stop_timeout_ms) / 1000)
        parts.server.drain()
        parts.fronts.drain()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(settings.drain_ms / 1000):
                await self._hurry.wait()

    async def _stop_serving(self, parts: Parts) -> None:
        timeout_s, fronts = self._settings.stop_timeout_ms / 1000, parts.fronts
        both = [asyncio.create_task(one.stop(timeout_s)) for one in (parts.server, fronts)]
        stopped = asyncio.create_task(asyncio.wait(both))
        hurry = asyncio.create_task(self._hurry.wait())
        await asyncio.wait({stopped, hurry}, return_when=asyncio.FIRST_COMPLETED)
        for task in (*both, hurry):
            task.cancel()
        await asyncio.wait({*both, stopped, hurry})
        await fronts.stop(0)  # those that were not waited for

    def _reload(self, parts: Parts, service: Service, trigger: str) -> None:
        parts.guard.reread_soon()
        service.reload(trigger)

    def stop(self) -> None:
        """Stop; asked a second time, without waiting for requests."""
        if self._stop_asked.is_set():
            self._hurry.set()
        self._stop_asked.set()


def _socket(fd: int) -> socket.socket:
    return socket.socket(fileno=os.dup(fd))


def _admin_socket_of(kept: KeptSockets, settings: Settings) -> AdminSocket | None:
    """Give the operators' socket of another program, unless it shall be elsewhere by now."""
    if kept.admin < 0:
        return None
    sock = _socket(kept.admin)
    try:
        own = AdminSocket(Path(kept.admin_path), sock)
    except OSError:  # its file has gone
        sock.close()
        return None
    if settings.admin_socket == kept.admin_path:
        return own
    own.remove()
    return None


def _outcome_of(kept: Kept | None) -> Outcome:
    """Say what upgrade this program comes from."""
    if kept is None:
        return Outcome()
    if kept.state is None:
        reason = "the new program could not go on with what was there, and began anew"
        return Outcome(kept.upgrades, Phase.REFUSED, kept.version, reason)
    return Outcome(kept.upgrades, Phase.DONE, kept.version)


def _keep_garbage_collector_off() -> None:
    """Have it never look again at what is there by now."""
    gc.collect()
    gc.freeze()


def _raise_descriptor_limit() -> None:
    """Allow as many descriptors as may be: each client is one, each link between processes four."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
