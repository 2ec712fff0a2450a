"""The client of an exchange: whom it reads from and answers.

Owns the words only. Runs on the event loop of every front.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from supervisor.access.caller import Caller
from supervisor.dispatch.lane import Lane


class Client(Protocol):
    """Whom an exchange answers."""

    def receive(self, into: memoryview) -> int:
        """Read what has arrived already; gives how much, 0 for nothing."""

    def expect(self, missing: int) -> None:
        """Take note of how many bytes of a body are still to come."""

    @property
    def caller(self) -> Caller:
        """Say who it is."""

    def learn(self, lane: Lane, start: int) -> None:
        """Learn from a request that was queued, whose body begins at `start` of its payload."""

    def send(self, parts: Sequence[Any], *, close: bool) -> None:
        """Write an answer; the exchange is over."""
