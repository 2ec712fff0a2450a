"""Movable: what a connection does so that another program can go on with it.

Owns how its client is held, sent away or handed over. A part of `Connection`, whose state it uses.
Runs on the event loop of every front.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from supervisor.access.caller import Caller
from supervisor.dispatch.request import InferRequest
from supervisor.http.detour import Detour
from supervisor.http.direct_socket import DirectSocket
from supervisor.http.front import Front
from supervisor.http.movable_exchange import MovableExchange
from supervisor.kept.clients import KeptClient, KeptExchange


class Movable:
    """A connection, as it is moved from one program to the next."""

    caller: Caller
    _front: Front
    _transport: asyncio.Transport
    _socket: DirectSocket
    _exchange: MovableExchange
    _detour: Detour
    _direct: bool
    _elsewhere: bool
    _leaving: bool
    _paused: bool
    _reading: bool
    _active_ns: int
    _requests: int
    _held: bytes
    _raw_head: bytes

    def _go_on(self) -> None:
        """Take up what was held; the connection knows how."""
        raise NotImplementedError

    def hold(self) -> None:
        """Take nothing up, for now: the kernel keeps what comes, but for what is elsewhere."""
        if not self.stays and self._detour.idle and not self._paused:
            self._paused = True
            self._transport.pause_reading()

    def go_on(self) -> None:
        """Take up what was held."""
        if not self._exchange.busy and not self._reading:
            self._go_on()
        elif self._paused and not self._held:
            self._paused = False
            self._transport.resume_reading()

    def leave(self) -> None:
        """End with the answer to the next request."""
        self._leaving = True
        self._detour.end_after_this()

    @property
    def stays(self) -> bool:
        """Say whether no other program can ever take it over: it has to leave."""
        passed_on = not self._direct and not self.caller.operator  # a further front has its client
        return self._elsewhere or passed_on or self._socket.fd < 0

    def chokes(self, *, since_ns: int) -> bool:
        """Say whether the client has not read its answers since `since_ns`."""
        return self._active_ns < since_ns and self._transport.get_write_buffer_size() > 0

    @property
    def movable(self) -> bool:
        """Say whether another program can take it over as it is."""
        return (
            not self.stays
            and self._detour.idle
            and self._exchange.movable
            and not self._transport.get_write_buffer_size()
        )

    def keep(self) -> KeptClient:
        """Give what another program needs to go on with it, if it is movable."""
        self._socket.expect(0)  # it would not know of a mark
        known = self._socket.fd, self.caller.operator, self._requests, self._held
        return KeptClient(*known, self._exchange.keep(self._raw_head))

    def take_up(self, kept: KeptExchange, requests: Mapping[int, InferRequest]) -> None:
        """Go on with what another program has begun; `requests` by their ids."""
        self._raw_head = kept.head
        self._held = self._exchange.take_up(kept, requests, self._held)
