"""A client that posts one body over and over, in whatever way it is told to.

Owns its connection, in a thread of its own. Counts answers, and keeps what was not a 200. Runs in
pytest's process.
"""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator

import aiohttp

from tests.background import Background


class Posts(Background):
    """`with Posts(url, body) as posts:` keeps one request under way, on a kept connection."""

    def __init__(
        self,
        url: str,
        body: bytes,
        *,
        chunked: bool = False,
        context: ssl.SSLContext | None = None,
    ) -> None:
        super().__init__()
        self.answers = 0
        self.failures: list[str] = []
        self._url = url
        self._body = body
        self._chunked = chunked
        self._context = context

    def _progress(self) -> tuple[int, bool]:
        return self.answers, bool(self.failures)

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
