"""The links that this worker serves: one to each front, with the front's request arena.

Owns what a link's descriptors open, and the wait for any of them to ring: in the kernel, to the
microsecond, never spinning. Link 0 is there from birth, others come and go by `Attach` and
`Detach`. Runs in the worker.
"""

from __future__ import annotations

import select
import time
from typing import Final

from gpu_worker.ipc.arena import ArenaReader
from gpu_worker.ipc.link import LinkFds, WorkerEnd
from gpu_worker.ipc.vocabulary import ProtocolError
from gpu_worker.pinned import Pinned

_S_PER_NS: Final = 1e-9
_MAX_EVENTS: Final = 64  # those that are left come the next time


class AttachedLink:
    """One link as the worker sees it; `attached` ends with a `Detach`, before it is closed."""

    def __init__(self, number: int, fds: LinkFds, *, pin: bool) -> None:
        self.number = number
        self.attached = True
        self.end = WorkerEnd(fds)
        self.arena = ArenaReader(fds.arena)
        self._pinned = Pinned(self.arena.memory) if pin else None

    @property
    def fd(self) -> int:
        """The descriptor that rings."""
        return self.end.submission_bell.fd

    def close(self) -> None:
        """Unmap and close. No payload may be viewed any more."""
        if self._pinned is not None:
            self._pinned.release()
        self.arena.close()
        self.end.close()


class Links:
    """All links, and the one place where the worker sleeps.

    Args:
        control_fd: the control channel, waited for with the links.
        pin: register request arenas with CUDA, so that copying one to the device is one DMA.

    """

    def __init__(self, control_fd: int, *, pin: bool) -> None:
        self.by_fd: dict[int, AttachedLink] = {}
        self._detached: list[AttachedLink] = []
        self._pin = pin
        self._control_fd = control_fd
        # Of all calls that wait, `select` alone takes microseconds; it takes no descriptor above
        # 1023, which an inherited one may be and this one is not.
        self._epoll = select.epoll()
        self._epoll.register(control_fd, select.EPOLLIN)
        self.epoll_fd = self._epoll.fileno()

    def attach(self, number: int, fds: LinkFds) -> None:
        """Serve one more link.

        Raises:
            ProtocolError: there is one of this number.

        """
        if self.find(number) is not None:
            raise ProtocolError(f"link {number} is attached twice")
        link = AttachedLink(number, fds, pin=self._pin)
        self.by_fd[link.fd] = link
        self._epoll.register(link.fd, select.EPOLLIN)

    def detach(self, number: int) -> None:
        """Listen to a link no more; it is closed by `close_detached`.

        Raises:
            ProtocolError: there is none of this number.

        """
        link = self.find(number)
        if link is None:
            raise ProtocolError(f"link {number} is not attached")
        self._epoll.unregister(link.fd)
        del self.by_fd[link.fd]
        link.attached = False
        self._detached.append(link)

    def find(self, number: int) -> AttachedLink | None:
        """Give the link of this number, None where it is not attached."""
        return next((link for link in self.by_fd.values() if link.number == number), None)

    @property
    def detached(self) -> bool:
        """Say whether links wait to be closed."""
        return bool(self._detached)

    def close_detached(self) -> None:
        """Close what was detached, once nothing views its memory."""
        for link in self._detached:
            link.close()
        self._detached.clear()

    def wait(self, until_ns: int | None) -> tuple[bool, list[AttachedLink]]:
        """Sleep until something has come, at most until `until_ns` (None: for ever).

        Returns whether the control channel has something to say, and the links that rang.
        """
        if until_ns is None:
            events = self._epoll.poll(-1, _MAX_EVENTS)
        else:
            left_ns = until_ns - time.monotonic_ns()
            if left_ns > 0:
                select.select([self._epoll], [], [], left_ns * _S_PER_NS)
            events = self._epoll.poll(0, _MAX_EVENTS)
        control, rang = False, []
        for fd, _ in events:
            if fd == self._control_fd:
                control = True
            else:
                rang.append(self.by_fd[fd])
        return control, rang

    def close(self) -> None:
        """Close the wait; the links' memory ends with the process."""
        self._epoll.close()
