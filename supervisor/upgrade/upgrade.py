"""The upgrade: from the order to the moment in which the new program is in place.

Owns the order of the steps, and that each of them can be undone: whatever is in the way, this
program goes on as before. Runs on the supervisor's event loop.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from collections.abc import Iterator
from typing import Final

import structlog

from supervisor import __version__
from supervisor.errors import NotReady
from supervisor.kept import server as document
from supervisor.parts import Parts
from supervisor.systemd.service import Service
from supervisor.upgrade.keeping import descriptors, keep, keep_state
from supervisor.upgrade.outcome import Outcome, Phase
from supervisor.upgrade.program import NotStarted, replace_this, this_command, try_it
from supervisor.upgrade.standstill import MovedMeanwhile, Obstacle, Standstill

log = structlog.get_logger()

_ATTEMPTS: Final = 5  # to stand still, while versions keep moving


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
            for _ in range(_ATTEMPTS):
                with contextlib.suppress(MovedMeanwhile):
                    await self._stand_still_and_replace()
            raise Obstacle(f"versions kept moving, {_ATTEMPTS} times over")
        except (Obstacle, NotStarted) as error:
            self._refused(str(error))
        except OSError as error:
            self._refused(f"{error.filename or 'the program'}: {error.strerror}")
        except Exception as error:
            log.exception("an upgrade broke off")
            self._refused(f"internal error: {error!r}")

    async def _stand_still_and_replace(self) -> None:
        """Stand still and let the next program take over; returns only by raising."""
        still = Standstill(self._parts)
        async with contextlib.AsyncExitStack() as undo:
            await still.calm()
            self._service.replacing()
            undo.callback(self._service.replaced)
            await self._try()  # what is installed may have changed while something was waited for
            await undo.enter_async_context(still.held())
            await self._replace()

    def _refused(self, reason: str) -> None:
        self.outcome.phase, self.outcome.reason = Phase.REFUSED, reason
        log.error("no upgrade: this program goes on", reason=reason)

    async def _try(self) -> None:
        """Have the program start in a child, and read what it would be given."""
        kept = keep(self._parts, self.outcome.number, 0, keep_state(self._parts, [], ready=False))
        with _file(kept) as fd:
            await try_it(this_command(), fd)

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
