"""The listener: the sockets that connections come from, and how they are closed.

Owns sockets that were opened for it, or that systemd handed over. When it closes, nobody whom the
kernel has told "connected" is left unheard: its own queue is emptied first, and that of a socket of
systemd's stays for the next server. Runs on the event loop of every front.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import select
import socket
import ssl
import struct
from collections.abc import Callable, Coroutine, Iterable, Sequence
from typing import Any, Final

import structlog

from supervisor.access.guard import Guard
from supervisor.http.listening_sockets import BACKLOG, LARGEST_BACKLOG

log = structlog.get_logger()

_SHUTDOWN_S: Final = 2.0  # for a client of TLS to say that it has seen the end
_EMPTYING_S: Final = 1.0  # a queue that is not empty by then has more than the loop can accept
_TURNS: Final = 3  # until a connection that was accepted in one turn of the loop has been made
_SO_ATTACH_FILTER: Final = 26
HANDSHAKE_S: Final = 1.0  # for one that is under way when nobody is let in any more


class Listener:
    """Accepts connections, with or without TLS, until it is closed."""

    def __init__(
        self, guard: Guard, handshake_timeout_s: float, make: Callable[[], asyncio.BaseProtocol]
    ) -> None:
        """`make` makes the protocol of a new connection, once its handshake is done.

        Who speaks no TLS is sent away at once.
        """
        self._guard = guard
        self._handshake_timeout_s = handshake_timeout_s
        self._make = make
        self._sockets: list[socket.socket] = []
        self.ours = True
        self._servers: list[asyncio.Server] = []
        self._context: ssl.SSLContext | None = None
        self._renewing = asyncio.Lock()
        self._closed = False

    async def accept_from(self, sockets: Iterable[socket.socket], *, ours: bool) -> None:
        """Accept from sockets that listen, which are taken over; those not `ours` are systemd's."""
        self._sockets, self.ours = [*sockets], ours
        self._context = self._guard.tls
        self._servers = await self._listen(self._context)
        self._guard.when_changed(self.renew)

    async def _listen(self, context: ssl.SSLContext | None) -> list[asyncio.Server]:
        loop = asyncio.get_running_loop()
        servers: list[asyncio.Server] = []
        try:
            for one in self._sockets:
                server = await loop.create_server(
                    self._make,
                    sock=one.dup(),
                    backlog=BACKLOG if self.ours else LARGEST_BACKLOG,
                    ssl=context,
                    ssl_handshake_timeout=self._handshake_timeout_s if context else None,
                    ssl_shutdown_timeout=_SHUTDOWN_S if context else None,
                )
                servers.append(server)
        except OSError:
            _close(servers)
            raise
        return servers

    def take(self, accepted: socket.socket) -> Coroutine[Any, Any, object]:
        """Serve a connection that another has accepted from a socket like these."""
        context = self._guard.tls
        return asyncio.get_running_loop().connect_accepted_socket(
            self._make,
            accepted,
            ssl=context,
            ssl_handshake_timeout=self._handshake_timeout_s if context else None,
            ssl_shutdown_timeout=_SHUTDOWN_S if context else None,
        )

    async def renew(self) -> None:
        """Have new connections meet new certificates, if there are any.

        New listeners on the same sockets: no connection is refused, and those that exist go on
        with what they have.
        """
        async with self._renewing:
            context = self._guard.tls
            if not self._servers or context is self._context:  # paused, or closed
                return
            try:
                servers = await self._listen(context)
            except OSError as error:
                log.error("new certificates cannot be put to use", reason=error.strerror)
                return
            if self._closed:
                _close(servers)
                return
            old, self._servers, self._context = self._servers, servers, context
            _close(old)
            log.info("new connections meet new certificates")

    def fds(self) -> list[int]:
        """List the descriptors of the sockets."""
        return [one.fileno() for one in self._sockets]

    async def pause(self) -> None:
        """Accept nothing for now: who connects waits in the kernel's queue.

        What was accepted has been made a connection when this returns, but for handshakes of TLS.
        """
        _close(self._servers)
        self._servers = []
        await _turns()

    async def go_on(self) -> None:
        """Accept again, if that has been paused.

        Raises:
            OSError: that cannot be.

        """
        if not self._servers:
            self._context = self._guard.tls
            self._servers = await self._listen(self._context)

    async def close(self, *, for_good: bool = True) -> None:
        """Accept nothing more; what was accepted has been made a connection when this returns.

        Handshakes of TLS, which nobody sees from here, have `HANDSHAKE_S` for it. Not `for_good`:
        others go on to accept from these sockets.
        """
        self._closed = True
        if self.ours and for_good:
            for one in self._sockets:
                _let_nobody_in(one)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_EMPTYING_S):
                    while _waiting(self._sockets):  # noqa: ASYNC110 - the loop accepts, nobody tells
                        await asyncio.sleep(0)
        await _turns()
        _close(self._servers)
        for one in self._sockets:
            one.close()
        self._servers, self._sockets = [], []
        await _turns()
        if self._context is not None:
            await asyncio.sleep(HANDSHAKE_S)


def _close(servers: Sequence[asyncio.Server]) -> None:
    for one in servers:
        one.close()


async def _turns() -> None:
    for _ in range(_TURNS):
        await asyncio.sleep(0)


def _let_nobody_in(one: socket.socket) -> None:
    """Have the kernel overlook further connection attempts; their clients try again in a second.

    Without it, whoever connects between the last accept and the close is reset.
    """
    # One instruction of BPF: return, and keep 0 bytes of the packet.
    nothing = ctypes.create_string_buffer(struct.pack("HBBI", 0x06, 0, 0, 0))
    program = struct.pack("HL", 1, ctypes.addressof(nothing))
    with contextlib.suppress(OSError):  # then they are reset, as everywhere
        one.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, program)


def _waiting(sockets: Sequence[socket.socket]) -> bool:
    """Say whether a queue holds a connection."""
    poll = select.poll()
    for one in sockets:
        poll.register(one, select.POLLIN)
    return bool(poll.poll(0))
