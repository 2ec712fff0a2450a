"""A further front as the supervisor sees it: one child process and its channel.

Owns the process, the orders that it has not yet obeyed, and what it has counted. Never waits for
the process: descriptors tell. Runs on the supervisor's event loop.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import socket
import sys
from collections.abc import Callable, Sequence
from typing import Final, Protocol

import structlog

from gpu_worker.ipc.channel import PeerGone
from gpu_worker.ipc.link import close_fds
from gpu_worker.ipc.vocabulary import ProtocolError
from supervisor.access.caller import Caller
from supervisor.dispatch.model_statistics import ModelStatistics
from supervisor.dispatch.recent_shapes import Shapes
from supervisor.fronts import messages
from supervisor.fronts.arguments import FrontArguments
from supervisor.fronts.messages import FrontChannel, FrontMessage
from supervisor.fronts.outbox import Outbox
from supervisor.fronts.statistics import FrontStatistics
from supervisor.settings import Settings
from supervisor.workers.process import describe_exit, start_child
from supervisor.workers.tally import WorkerTally

log = structlog.get_logger()

_COMMAND: Final = [sys.executable, "-m", "supervisor.front_process"]
_orders = itertools.count(1)


class LinkEvents(Protocol):
    """Whom a front tells what concerns its links to workers."""

    def front_linked(self, front: FrontHandle, worker: int, fds: tuple[int, int, int, int]) -> None:
        """Take a link's descriptors to a worker; they are closed when this returns."""

    def front_freed_space(self, front: FrontHandle, worker: int) -> None:
        """Tell a worker that its answers have been released."""

    def front_found_hung(self, front: FrontHandle, worker: int) -> None:
        """Take note that a worker gives this front no answer."""


class FrontEvents(Protocol):
    """Whom a front tells everything else."""

    def front_passes_on(self, sock: socket.socket, caller: Caller) -> None:
        """Serve a client whose front can only do inferences; takes the socket over."""

    def front_listens(self, front: FrontHandle) -> None:
        """Take note that it accepts connections."""

    def front_ended(self, front: FrontHandle) -> None:
        """Take note of the end."""


class FrontHandle:
    """One front process."""

    def __init__(
        self,
        number: int,
        settings: Settings,
        listeners: Sequence[socket.socket],
        events: FrontEvents,
        links: LinkEvents,
        *,
        ours: bool,
    ) -> None:
        """Start the process; listeners that are not `ours` are systemd's.

        Raises:
            OSError: it cannot be started.

        """
        self.number = number
        self.listeners = listeners
        self.listening = False
        self.statistics = FrontStatistics()
        self.shapes: dict[str, list[Shapes]] = {}
        self.serves = False  # it has been told to listen
        self.workers: dict[int, WorkerTally] = {}
        self._events = events
        self._links = links
        self._loop = asyncio.get_running_loop()
        self._pending: dict[int, asyncio.Future[None]] = {}
        self._ended = asyncio.Event()
        self.started_at = self.last_heard = self._loop.time()
        fds = tuple(sock.fileno() for sock in listeners)

        def command(channel_fd: int) -> list[str]:
            arguments = FrontArguments(number, os.getpid(), settings, channel_fd, fds, ours)
            return [*_COMMAND, arguments.to_json()]

        self._channel, self._process = start_child(FrontChannel, command, fds, self._process_ended)
        self._outbox = Outbox(self._channel, lambda: None)  # the pidfd tells of its end
        self.pid = self._process.pid
        self._loop.add_reader(self._channel.sock, self._hear)

    @property
    def alive(self) -> bool:
        """Say whether the process runs."""
        return self._process.alive

    # To the front

    def say(self, message: FrontMessage) -> None:
        """Send a message, after those that the front has not read yet."""
        if not self.alive:
            return
        self._outbox.say(message)

    def order(self, make: Callable[[int], FrontMessage]) -> asyncio.Future[None]:
        """Send what `make` gives for a new order; done when it is obeyed or the front has ended."""
        number, done = next(_orders), self._loop.create_future()
        if not self.alive:
            done.set_result(None)
            return done
        self._pending[number] = done
        done.add_done_callback(lambda _: self._pending.pop(number, None))
        self.say(make(number))
        return done

    def serve_when_up(self) -> None:
        """Have it listen as soon as it has heard what it was told up to now."""
        self.order(messages.Report).add_done_callback(lambda _: self._serve())

    def _serve(self) -> None:
        self.serves = True
        self.say(messages.Serve())

    # From the front

    def _hear(self) -> None:
        self.last_heard = self._loop.time()
        try:
            while True:
                message, fds = self._channel.receive()
                try:
                    self._obey(message, fds)
                finally:
                    close_fds(fds)
        except BlockingIOError:
            return
        except PeerGone:
            self._loop.remove_reader(self._channel.sock)  # the pidfd will tell the rest
        except (ProtocolError, ValueError, TypeError, LookupError, OSError) as error:
            log.error(
                "a front broke its protocol, it is ended", front=self.number, reason=repr(error)
            )
            self.kill()

    def _obey(self, message: FrontMessage, fds: list[int]) -> None:
        match message:
            case messages.Done(order=number):
                self._done(self._pending.get(number))
            case messages.Link(worker=worker):
                rings, arena, submissions, completions = fds
                self._links.front_linked(self, worker, (rings, arena, submissions, completions))
            case messages.PassOn(address=address, encrypted=encrypted):
                if fds:  # else there are no descriptors left here; the client sees its line end
                    caller = Caller(address, encrypted)
                    self._events.front_passes_on(socket.socket(fileno=fds.pop()), caller)
            case messages.SpaceFreed(worker=worker):
                self._links.front_freed_space(self, worker)
            case messages.Hung(worker=worker):
                self._links.front_found_hung(self, worker)
            case messages.ModelCounted() | messages.FrontCounted():
                self._count(message)
            case messages.Listening():
                self.listening = True
                self._events.front_listens(self)
            case _:
                raise ProtocolError(f"a supervisor does not take {message}")

    def _count(self, counted: messages.ModelCounted | messages.FrontCounted) -> None:
        if isinstance(counted, messages.ModelCounted):
            model = ModelStatistics.from_dict(counted.statistics)
            self.statistics.models[counted.model] = model
            self.shapes[counted.model] = [tuple(map(tuple, one)) for one in counted.shapes]
        else:
            models = self.statistics.models
            self.statistics = FrontStatistics.from_dict({**counted.statistics, "models": {}})
            self.statistics.models = models
            self.workers = {
                int(number): WorkerTally(*counts) for number, counts in counted.workers.items()
            }

    def _done(self, order: asyncio.Future[None] | None) -> None:
        if order is not None and not order.done():
            order.set_result(None)

    # The end

    def _process_ended(self, status: int) -> None:
        self._hear()  # what it counted last may still wait
        self._loop.remove_reader(self._channel.sock)
        self._outbox.close()
        self._channel.close()
        for order in list(self._pending.values()):
            self._done(order)
        self._ended.set()
        level = log.info if status == 0 else log.warning
        level("front ended", front=self.number, pid=self.pid, how=describe_exit(status))
        self._events.front_ended(self)

    def abort(self) -> None:
        """End a front that hangs, with a stack dump in the log."""
        self._process.abort()

    def kill(self) -> None:
        """End it at once."""
        self._process.kill()

    async def stop(self, timeout_s: float, *, for_good: bool = True) -> None:
        """Have it finish its requests and end, and see to it.

        Not `for_good`: the supervisor goes on to accept from its sockets.
        """
        self.say(messages.Stop(timeout_s, for_good))
        try:
            async with asyncio.timeout(timeout_s + 2.0):
                await self._ended.wait()
        except TimeoutError:
            self.kill()
            await self._ended.wait()
