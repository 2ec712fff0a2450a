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
        self._forward = 0  # bytes of a body that still go there
        self._slow_path: SlowPath | None = None

    @property
    def under_way(self) -> bool:
        """Say whether the next bytes belong to a body that goes there."""
        return bool(self._forward)

    @property
    def open(self) -> bool:
        """Say whether anything has gone there yet."""
        return self._slow_path is not None

    @property
    def idle(self) -> bool:
        """Say whether it waits for the next request."""
        return not self._forward and self.quiet

    @property
    def quiet(self) -> bool:
        """Say whether it has answered what it was given, whatever is still to come."""
        return self._slow_path is None or self._slow_path.idle

    @property
    def begun(self) -> int:
        """Count the requests that it has begun to answer."""
        return 0 if self._slow_path is None else self._slow_path.begun

    def begin(
        self, transport: asyncio.BaseTransport, caller: Caller, head: Head, data: bytes, length: int
    ) -> bytes:
        """Give it the first of `length` bytes of a request; gives the bytes behind them."""
        self._enter(transport, caller).begin(head)
        self._forward = length
        return self.pass_on(data)

    def begin_for_good(self, transport: asyncio.BaseTransport, caller: Caller, data: bytes) -> None:
        """Give it all that comes from now on."""
        slow_path = self._enter(transport, caller)
        slow_path.begin(UNKNOWN)
        slow_path.data_received(data)

    def _enter(self, transport: asyncio.BaseTransport, caller: Caller) -> SlowPath:
        if self._slow_path is None:
            assert self._front.slow_path is not None
            self._slow_path = self._front.slow_path(caller)
            self._slow_path.connection_made(transport)
        return self._slow_path

    def pass_on(self, data: bytes) -> bytes:
        """Give it the next bytes of a body; gives the bytes behind it."""
        assert self._slow_path is not None
        length, self._forward = self._forward, max(self._forward - len(data), 0)
        self._slow_path.data_received(data[:length])
        return data[length:]

    def pass_all(self, data: bytes) -> None:
        """Give it bytes, if there is one."""
        if self._slow_path is not None:
            self._slow_path.data_received(data)

    def end_after_this(self) -> None:
        """Have it end the connection with its next answer."""
        if self._slow_path is not None:
            self._slow_path.begin(LAST)

    def pause_writing(self) -> None:
        """Have it stop writing."""
        if self._slow_path is not None:
            self._slow_path.pause_writing()

    def resume_writing(self) -> None:
        """Have it go on writing."""
        if self._slow_path is not None:
            self._slow_path.resume_writing()

    def connection_lost(self, error: BaseException | None) -> None:
        """Tell it that the client has gone."""
        if self._slow_path is not None:
            self._slow_path.connection_lost(error)
