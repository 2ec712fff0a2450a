"""One kept HTTP connection that sends a prebuilt request and reads what an answer says of itself.

Owns the socket's protocol and nothing of timing or order. Answers of one version have the same
head, byte by byte, for a second at least: heads are parsed once and looked up from then on, which
keeps a request at a few microseconds. Runs in the load generator's process.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, cast

_MOST_HEADS: Final = 1000


@dataclass(frozen=True, slots=True)
class Head:
    """The head of an answer; header names in lower case."""

    status: int
    length: int
    headers: dict[str, str]

    @property
    def version(self) -> str:
        """Name the version that answered."""
        return self.headers.get("x-model-version", "")


def parse_head(data: bytes) -> Head:
    """Parse the head of an HTTP/1.1 answer.

    Raises:
        ValueError: it is none, or it does not tell the body's length.

    """
    first, *lines = data.decode("latin-1").split("\r\n")
    headers = {}
    for line in lines:
        name, _, value = line.partition(":")
        headers[name.strip().lower()] = value.strip()
    if "content-length" not in headers:
        raise ValueError(f"an answer without Content-Length: {first}")
    return Head(int(first.split(" ")[1]), int(headers["content-length"]), headers)


class Connection(asyncio.Protocol):
    """One connection; `answered` is called for each answer, `lost` when it has gone."""

    __slots__ = (
        "_answered", "_head", "_heads", "_lost", "_missing", "_parts", "_request", "_transport",
        "keep", "started",
    )  # fmt: skip

    def __init__(
        self,
        request: bytes,
        heads: dict[bytes, Head],
        answered: Callable[[Connection, Head, bytes], None],
        lost: Callable[[Connection], None],
    ) -> None:
        self.started = 0.0  # when the request under way was meant to start; 0: none is
        self.keep = False  # whether the answer's body is wanted
        self._request = request
        self._heads = heads
        self._answered = answered
        self._lost = lost
        self._transport: asyncio.Transport | None = None
        self._head: Head | None = None
        self._missing = 0
        self._parts: list[bytes] = []

    def send(self, started: float) -> None:
        """Send the request; its latency counts from `started`."""
        assert self._transport is not None
        self.started = started
        self._transport.write(self._request)

    def close(self) -> None:
        """Close without a word."""
        self.started = 0.0
        if self._transport is not None:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self._transport = cast("asyncio.Transport", transport)

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell the owner."""
        del exc
        self._lost(self)

    def data_received(self, data: bytes) -> None:
        """Read a head and then count the body's bytes."""
        if self._head is None:
            if self._parts:
                data = b"".join([*self._parts, data])
                self._parts.clear()
            end = data.find(b"\r\n\r\n")
            if end < 0:
                self._parts.append(data)
                return
            self._head = self._parse(data[:end])
            self._missing = self._head.length
            data = data[end + 4 :]
        self._missing -= len(data)
        if self.keep or self._head.status != 200:
            self._parts.append(data)
        if self._missing > 0:
            return
        head, body = self._head, b"".join(self._parts)
        self._head = None
        self._parts.clear()
        self._answered(self, head, body)

    def _parse(self, data: bytes) -> Head:
        head = self._heads.get(data)
        if head is None:
            if len(self._heads) >= _MOST_HEADS:
                self._heads.clear()
            head = self._heads[data] = parse_head(data)
        return head
