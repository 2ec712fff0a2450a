"""A connection: the fast path from the socket to a worker and back.

Owns one client's transport, and who gets its bytes: a plain inference's body goes from the socket
straight into a slot, and its answer from the worker's response ring straight into the socket
(`exchange`). Any other request goes, as a whole, the slow path (`SlowPath`), which shares the
transport: aiohttp in the supervisor, a relay to it in a further front. Runs on either's event loop.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Final, cast

from aiohttp.tcp_helpers import tcp_keepalive

from supervisor.access.caller import NOBODY, Caller, caller_of
from supervisor.errors import Overloaded, RequestError
from supervisor.express.wire_parts import Wire
from supervisor.http.detour import Detour
from supervisor.http.direct_socket import DirectSocket
from supervisor.http.front import Front
from supervisor.http.head_watch import HeadWatch
from supervisor.http.heads import LARGEST_HEAD, Head
from supervisor.http.last_words import last_words
from supervisor.http.movable import Movable
from supervisor.http.movable_exchange import MovableExchange

_END: Final = b"\r\n\r\n"
_FAST: Final = b"POST /v2/models/"


class Connection(Wire, Movable, asyncio.BufferedProtocol):
    """One client's connection."""

    def __init__(
        self, front: Front, caller: Caller | None = None, *, requests: int = 0, held: bytes = b""
    ) -> None:
        """`caller`: who asks, if the transport does not tell; the rest is of another program."""
        self._front = front
        self.caller = caller or NOBODY
        self._direct = caller is None  # others are counted where they come from, or never
        self._exchange = MovableExchange(front, self)
        self._detour = Detour(front)
        self._head_watch = HeadWatch(front, self, self._detour)
        self._scratch = front.scratch  # where what is no body's rest comes
        self._elsewhere = False  # the slow path has it for good, or nobody
        self._held = held  # bytes of what comes next
        self._raw_head = b""  # of the request under way
        self._reading = False
        self._paused = False
        self._choked = False  # the client does not read what it is sent
        self._leaving = False  # it ends with the answer to the next request
        self._requests = requests
        self._seen_ns = self._active_ns = time.monotonic_ns()  # of a head; of bytes either way

    # The transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin."""
        self._transport = cast("asyncio.Transport", transport)
        self._socket = DirectSocket(transport)
        if self._socket.fd >= 0:
            self.use(self._front.express)
        if self._direct:
            self.caller = caller_of(transport)
        tcp_keepalive(self._transport)
        if not self._front.welcome(self, counted=self._direct):
            self._send_away(Overloaded("there are too many connections (max_connections)"))
        elif self._front.closed:
            self._transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        """Let go of whatever is under way: nobody waits for it."""
        self._detour.connection_lost(exc)
        self._exchange.give_up()
        self._elsewhere = True
        self._front.forget(self)

    def pause_writing(self) -> None:
        """Take no further request from a client that does not read its answers."""
        self._choked = True
        self._detour.pause_writing()

    def resume_writing(self) -> None:
        """Go on."""
        self._choked = False
        self._detour.resume_writing()
        if not self._exchange.busy and not self._reading:
            self._go_on()

    def close_if_idle(self, since_ns: int) -> None:
        """Close a connection that has waited for a request since `since_ns`."""
        if not self._idle:
            self._seen_ns = time.monotonic_ns()
        elif self._seen_ns < since_ns:
            self._transport.close()

    def close_if_quiet(self, since_ns: int) -> None:
        """Close a connection that waits for a request and has been quiet since `since_ns`."""
        sent = self._socket.bytes_waiting() or (self._front.holding and self._held)
        if self._idle and self._active_ns < since_ns and not sent:
            self._transport.close()

    @property
    def _idle(self) -> bool:
        return not self._exchange.busy and self._detour.idle

    def head_is_late(self) -> None:
        """End a connection on which a head has begun and not ended in time."""
        error = self._head_watch.time_is_up(elsewhere=self._elsewhere)
        if error is not None:
            self._front.refusals.late_head += 1
            self._send_away(error)

    def _send_away(self, error: RequestError) -> None:
        self._elsewhere = True
        self._transport.write(last_words(error))
        self._transport.close()

    def cut_off(self) -> None:
        """End it, whatever is under way."""
        self._transport.abort()

    # Bytes

    def take(self, nbytes: int) -> None:
        """Take bytes that came."""
        self._active_ns = time.monotonic_ns()
        if self._exchange.filling is not None:
            self._exchange.filled(nbytes)
            return
        data = bytes(self._scratch[:nbytes])
        if self._elsewhere:
            if self._detour.slow_path is not None:
                self._seen_ns = time.monotonic_ns()
                self._head_watch.bytes_went_elsewhere()
                self._detour.pass_all(data)
            return
        if self._held:
            data = self._held + data
        waits = self._front.holding and not self._detour.forward and not self.stays
        if waits or self._exchange.busy or self._choked:
            self._hold(data)
            return
        self._held = b""
        self._read(data)

    def _hold(self, data: bytes) -> None:
        """Keep what came too early, and have the kernel keep the rest."""
        self._held = data
        if not self._paused:
            self._paused = True
            self._transport.pause_reading()

    def _go_on(self) -> None:
        """Take up what was held."""
        if self._front.holding and not self.stays:
            return
        if self._paused:
            self._paused = False
            self._transport.resume_reading()
        if self._held:
            data, self._held = self._held, b""
            self._read(data)

    def _read(self, data: bytes) -> None:
        self._reading = True
        while data and not (self._exchange.busy or self._choked or self._elsewhere):
            data = self._next(data)
        self._reading = False
        if data and not self._elsewhere:
            self._hold(data)

    def _next(self, data: bytes) -> bytes:
        """Take one request, or what there is of it; gives the bytes behind it."""
        detour = self._detour
        if detour.forward:
            return detour.pass_on(data)
        end = data.find(_END) + len(_END)
        if end < len(_END):
            if len(data) < LARGEST_HEAD and _FAST.startswith(data[: len(_FAST)]):
                self._held = data
                self._head_watch.head_began()
                return b""
            return self._leave(data)
        self._raw_head = raw_head = data[:end]
        head = self._front.heads.read(raw_head)
        self._seen_ns = self._active_ns
        self._requests += 1
        if self._head_watch.watching:
            self._head_watch.head_ended()
        if head.length < 0:
            return self._leave(data)
        if self._requests >= self._front.limits.requests > 0 or self._leaving:
            head = replace(head, keep_alive=False)
        if self._is_fast(head):
            found = self._front.find_lane(head)
            if found is not None:
                self._scratch = self._front.scratch_after(head.length)
                rest = self._exchange.begin(head, *found, data, end)
                if rest is not None:
                    return rest
        return detour.begin(self._transport, self.caller, head, data, end + head.length)

    def _is_fast(self, head: Head) -> bool:
        if not head.fast or head.length > self._front.largest_body:
            return False
        if not (head.admitted or self.caller.operator):
            return False
        return self._detour.slow_path is None or self._detour.idle

    def _leave(self, data: bytes) -> bytes:
        """Give it to the slow path for good: only aiohttp can tell where a request ends."""
        self._elsewhere = True
        self._head_watch.bytes_went_elsewhere()
        self._detour.begin_for_good(self._transport, self.caller, data)
        return b""

    # Bodies and answers

    def receive(self, into: memoryview) -> int:
        """Read from the socket at once; gives how much, 0 where nothing is there or it ended."""
        return self._socket.receive(into)

    def expect(self, missing: int) -> None:
        """Take note of how many bytes of a body are still to come."""
        self._socket.expect(missing)

    def send(self, parts: Sequence[Any], *, close: bool) -> None:
        """Write to the socket at once what it takes, without a copy; the transport has the rest."""
        transport, sent = self._transport, 0
        self._active_ns = time.monotonic_ns()
        if transport.is_closing():
            return
        if not transport.get_write_buffer_size():
            try:
                sent = self._socket.write(parts)
            except OSError:  # the client has gone; the transport will say so
                transport.abort()
                return
        if sent < sum(map(len, parts)):
            transport.write(b"".join(parts)[sent:])
        if close:
            self._elsewhere = True
            transport.close()
        elif (self._held or self._paused) and not self._reading:
            self._go_on()
