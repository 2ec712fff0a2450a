"""Two servers on one loop: a further front, and the supervisor that it relays to."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Callable
from typing import cast

from supervisor.access.caller import Caller
from supervisor.front_process.relay import Relay
from tests.unit.supervisor.http.client import PATH, Client, http, numbers, y_of
from tests.unit.supervisor.http.loops import until
from tests.unit.supervisor.http.site import Site, Watched, site

HandOver = Callable[[socket.socket], None]
LIVE = http("GET", "/v2/health/live")
SLOW = f"{PATH}?slow"
Y1 = y_of(numbers(1)).ravel().tolist()
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


class Peer:
    """A supervisor that does what a test tells it, at the other end of one line."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock

    async def read(self, count: int) -> bytes:
        data, loop = b"", asyncio.get_running_loop()
        async with asyncio.timeout(10):
            while len(data) < count and (more := await loop.sock_recv(self._sock, 1 << 18)):
                data += more
        return data

    def read_some(self) -> bytes:
        """Read what has come."""
        try:
            return self._sock.recv(1 << 18)
        except BlockingIOError:
            return b""

    async def write(self, data: bytes) -> None:
        async with asyncio.timeout(10):
            await asyncio.get_running_loop().sock_sendall(self._sock, data)

    def write_some(self, data: bytes) -> int:
        """Write what the socket takes at once."""
        try:
            return self._sock.send(data)
        except BlockingIOError:
            return 0

    def close(self) -> None:
        self._sock.close()


class Relayed:
    """A further front whose lines go to `hand_over`."""

    def __init__(self, near: Site, hand_over: HandOver) -> None:
        self.near = near
        self.lines = 0
        self.refusal: OSError | None = None
        self._hand_over = hand_over
        near.front.slow_path = self.open

    def open(self, caller: Caller) -> Relay:
        del caller
        return Relay(self._connect)

    def _connect(self) -> socket.socket:
        if self.refusal is not None:
            raise self.refusal
        ours, theirs = socket.socketpair()
        for one in (ours, theirs):
            one.setblocking(False)
        self.lines += 1
        self._hand_over(theirs)
        return ours

    def relay_of(self, client: Client) -> Relay:
        return cast("Relay", client.its._detour.slow_path)  # type: ignore[attr-defined]  # noqa: SLF001 - whose else

    def choked(self, client: Client) -> bool:
        """Say whether the supervisor takes no more of what a client sends."""
        line = self.relay_of(client)._line  # noqa: SLF001 - shows nowhere
        return line is not None and line.choked

    async def idle(self, client: Client) -> None:
        """Wait until the relay would let an inference pass."""
        await until(lambda: self.relay_of(client).idle)

    async def ended(self, client: Client) -> None:
        """Wait until it has seen its line end."""
        await until(lambda: self.relay_of(client)._line is None)  # noqa: SLF001 - shows nowhere


@contextlib.asynccontextmanager
async def relayed() -> AsyncIterator[tuple[Relayed, Site]]:
    """Run a front that relays to a real supervisor; both serve the same model."""
    loop = asyncio.get_running_loop()
    handed: set[asyncio.Task[object]] = set()
    async with site() as far, site() as near:

        def hand_over(sock: socket.socket) -> None:
            work = loop.connect_accepted_socket(lambda: Watched(far.front), sock)
            handed.add(loop.create_task(work))

        yield Relayed(near, hand_over), far
    await asyncio.gather(*handed)


class Scripted(Relayed):
    """A further front whose supervisor the test plays; one peer for each line."""

    def __init__(self, near: Site) -> None:
        super().__init__(near, lambda sock: self.peers.append(Peer(sock)))
        self.peers: list[Peer] = []

    async def peer(self, count: int = 1) -> Peer:
        """Wait for the other end of a line."""
        await until(lambda: len(self.peers) == count)
        return self.peers[-1]

    async def asked(self, client: Client, count: int = 1) -> Peer:
        """Have the client ask for what the supervisor has; gives the line it was read from."""
        client.writer.write(LIVE)
        peer = await self.peer(count)
        await peer.read(len(LIVE))
        return peer


@contextlib.asynccontextmanager
async def scripted() -> AsyncIterator[Scripted]:
    """Run a front whose supervisor the test plays."""
    async with site() as near:
        front = Scripted(near)
        try:
            yield front
        finally:
            for peer in front.peers:
                peer.close()
