"""The low-water mark: how much of a large body the kernel gathers before it wakes the event loop.

Owns one socket's SO_RCVLOWAT. From a network 600 KB come in dozens of pieces, and each would cost a
wake-up. The kernel never waits for more than its buffer holds, and tells the end of a connection at
once; a client that stalls below the mark is the affair of the body's timeout. Runs on the
supervisor's event loop.
"""

from __future__ import annotations

import socket
from contextlib import suppress
from typing import Final, Protocol

_HIGHEST: Final = 1 << 18  # bytes: while they are copied out, the next ones come
_WORTH: Final = 1 << 16  # bytes missing below which a mark is not set


class Socket(Protocol):
    """What is needed of a socket."""

    def setsockopt(self, level: int, option: int, value: int, /) -> None:
        """Set an option."""


class LowWater:
    """The mark of one socket; None stands for one that has none, as with TLS."""

    def __init__(self, sock: Socket | None) -> None:
        self._sock = sock
        self._mark = 1

    def expect(self, missing: int) -> None:
        """Set the mark for a body of which so many bytes are missing; 0 takes it away."""
        mark = min(missing, _HIGHEST)
        if self._mark == 1 and mark < _WORTH:
            return
        mark = max(mark, 1)
        if mark != self._mark and self._sock is not None:
            with suppress(OSError):  # the client has gone, and the transport will say so
                self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, mark)
            self._mark = mark
