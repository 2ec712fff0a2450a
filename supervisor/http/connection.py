"""A connection: the fast path from the socket to a worker and back.

Owns one client's transport, and who gets its bytes: a plain inference's body goes from the socket
straight into a slot, and its answer from the worker's response ring straight into the socket
(`exchange`). Any other request goes, as a whole, the slow path (`SlowPath`), which shares the
transport: aiohttp in the supervisor, a relay to it in a further front. Runs on either's event loop.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import termios
import time
from collections.abc import Sequence
from typing import Any, Final, cast

from aiohttp.tcp_helpers import tcp_keepalive

from supervisor.errors import RequestError
from supervisor.http.exchange import Exchange
from supervisor.http.front import Front, SlowPath
from supervisor.http.heads import LARGEST_HEAD, UNKNOWN
from supervisor.http.low_water import LowWater

_END: Final = b"\r\n\r\n"
_FAST: Final = b"POST /v2/models/"


class Connection(asyncio.BufferedProtocol):
    """One client's connection."""

    def __init__(self, front: Front) -> None:
        self._front = front
        self._exchange = Exchange(front, self)
        self._scratch = front.scratch  # where what is no body's rest comes
        self._elsewhere = False  # the slow path has it for good, or nobody
        self._held = b""  # bytes of what comes next
        self._reading = False
        self._paused = False
        self._choked = False  # the client does not read what it is sent
        self._forward = 0  # bytes of a body that still go to the slow path
        self._slow_path: SlowPath | None = None
        self._seen_ns = self._active_ns = time.monotonic_ns()  # of a head; of bytes either way

    # The transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin."""
        self._transport = cast("asyncio.Transport", transport)
        encrypted = transport.get_extra_info("sslcontext") is not None
        sock = None if encrypted else transport.get_extra_info("socket")
        self._fd = -1 if sock is None else sock.fileno()
        self._low_water = LowWater(sock)
        tcp_keepalive(self._transport)
        self._front.connections.add(self)
        if self._front.closed:
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
        if self._idle and self._seen_ns < since_ns:
            self._transport.close()

    def close_if_quiet(self, since_ns: int) -> None:
        """Close a connection that waits for a request and has been quiet since `since_ns`."""
        if self._idle and self._active_ns < since_ns and not self._bytes_waiting():
            self._transport.close()

    def _bytes_waiting(self) -> bool:
        """Say whether the kernel holds bytes that the loop has not read yet."""
        count = bytearray(4)
        if self._fd >= 0:
            fcntl.ioctl(self._fd, termios.FIONREAD, count)
        return any(count)

    @property
    def _idle(self) -> bool:
        return not self._exchange.busy and self._slow_path_idle()

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
                return b""
            return self._leave(data)
        self._seen_ns = time.monotonic_ns()
        head = self._front.heads.read(data[:end])
        if head.length < 0:
            return self._leave(data)
        if head.fast and head.length <= self._front.largest_body and self._slow_path_idle():
            dispatcher = self._front.find(head.model)
            if dispatcher is not None:
                try:
                    lane = dispatcher.lane(head.version)
                except RequestError:
                    pass  # the slow path says so
                else:
                    self._scratch = self._front.scratch_after(head.length)
                    rest = self._exchange.begin(head, dispatcher, lane, data, end)
                    if rest is not None:
                        return rest
        self._open_slow_path().begin(head)
        return self._pass_on(data, end + head.length)

    # The slow path

    def _slow_path_idle(self) -> bool:
        return not self._forward and (self._slow_path is None or self._slow_path.idle)

    def _open_slow_path(self) -> SlowPath:
        if self._slow_path is None:
            assert self._front.slow_path is not None
            self._slow_path = self._front.slow_path()
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
        slow_path.begin(UNKNOWN)
        slow_path.data_received(data)
        return b""

    # Bodies and answers

    def receive(self, into: memoryview) -> int:
        """Read from the socket at once; gives how much, 0 where nothing is there or it ended."""
        if self._fd < 0:
            return 0
        try:
            return os.readv(self._fd, (into,))
        except OSError:  # nothing is there yet, or the client has gone: the transport will say so
            return 0

    def expect(self, missing: int) -> None:
        """Take note of how many bytes of a body are still to come."""
        self._low_water.expect(missing)

    def send(self, parts: Sequence[Any], *, close: bool) -> None:
        """Write to the socket at once what it takes, without a copy; the transport has the rest."""
        transport, sent = self._transport, 0
        self._active_ns = time.monotonic_ns()
        if transport.is_closing():
            return
        if self._fd >= 0 and not transport.get_write_buffer_size():
            try:
                sent = os.writev(self._fd, parts)
            except BlockingIOError:
                pass
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
