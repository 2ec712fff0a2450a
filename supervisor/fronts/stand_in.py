"""The stand-in: the supervisor accepts connections for a front that does not listen, for now.

Owns which listening sockets are watched meanwhile. Runs on the supervisor's event loop.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Sequence


class StandIn:
    """Accepts, and gives what it accepted to `serve`, which takes it over."""

    def __init__(self, serve: Callable[[socket.socket], None]) -> None:
        self._serve = serve
        self._loop = asyncio.get_running_loop()

    def begin(self, listeners: Sequence[socket.socket]) -> None:
        """Accept from sockets; those that are watched already go on."""
        for listener in listeners:
            self._loop.add_reader(listener.fileno(), self._accept, listener)

    def end(self, listeners: Sequence[socket.socket]) -> None:
        """Leave sockets to their front."""
        for listener in listeners:
            self._loop.remove_reader(listener.fileno())

    def _accept(self, listener: socket.socket) -> None:
        try:
            accepted, _ = listener.accept()
        except OSError:  # the client has gone, the front was quicker, or there are no descriptors
            return
        accepted.setblocking(False)
        self._serve(accepted)
