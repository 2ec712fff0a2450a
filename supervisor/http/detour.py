"""The detour: the slow path of one connection, opened when it is first needed.

Owns what of a body still goes there, and whether everything does. Runs on the event loop of every
front.
"""

from __future__ import annotations

import asyncio

from supervisor.access.caller import Caller
from supervisor.http.front import Front, SlowPath
from supervisor.http.heads import LAST, UNKNOWN, Head


class Detour:
    """The way of one connection to its slow path."""

    def __init__(self, front: Front) -> None:
        self._front = front
        self.forward = 0  # bytes of a body that still go there
        self.slow_path: SlowPath | None = None  # there is none until something goes there

    @property
    def idle(self) -> bool:
        """Say whether it waits for the next request."""
        return not self.forward and self.quiet

    @property
    def quiet(self) -> bool:
        """Say whether it has answered what it was given, whatever is still to come."""
        return self.slow_path is None or self.slow_path.idle

    @property
    def begun(self) -> int:
        """Count the requests that it has begun to answer."""
        return 0 if self.slow_path is None else self.slow_path.begun

    def begin(
        self, transport: asyncio.BaseTransport, caller: Caller, head: Head, data: bytes, length: int
    ) -> bytes:
        """Give it the first of `length` bytes of a request; gives the bytes behind them."""
        self._enter(transport, caller).begin(head)
        self.forward = length
        return self.pass_on(data)

    def begin_for_good(self, transport: asyncio.BaseTransport, caller: Caller, data: bytes) -> None:
        """Give it all that comes from now on."""
        slow_path = self._enter(transport, caller)
        slow_path.begin(UNKNOWN)
        slow_path.data_received(data)

    def _enter(self, transport: asyncio.BaseTransport, caller: Caller) -> SlowPath:
        if self.slow_path is None:
            assert self._front.slow_path is not None
            self.slow_path = self._front.slow_path(caller)
            self.slow_path.connection_made(transport)
        return self.slow_path

    def pass_on(self, data: bytes) -> bytes:
        """Give it the next bytes of a body; gives the bytes behind it."""
        assert self.slow_path is not None
        length, self.forward = self.forward, max(self.forward - len(data), 0)
        self.slow_path.data_received(data[:length])
        return data[length:]

    def pass_all(self, data: bytes) -> None:
        """Give it bytes, if there is one."""
        if self.slow_path is not None:
            self.slow_path.data_received(data)

    def end_after_this(self) -> None:
        """Have it end the connection with its next answer."""
        if self.slow_path is not None:
            self.slow_path.begin(LAST)

    def pause_writing(self) -> None:
        """Have it stop writing."""
        if self.slow_path is not None:
            self.slow_path.pause_writing()

    def resume_writing(self) -> None:
        """Have it go on writing."""
        if self.slow_path is not None:
            self.slow_path.resume_writing()

    def connection_lost(self, error: BaseException | None) -> None:
        """Tell it that the client has gone."""
        if self.slow_path is not None:
            self.slow_path.connection_lost(error)
