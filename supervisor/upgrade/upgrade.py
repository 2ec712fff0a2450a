"""The upgrade: from the order to the moment in which the new program is in place.

Owns the order of the steps, and that each of them can be undone: whatever is in the way, this
program goes on as before. Runs on the supervisor's event loop.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Final

import structlog

from supervisor import __version__, signals
from supervisor.errors import NotReady
from supervisor.kept import server as document
from supervisor.parts import Parts
from supervisor.systemd.service import Service
from supervisor.upgrade.keeping import descriptors, keep, keep_state
from supervisor.upgrade.outcome import Outcome, Phase
from supervisor.upgrade.program import NotStarted, replace_this, this_command, try_it

log = structlog.get_logger()

_REST_S: Final = 300.0  # for loads, repairs and drains that are under way; all is served meanwhile
_LEAVE_S: Final = 2.0  # for clients that cannot be taken along, while others are served
_SETTLE_S: Final = 5.0  # for what is in the middle of something, while nobody is let in
_HANDSHAKE_S: Final = 1.0  # of TLS, which nobody sees from here
_QUIET_NS: Final = 1_000_000_000  # who has been quiet for so long is not about to send a request
_POLL_S: Final = 0.05
_SHORT_POLL_S: Final = 0.002
_TURNS: Final = 3  # of the loop, until signals that have arrived have been heard


class Obstacle(Exception):  # noqa: N818 - what is in the way, not a defect
    """Why this program cannot be replaced now."""


class Upgrade:
    """One upgrade after the other; `outcome` is that of the latest."""

    def __init__(self, parts: Parts, service: Service, outcome: Outcome) -> None:
        self.outcome = outcome
        self._parts = parts
        self._service = service
        self._task: asyncio.Task[None] | None = None
        self._open = False

    def open(self) -> None:
        """Allow upgrades: the server has come up."""
        self._open = True

    def begin(self, trigger: str) -> int:
        """Begin; gives the upgrade's number.

        Raises:
            NotReady: one is under way, or the server has not come up yet, or stops.

        """
        if not self._open:
            raise NotReady("the server is starting")
        if self._task is not None and not self._task.done():
            raise NotReady("an upgrade is under way already")
        if self._parts.server.front.draining:
            raise NotReady("the server is stopping")
        self.outcome = Outcome(self.outcome.number + 1, Phase.TRYING, __version__)
        log.info("upgrade in place: trying the installed program", trigger=trigger)
        self._task = asyncio.get_running_loop().create_task(self._run())
        return self.outcome.number

    def begin_by_signal(self) -> None:
        """Begin, for SIGUSR2."""
        try:
            self.begin("sigusr2")
        except NotReady as error:
            log.warning("no upgrade was begun", reason=str(error))

    async def stop(self) -> None:
        """Give up an upgrade that is under way, and undo what it did."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])

    async def _run(self) -> None:
        try:
            await self._try()
            self.outcome.phase = Phase.WAITING
            async with self._stand_still():
                await self._replace()
        except (Obstacle, NotStarted) as error:
            self._refused(str(error))
        except OSError as error:
            self._refused(f"{error.filename or 'the program'}: {error.strerror}")
        except Exception as error:
            log.exception("an upgrade broke off")
            self._refused(f"internal error: {error!r}")

    def _refused(self, reason: str) -> None:
        self.outcome.phase, self.outcome.reason = Phase.REFUSED, reason
        log.error("no upgrade: this program goes on", reason=reason)

    async def _try(self) -> None:
        """Have the program start in a child, and read what it would be given."""
        kept = keep(self._parts, self.outcome.number, 0, keep_state(self._parts, [], ready=False))
        with _file(kept) as fd:
            await asyncio.to_thread(try_it, this_command(), fd)

    # Standing still

    @contextlib.asynccontextmanager
    async def _stand_still(self) -> AsyncIterator[None]:
        """Have nothing under way that cannot be taken along; undone at the end of this."""
        parts = self._parts
        async with contextlib.AsyncExitStack() as undo:
            await self._wait(self._rests, _REST_S, "a load, a repair or a drain does not end")
            undo.callback(parts.manager.wake)
            self._service.replacing()
            undo.callback(self._service.replaced)
            undo.callback(parts.fronts.go_on)
            await parts.fronts.rest(parts.settings.stop_timeout_ms / 1000)
            with contextlib.suppress(Obstacle):
                await self._wait(self._nobody_stays, _LEAVE_S, "")
            await parts.server.front.flush_spans()
            undo.push_async_callback(parts.server.go_on)
            parts.fronts.pause()
            await parts.server.pause()
            if parts.guard.tls is not None:
                await asyncio.sleep(_HANDSHAKE_S)
            undo.callback(parts.server.front.go_on)
            parts.server.front.hold()
            signals.block()
            undo.callback(signals.unblock)
            for _ in range(_TURNS):
                await asyncio.sleep(0)
            await self._wait(self._all_movable, _SETTLE_S, "clients are in the middle of a request")
            yield

    async def _wait(self, state: Callable[[], bool], limit_s: float, otherwise: str) -> None:
        """Wait for a state, of which nobody tells.

        Raises:
            Obstacle: it has not come in time.

        """
        loop = asyncio.get_running_loop()
        deadline = loop.time() + limit_s
        while not state():
            if loop.time() > deadline:
                raise Obstacle(f"{otherwise} ({limit_s:g} s)")
            held = self._parts.server.front.holding
            await asyncio.sleep(_SHORT_POLL_S if held else _POLL_S)

    def _rests(self) -> bool:
        return self._parts.pool.at_rest and self._parts.manager.rest()

    def _nobody_stays(self) -> bool:
        """Have clients leave that no other program could take over; says whether all have."""
        before = time.monotonic_ns() - _QUIET_NS
        staying = [one for one in self._parts.server.front.immovable() if one.stays]
        for connection in staying:
            connection.leave()
            connection.close_if_quiet(since_ns=before)
        return not staying

    def _all_movable(self) -> bool:
        front, parts = self._parts.server.front, self._parts
        self._nobody_stays()
        log_settled = front.access_log is None or front.access_log.settled
        at_rest = parts.pool.at_rest and parts.manager.lanes.at_rest
        return front.settled and log_settled and at_rest and not front.immovable()

    # The moment

    async def _replace(self) -> None:
        """Write down what serves and let the new program have it; returns only by raising.

        Raises:
            OSError: it cannot be run.

        """
        parts, began_ns = self._parts, time.monotonic_ns()
        state = keep_state(parts, parts.server.front.connections, ready=self._service.told_ready)
        kept = keep(parts, self.outcome.number, began_ns, state)
        with _file(kept) as fd:
            log.info(
                "upgrade in place: the new program takes over",
                workers=len(state.workers), clients=len(state.clients),
                requests=sum(len(model.requests) for model in state.models),
            )  # fmt: skip
            replace_this(this_command(), self._service.environment(), fd, descriptors(kept))


@contextlib.contextmanager
def _file(kept: document.Kept) -> Iterator[int]:
    fd = document.write(kept)
    try:
        yield fd
    finally:
        os.close(fd)
