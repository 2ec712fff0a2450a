"""A client that posts one body over and over, in whatever way it is told to.

Owns its connection, in a thread of its own. Counts answers, and keeps what was not a 200. Runs in
pytest's process.
"""

from __future__ import annotations

import asyncio
import ssl
import threading
import time
from collections.abc import AsyncIterator
from typing import Self

import aiohttp


class Posts:
    """`with Posts(url, body) as posts:` keeps one request under way, on a kept connection."""

    def __init__(
        self,
        url: str,
        body: bytes,
        *,
        chunked: bool = False,
        context: ssl.SSLContext | None = None,
    ) -> None:
        self.answers = 0
        self.failures: list[str] = []
        self._url = url
        self._body = body
        self._chunked = chunked
        self._context = context
        self._stop = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()), daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(90)
        assert not self._thread.is_alive(), "a request was never answered"

    def wait_answers(self, more: int, timeout_s: float = 60.0) -> None:
        """Wait until so many more answers have come, or something went wrong."""
        goal, deadline = self.answers + more, time.monotonic() + timeout_s
        while self.answers < goal and not self.failures:
            assert time.monotonic() < deadline, f"{more} answers did not come in {timeout_s:g} s"
            time.sleep(0.01)

    async def _pieces(self) -> AsyncIterator[bytes]:
        half = len(self._body) // 2
        yield self._body[:half]
        yield self._body[half:]

    async def _run(self) -> None:
        timeout = aiohttp.ClientTimeout(total=60)
        connector = aiohttp.TCPConnector(ssl=self._context or True)
        async with aiohttp.ClientSession(timeout=timeout, connector=connector) as session:
            while not self._stop.is_set():
                try:
                    data = self._pieces() if self._chunked else self._body
                    async with session.post(self._url, data=data) as response:
                        said = await response.read()
                except (aiohttp.ClientError, TimeoutError) as error:
                    self.failures.append(f"{type(error).__name__}: {error}")
                    return
                if response.status == 200:
                    self.answers += 1
                else:
                    self.failures.append(f"{response.status}: {said[:300]!r}")
