"""The stand-in serves whom no front serves."""

from __future__ import annotations

import asyncio
import socket

from supervisor.fronts.stand_in import StandIn
from supervisor.http.listening_sockets import listen
from tests.unit.supervisor.http.loops import on_both_loops, until


@on_both_loops
async def test_who_connects_meanwhile_is_served_and_later_it_is_left_to_the_front() -> None:
    ((listener,),) = listen("127.0.0.1", 0, 1)
    served: list[socket.socket] = []
    stand_in = StandIn(served.append)
    stand_in.begin([listener])
    stand_in.begin([listener])
    clients = [socket.create_connection(listener.getsockname()) for _ in range(3)]
    await until(lambda: len(served) == 3)
    assert not any(one.getblocking() for one in served)
    assert {one.getpeername() for one in served} == {one.getsockname() for one in clients}
    stand_in.end([listener])
    clients.append(socket.create_connection(listener.getsockname()))
    for _ in range(3):
        await asyncio.sleep(0)
    assert len(served) == 3
    accepted, _ = listener.accept()
    for one in (accepted, listener, *clients, *served):
        one.close()
