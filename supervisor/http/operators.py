"""The operators' unix sockets: those of systemd's, and our own.

Owns the servers on them. What waits in the queue of one that is systemd's stays for the next
server. Runs on the supervisor's event loop.
"""

from __future__ import annotations

import asyncio
import socket
import sys
from collections.abc import Callable, Sequence
from typing import Any, Final

from supervisor.access.admin_socket import AdminSocket
from supervisor.http.listening_sockets import LARGEST_BACKLOG

# From Python 3.13 on the loop would remove a socket's file, and with it what systemd holds.
_KEEP: Final[dict[str, Any]] = {"cleanup_socket": False} if sys.version_info >= (3, 13) else {}


class Operators:
    """Accepts operators' connections until it is closed."""

    def __init__(self, make: Callable[[], asyncio.BaseProtocol]) -> None:
        """`make` makes the protocol of a new connection."""
        self._make = make
        self._handed: list[socket.socket] = []
        self._own: AdminSocket | None = None
        self._servers: list[asyncio.AbstractServer] = []

    async def accept_from(self, handed: Sequence[socket.socket], own: AdminSocket | None) -> None:
        """Accept from sockets that listen, which are taken over; `handed` are systemd's."""
        self._handed, self._own = [*handed], own
        await self.go_on()

    async def go_on(self) -> None:
        """Accept again, if that has been paused.

        Raises:
            OSError: that cannot be.

        """
        if self._servers:
            return
        own = [] if self._own is None else [self._own.sock]
        try:
            for one in (*self._handed, *own):
                server = await asyncio.get_running_loop().create_unix_server(
                    self._make, sock=one.dup(), backlog=LARGEST_BACKLOG, **_KEEP
                )
                self._servers.append(server)
        except OSError:
            self.pause()
            raise

    def pause(self) -> None:
        """Accept nothing for now: who connects waits in the kernel's queues."""
        while self._servers:
            self._servers.pop().close()

    def fds(self) -> list[int]:
        """List the descriptors of systemd's sockets."""
        return [one.fileno() for one in self._handed]

    def own(self) -> tuple[int, str]:
        """Give the descriptor and the path of our own socket; -1 where there is none."""
        return (-1, "") if self._own is None else (self._own.sock.fileno(), str(self._own.path))

    def close(self) -> None:
        """Accept nothing more, and remove our own socket's file."""
        self.pause()
        for one in self._handed:
            one.close()
        if self._own is not None:
            self._own.remove()
