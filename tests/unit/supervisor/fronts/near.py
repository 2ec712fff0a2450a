"""A front process and what it tells; the worker and the client are played by the test."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

from gpu_worker.ipc.arena import ArenaReader
from gpu_worker.ipc.link import Completion, LinkFds, Status, Submission, WorkerEnd
from gpu_worker.ipc.tensors import BY_NAME, Tensor, encode_table, table_size
from supervisor.access.caller import Caller
from supervisor.fronts.handle import FrontHandle
from supervisor.http.listening_sockets import listen, port_of
from supervisor.settings import Settings
from tests.unit.gpu_worker.descriptors import open_descriptors
from tests.unit.supervisor.http.loops import until

SETTINGS = Settings(
    model_repository=Path("/nowhere"), fronts=2, arena_mb=4, max_request_mb=1, response_ring_mb=1
)
BODY = b'{"inputs":[{"name":"x","datatype":"FP32","shape":[1,4],"data":[1,2,3,4]}]}'
START_S = 30.0  # on a machine that others use


class Worker:
    """A worker's end of a link that a front has made."""

    def __init__(self, fds: tuple[int, int, int, int]) -> None:
        rings, arena, submissions, completions = (os.dup(fd) for fd in fds)
        self._end = WorkerEnd(LinkFds(rings, arena, submissions, completions, -1))
        self._arena = ArenaReader(arena)

    async def asked(self, count: int = 1) -> list[Submission]:
        """Wait for requests."""
        found: list[Submission] = []

        def take() -> bool:
            found.extend(self._end.submissions())
            return len(found) >= count

        await until(take)
        return found

    def answer(self, asked: Submission, y: bytes) -> None:
        """Answer with `y`, two FP32 numbers."""
        at = table_size(1)
        data = encode_table([Tensor(0, BY_NAME["FP32"], (1, 2), at, len(y))]) + y
        place = self._end.responses.reserve(len(data))
        assert place is not None
        position, memory = place
        memory[: len(data)] = data
        self._end.responses.commit(position, len(data))
        done = Completion(
            asked.request_id, asked.slot_reuse, Status.OK, position, len(data), 1, 2, 3
        )
        self._end.complete([done])

    def close(self) -> None:
        self._arena.close()
        self._end.close()


class Heard:
    """Takes note of what a front tells."""

    def __init__(self) -> None:
        self.workers: dict[int, Worker] = {}
        self.freed: list[int] = []
        self.hung: list[int] = []
        self.passed_on: list[socket.socket] = []
        self.ended: list[FrontHandle] = []

    def front_linked(self, front: FrontHandle, worker: int, fds: tuple[int, int, int, int]) -> None:
        self.workers[worker] = Worker(fds)

    def front_freed_space(self, front: FrontHandle, worker: int) -> None:
        self.freed.append(worker)

    def front_found_hung(self, front: FrontHandle, worker: int) -> None:
        self.hung.append(worker)

    def front_passes_on(self, sock: socket.socket, caller: Caller) -> None:
        assert caller.loopback
        self.passed_on.append(sock)

    def front_listens(self, front: FrontHandle) -> None:
        """Leave its clients to it."""

    def front_ended(self, front: FrontHandle) -> None:
        self.ended.append(front)


@contextlib.contextmanager
def listeners(fronts: int) -> Iterator[list[list[socket.socket]]]:
    """Listen on a free port of loopback."""
    opened = listen("127.0.0.1", 0, fronts)
    try:
        yield opened
    finally:
        for sockets in opened:
            for sock in sockets:
                sock.close()


@contextlib.asynccontextmanager
async def front() -> AsyncIterator[tuple[FrontHandle, Heard]]:
    """Start a front, which is ended with the test and leaves no descriptor open here."""
    heard, before = Heard(), open_descriptors()
    with listeners(1) as (sockets,):
        one = FrontHandle(1, SETTINGS, sockets, heard, heard, ours=True)
        try:
            yield one, heard
        finally:
            one.kill()
            await until(lambda: heard.ended)
            for worker in heard.workers.values():
                worker.close()
            for sock in heard.passed_on:
                sock.close()
    assert open_descriptors() == before


async def started(*fronts: FrontHandle) -> None:
    """Wait until they listen."""
    async with asyncio.timeout(START_S):
        while not all(one.listening for one in fronts):
            assert all(one.alive for one in fronts)
            await asyncio.sleep(0.01)


class Client:
    """A client's connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer

    @classmethod
    async def of(cls, sockets: list[socket.socket]) -> Client:
        return cls(*await asyncio.open_connection("127.0.0.1", port_of(sockets)))

    def infer(self) -> None:
        head = b"POST /v2/models/m/infer HTTP/1.1\r\nHost: h\r\nContent-Length: %d\r\n\r\n"
        self._writer.write(head % len(BODY) + BODY)

    def get(self, path: str) -> None:
        self._writer.write(f"GET {path} HTTP/1.1\r\nHost: h\r\n\r\n".encode())

    async def answer(self) -> tuple[str, bytes]:
        """Read an answer with its length: its head, its body."""
        async with asyncio.timeout(10):
            head = (await self._reader.readuntil(b"\r\n\r\n")).decode()
            length = next(
                int(line.split(":")[1])
                for line in head.splitlines()
                if line.lower().startswith("content-length")
            )
            return head, await self._reader.readexactly(length)

    async def end(self) -> bytes:
        """Read what comes before the end."""
        async with asyncio.timeout(10):
            try:
                return await self._reader.read()
            except ConnectionResetError:
                return b""

    async def close(self) -> None:
        self._writer.close()
        with contextlib.suppress(ConnectionError):
            await self._writer.wait_closed()
