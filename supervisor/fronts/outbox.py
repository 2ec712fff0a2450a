"""The outbox: messages that wait until the other end of a channel has read the ones before.

Owns them, and copies of their descriptors, until they are sent. Runs on the event loops of the
supervisor and of further fronts.
"""

from __future__ import annotations

import asyncio
import os
from collections import deque
from collections.abc import Callable
from typing import Final

from gpu_worker.ipc.channel import PeerGone
from gpu_worker.ipc.link import close_fds
from supervisor.fronts.messages import FrontChannel, FrontMessage

_AGAIN_S: Final = 0.05  # until what the kernel refused is tried again


class Outbox:
    """Sends in order. `gone` is called when nobody reads any more."""

    def __init__(self, channel: FrontChannel, gone: Callable[[], None]) -> None:
        self._channel = channel
        self._gone = gone
        self._loop = asyncio.get_running_loop()
        self._unsent: deque[tuple[FrontMessage, tuple[int, ...]]] = deque()
        self._closed = False

    def say(self, message: FrontMessage, fds: tuple[int, ...] = ()) -> None:
        """Send a message, after those that the other end has not read yet.

        The descriptors are kept open here until then.

        Raises:
            OSError: there are no descriptors left to keep them by.

        """
        kept: list[int] = []
        try:
            kept.extend(os.dup(fd) for fd in fds)
        except OSError:
            close_fds(kept)
            raise
        self._unsent.append((message, tuple(kept)))
        if len(self._unsent) == 1:
            self._send()

    def _send(self) -> None:
        if self._closed:
            return
        try:
            while self._unsent:
                message, fds = self._unsent[0]
                self._channel.send(message, fds)
                self._unsent.popleft()
                close_fds(fds)
        except BlockingIOError:
            self._loop.add_writer(self._channel.sock, self._send)
            return
        except PeerGone:
            self._drop()
            self._gone()
        except OSError:  # ETOOMANYREFS, ENOMEM: the socket would not say when they have passed
            self._loop.call_later(_AGAIN_S, self._send)
        self._loop.remove_writer(self._channel.sock)

    def _drop(self) -> None:
        while self._unsent:
            close_fds(self._unsent.popleft()[1])

    def close(self) -> None:
        """Send nothing more; to be called before the channel is closed."""
        self._closed = True
        self._loop.remove_writer(self._channel.sock)
        self._drop()
