"""Clients that do not read, that go, or that speak TLS: who reads gets the right bytes."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import cast

import numpy as np
import pytest

from supervisor.settings import Settings
from tests.certificates import Authority
from tests.unit.supervisor.dispatch.bench import step
from tests.unit.supervisor.express.both_ways import acquainted, both_ways, exchanged
from tests.unit.supervisor.express.ring_site import (
    COMPILED,
    RingSite,
    of_rows,
    raw_answer,
)
from tests.unit.supervisor.http.client import Client, Watched, ask, numbers, y_of
from tests.unit.supervisor.http.loops import on_both_loops, until

pytestmark = COMPILED
X = numbers(3)
Y = y_of(X).tobytes()
ROWS = 40_000


@on_both_loops
@pytest.mark.parametrize("rows", [500, 5_000, ROWS])
async def test_who_does_not_read_gets_every_byte_once_he_does(rows: int) -> None:
    """The kernel takes a part of the first answer; the rest and what follows wait elsewhere."""

    async def talk(one: RingSite) -> list[bytes]:
        (worker,) = one.serve_rings()
        client = await one.client(receive_bytes=2048)
        (its,) = one.connections
        sock = its._transport.get_extra_info("socket")  # noqa: SLF001 - to make its buffer small
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 2048)
        for seed in range(2):
            await exchanged(client, ask(numbers(seed)))
        worker.model = of_rows(rows)
        client.writer.transport.pause_reading()  # type: ignore[attr-defined]  # a transport that reads
        sent = 0
        while not its.pauses and sent < 400:
            await client.send(ask(numbers(sent)))
            sent += 1
            await until(lambda: worker.port.answered == sent + 2)  # noqa: B023 - at once
        assert its.pauses
        await client.send(ask(numbers(sent)))
        await step()
        assert len(worker.seen) == sent + 2, "it is given no more before it reads"
        for seed in range(3):
            client.writer.write(ask(numbers(seed)))
        client.writer.transport.resume_reading()  # type: ignore[attr-defined]
        found = [await raw_answer(client) for _ in range(sent + 4)]
        wanted = [numbers(seed) for seed in [*range(sent + 1), *range(3)]]
        for x, answer in zip(wanted, found, strict=True):
            assert answer.endswith(b"}" + np.resize(y_of(x), (rows, 2)).tobytes())
        worker.model = lambda x: [y_of(x)]
        return [await exchanged(client, ask(X))]

    (found,) = await both_ways(talk)
    assert found.endswith(Y)


@on_both_loops
async def test_who_goes_without_reading_leaves_nothing() -> None:
    async def talk(one: RingSite) -> None:
        (worker,) = one.serve_rings()
        client, stays = await one.client(receive_bytes=2048), await acquainted(one)
        await exchanged(client, ask(X))
        worker.model = of_rows(ROWS)
        for number in range(3):
            client.writer.write(ask(X))
            await until(lambda: worker.port.answered == number + 4)  # noqa: B023 - at once
        client.leave()
        worker.model = lambda x: [y_of(x)]
        await until(lambda: len(one.front.connections) == 1)
        assert (await exchanged(stays, ask(X))).endswith(Y)

    await both_ways(talk)


@on_both_loops
async def test_who_went_before_his_answer_costs_nobody_else_his() -> None:
    """The kernel has reset the connection; the server has not looked yet."""

    async def talk(one: RingSite) -> bytes:
        (worker,) = one.serve_rings()
        one.lay_in(2)
        goes, stays = [await acquainted(one) for _ in range(2)]
        worker.be_slow()
        for client in (goes, stays):
            await client.send(ask(X))
        await worker.has(2)
        sock = goes.writer.transport.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        goes.leave()
        await until(lambda: goes.writer.transport.get_extra_info("socket").fileno() < 0)
        worker.answer(2)
        return await raw_answer(stays)

    assert (await both_ways(talk)).endswith(Y)


@on_both_loops
async def test_who_goes_while_a_worker_runs_leaves_the_slot_to_it() -> None:
    async def talk(one: RingSite) -> None:
        (worker,) = one.serve_rings()
        client = await acquainted(one)
        worker.be_slow()
        await client.send(ask(X))
        await worker.has()
        client.leave()
        await until(lambda: not one.front.connections)
        assert (one.bench.lent, one.dispatcher.counts["abandoned"]) == (1, 1)
        worker.answer()
        await until(lambda: one.bench.lent == 0)

    await both_ways(talk)


# With TLS, nothing goes past the transport


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("tls"))


@pytest.fixture(scope="module")
def settings(authority: Authority) -> Settings:
    certificate, key = authority.server()
    return Settings(tls_certificate=str(certificate), tls_key=str(key))


@contextlib.asynccontextmanager
async def operator(one: RingSite) -> AsyncIterator[Client]:
    """Connect to the operators' unix socket, which has no TLS."""
    with tempfile.TemporaryDirectory() as folder:
        path = str(Path(folder) / "admin.sock")
        await one.http.start_for_operators(Settings(admin_socket=path))
        reader, writer = await asyncio.open_unix_connection(path)
        client = Client(reader, writer, cast("Watched", None))
        try:
            yield client
        finally:
            client.leave()


@on_both_loops
async def test_requests_over_tls_are_pythons(authority: Authority, settings: Settings) -> None:
    context: ssl.SSLContext = authority.context()

    async def talk(one: RingSite) -> list[bytes]:
        one.serve_rings()
        client = await one.client(tls=context)
        found = [await exchanged(client, ask(X)) for _ in range(4)]
        assert one.express == 0
        return found

    found = await both_ways(talk, settings=settings)
    assert [answer[-8:] for answer in found] == [Y] * 4


@on_both_loops
async def test_what_an_operator_asks_without_tls_is_answered_to_others_with_it(
    authority: Authority, settings: Settings
) -> None:
    async def talk(one: RingSite) -> list[bytes]:
        one.serve_rings()
        async with operator(one) as first:
            found = [await exchanged(first, ask(X)) for _ in range(3)]
            client = await one.client(tls=authority.context())
            return found + [await exchanged(client, ask(X)) for _ in range(3)]

    found = await both_ways(talk, settings=settings)
    assert [answer[-8:] for answer in found] == [Y] * 6
