"""The body: from the socket into a slot of the arena.

Owns the limits that hold while a body arrives: size, time, decompression. A slot is taken when the
first bytes are there and is given back unless the caller takes it. Never decodes what it reads.
Runs on the supervisor's event loop.
"""

from __future__ import annotations

import asyncio
import zlib
from dataclasses import dataclass
from functools import lru_cache
from typing import Final, Self

from aiohttp import web
from multidict import CIMultiDictProxy

from gpu_worker.ipc.arena import RequestArena
from gpu_worker.ipc.slots import Slot
from gpu_worker.ipc.tensors import align
from supervisor.errors import BadRequest, BodyTimeout, Overloaded, TooLarge, UnsupportedEncoding
from supervisor.http.codec.decoded import HEADER_LENGTH
from supervisor.kept.clients import KeptBody
from supervisor.kept.slot import KeptSlot

_CHUNK: Final = 1 << 16  # decompressed bytes per step


@dataclass(slots=True)
class Body:
    """A body that has arrived: `length` bytes at `at` in the payload of `slot`.

    The slot is the body's until somebody takes it.
    """

    arena: RequestArena
    slot: Slot | None
    at: int
    length: int

    def view(self) -> memoryview:
        """View the bytes."""
        assert self.slot is not None
        return self.arena.payload(self.slot)[self.at : self.at + self.length]

    def take(self) -> Slot:
        """Hand the slot over; whoever takes it sees to it that it goes home."""
        assert self.slot is not None
        slot, self.slot = self.slot, None
        return slot

    def keep(self, missing: int) -> KeptBody:
        """Give what another program needs to go on with it; `missing` bytes have not arrived."""
        assert self.slot is not None
        return KeptBody(KeptSlot.of(self.slot), self.at, self.length, missing)

    @classmethod
    def take_up(cls, arena: RequestArena, kept: KeptBody) -> Self:
        """Go on with what another program has begun.

        Raises:
            ValueError: the slot is not there, or lent to somebody else.

        """
        return cls(arena, kept.slot.take_again(arena.slots), kept.at, kept.length)

    def drop(self) -> None:
        """Give the slot back, if it is still the body's."""
        if self.slot is not None:
            self.arena.slots.give_back(self.take())


@lru_cache(maxsize=512)
def start_of(table_bytes: int, json_length: int) -> int:
    """Say where a body begins, so that binary data behind its JSON starts on a cache line."""
    return align(table_bytes + json_length) - json_length


def declared_length(headers: CIMultiDictProxy[str], limit: int) -> int | None:
    """Check the declared length before anything is read; None when it is not declared.

    Raises:
        TooLarge: it exceeds the limit.

    """
    text = headers.get("Content-Length")
    if text is None:
        return None
    length = int(text)  # aiohttp has refused anything but digits
    if length > limit:
        raise TooLarge(f"the body has {length} bytes, at most {limit} are taken (max_request_mb)")
    return length


def header_length(headers: CIMultiDictProxy[str]) -> int | None:
    """Read the length of the JSON that comes before binary data; None when there is none.

    Raises:
        BadRequest: it is not a number.

    """
    text = headers.get(HEADER_LENGTH)
    if text is None:
        return None
    if not (text.isascii() and text.isdecimal() and len(text) <= 12):
        raise BadRequest(f"{HEADER_LENGTH} must be a number of bytes, not {text[:40]!r}")
    return int(text)


class BodyReader:
    """Reads one request's body into the arena."""

    def __init__(self, arena: RequestArena, limit: int, timeout_s: float) -> None:
        self.arena = arena
        self.limit = limit
        self._timeout_s = timeout_s

    async def read(self, request: web.BaseRequest, table_bytes: int) -> Body:
        """Read the body. The slot's payload leaves `table_bytes` free in front of it.

        Binary data is made to start on a cache line, where its place is known beforehand.

        Raises:
            TooLarge, BodyTimeout, UnsupportedEncoding, Overloaded, BadRequest: as they say.

        """
        length = declared_length(request.headers, self.limit)
        json_length = header_length(request.headers) or 0
        encoding = request.headers.get("Content-Encoding", "identity").lower()
        inflate = _decompressor(encoding)
        start = start_of(table_bytes, json_length)
        filling = _Filling(self.arena, start, length if inflate is None else None, self.limit)
        await _continue(request)
        try:
            async with asyncio.timeout(self._timeout_s):
                while chunk := await request.content.readany():
                    if inflate is None:
                        filling.add(chunk)
                    else:
                        await _inflate(inflate, chunk, filling)
        except TimeoutError:
            filling.drop()
            raise BodyTimeout(
                f"the body did not arrive within {self._timeout_s:g} s (body_timeout_ms); "
                f"{filling.length} bytes did"
            ) from None
        except BaseException:
            filling.drop()
            raise
        if inflate is not None and not inflate.eof:
            filling.drop()
            raise BadRequest(f"the body ends in the middle of its {encoding} encoding")
        if filling.slot is None:
            raise BadRequest("the body is empty")
        return Body(self.arena, filling.slot, start, filling.length)


async def _continue(request: web.BaseRequest) -> None:
    """Tell a client that waits for it to send its body, now that nothing speaks against it."""
    if request.headers.get("Expect", "").lower() == "100-continue":
        await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        request.writer.output_size = 0


class _Filling:
    """A slot that is being filled; it moves to a larger one where the length was not declared."""

    def __init__(self, arena: RequestArena, start: int, expected: int | None, limit: int) -> None:
        self.slot: Slot | None = None
        self.length = 0
        self._arena = arena
        self._start = start
        self._expected = expected
        self._limit = limit
        self._payload = memoryview(b"")

    def add(self, chunk: bytes) -> None:
        """Append bytes."""
        end = self._start + self.length + len(chunk)
        if self.length + len(chunk) > self._limit:
            raise TooLarge(
                f"the body is larger than {self._limit} bytes (max_request_mb, decompressed)"
            )
        if self.slot is None or end > self.slot.capacity:
            self._grow(max(end, self._start + (self._expected or 0)))
        self._payload[end - len(chunk) : end] = chunk
        self.length += len(chunk)

    def _grow(self, payload: int) -> None:
        old, old_payload = self.slot, self._payload
        slot = self._arena.slots.take(payload)
        if slot is None:
            raise Overloaded("the request arena is full (arena_mb); try again later")
        self.slot, self._payload = slot, self._arena.payload(slot)
        if old is not None:
            used = self._start + self.length
            self._payload[:used] = old_payload[:used]
            self._arena.slots.give_back(old)

    def drop(self) -> None:
        """Give the slot back."""
        if self.slot is not None:
            self._arena.slots.give_back(self.slot)
            self.slot = None


def _decompressor(encoding: str) -> zlib._Decompress | None:
    if encoding in ("", "identity"):
        return None
    if encoding == "gzip":
        return zlib.decompressobj(wbits=31)
    if encoding == "deflate":
        return zlib.decompressobj()
    raise UnsupportedEncoding(
        f"Content-Encoding {encoding[:40]!r} is not read here; use gzip, deflate or none"
    )


async def _inflate(inflate: zlib._Decompress, chunk: bytes, filling: _Filling) -> None:
    """Decompress in small steps: a bomb is stopped at the limit, and holds nobody up meanwhile."""
    data = chunk
    while not inflate.eof:
        try:
            piece = inflate.decompress(data, _CHUNK)
        except zlib.error as error:
            raise BadRequest(f"the body's Content-Encoding is broken: {error}") from error
        data = inflate.unconsumed_tail
        if piece:
            filling.add(piece)
            await asyncio.sleep(0)
        elif not data:
            break
    if inflate.eof and (inflate.unused_data or data):
        raise BadRequest("the body goes on behind the end of its Content-Encoding")
