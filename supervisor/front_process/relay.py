"""The relay: passes on to the supervisor what a further front does not answer itself.

Owns, for one client's connection, the unix socket to the supervisor, whose own `Connection` is at
its other end: bytes go there and answers come back unchanged, so that the client sees no
difference. Never reads a request, never keeps more than a choked side makes it keep. Runs on a
further front's event loop.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Callable
from typing import Final, cast

from supervisor.errors import NotReady
from supervisor.front_process.answers import Answers
from supervisor.http.heads import Head
from supervisor.http.last_words import last_words

_READ: Final = 1 << 16  # bytes of one read of what a socket still holds

Connect = Callable[[], socket.socket]


class Relay:
    """The slow path of one connection (`SlowPath`), in the supervisor.

    `connect` gives a socket (stream, non-blocking) whose other end the supervisor has; an OSError
    that it raises becomes a 503.
    """

    def __init__(self, connect: Connect) -> None:
        self.begun = 0  # told by nobody: the supervisor sees to heads that are late
        self._connect = connect
        self._line: _Line | None = None
        self._over = False  # the client has gone, or has been sent away

    @property
    def idle(self) -> bool:
        """Say whether all that was asked has been answered, so that others may write."""
        return not self._over and (self._line is None or not self._line.answers.owed)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin; the supervisor is not asked for anything yet."""
        self._client = cast("asyncio.Transport", transport)

    def connection_lost(self, exc: BaseException | None) -> None:
        """Let the supervisor see that the client has gone."""
        del exc
        self._over = True
        if self._line is not None:
            self._line.abort()
            self._line = None

    def begin(self, head: Head) -> None:
        """Take note that the next bytes begin a request."""
        if self._over:
            return
        if self._line is None:
            self._line = _Line(self._client, self._line_ended)
            self._client.pause_reading()
            loop = asyncio.get_running_loop()
            self._opening = loop.create_task(self._open(self._line))
        self._line.answers.begin(head)

    async def _open(self, line: _Line) -> None:
        try:
            await line.open(self._connect)
        except OSError as error:
            if not self._over:
                self._refuse(error, bare=line.answers.bare)

    def data_received(self, data: bytes) -> None:
        """Pass bytes on."""
        if self._line is not None:
            self._line.send(data)
        elif not self._over:  # the rest of a request that the supervisor has refused to read
            self._close()

    def pause_writing(self) -> None:
        """Take no more from the supervisor: the client does not read."""
        if self._line is not None:
            self._line.pause()

    def resume_writing(self) -> None:
        """Go on."""
        if self._line is not None:
            self._line.resume()

    def _line_ended(self, line: _Line) -> None:
        if line is not self._line:
            return
        self._line = None
        if line.answers.owed or line.choked:  # or bytes for it are lost
            self._close()

    def _close(self) -> None:
        """End the connection once the client has what was written."""
        self._over = True
        self._client.close()

    def _refuse(self, error: OSError, *, bare: bool) -> None:
        self._line = None
        reason = error.strerror or str(error)
        refusal = NotReady(f"the supervisor takes no connections: {reason}")
        self._client.write(last_words(refusal, bare=bare))
        self._close()


class _Line(asyncio.Protocol):
    """A socket to the supervisor, and what is owed on it."""

    def __init__(self, client: asyncio.Transport, ended: Callable[[_Line], None]) -> None:
        self.answers = Answers()
        self.choked = True  # until it is open, so that little is kept
        self._client = client
        self._ended = ended
        self._kept = b""
        self._aborted = False
        self._transport: asyncio.Transport | None = None

    async def open(self, connect: Connect) -> None:
        """Make the transport, and send what has been kept for it.

        Raises:
            OSError: the supervisor cannot be reached.

        """
        if self._aborted:
            return
        self._sock = connect()
        loop = asyncio.get_running_loop()
        transport, _ = await loop.create_unix_connection(lambda: self, sock=self._sock)
        if self._aborted:
            transport.abort()
            return
        self._transport = transport
        self.choked = False
        transport.write(self._kept)
        self._kept = b""
        if not self.choked:
            self._client.resume_reading()

    def send(self, data: bytes) -> None:
        """Send bytes to the supervisor, in order."""
        if self._transport is None:
            self._kept += data
        else:
            self._transport.write(data)

    def pause(self) -> None:
        """Stop reading; while it opens, nothing can come."""
        if self._transport is not None:
            self._transport.pause_reading()

    def resume(self) -> None:
        """Read on."""
        if self._transport is not None:
            self._transport.resume_reading()

    def abort(self) -> None:
        """End it at once."""
        self._aborted = True
        if self._transport is not None:
            self._transport.abort()

    def data_received(self, data: bytes) -> None:
        """Give the client what is its own; bytes that answer nothing may not reach it."""
        if not self.answers.owed:
            self.abort()
            self._ended(self)
            return
        self._client.write(data)
        self.answers.take(data)

    def pause_writing(self) -> None:
        """Let the kernel keep what the client sends."""
        self.choked = True
        self._client.pause_reading()

    def resume_writing(self) -> None:
        """Go on."""
        self.choked = False
        self._client.resume_reading()

    def connection_lost(self, exc: Exception | None) -> None:
        """Say so, after what the supervisor said before it refused to read on."""
        if exc is not None and not self._aborted:
            with contextlib.suppress(OSError):
                while data := self._sock.recv(_READ):
                    self.data_received(data)
        self._ended(self)
