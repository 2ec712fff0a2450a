"""Large bodies: read at once where they are there, awaited in few wake-ups where they are not."""

from __future__ import annotations

import os
import socket
from typing import Any

import pytest

from supervisor.http.low_water import LowWater
from tests.unit.supervisor.http.client import ask, numbers, y_of
from tests.unit.supervisor.http.loops import on_both_loops, until
from tests.unit.supervisor.http.site import Site, site

ROWS = 40_000
LARGE = ask(numbers(1, ROWS))  # 640 KB
LARGE_Y = y_of(numbers(1, ROWS)).ravel().tolist()
SITE: dict[str, Any] = {"largest": 1 << 20, "arena_bytes": 1 << 24}


def mark_of(fd: int) -> int:
    with socket.socket(fileno=os.dup(fd)) as sock:
        return sock.getsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT)


def mark(one: Site) -> int:
    """Ask the kernel for the mark of the server's end of the only connection."""
    (connection,) = one.connections
    return mark_of(connection._socket.fd)  # noqa: SLF001 - nothing else names the socket


@on_both_loops
async def test_a_body_in_pieces_is_awaited_with_a_mark_that_is_gone_after_it() -> None:
    async with site(**SITE) as one:
        one.serve()
        client = await one.client()
        for cut in (1000, 300_000, 500_000):
            client.writer.write(LARGE[:cut])
            await until(lambda: mark(one) > 1)
            client.writer.write(LARGE[cut:])
            assert (await client.answer()).y == LARGE_Y
            assert mark(one) == 1
            assert (await client.ask(ask(numbers(2)))).y == y_of(numbers(2)).ravel().tolist()


@on_both_loops
async def test_large_and_small_bodies_take_turns() -> None:
    async with site(**SITE) as one:
        one.serve()
        client = await one.client()
        small = ask(numbers(2))
        client.writer.write(small + LARGE + LARGE + small + small + LARGE)
        found = [await client.answer() for _ in range(6)]
        assert [len(answer.y) for answer in found] == [2, 2 * ROWS, 2 * ROWS, 2, 2, 2 * ROWS]


@on_both_loops
async def test_a_client_that_leaves_below_the_mark_leaves_nothing() -> None:
    async with site(**SITE) as one:
        one.serve()
        client = await one.client()
        client.writer.write(LARGE[:1000])
        await until(lambda: mark(one) > 1)
        client.writer.write(LARGE[1000:50_000])
        client.writer.close()
        await one.at_rest()


@on_both_loops
async def test_a_body_that_stalls_below_the_mark_is_late_and_counted() -> None:
    async with site(body_timeout_s=0.3, **SITE) as one:
        one.serve()
        client = await one.client()
        client.writer.write(LARGE[:1000])
        await until(lambda: mark(one) > 1)
        client.writer.write(LARGE[1000:50_000])
        found = await client.answer()
        assert found.status == 408
        came = 50_000 - (LARGE.index(b"\r\n\r\n") + 4)
        assert f"; {came} bytes did" in found.error
        assert one.bench.lent == 0


@pytest.mark.parametrize(
    ("missing", "marks"),
    [
        ([1, 1000, 0], [1, 1, 1]),
        ([100_000, 40, 0], [100_000, 40, 1]),
        ([1 << 30, 500_000, 200_000, 7, 0, 5], [1 << 18, 1 << 18, 200_000, 7, 1, 1]),
    ],
)
def test_the_mark_is_never_above_what_is_missing(missing: list[int], marks: list[int]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        with socket.create_connection(listener.getsockname()) as sock:
            low_water, found = LowWater(sock), []
            for count in missing:
                low_water.expect(count)
                found.append(mark_of(sock.fileno()))
        assert found == marks
        low_water.expect(100_000)  # closed meanwhile: nothing to be done


def test_without_a_socket_there_is_no_mark() -> None:
    LowWater(None).expect(100_000)
