"""The standstill: nothing is under way that the next program could not take along.

Owns the steps towards it and their undoing. Everybody is served until the last of them, in which
clients are held for the moment that the last answers take. Runs on the supervisor's event loop.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable
from typing import Final

import structlog

from supervisor import signals
from supervisor.http.listener import HANDSHAKE_S
from supervisor.parts import Parts

log = structlog.get_logger()

_CALM_S: Final = 300.0  # for loads, repairs and drains that are under way; all is served meanwhile
_REST_S: Final = 1.0  # for those that have begun after that; with TLS nobody is let in meanwhile
_LEAVE_S: Final = 5.0  # for clients that cannot be taken along; who is connected is served
_SETTLE_S: Final = 2.0  # for what is in the middle of something, while nobody is served
_QUIET_NS: Final = 1_000_000_000  # who has been quiet for so long is not about to send a request
_POLL_S: Final = 0.05
_SHORT_POLL_S: Final = 0.002
_TURNS: Final = 3  # of the loop, until signals that have arrived have been heard
_RETRY_S: Final = 1.0

_BUSY: Final = "clients are in the middle of requests that cannot be taken along"


class Obstacle(Exception):  # noqa: N818 - what is in the way, not a defect
    """Why this program cannot be replaced now."""


class MovedMeanwhile(Exception):  # noqa: N818 - a reason to begin again, not a defect
    """A version has begun to move, or somebody waits for one to."""


class Standstill:
    """Of one server."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._front = parts.server.front

    async def calm(self) -> None:
        """Wait until no version, lane or worker moves. They may begin to, the next moment.

        Raises:
            Obstacle: something does not end.

        """
        await self._wait(self._rests, _CALM_S, "a load, a repair or a drain does not end")
        self._parts.manager.wake()

    @contextlib.asynccontextmanager
    async def held(self) -> AsyncIterator[None]:
        """Have versions and clients stand still; undone at the end of this.

        Raises:
            Obstacle: a client does not end what it has begun.
            MovedMeanwhile: it was not as calm as that.

        """
        parts = self._parts
        async with contextlib.AsyncExitStack() as undo:
            undo.callback(parts.fronts.go_on)
            await self._rest_fronts()
            await self._wait(self._nobody_chokes, _LEAVE_S, "a client does not read its answers")
            await self._front.flush_spans()
            undo.push_async_callback(self._listen_again)
            parts.fronts.pause()
            await parts.server.pause()
            # Who cannot be taken along would come again as long as anybody is let in.
            if parts.guard.tls is not None:
                await self._handshakes()
            await self._wait(self._nobody_stays, _LEAVE_S, _BUSY)
            try:
                await self._wait(self._rests, _REST_S, "")
            except Obstacle:
                raise MovedMeanwhile from None
            undo.callback(parts.manager.wake)
            undo.callback(self._front.go_on)
            self._front.hold()
            signals.block()
            undo.callback(signals.unblock)
            for _ in range(_TURNS):
                await asyncio.sleep(0)
            await self._wait(self._all_movable, _SETTLE_S, _BUSY, _SHORT_POLL_S)
            yield

    async def _rest_fronts(self) -> None:
        """Have further fronts end; what they have passed on ends with its next answer."""
        limit_s = self._parts.settings.stop_timeout_ms / 1000
        resting = asyncio.ensure_future(self._parts.fronts.rest(limit_s))
        try:
            while not resting.done():
                self._nobody_stays()
                await asyncio.wait({resting}, timeout=_POLL_S)
            resting.result()
        finally:
            resting.cancel()

    async def _wait(
        self, state: Callable[[], bool], limit_s: float, otherwise: str, poll_s: float = _POLL_S
    ) -> None:
        """Wait for a state, of which nobody tells.

        Raises:
            Obstacle: it has not come in time.

        """
        loop = asyncio.get_running_loop()
        deadline = loop.time() + limit_s
        while not state():
            if loop.time() > deadline:
                raise Obstacle(f"{otherwise} ({limit_s:g} s)")
            await asyncio.sleep(poll_s)

    async def _handshakes(self) -> None:
        """Give handshakes their time; who is through is sent away with the next answer."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + HANDSHAKE_S
        while loop.time() < deadline:
            self._nobody_stays()
            await asyncio.sleep(_POLL_S)

    async def _listen_again(self) -> None:
        """Let clients in again, whatever it takes."""
        while True:
            try:
                await self._parts.server.go_on()
            except OSError as error:
                log.error("nobody can be let in yet", reason=error.strerror)
                await asyncio.sleep(_RETRY_S)
            else:
                return

    # States

    def _rests(self) -> bool:
        return self._parts.pool.at_rest and self._parts.manager.rest()

    def _nobody_stays(self) -> bool:
        """Have clients leave that no other program could take over; says whether all have."""
        before = time.monotonic_ns() - _QUIET_NS
        staying = [one for one in self._front.connections if one.stays]
        for connection in staying:
            connection.leave()
            connection.close_if_quiet(since_ns=before)
        return not staying

    def _nobody_chokes(self) -> bool:
        before = time.monotonic_ns() - _QUIET_NS
        return not any(one.chokes(since_ns=before) for one in self._front.connections)

    def _all_movable(self) -> bool:
        front, parts = self._front, self._parts
        if parts.manager.awaited:
            raise MovedMeanwhile
        self._nobody_stays()
        log_settled = front.access_log is None or front.access_log.settled
        at_rest = parts.pool.at_rest and parts.manager.lanes.at_rest
        return front.settled and log_settled and at_rest and not front.immovable()
