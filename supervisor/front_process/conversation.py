"""The conversation with the supervisor: what it says is done in the order in which it is said.

Owns this end of the channel. What a worker sleeps for, and the order to stop, do not wait for their
turn. Runs on the front's event loop.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Iterable
from typing import Final

import structlog

from gpu_worker.ipc.channel import PeerGone
from gpu_worker.ipc.vocabulary import ProtocolError
from supervisor.access.caller import Caller
from supervisor.front_process.mirror import Mirror
from supervisor.front_process.ports import Ports
from supervisor.fronts import messages
from supervisor.fronts.messages import FrontChannel, FrontMessage
from supervisor.fronts.outbox import Outbox

log = structlog.get_logger()

_TELL_EVERY_S: Final = 1.0

Counted = Callable[[], Iterable[FrontMessage]]


class Conversation:
    """Hears the supervisor, and speaks to it."""

    def __init__(self, channel: FrontChannel) -> None:
        self.over = asyncio.Event()  # the supervisor has gone
        self.stop_asked = asyncio.Event()
        self.hurry = asyncio.Event()
        self.stop_timeout_s = 0.0
        self.for_good = True
        self.on_closing: Callable[[], None] = lambda: None
        self.on_reread: Callable[[], None] = lambda: None
        self._channel = channel
        self._loop = asyncio.get_running_loop()
        self._heard: asyncio.Queue[FrontMessage] = asyncio.Queue()
        self._outbox = Outbox(channel, self.over.set)
        self._drains: set[asyncio.Task[None]] = set()
        self._parts: tuple[Mirror, Ports] | None = None

    # Speaking

    def say(self, message: FrontMessage, fds: tuple[int, ...] = ()) -> None:
        """Send a message, with descriptors if given, as `Outbox.say` does."""
        self._outbox.say(message, fds)

    def pass_on(self, caller: Caller) -> socket.socket:
        """Give one end of a new socket, whose other end the supervisor serves.

        Raises:
            OSError: there are no descriptors left.

        """
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        ours.setblocking(False)
        try:
            self.say(messages.PassOn(caller.address, caller.encrypted), (theirs.fileno(),))
        finally:
            theirs.close()
        return ours

    # Hearing

    def begin(self, mirror: Mirror, ports: Ports) -> None:
        """Hear from now on; what cannot wait is done at once."""
        self._parts = mirror, ports
        self._loop.add_reader(self._channel.sock, self._hear)

    def _hear(self) -> None:
        try:
            while True:
                message, _ = self._channel.receive()
                self._take(message)
        except BlockingIOError:
            return
        except PeerGone:
            self._loop.remove_reader(self._channel.sock)
            self.over.set()
        except ProtocolError as error:  # what came behind it would be built upon a gap
            log.error("the supervisor speaks another language, this front ends", reason=str(error))
            self._loop.remove_reader(self._channel.sock)
            self.over.set()

    def _take(self, message: FrontMessage) -> None:
        """Do what cannot wait; the rest has its turn."""
        assert self._parts is not None
        mirror, ports = self._parts
        match message:
            case messages.NeedSpace(worker=worker):
                ports.free_space(worker)
            case messages.Reloading(under_way=under_way):
                mirror.mark_reload(under_way=under_way)
            case messages.Reread():
                self.on_reread()
            case messages.Closing():
                self.on_closing()
            case messages.Stop(timeout_s=timeout_s, for_good=for_good):
                if self.stop_asked.is_set():
                    self.hurry.set()
                self.stop_timeout_s, self.for_good = timeout_s, for_good
                self.on_closing()  # what is answered while the listener closes is a last answer
                self.stop_asked.set()
            case _:
                self._heard.put_nowait(message)

    async def obey(
        self, mirror: Mirror, ports: Ports, counted: Counted, serve: Callable[[], None]
    ) -> None:
        """Do what is said, for ever; `serve` begins to listen.

        Raises:
            OSError: no memory for a link.
            ProtocolError: the supervisor says what it may not.

        """
        while True:
            match await self._heard.get():
                case messages.WorkerUp() as worker:
                    await ports.open(worker)
                case messages.WorkerGone(number=number):
                    ports.close(number)
                case messages.LaneState() as lane:
                    mirror.set_lane(lane, ports.get)
                case messages.ModelState() as model:
                    mirror.set_model(model)
                    if model.order:
                        self.say(messages.Done(model.order))
                case messages.Drain(order=order, lane=number):
                    self._drain(mirror, order, number)
                case messages.Report(order=order):
                    self.tell(counted)
                    self.say(messages.Done(order))
                case messages.Serve():
                    serve()
                    self._tell_often(counted)
                case other:
                    raise ProtocolError(f"a front does not take {other}")

    def _drain(self, mirror: Mirror, order: int, number: int) -> None:
        async def drain() -> None:
            await mirror.drained(number)
            self.say(messages.Done(order))

        task = self._loop.create_task(drain())
        self._drains.add(task)
        task.add_done_callback(self._drains.discard)

    # Counts

    def _tell_often(self, counted: Counted) -> None:
        self._loop.call_later(_TELL_EVERY_S, self._tell_often, counted)
        self.tell(counted)

    def tell(self, counted: Counted) -> None:
        """Say what this front has counted; a sign of life, too."""
        for message in counted():
            self.say(message)
