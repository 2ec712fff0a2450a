"""The notify socket: datagrams to the service manager (sd_notify).

Owns one unix socket. Never waits and never raises: a service manager that cannot be told is no
reason to stop serving. Runs on the supervisor's event loop.
"""

from __future__ import annotations

import socket
from collections import deque
from collections.abc import Sequence
from typing import Final

import structlog

log = structlog.get_logger()

_MOST: Final = 64  # messages that wait for a service manager which does not read


class NotifySocket:
    """Sends messages, in order; one that does not go out now goes out with the next."""

    def __init__(self, address: str) -> None:
        """Speak to `address`: a path, or @NAME in the abstract namespace; "" speaks to nobody."""
        self._address = "\0" + address[1:] if address.startswith("@") else address
        self._socket: socket.socket | None = None
        self._waiting: deque[bytes] = deque(maxlen=_MOST)
        self._failed = False
        if address:
            self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
            self._socket.setblocking(False)

    def send(self, lines: Sequence[str]) -> bool:
        """Send one message of `NAME=value` lines; gives whether all that waited has gone out."""
        self._waiting.append("\n".join(lines).encode("utf-8", "replace"))
        return self.flush()

    def flush(self) -> bool:
        """Send what waits; gives whether nothing does any more."""
        if self._socket is None:
            self._waiting.clear()
            return True
        while self._waiting:
            try:
                self._socket.sendto(self._waiting[0], self._address)
            except BlockingIOError:
                return False
            except OSError as error:
                if not self._failed:  # once: it would be said for ever
                    log.warning("the service manager cannot be told", reason=error.strerror)
                self._failed = True
            self._waiting.popleft()
        return True

    def close(self) -> None:
        """Send no more."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None
