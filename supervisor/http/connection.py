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

from supervisor.access.caller import Caller, caller_of
from supervisor.errors import HeadTimeout, Overloaded, RequestError
from supervisor.http.direct_socket import DirectSocket
from supervisor.http.exchange import Exchange
from supervisor.http.front import Front, SlowPath
from supervisor.http.heads import LARGEST_HEAD, UNKNOWN, Head
from supervisor.http.last_words import last_words

_END: Final = b"\r\n\r\n"
_FAST: Final = b"POST /v2/models/"


class Connection(asyncio.BufferedProtocol):
    """One client's connection."""

    def __init__(self, front: Front, caller: Caller | None = None) -> None:
        """`caller` is who asks, where the transport does not tell."""
        self._front = front
        self._caller = caller
        self._exchange = Exchange(front, self)
        self._scratch = front.scratch  # where what is no body's rest comes
        self._elsewhere = False  # the slow path has it for good, or nobody
        self._held = b""  # bytes of what comes next
        self._reading = False
        self._paused = False
        self._choked = False  # the client does not read what it is sent
        self._forward = 0  # bytes of a body that still go to the slow path
        self._slow_path: SlowPath | None = None
        self._requests = 0
        self._begun_before = -1  # requests that the slow path had begun when a head began; or none
        self._seen_ns = self._active_ns = time.monotonic_ns()  # of a head; of bytes either way

    # The transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin."""
        self._transport = cast("asyncio.Transport", transport)
        self._socket = DirectSocket(transport)
        counted = self._caller is None  # others are counted where they come from, or never
        self._caller = self._caller or caller_of(transport)
        tcp_keepalive(self._transport)
        if not self._front.welcome(self, counted=counted):
            self._send_away(Overloaded("there are too many connections (max_connections)"))
        elif self._front.closed:
            self._transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        """Let go of whatever is under way: nobody waits for it."""
        if self._slow_path is not None:
            self._slow_path.connection_lost(exc)
        self._exchange.give_up()
        self._elsewhere = True
        self._front.forget(self)

    def pause_writing(self) -> None:
        """Take no further request from a client that does not read its answers."""
        self._choked = True
        if self._slow_path is not None:
            self._slow_path.pause_writing()

    def resume_writing(self) -> None:
        """Go on."""
        self._choked = False
        if self._slow_path is not None:
            self._slow_path.resume_writing()
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
        if self._idle and self._active_ns < since_ns and not self._socket.bytes_waiting():
            self._transport.close()

    @property
    def _idle(self) -> bool:
        return not self._exchange.busy and self._slow_path_idle()

    def head_is_late(self) -> None:
        """End a connection on which a head has begun and not ended in time."""
        before, self._begun_before = self._begun_before, -1
        slow_path = self._slow_path
        if self._elsewhere and (
            slow_path is None or slow_path.begun != before or not slow_path.idle
        ):
            return  # it has ended: only the slow path could tell
        if not self._elsewhere and not self._slow_path_idle():
            self._watch_head()  # another's answer is under way, nobody else may write
            return
        self._send_away(
            HeadTimeout(
                f"the head did not arrive within {self._front.limits.head_timeout_s:g} s "
                "(head_timeout_ms)"
            )
        )

    def _send_away(self, error: RequestError) -> None:
        self._elsewhere = True
        self._transport.write(last_words(error))
        self._transport.close()

    def _watch_head(self) -> None:
        """Take note that a head has begun, which may take its time."""
        begun = 0 if self._slow_path is None else self._slow_path.begun
        if self._begun_before != begun:
            self._begun_before = begun
            timeout_ns = int(self._front.limits.head_timeout_s * 1_000_000_000)
            self._front.late_heads.watch(self, time.monotonic_ns() + timeout_ns)

    def _watch_head_elsewhere(self, slow_path: SlowPath) -> None:
        """Do so, unless the bytes belong to a request that has begun."""
        if slow_path.idle or not slow_path.begun:
            self._watch_head()

    def cut_off(self) -> None:
        """End it, whatever is under way."""
        self._transport.abort()

    # Bytes

    def get_buffer(self, sizehint: int) -> memoryview:
        """Say where the next bytes go: into the slot of a body, else into the shared buffer."""
        del sizehint
        filling = self._exchange.filling
        return self._scratch if filling is None else filling

    def buffer_updated(self, nbytes: int) -> None:
        """Take the bytes that came."""
        self._active_ns = time.monotonic_ns()
        if self._exchange.filling is not None:
            self._exchange.filled(nbytes)
            return
        data = bytes(self._scratch[:nbytes])
        if self._elsewhere:
            if self._slow_path is not None:
                self._seen_ns = time.monotonic_ns()
                self._watch_head_elsewhere(self._slow_path)
                self._slow_path.data_received(data)
            return
        if self._held:
            data = self._held + data
        if self._exchange.busy or self._choked:
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
        if self._forward:
            return self._pass_on(data, self._forward)
        end = data.find(_END) + len(_END)
        if end < len(_END):
            if len(data) < LARGEST_HEAD and _FAST.startswith(data[: len(_FAST)]):
                self._held = data
                self._watch_head()
                return b""
            return self._leave(data)
        head = self._front.heads.read(data[:end])
        self._count_request()
        if head.length < 0:
            return self._leave(data)
        if self._requests >= self._front.limits.requests > 0:
            head = replace(head, keep_alive=False)
        if self._is_fast(head):
            found = self._front.find_lane(head)
            if found is not None:
                self._scratch = self._front.scratch_after(head.length)
                rest = self._exchange.begin(head, *found, data, end)
                if rest is not None:
                    return rest
        self._open_slow_path().begin(head)
        return self._pass_on(data, end + head.length)

    def _count_request(self) -> None:
        """Take note that a head has arrived."""
        self._seen_ns = time.monotonic_ns()
        self._requests += 1
        if self._begun_before >= 0:
            self._begun_before = -1
            self._front.late_heads.forget(self)

    def _is_fast(self, head: Head) -> bool:
        if not head.fast or head.length > self._front.largest_body:
            return False
        return (head.admitted or self.caller.operator) and self._slow_path_idle()

    @property
    def caller(self) -> Caller:
        """Say who is at the other end."""
        assert self._caller is not None
        return self._caller

    # The slow path

    def _slow_path_idle(self) -> bool:
        return not self._forward and (self._slow_path is None or self._slow_path.idle)

    def _open_slow_path(self) -> SlowPath:
        if self._slow_path is None:
            assert self._front.slow_path is not None
            self._slow_path = self._front.slow_path(self.caller)
            self._slow_path.connection_made(self._transport)
        return self._slow_path

    def _pass_on(self, data: bytes, length: int) -> bytes:
        """Give one request of `length` bytes, or the rest of one, to the slow path."""
        slow_path = self._open_slow_path()
        self._forward = max(length - len(data), 0)
        slow_path.data_received(data[:length])
        return data[length:]

    def _leave(self, data: bytes) -> bytes:
        """Give it to the slow path for good: only aiohttp can tell where a request ends."""
        self._elsewhere = True
        slow_path = self._open_slow_path()
        self._watch_head_elsewhere(slow_path)
        slow_path.begin(UNKNOWN)
        slow_path.data_received(data)
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
        elif not self._reading:
            self._go_on()
