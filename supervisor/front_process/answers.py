"""Answers owed: which requests that were passed on over a line still wait for their answer.

Owns the reading of what comes back, by aiohttp's own parser and only as far as to know where an
answer ends. Never changes, keeps or delays a byte. Pure. Runs on a further front's event loop.
"""

from __future__ import annotations

import asyncio
from typing import Final

from aiohttp import StreamReader
from aiohttp.base_protocol import BaseProtocol
from aiohttp.http import HttpResponseParser
from aiohttp.http_exceptions import HttpProcessingError

from supervisor.http.heads import Head

_LIMIT: Final = 1 << 20  # of the parser's buffer, which is emptied after each read of a socket


class Answers:
    """Counts the answers of one line."""

    def __init__(self) -> None:
        self._uncounted = False  # what comes until the line ends is the client's
        self._asked = 0
        self._begun = 0
        self.bare = False  # what is asked for last is a head alone
        self._body: StreamReader | None = None  # of the answer that has begun last
        self._parser = self._new_parser()

    def _new_parser(self) -> HttpResponseParser:
        loop = asyncio.get_running_loop()
        return HttpResponseParser(
            BaseProtocol(loop),
            loop,
            _LIMIT,
            auto_decompress=False,
            response_with_body=not self.bare,
        )

    @property
    def owed(self) -> bool:
        """Say whether there is, or may be, an answer that has not ended."""
        ended = self._body is None or self._body.is_eof()
        return self._uncounted or self._asked != self._begun or not ended

    def begin(self, head: Head) -> None:
        """Take note of a request; behind one without a known end, nothing is counted any more."""
        if head.bare != self.bare:
            if self.owed:  # a parser reads answers with bodies or without: too rare for two
                self._uncounted = True
            self.bare = head.bare
            self._parser = self._new_parser()
        if head.length < 0:
            self._uncounted = True
        self._asked += 1

    def take(self, data: bytes) -> None:
        """Read on."""
        if self._uncounted:
            return
        try:
            messages, _, _ = self._parser.feed_data(data)
        except HttpProcessingError:
            self._uncounted = True
            return
        for message, body in messages:
            if message.code < 200:  # "100 Continue" comes before the answer
                continue
            self._begun += 1
            self._body = body
            if message.should_close:
                self._uncounted = True
        if self._body is not None and not self._body.is_eof():
            self._body.read_nowait()
