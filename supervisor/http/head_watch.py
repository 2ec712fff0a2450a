"""The head watch: whether a head of one connection that has begun ends in time.

Owns when it began, in terms of what the slow path had begun by then: of heads that go there only
the slow path can tell whether they have ended. Runs on the event loop of every front.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from supervisor.errors import HeadTimeout
from supervisor.http.detour import Detour
from supervisor.http.front import Front

if TYPE_CHECKING:
    from supervisor.http.connection import Connection


class HeadWatch:
    """Watches the heads of one connection, one after the other."""

    def __init__(self, front: Front, connection: Connection, detour: Detour) -> None:
        self._front = front
        self._connection = connection
        self._detour = detour
        self.watching = False  # a head has begun and not ended
        self._begun_before = 0  # requests that the slow path had begun by then

    def head_began(self) -> None:
        """Take note that a head has begun, which may take its time."""
        begun = self._detour.begun
        if not self.watching or self._begun_before != begun:
            self.watching, self._begun_before = True, begun
            timeout_ns = int(self._front.limits.head_timeout_s * 1_000_000_000)
            self._front.late_heads.watch(self._connection, time.monotonic_ns() + timeout_ns)

    def bytes_went_elsewhere(self) -> None:
        """Take it for the beginning of a head, unless a request has begun that they belong to."""
        if self._detour.quiet or not self._detour.begun:
            self.head_began()

    def head_ended(self) -> None:
        """Take note that a head has arrived."""
        if self.watching:
            self.watching = False
            self._front.late_heads.forget(self._connection)

    def time_is_up(self, *, elsewhere: bool) -> HeadTimeout | None:
        """Give the error if the head has not ended; `elsewhere`: all bytes go the slow path."""
        self.watching, before = False, self._begun_before
        if self._front.holding:
            self.head_began()  # the rest may be there, and is not read
            return None
        detour = self._detour
        if elsewhere and not (
            detour.slow_path is not None and detour.begun == before and detour.quiet
        ):
            return None  # it has ended
        if not elsewhere and not detour.idle:
            self.head_began()  # another's answer is under way, nobody else may write
            return None
        limit_s = self._front.limits.head_timeout_s
        return HeadTimeout(f"the head did not arrive within {limit_s:g} s (head_timeout_ms)")
