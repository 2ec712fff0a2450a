"""A server on loopback: real connections, aiohttp behind them, workers of the dispatch bench."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar, cast

from gpu_worker.ipc.arena import RequestArena
from gpu_worker.ipc.link import close_fds
from gpu_worker.ipc.tensors import BY_NAME, Tensor, encode_table, read_table, table_size
from supervisor.access.caller import Caller
from supervisor.access.guard import Guard
from supervisor.dispatch.request import InferRequest
from supervisor.errors import NotFound
from supervisor.http.body import BodyReader
from supervisor.http.codec.lane_codec import Codecs
from supervisor.http.connection import Connection
from supervisor.http.front import Front
from supervisor.http.inference import InferenceHandlers
from supervisor.http.large_json import LargeJson
from supervisor.http.limits import Limits
from supervisor.http.server import HttpServer
from supervisor.json_worker.handle import JsonWorker
from supervisor.lifecycle.model_manager import ModelManager
from supervisor.settings import Settings
from tests.unit.supervisor.dispatch.bench import Bench, FakeWorker
from tests.unit.supervisor.http.client import Client, y_of
from tests.unit.supervisor.http.loops import until

LARGEST = 1 << 14  # what the bench's largest slot holds


class PromptWorker(FakeWorker):
    """Answers by itself, one request a step."""

    def __init__(self, bench: Bench) -> None:
        super().__init__()
        self.bench = bench

    def submit(self, requests: Sequence[InferRequest]) -> None:
        super().submit(requests)
        for _ in requests:
            asyncio.get_running_loop().call_soon(self.answer)

    def answer(self) -> None:
        if self.in_flight:
            answer(self.bench, self)


def answer(bench: Bench, worker: FakeWorker) -> None:
    """Answer the oldest request of a worker from what stands in its slot."""
    request = next(iter(worker.in_flight.values()))
    payload = bench.arena.payload(request.slot)[: request.length]
    (x,) = (tensor.view(payload) for tensor in read_table(payload))
    y, at = y_of(x), table_size(1)
    table = encode_table([Tensor(0, BY_NAME["FP32"], y.shape, at, y.nbytes)])
    bench.complete(worker, data=table + y.tobytes())


class Watched(Connection):
    """A connection that tells how far it is."""

    received = 0
    pauses = 0

    def buffer_updated(self, nbytes: int) -> None:
        super().buffer_updated(nbytes)
        self.received += nbytes

    def receive(self, into: memoryview) -> int:
        nbytes = super().receive(into)
        self.received += nbytes
        return nbytes

    def pause_writing(self) -> None:
        super().pause_writing()
        self.pauses += 1


@dataclass
class Models:
    """What the slow path's handlers ask the model manager for."""

    bench: Bench
    ready: bool = True

    def model(self, name: str) -> Any:
        if name != "m":
            raise NotFound(f"model {name!r} is not in the repository")
        return self.bench  # has a `dispatcher`, as a model has


@dataclass
class NoJsonWorker:
    """Stands for the JSON worker where all JSON is small."""

    arena: RequestArena


class Site:
    """The server."""

    def __init__(
        self,
        *,
        body_timeout_s: float = 60,
        inline: int = 1 << 20,
        settings: Settings | None = None,
        **limits: int,
    ) -> None:
        self._settings = settings or Settings()
        self._largest = limits.get("largest", LARGEST)
        self.bench = Bench(**limits)
        self.arena = self.bench.arena
        self.slow_paths = 0
        self.json_worker: JsonWorker | None = None
        self._inline, self._body_timeout_s = inline, body_timeout_s
        self._exits = contextlib.AsyncExitStack()
        self.complaints: list[Any] = []

    @property
    def connections(self) -> list[Watched]:
        return [cast("Watched", one) for one in self.front.connections]

    async def start(self) -> None:
        loop, codecs = asyncio.get_running_loop(), Codecs()
        loop.set_exception_handler(lambda _, context: self.complaints.append(context))
        no_json_worker = cast("JsonWorker", NoJsonWorker(self.arena))
        self.large_json = large = LargeJson(no_json_worker, self._inline)
        self.front = Front(
            self.arena, lambda name: self.bench.dispatcher if name == "m" else None, codecs, large,
            Guard(self._settings), Limits.of(self._settings),
            largest_body=self._largest, body_timeout_s=self._body_timeout_s,
        )  # fmt: skip
        self.front.open_express(self._settings.express)
        self.front.open_log(self._settings.access_log)
        manager = cast("ModelManager", Models(self.bench))
        self.http = HttpServer(manager, self.front)
        reader = BodyReader(self.arena, self._largest, self._body_timeout_s)
        InferenceHandlers(manager, reader, codecs, large, self.front).routes(self.http.router)
        aiohttp = self.front.slow_path
        assert aiohttp is not None

        def open_slow_path(caller: Caller) -> Any:
            self.slow_paths += 1
            return aiohttp(caller)

        self.front.slow_path = open_slow_path
        self._listener = await loop.create_server(
            lambda: Watched(self.front), "127.0.0.1", 0, ssl=self.front.guard.tls
        )
        self.address = self._listener.sockets[0].getsockname()

    async def with_json_worker(self) -> None:
        """Start a real JSON worker for what is larger than `inline`."""
        read_only = self.arena.segment.read_only_fd()
        worker = JsonWorker(self.arena, read_only, 1 << 16, 30)
        self.large_json._worker = self.json_worker = worker  # noqa: SLF001 - most tests need none
        self._exits.callback(close_fds, [read_only])

    def serve(self, version: str = "v1", *, prompt: bool = True) -> FakeWorker:
        """Switch to a version with one worker; `prompt` answers by itself."""
        lane = self.bench.lane(version, workers=0)
        worker = PromptWorker(self.bench) if prompt else FakeWorker()
        self.bench.add_worker(lane, worker)
        self.bench.dispatcher.switch(lane)
        return worker

    async def client(self, receive_bytes: int = 0, tls: ssl.SSLContext | None = None) -> Client:
        before = set(self.front.connections)
        sock = socket.socket()
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if receive_bytes:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_bytes)
        sock.setblocking(False)
        await asyncio.get_running_loop().sock_connect(sock, self.address)
        reader, writer = await asyncio.open_connection(
            sock=sock, ssl=tls, server_hostname="localhost" if tls else None
        )
        await until(lambda: len(self.front.connections) > len(before))
        (its,) = set(self.front.connections) - before
        client = Client(reader, writer, cast("Watched", its))
        self._exits.callback(client.leave)
        return client

    async def at_rest(self) -> None:
        """Wait until nobody is connected and no slot is lent."""
        await until(lambda: not self.front.connections)
        await until(lambda: self.bench.lent == 0)

    async def stop(self) -> None:
        self._listener.close()
        await self._exits.aclose()
        await self.http.stop(10)
        for worker in list(self.bench.workers):
            while worker.in_flight:
                self.bench.complete(worker)
        await self.at_rest()
        assert self.complaints == []
        if self.json_worker is not None:
            await self.json_worker.stop()
        self.bench.close()


S = TypeVar("S", bound=Site)


def site(**options: Any) -> contextlib.AbstractAsyncContextManager[Site]:
    """Run a server."""
    return running(Site(**options))


@contextlib.asynccontextmanager
async def running(one: S) -> AsyncIterator[S]:
    """Run a server; in the end nothing may be left of it."""
    await one.start()
    try:
        yield one
    finally:
        await one.stop()
