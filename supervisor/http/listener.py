"""The listener: the sockets that connections come from, and how they are closed.

Owns sockets that were opened for it, or that systemd handed over. When it closes, nobody whom the
kernel has told "connected" is left unheard: its own queue is emptied first, and that of a socket of
systemd's stays for the next server. Runs on the event loop of every front.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import os
import select
import socket
import struct
from collections.abc import Callable, Iterable, Sequence
from typing import Final

from supervisor.http.listening_sockets import BACKLOG

_LARGEST_BACKLOG: Final = 65_535  # for sockets of systemd's: as much as the kernel allows
_EMPTYING_S: Final = 1.0  # a queue that is not empty by then has more than the loop can accept
_TURNS: Final = 3  # until a connection that was accepted in one turn of the loop has been made
_SO_ATTACH_FILTER: Final = 26


class Listener:
    """Accepts connections until it is closed."""

    def __init__(self, protocol: Callable[[], asyncio.BaseProtocol]) -> None:
        self._protocol = protocol
        self._servers: list[asyncio.Server] = []
        self._sockets: list[socket.socket] = []  # copies of those that are our own

    async def accept_from(self, sockets: Iterable[socket.socket], *, ours: bool) -> None:
        """Accept from sockets that listen, which are taken over; those not `ours` are systemd's."""
        loop = asyncio.get_running_loop()
        for one in sockets:
            if ours:
                self._sockets.append(_copy(one.fileno()))
            backlog = BACKLOG if ours else _LARGEST_BACKLOG
            server = await loop.create_server(self._protocol, sock=one, backlog=backlog)
            self._servers.append(server)

    async def close(self) -> None:
        """Accept nothing more; what was accepted has been made a connection when this returns."""
        for one in self._sockets:
            _let_nobody_in(one)
        try:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_EMPTYING_S):
                    while _waiting(self._sockets):  # noqa: ASYNC110 - the loop accepts, nobody tells
                        await asyncio.sleep(0)
            await _turns()
        finally:
            for server in self._servers:
                server.close()
            for one in self._sockets:
                one.close()
            self._servers, self._sockets = [], []
        await _turns()


async def _turns() -> None:
    for _ in range(_TURNS):
        await asyncio.sleep(0)


def _copy(fd: int) -> socket.socket:
    return socket.socket(fileno=os.dup(fd))


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
