"""The service: tells systemd how the server is, and that it is alive.

Owns the state that systemd knows (starting, ready, reloading, stopping) and the timers behind it.
Looks at the models, never changes them. Where nobody listens it does nothing. Runs on the
supervisor's event loop.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Mapping
from enum import Enum
from typing import Any, Final, Protocol

import structlog

from supervisor.errors import RequestError
from supervisor.lifecycle.model import Model
from supervisor.systemd.handover import Handover
from supervisor.systemd.notify_socket import NotifySocket
from supervisor.systemd.status_line import ModelState, status_line

log = structlog.get_logger()

_LOOK_EVERY_S: Final = 0.25
_EXTEND_EVERY_S: Final = 5.0
_EXTEND_US: Final = 30_000_000  # how long systemd waits without hearing more
_MARGIN_S: Final = 10.0  # for the end of workers, beyond what requests are given
_RETRY_S: Final = 0.5  # between two looks at workers of which one is past its deadline


class Manager(Protocol):
    """What is asked of the model manager."""

    @property
    def models(self) -> Mapping[str, Model]:
        """All models."""

    @property
    def repository_problem(self) -> str:
        """Why the repository cannot be read."""

    @property
    def ready(self) -> bool:
        """Whether every model that shall serve does."""

    def reload(self, trigger: str) -> None:
        """Look at the repository, and try failed versions once more."""

    async def reconciled(self, trigger: str) -> Any:
        """Wait for a pass that began after this call."""


class Phase(Enum):
    """What systemd takes the server for."""

    STARTING = "starting"
    READY = "ready"
    RELOADING = "reloading"
    STOPPING = "stopping"


class Service:
    """The server as systemd's service."""

    def __init__(
        self, handover: Handover, manager: Manager, overdue: Callable[[], Iterable[str]]
    ) -> None:
        """`overdue` names the workers that are past their deadline."""
        self.phase = Phase.STARTING
        self._notify = NotifySocket(handover.notify_socket)
        self._told = bool(handover.notify_socket)
        self._handover = handover
        self._manager = manager
        self._overdue = overdue
        self._loop = asyncio.get_running_loop()
        self._status = ""
        self._extend_at = 0.0
        self._reloads: set[asyncio.Task[None]] = set()
        self._timers: dict[str, asyncio.TimerHandle] = {}

    def start(self) -> None:
        """Begin to tell."""
        if self._told:
            self._look()
            if self._handover.watchdog_s:
                self._feed()

    def _look(self) -> None:
        """Tell what has changed."""
        self._timers["look"] = self._loop.call_later(_LOOK_EVERY_S, self._look)
        lines = []
        if self.phase is Phase.STARTING and self._manager.ready:
            self.phase = Phase.READY
            lines.append("READY=1")
        if self.phase in (Phase.STARTING, Phase.RELOADING):
            lines.extend(self._extension())
        self._say(lines)

    def _extension(self) -> list[str]:
        """Ask for more time now and then, as long as the event loop turns."""
        now = self._loop.time()
        if now < self._extend_at:
            return []
        self._extend_at = now + _EXTEND_EVERY_S
        return [f"EXTEND_TIMEOUT_USEC={_EXTEND_US}"]

    def _say(self, lines: list[str]) -> None:
        """Send a message, with the status if that has changed."""
        phase = "" if self.phase is Phase.READY else self.phase.value
        models = (_state_of(model) for _, model in sorted(self._manager.models.items()))
        status = status_line(models, self._manager.repository_problem, phase)
        if status != self._status:
            self._status = status
            lines = [*lines, f"STATUS={status}"]
        if lines:
            self._notify.send(lines)
        else:
            self._notify.flush()

    # The watchdog

    def _feed(self) -> None:
        """Show that the event loop turns and that no worker is past its deadline."""
        pause_s = self._handover.watchdog_s / 2
        late = list(self._overdue())
        if late:
            log.warning("the watchdog is not fed: workers do not end", workers=", ".join(late))
        if late or not self._notify.send(["WATCHDOG=1"]):
            pause_s = min(pause_s, _RETRY_S)
        self._timers["feed"] = self._loop.call_later(pause_s, self._feed)

    # Reload and stop

    def reload(self, trigger: str) -> None:
        """Reload, and tell when it begins and when its pass is over."""
        if not self._told or self.phase in (Phase.STARTING, Phase.STOPPING):
            self._manager.reload(trigger)
            return
        self.phase = Phase.RELOADING
        self._extend_at = 0.0
        self._say(_reloading())
        task = self._loop.create_task(self._reload(trigger))
        self._reloads.add(task)
        task.add_done_callback(self._reloaded)

    async def _reload(self, trigger: str) -> None:
        self._manager.reload(trigger)
        try:
            await self._manager.reconciled(trigger)
        except RequestError as error:  # the log has the rest
            log.warning("a reload broke off", reason=str(error))

    def _reloaded(self, task: asyncio.Task[None]) -> None:
        self._reloads.discard(task)
        if self.phase is Phase.RELOADING and not self._reloads:
            self.phase = Phase.READY  # whatever the verdict: what serves goes on
            self._say(["READY=1"])

    # From one program to the next

    @property
    def told_ready(self) -> bool:
        """Say whether systemd knows that the server is ready."""
        return self.phase in (Phase.READY, Phase.RELOADING)

    def environment(self) -> dict[str, str]:
        """Give the variables from which another program learns how to tell systemd."""
        return self._handover.environment()

    def take_up(self, *, told_ready: bool) -> None:
        """Go on as a program that has taken over."""
        if told_ready:
            self.phase = Phase.RELOADING
            self.replaced()

    def replacing(self) -> None:
        """Tell that another program takes over."""
        if self._told and self.phase is Phase.READY:
            self.phase = Phase.RELOADING
            self._extend_at = 0.0
            self._say(_reloading())

    def replaced(self) -> None:
        """Tell that it has, or that it has not: the server is ready as before."""
        if self._told and self.phase is Phase.RELOADING and not self._reloads:
            self.phase = Phase.READY
            self._say(["READY=1"])

    def stopping(self, seconds: float) -> None:
        """Tell that the end has begun, and that requests may take `seconds`."""
        self.phase = Phase.STOPPING
        extend_us = round((seconds + _MARGIN_S) * 1e6)
        self._say(["STOPPING=1", f"EXTEND_TIMEOUT_USEC={extend_us}"])

    def close(self) -> None:
        """Tell no more."""
        self.phase = Phase.STOPPING
        for timer in self._timers.values():
            timer.cancel()
        for task in self._reloads:
            task.cancel()
        self._notify.close()


def _reloading() -> list[str]:
    return ["RELOADING=1", f"MONOTONIC_USEC={time.monotonic_ns() // 1000}"]


def _state_of(model: Model) -> ModelState:
    serving, failure = model.dispatcher.serving, model.last_failure
    ready = serving is not None and model.dispatcher.ready
    newer = failure is not None and (serving is None or failure.changed_at > serving.since)
    return ModelState(
        model.name,
        serving.version if serving is not None and ready else "",
        "" if ready else model.reason_not_ready(),
        failure.version if failure is not None and newer and ready else "",
        failure.reason if failure is not None and newer and ready else "",
    )
