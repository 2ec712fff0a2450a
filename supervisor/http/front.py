"""The front: what all connections share.

Owns the connections, the buffer that heads arrive in, what is known of heads and lanes, and how
connections end at a stop. Runs on the supervisor's event loop.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Coroutine
from email.utils import formatdate
from typing import TYPE_CHECKING, Any, Final, Protocol

from gpu_worker.ipc.arena import RequestArena
from supervisor.access.access_log import AccessLog
from supervisor.access.caller import Caller
from supervisor.access.guard import Guard
from supervisor.access.refusals import Refusals
from supervisor.deadlines import Deadlines
from supervisor.dispatch.dispatcher import Dispatcher
from supervisor.dispatch.lane import Lane
from supervisor.errors import RequestError
from supervisor.express.wire_parts import Express
from supervisor.http.codec.lane_codec import Codecs
from supervisor.http.heads import Head, Heads
from supervisor.http.large_json import LargeJson
from supervisor.http.limits import Limits
from supervisor.tracing.opening import open_spans

if TYPE_CHECKING:
    from supervisor.http.connection import Connection
    from supervisor.http.exchange import Exchange
    from supervisor.tracing.spans import Spans

_SCRATCH: Final = 1 << 15  # a head, and the body with it where it is small
_SHORT_SCRATCH: Final = 1 << 11  # a head alone, of a client whose bodies are large
_QUIET_S: Final = 1.0  # at a stop, who has been quiet for so long is not about to send a request
_LOOK_S: Final = 0.05

FindDispatcher = Callable[[str], Dispatcher | None]


class SlowPath(Protocol):
    """Another's handling of one connection, for what the fast path does not take.

    It shares the transport, and pauses reading while it has more than it can use. The connection
    does so only while it gives the slow path nothing, so that neither can undo the other's pause.
    """

    begun: int  # requests that it has begun to answer

    @property
    def idle(self) -> bool:
        """Say whether it waits for the next request."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin."""

    def connection_lost(self, exc: BaseException | None) -> None:
        """End."""

    def begin(self, head: Head) -> None:
        """Take note that the next bytes begin a request; after UNKNOWN they are all its own."""

    def data_received(self, data: bytes) -> None:
        """Take bytes."""

    def pause_writing(self) -> None:
        """Stop writing."""

    def resume_writing(self) -> None:
        """Go on writing."""


class Front:
    """Shared by all connections of this process."""

    def __init__(
        self,
        arena: RequestArena,
        find: FindDispatcher,
        codecs: Codecs,
        large_json: LargeJson,
        guard: Guard,
        limits: Limits,
        *,
        largest_body: int,
        body_timeout_s: float,
    ) -> None:
        self.arena = arena
        self.find = find
        self.codecs = codecs
        self.large_json = large_json
        self.largest_body = largest_body
        self.body_timeout_s = body_timeout_s
        self.draining = False  # each connection ends with its next answer
        self.closed = False
        self.holding = False  # no connection takes up anything: another program shall
        self.guard = guard
        self.limits = limits
        self.refusals = Refusals()
        self.access_log: AccessLog | None = None
        self.spans: Spans | None = None
        self.heads = Heads(guard.admits)
        guard.when_changed(self._forget_heads)
        self.scratch = memoryview(bytearray(_SCRATCH))
        self._short_scratch = self.scratch[:_SHORT_SCRATCH]
        self.connections: set[Connection] = set()
        self.slow_path: Callable[[Caller], SlowPath] | None = None  # who serves sets it
        self.late_bodies: Deadlines[Exchange] = Deadlines(lambda one: one.body_is_late())
        self.late_heads: Deadlines[Connection] = Deadlines(lambda one: one.head_is_late())
        self._counted: set[Connection] = set()
        self._loop = asyncio.get_running_loop()
        self._tasks: set[asyncio.Task[None]] = set()
        self._second = 0
        self._last_lines = b"", b""  # of one that stays open, of one that closes
        self._gone = asyncio.Event()
        self.express: Any = None  # takes plain requests, if there is compiled code
        self._sweep = self._loop.call_later(limits.sweep_s, self._close_idle)

    async def _forget_heads(self) -> None:
        self.heads.forget()
        if self.express is not None:
            self.express.forget()

    def open_log(self, path: str) -> None:
        """Have each request noted in a file; "" for none.

        Raises:
            SettingsError: it cannot be opened.

        """
        if path:
            self.access_log = AccessLog(path)
            self.guard.when_changed(self._reopen_log)

    async def _reopen_log(self) -> None:
        if self.access_log is not None:  # nobody waits for it: its storage may hang
            self.spawn(self.access_log.reopen())

    def open_express(self, wanted: str) -> None:
        """Have plain requests taken by compiled code, if there is any; "off": by Python's."""
        if wanted != "off" and Express is not None:
            self.express = Express(self, self._loop)

    @property
    def express_is(self) -> str:
        """Say whether compiled code takes plain requests: on, off, or not built."""
        return "not built" if Express is None else "off" if self.express is None else "on"

    async def close_log(self) -> None:
        """Write what waits: no request is under way any more."""
        if self.access_log is not None:
            await self.access_log.close()

    def open_spans(self, endpoint: str, scheme: str) -> None:
        """Have sampled requests told to a collector of traces; "" for none.

        Raises:
            SettingsError: the extra that it takes is not installed, or refuses a variable.

        """
        self.spans = open_spans(endpoint, scheme)

    async def flush_spans(self) -> None:
        """Send spans that wait: another program knows nothing of them."""
        if self.spans is not None:
            await self.spans.flush()

    async def close_spans(self) -> None:
        """Send what waits, for a moment at most."""
        if self.spans is not None:
            await self.spans.close()

    def find_lane(self, head: Head) -> tuple[Dispatcher, Lane] | None:
        """Find what a head asks for; where there is none, the slow path says so."""
        dispatcher = self.find(head.model)
        if dispatcher is None:
            return None
        if head.version is None:
            lane = dispatcher.generations.serving
            return None if lane is None else (dispatcher, lane)
        try:
            return dispatcher, dispatcher.lane(head.version)
        except RequestError:
            return None

    def last_lines(self, *, closes: bool) -> bytes:
        """Give a head's last lines, the empty one too, made anew when the second has changed."""
        second = int(time.time())
        if second != self._second:
            self._second = second
            date = f"Date: {formatdate(second, usegmt=True)}\r\n".encode()
            self._last_lines = date + b"\r\n", date + b"Connection: close\r\n\r\n"
        return self._last_lines[closes]

    def scratch_after(self, length: int) -> memoryview:
        """Give the buffer for the next head of a client that sent a body of this length.

        What comes with a head is copied twice more; the rest of a body goes where it shall.
        """
        return self.scratch if length < _SCRATCH else self._short_scratch

    def spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Run what a callback cannot wait for."""
        task = self._loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def welcome(self, connection: Connection, *, counted: bool) -> bool:
        """Take note of a new connection; False says that there are too many."""
        self.connections.add(connection)
        most = self.limits.connections
        if not counted or not most:
            return True
        if len(self._counted) >= most and not self.holding:  # those were let in before
            self.refusals.too_many_connections += 1
            return False
        self._counted.add(connection)
        return True

    def forget(self, connection: Connection) -> None:
        """Take note that a connection has ended."""
        self.late_heads.forget(connection)
        self._counted.discard(connection)
        self.connections.discard(connection)
        if not self.connections:
            self._gone.set()

    def _close_idle(self) -> None:
        self._sweep = self._loop.call_later(self.limits.sweep_s, self._close_idle)
        if self.holding:
            return  # a request may be there, and is not read
        before = time.monotonic_ns() - int(self.limits.idle_timeout_s * 1_000_000_000)
        for connection in list(self.connections):
            connection.close_if_idle(since_ns=before)

    def hold(self) -> None:
        """Take up nothing, until `go_on`: the kernel keeps what clients send."""
        self.holding = True
        for connection in self.connections:
            connection.hold()

    def go_on(self) -> None:
        """Take up what was held."""
        self.holding = False
        for connection in list(self.connections):
            connection.go_on()

    def immovable(self) -> list[Connection]:
        """List the connections that no other program could take over as they are."""
        return [connection for connection in self.connections if not connection.movable]

    @property
    def settled(self) -> bool:
        """Say whether no task is under way for a connection."""
        return not self._tasks

    def drain(self) -> None:
        """End each connection with its next answer; all else goes on."""
        self.draining = True

    async def stop(self, timeout_s: float) -> None:
        """Let requests finish, and cut off what is left when time is up.

        Who is quiet is closed. Who came or was answered a moment ago may have a request on its way,
        which is answered too.
        """
        self.drain()
        self._sweep.cancel()
        try:
            async with asyncio.timeout(timeout_s):
                while self.connections:
                    before = time.monotonic_ns() - int(_QUIET_S * 1_000_000_000)
                    for connection in list(self.connections):
                        connection.close_if_quiet(since_ns=before)
                    self._gone.clear()
                    with contextlib.suppress(TimeoutError):
                        async with asyncio.timeout(_LOOK_S):
                            await self._gone.wait()
        except TimeoutError:
            pass
        finally:
            self.closed = True
            for connection in list(self.connections):
                connection.cut_off()
            self.late_bodies.close()
            self.late_heads.close()
