"""A course of events at a site: requests, answers, deaths and switches, and what comes of them.

Each event is over when nothing moves any more, so that two sites to which the same happens are in
the same state after each of them.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Sequence
from itertools import pairwise
from typing import Any, Final, Protocol, cast

from supervisor.http.connection import Connection
from tests.unit.supervisor.express.both_ways import counted
from tests.unit.supervisor.express.ring_site import RingSite
from tests.unit.supervisor.http.client import PATH, Client, ask, http, numbers
from tests.unit.supervisor.http.loops import until

KINDS: Final = {
    "plain": lambda seed: ask(numbers(seed)),
    "rows": lambda seed: ask(numbers(seed, rows=3)),
    "head": lambda seed: ask(numbers(seed), "X-Other: 1"),
    "header": lambda seed: ask(numbers(seed), more={"parameters": {"timeout": 50_000_000}}),
    "JSON": lambda seed: ask(numbers(seed), binary=False),
    "id": lambda seed: ask(numbers(seed), more={"id": str(seed)}),
    "bad": lambda seed: ask(numbers(seed)).replace(b"FP32", b"FP64"),
    "nonsense": lambda seed: http("POST", PATH, b"{" * (seed % 7 + 1)),
    "nearly all of the buffer": lambda seed: ask(numbers(seed, rows=2_000)),
    "larger than the buffer": lambda seed: ask(numbers(seed, rows=3_000)),
    "last": lambda seed: ask(numbers(seed), "Connection: close"),
}


class Event(Protocol):
    """Something that happens."""

    async def happen(self, course: Course) -> None:
        """Make it happen."""


class Course:
    """What happens at one site."""

    def __init__(self, site: RingSite) -> None:
        self.site = site
        self.dispatcher = site.dispatcher
        self.clients: list[Client] = []
        self.past: list[Client] = []  # whose connections the server has ended
        self.versions = 0
        self._seeds = 0
        self._states: list[Any] = []

    async def run(self, clients: int, events: Sequence[Event]) -> dict[str, Any]:
        """Have it all happen; gives what came of it."""
        self.site.lay_in(8)
        self.clients = [await self.site.client() for _ in range(clients)]
        for event in events:
            await event.happen(self)
            await self.settle()
            self._states.append((event, self.state()))
        return await self._end()

    # Clients

    async def client(self, number: int) -> Client:
        """Give a client; where the server has ended its connection, another is in its place."""
        client = self.clients[number % len(self.clients)]
        if not self.connected(client):
            self.past.append(client)
            client = self.clients[number % len(self.clients)] = await self.site.client()
        return client

    def connected(self, client: Client) -> bool:
        return cast("Connection", client.its) in self.site.front.connections

    def request(self, kind: str) -> bytes:
        """Write a request that fits what serves, if it is to fit at all."""
        assert self.dispatcher.serving is not None
        name = self.dispatcher.serving.contract.inputs[0].name.encode()
        self._seeds += 1
        return KINDS[kind](self._seeds).replace(b'"name":"x"', b'"name":"%s"' % name)

    async def write(self, client: Client, data: bytes, cuts: Sequence[int]) -> None:
        """Have a client write, in pieces, until its connection ends."""
        places = sorted({0, len(data), *(cut % len(data) for cut in cuts)})
        for start, end in pairwise(places):
            if self.connected(client):
                client.writer.write(data[start:end])
                await self.settle()

    # Workers

    async def answer_all(self) -> None:
        """Have workers answer what they have, one after the other.

        Where several do so in one turn of the loop, a full queue may refuse Python's requests only.
        """
        for worker in self.site.workers:
            worker.answer(1 << 16)
            await self.settle()

    # What comes of it

    async def settle(self) -> None:
        """Wait until nothing moves any more."""
        before: Any = None
        while before != (now := (self.state(), self._moved())):
            before = now
            for _ in range(6):
                await asyncio.sleep(0)

    def _moved(self) -> Any:
        return [
            (client.its.received, client.writer.transport.get_write_buffer_size())
            for client in self.clients
        ]

    def state(self) -> Any:
        workers = self.site.workers
        return (
            self.dispatcher.queued,
            [len(worker.port.in_flight) for worker in workers],
            [worker.port.answered for worker in workers],
            self.site.bench.lent,
            len(self.site.front.connections),
        )

    async def _end(self) -> dict[str, Any]:
        """Have everything answered, and read what clients were sent."""
        site = self.site
        self.dispatcher.held = False
        self.dispatcher.pump()
        while site.bench.lent:
            await self.settle()
            await self.answer_all()
        for connection in list(site.front.connections):
            connection.close_if_idle(since_ns=1 << 62)
        sent = [await client.ended() for client in (*self.past, *self.clients)]
        await until(lambda: not site.front.connections)
        return {
            "states": self._states,
            "sent": [re.sub(rb"\r\nDate: [^\r]*", b"", data) for data in sent],
            "taken": [worker.seen for worker in site.rings],
            "marks": [worker.port.marks for worker in site.rings],
            "broken": [worker.port.complaints for worker in site.rings],
            **counted(site),
        }
