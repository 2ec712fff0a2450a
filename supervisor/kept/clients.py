"""What is kept of a client: its socket, what it has sent, and the request that waits for an answer.

Owns the fields. Pure. Written and read by the supervisor at an upgrade in place.
"""

from __future__ import annotations

from dataclasses import dataclass

from supervisor.kept.slot import KeptSlot


@dataclass(frozen=True, slots=True)
class KeptBody:
    """A body that is still arriving: `missing` of `length` bytes, at `at` of a slot's payload."""

    slot: KeptSlot
    at: int
    length: int
    missing: int


@dataclass(frozen=True, slots=True)
class KeptQuestion:
    """A request that waits for its answer, by its id, and the form in which it is answered."""

    request: int
    request_id: str  # the client's own
    outputs: list[tuple[int, bool]]  # of `OutputWish`


@dataclass(frozen=True, slots=True)
class KeptExchange:
    """An exchange under way. `head` are the bytes that it began with, at `begun_ns`."""

    head: bytes
    begun_ns: int
    body: KeptBody | None = None
    question: KeptQuestion | None = None


@dataclass(frozen=True, slots=True)
class KeptClient:
    """One connection. `held` are bytes that were read and not yet used."""

    socket: int
    operator: bool
    requests: int
    held: bytes
    exchange: KeptExchange | None
