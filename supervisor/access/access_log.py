"""The access log: one JSON line for each request, written in batches.

Owns the file and the lines that wait for it. Never makes a request wait: the writing is done in a
thread, and while the storage hangs, lines are dropped and counted. Several processes may append to
one file. Runs in each process that takes requests.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from typing import Final

import orjson
import structlog

from supervisor.access.caller import Caller
from supervisor.errors import SettingsError

log = structlog.get_logger()

GONE: Final = 499  # the status that is logged when a client goes before its answer, as nginx does
_STANDARD_OUTPUT: Final = "-"
_EVERY_S: Final = 0.2
_MOST_WAITING: Final = 50_000  # lines, some 10 MB


class AccessLog:
    """Appends to one file; "-" is the standard output."""

    def __init__(self, path: str) -> None:
        """Open it.

        Raises:
            SettingsError: it cannot be opened.

        """
        self._path = path
        self._loop = asyncio.get_running_loop()
        self._lines: list[bytes] = []
        self._dropped = 0
        self._closed = False
        self._timer: asyncio.TimerHandle | None = None
        self._writing: asyncio.Task[None] | None = None
        self._file = asyncio.Lock()  # held by who uses the descriptor
        self._second, self._date = 0, ""
        try:
            self._fd = self._open()
        except OSError as error:
            raise SettingsError(
                f"access_log = {path!r}: cannot be opened: {error.strerror}"
            ) from error

    def _open(self) -> int:
        if self._path == _STANDARD_OUTPUT:
            return os.dup(1)
        return os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o640)

    def add(
        self,
        caller: Caller,
        call: str,
        status: int,
        begun_ns: int,
        *,
        model: str = "",
        version: str = "",
        received: int = 0,
        sent: int = 0,
    ) -> None:
        """Note a request that has been answered.

        `begun_ns` is when its head had come (CLOCK_MONOTONIC); `received` and `sent` are the bytes
        of the bodies.
        """
        if self._closed or len(self._lines) >= _MOST_WAITING:
            self._dropped += 1
            return
        now = time.time()
        second = int(now)
        if second != self._second:
            self._second = second
            self._date = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second))
        line = {
            "time": f"{self._date}.{int((now - second) * 1000):03}Z",
            "client": caller.address or ("unix" if caller.operator else "unknown"),
            "call": call,
            "model": model,
            "version": version,
            "status": status,
            "ms": round((time.monotonic_ns() - begun_ns) / 1_000_000, 3),
            "received": received,
            "sent": sent,
        }
        try:
            self._lines.append(orjson.dumps(line, option=orjson.OPT_APPEND_NEWLINE))
        except orjson.JSONEncodeError:  # a path may hold bytes that are no text
            line |= {"call": ascii(call), "model": ascii(model)}
            self._lines.append(orjson.dumps(line, option=orjson.OPT_APPEND_NEWLINE))
        if self._timer is None:
            self._timer = self._loop.call_later(_EVERY_S, self._flush)

    def _flush(self) -> None:
        self._timer = None
        if self._writing is None or self._writing.done():
            self._writing = self._loop.create_task(self._write())
        else:  # the storage is slow
            self._timer = self._loop.call_later(_EVERY_S, self._flush)

    async def _write(self) -> None:
        async with self._file:
            lines, self._lines = self._lines, []
            dropped, self._dropped = self._dropped, 0
            try:
                await asyncio.to_thread(_write_all, self._fd, b"".join(lines))
            except OSError as error:
                log.warning("lines of the access log are lost", reason=error.strerror)
        if dropped:
            log.warning("lines of the access log were dropped, its storage hung", lines=dropped)

    async def reopen(self) -> None:
        """Open the file anew: what was written may have been moved away."""
        async with self._file:
            try:
                fd = await asyncio.to_thread(self._open)
            except OSError as error:
                log.error("the access log stays in its old file", reason=error.strerror)
                return
            self._fd, old = fd, self._fd
            with contextlib.suppress(OSError):
                os.close(old)

    @property
    def settled(self) -> bool:
        """Say whether nothing is being written at the moment."""
        return self._writing is None or self._writing.done()

    def waiting(self) -> bytes:
        """Give the lines that have not been written."""
        return b"".join(self._lines)

    def take_up(self, lines: bytes) -> None:
        """Write lines that another program has left."""
        if lines:
            self._lines.insert(0, lines)
            self._flush()

    async def close(self) -> None:
        """Write what waits."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        await self._write()
        self._closed = True


def _write_all(fd: int, data: bytes) -> None:
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(fd, rest) :]
