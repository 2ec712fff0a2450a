"""A channel: one SOCK_SEQPACKET socket between two processes, for messages of one vocabulary.

Owns the socket. Keeps message edges, carries descriptors, and its end says that the peer is gone.
Carries no requests. Runs in all processes: workers read it blocking, others from their event loop.
"""

from __future__ import annotations

import os
import socket
from typing import Any, ClassVar, Final, Generic, Self, TypeVar

from gpu_worker.ipc.vocabulary import Dataclass, ProtocolError, Vocabulary

M = TypeVar("M", bound=Dataclass)

# A message must fit into one packet; a contract of 500 tensors is about 40 KB.
MAX_MESSAGE: Final = 160 * 1024
_MAX_FDS: Final = 4


class PeerGone(Exception):  # noqa: N818 - an end, not an error
    """The other process has closed the channel or died."""


class Channel(Generic[M]):
    """One end of a channel; a subclass says in which vocabulary it speaks."""

    vocabulary: ClassVar[Vocabulary[Any]]
    largest: ClassVar[int] = MAX_MESSAGE

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock

    @classmethod
    def pair(cls) -> tuple[Self, Self]:
        """Create both ends; the first for the supervisor (non-blocking), the second to inherit."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        ours.setblocking(False)
        return cls(ours), cls(theirs)

    @classmethod
    def inherited(cls, fd: int, *, blocking: bool = True) -> Self:
        """Take over the child's end."""
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET, fileno=fd)
        sock.setblocking(blocking)
        return cls(sock)

    def send(self, message: M, fds: tuple[int, ...] = ()) -> None:
        """Send one message, with descriptors if given.

        Raises:
            PeerGone: nobody reads any more.
            ProtocolError: the message is too large for one packet.
            BlockingIOError: the peer has not read for long (non-blocking ends only).

        """
        data = self.vocabulary.encode(message)
        if len(data) > self.largest:
            raise ProtocolError(f"{type(message).__name__} takes {len(data)} bytes, too many")
        try:
            if fds:
                socket.send_fds(self.sock, [data], fds)
            else:
                self.sock.send(data)
        except (BrokenPipeError, ConnectionResetError) as error:
            raise PeerGone from error

    def receive(self) -> tuple[M, list[int]]:
        """Read one message and its descriptors, which the caller closes.

        Raises:
            PeerGone: the peer has closed or died.
            BlockingIOError: there is none (non-blocking ends only).
            ProtocolError: what came is no message.

        """
        try:
            data, fds, _flags, _ = socket.recv_fds(self.sock, self.largest, _MAX_FDS)
        except ConnectionResetError:
            # It ended with messages unread. The kernel says so once, ahead of what it had sent.
            return self.receive()
        if not data:
            raise PeerGone
        try:
            return self.vocabulary.decode(data), fds
        except ProtocolError:
            for fd in fds:
                os.close(fd)
            raise

    def close(self) -> None:
        """Close this end."""
        self.sock.close()
