"""A connection's socket, used past its transport: one system call, and no copy, where that will do.

Owns nothing but the low-water mark; the transport has the descriptor. With TLS everything is left
to the transport. Runs on the event loop of every front.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import termios
from collections.abc import Sequence
from typing import Any

from supervisor.http.low_water import LowWater


class DirectSocket:
    """The socket of one transport."""

    def __init__(self, transport: asyncio.BaseTransport) -> None:
        encrypted = transport.get_extra_info("sslcontext") is not None
        sock = None if encrypted else transport.get_extra_info("socket")
        # -1: it is encrypted, or closed
        self.fd = -1 if sock is None else sock.fileno()
        self._low_water = LowWater(sock)

    def receive(self, into: memoryview) -> int:
        """Read at once; gives how much, 0 where nothing is there or it ended."""
        if self.fd < 0:
            return 0
        try:
            return os.readv(self.fd, (into,))
        except OSError:  # nothing is there yet, or the client has gone: the transport will say so
            return 0

    def expect(self, missing: int) -> None:
        """Take note of how many bytes of a body are still to come."""
        self._low_water.expect(missing)

    def bytes_waiting(self) -> bool:
        """Say whether the kernel holds bytes that the loop has not read yet."""
        count = bytearray(4)
        if self.fd >= 0:
            fcntl.ioctl(self.fd, termios.FIONREAD, count)
        return any(count)

    def write(self, parts: Sequence[Any]) -> int:
        """Write what the socket takes at once; gives how much. Nothing may wait in the transport.

        Raises:
            OSError: the client has gone.

        """
        if self.fd < 0:
            return 0
        try:
            return os.writev(self.fd, parts)
        except BlockingIOError:
            return 0
