"""A front's conversation, its mirror and its ports; the supervisor's end is the test's."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Iterator
from typing import TypeVar

from gpu_worker.ipc.arena import RequestArena
from gpu_worker.ipc.link import LinkFds, WorkerEnd, close_fds
from supervisor.front_process.conversation import Conversation
from supervisor.front_process.mirror import Mirror
from supervisor.front_process.ports import Ports
from supervisor.fronts import messages
from supervisor.fronts.messages import FrontChannel, FrontMessage
from tests.unit.supervisor.dispatch.bench import CONTRACT
from tests.unit.supervisor.http.loops import until

LIMITS = {"timeout_ms": 60_000, "queue_limit": 64, "max_in_flight": 2}
M = TypeVar("M")


class Talk:
    """Both ends. `obeying` is the front's work, `served` how often it was told to listen."""

    def __init__(self, hang_timeout_s: float) -> None:
        self.arena = RequestArena.create(1 << 20, 1 << 14)
        self._read_only = self.arena.segment.read_only_fd()
        self.supervisor, theirs = FrontChannel.pair()
        theirs.sock.setblocking(False)
        self.theirs = theirs
        self.front = Conversation(theirs)
        self.mirror = Mirror(self.arena)
        self.ports = Ports(
            1 << 16, self._read_only, hang_timeout_s, self.mirror.dispatcher, self.front.say
        )
        self.served = 0
        self.workers: list[WorkerEnd] = []
        self.front.begin(self.mirror, self.ports)
        self.obeying: asyncio.Task[None] = asyncio.create_task(self._obey())

    async def _obey(self) -> None:
        await self.front.obey(self.mirror, self.ports, self._counted, self._serve)

    def _counted(self) -> Iterator[FrontMessage]:
        yield from self.mirror.counted()
        yield messages.FrontCounted({}, self.ports.tallies())

    def _serve(self) -> None:
        self.served += 1

    async def obey_no_more(self) -> None:
        """Leave what is heard from now on undone."""
        self.obeying.cancel()
        await asyncio.wait([self.obeying])

    def say(self, *said: FrontMessage) -> None:
        for message in said:
            self.supervisor.send(message)

    async def heard(self, kind: type[M]) -> tuple[M, list[int]]:
        """Give the next message that the front has sent, and its descriptors."""
        found: list[tuple[FrontMessage, list[int]]] = []

        def receive() -> bool:
            with contextlib.suppress(BlockingIOError):
                found.append(self.supervisor.receive())
            return bool(found)

        await until(receive)
        message, fds = found[0]
        assert isinstance(message, kind), message
        return message, fds

    async def done(self, order: int) -> None:
        assert await self.heard(messages.Done) == (messages.Done(order), [])

    async def link(self, number: int) -> WorkerEnd:
        """Start a worker: have the front make a link, and give the worker's end of it."""
        self.say(messages.WorkerUp(number, 1, "cpu"))
        message, fds = await self.heard(messages.Link)
        assert message.worker == number
        rings, arena, submissions, completions = fds
        end = WorkerEnd(LinkFds(rings, arena, submissions, completions, -1))
        close_fds([arena])
        self.workers.append(end)
        return end

    def close(self) -> None:
        self.ports.stop()
        for number in list(self.ports._ports):  # noqa: SLF001 - their links must be closed
            self.ports.close(number)
        for end in self.workers:
            end.close()
        for channel in (self.supervisor, self.theirs):
            if channel.sock.fileno() >= 0:
                asyncio.get_running_loop().remove_reader(channel.sock)
                asyncio.get_running_loop().remove_writer(channel.sock)
                channel.close()
        close_fds([self._read_only])
        self.arena.close()


def lane(number: int, *workers: int) -> messages.LaneState:
    """Tell of version `v{number}`, which each worker has loaded as its number times ten."""
    contract = json.loads(json.dumps(CONTRACT.to_json()))
    loads = [[worker, 10 * worker] for worker in workers]
    return messages.LaneState(number, "m", f"v{number}", number, contract, LIMITS, loads, False)


def model(
    order: int, serving: int, retained: int = 0, *, held: bool = False
) -> messages.ModelState:
    """Tell which lanes there are, in the generation of the serving one's number."""
    return messages.ModelState(order, "m", held, serving, "it is loading", serving, retained)


@contextlib.asynccontextmanager
async def talk(hang_timeout_s: float = 60.0) -> AsyncIterator[Talk]:
    """Begin a conversation; nothing that either end has opened is left."""
    one = Talk(hang_timeout_s)
    try:
        yield one
    finally:
        await one.obey_no_more()
        one.close()
