"""The listener: nobody whom the kernel has told "connected" is left unheard when it closes."""

from __future__ import annotations

import asyncio
import socket
from typing import cast

import pytest

from supervisor.access.guard import Guard
from supervisor.http.listener import Listener
from supervisor.http.listening_sockets import listen, port_of
from supervisor.settings import Settings
from tests.unit.supervisor.http.loops import on_both_loops, until


class Greeter(asyncio.Protocol):
    """Says hello to whoever comes."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        its = cast("asyncio.Transport", transport)
        its.write(b"hello")
        its.close()


def greeter() -> Listener:
    return Listener(Guard(Settings()), 10.0, Greeter)


async def listening() -> tuple[Listener, int]:
    (sockets,) = listen("127.0.0.1", 0, 1)
    listener, port = greeter(), port_of(sockets)
    await listener.accept_from(sockets, ours=True)
    return listener, port


def connect(port: int) -> socket.socket:
    """Connect without the loop: the kernel puts it into the listener's queue."""
    return socket.create_connection(("127.0.0.1", port), timeout=5)


async def greeting(one: socket.socket) -> bytes:
    one.setblocking(False)
    with one:
        async with asyncio.timeout(10):
            return await asyncio.get_running_loop().sock_recv(one, 10)


@on_both_loops
async def test_who_waits_in_the_queue_at_the_close_is_heard() -> None:
    listener, port = await listening()
    queued = [connect(port) for _ in range(50)]
    await listener.close()
    for one in queued:
        assert await greeting(one) == b"hello"
    with pytest.raises(ConnectionRefusedError):
        connect(port)


@on_both_loops
async def test_who_comes_after_the_last_accept_is_not_let_in() -> None:
    """The kernel overlooks them: no connection that would be reset."""
    listener, port = await listening()
    closing = asyncio.create_task(listener.close())
    await asyncio.sleep(0)  # the filter stands, the sockets are open
    with socket.socket() as client:
        client.setblocking(False)
        assert client.connect_ex(("127.0.0.1", port)) != 0
        await closing
        assert client.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == 0
        with pytest.raises(OSError, match="not connected"):
            client.getpeername()


@on_both_loops
async def test_the_queue_of_a_socket_of_systemds_stays_for_the_next_server() -> None:
    with socket.create_server(("127.0.0.1", 0)) as held:  # systemd's copy
        port = held.getsockname()[1]
        first = greeter()
        copy = socket.socket(fileno=held.dup().detach())
        await first.accept_from([copy], ours=False)
        assert await greeting(connect(port)) == b"hello"
        await first.close()
        waits = connect(port)
        second = greeter()
        await second.accept_from([socket.socket(fileno=held.dup().detach())], ours=False)
        assert await greeting(waits) == b"hello"
        await second.close()


@on_both_loops
async def test_several_sockets_are_served() -> None:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(2)]
    ports = [one.getsockname()[1] for one in sockets]
    listener = greeter()
    await listener.accept_from(sockets, ours=False)
    for port in ports:
        assert await greeting(connect(port)) == b"hello"
    await listener.close()
    await until(lambda: all(one.fileno() == -1 for one in sockets))
