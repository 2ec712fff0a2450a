"""What stands in for the compiled wire where there is none: the same fields, and nothing done.

Runs on the event loop of every front.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from supervisor.access.caller import Caller
    from supervisor.dispatch.dispatcher import Dispatcher
    from supervisor.dispatch.lane import Lane
    from supervisor.dispatch.request import InferRequest, Reply
    from supervisor.http.body import Body
    from supervisor.http.client import Client
    from supervisor.http.codec.plan import InferPlan
    from supervisor.http.detour import Detour
    from supervisor.http.direct_socket import DirectSocket
    from supervisor.http.front import Front
    from supervisor.http.head_watch import HeadWatch
    from supervisor.http.heads import Head
    from supervisor.http.movable_exchange import MovableExchange


class ExchangeState:
    """What an exchange is in the middle of; `Exchange` gives the fields their meaning."""

    busy: bool
    filling: memoryview | None
    reply: Reply
    _front: Front
    _client: Client
    _body: Body | None
    _head: Head
    _dispatcher: Dispatcher | None
    _plan: InferPlan | None
    _request: InferRequest | None
    _task: asyncio.Task[None] | None
    _begun_ns: int


class Wire:
    """A connection, as far as plain requests are concerned; `Connection` knows the fields."""

    caller: Caller
    _front: Front
    _exchange: MovableExchange
    _detour: Detour
    _head_watch: HeadWatch
    _transport: asyncio.Transport
    _socket: DirectSocket
    _scratch: memoryview
    _held: bytes
    _raw_head: bytes
    _direct: bool
    _elsewhere: bool
    _reading: bool
    _paused: bool
    _choked: bool
    _leaving: bool
    _requests: int
    _seen_ns: int
    _active_ns: int

    def get_buffer(self, sizehint: int) -> memoryview:
        """Say where the next bytes go: into the slot of a body, else into the shared buffer."""
        del sizehint
        filling = self._exchange.filling
        return self._scratch if filling is None else filling

    def buffer_updated(self, nbytes: int) -> None:
        """Take the bytes that came."""
        self.take(nbytes)

    def learn(self, lane: Lane, start: int) -> None:
        """Learn what a request that has just been queued has in common with others like it."""

    def use(self, express: object) -> None:
        """Have plain requests taken by compiled code, which there is none of."""

    def take(self, nbytes: int) -> None:
        """Take bytes that came."""
        raise NotImplementedError
