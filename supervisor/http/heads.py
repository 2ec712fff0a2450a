"""Heads: what a request's head says, as far as the fast path needs to know.

Clients on kept connections send the same head again and again, so that what aiohttp's parser made
of it is kept under its exact bytes, but for lines that only name the request's trace. The parser
alone decides how a request is framed; here is only decided which requests are simple enough to be
served without aiohttp's machinery. Pure. Runs on the supervisor's event loop.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Final
from urllib.parse import unquote

from aiohttp.base_protocol import BaseProtocol
from aiohttp.http import HttpRequestParser, HttpVersion11, RawRequestMessage
from aiohttp.http_exceptions import HttpProcessingError

from supervisor.errors import BadRequest
from supervisor.http.body import header_length
from supervisor.http.tracing import without_trace

LARGEST_HEAD: Final = 16384  # one that is larger is aiohttp's business
_LARGEST_KEPT: Final = 2048
_MOST: Final = 2048
_LIMIT: Final = 1 << 16  # of the parser's buffer, which stays empty


@dataclass(frozen=True, slots=True)
class Head:
    """One head. `length` is the body's, -1 when only aiohttp can tell where the request ends.

    `fast` says that it is an inference with a plain body of known length; `json_length` is then the
    length of the JSON before binary data, None when all is JSON. `bare` says that the answer has no
    body, `trace` is a plain traceparent. `admitted` says that any caller may ask for it.
    """

    length: int
    fast: bool = False
    model: str = ""
    version: str | None = None
    json_length: int | None = None
    keep_alive: bool = True
    bare: bool = False
    trace: str = ""
    admitted: bool = True


UNKNOWN: Final = Head(-1)
LAST: Final = Head(-1, keep_alive=False)  # of a connection that ends with its next answer


class Heads:
    """Reads heads, and keeps what they say."""

    def __init__(self, admits: Callable[[Sequence[str]], bool] = lambda _: True) -> None:
        """`admits` says whether `Authorization` headers allow an inference."""
        self._admits = admits
        self._loop = asyncio.get_running_loop()
        self._protocol = BaseProtocol(self._loop)
        self._known: dict[bytes, Head] = {}

    def forget(self) -> None:
        """Forget what heads say: others may be admitted from now on."""
        self._known.clear()

    def read(self, data: bytes) -> Head:
        """Give what a complete head says, up to and with its empty line."""
        head = self._known.get(data)
        if head is not None:
            return head
        rest, trace = without_trace(data)
        head = self._known.get(rest)
        if head is None:
            head = self._parse(rest)
            if len(rest) <= _LARGEST_KEPT:
                if len(self._known) >= _MOST:
                    self._known.clear()
                self._known[rest] = head
        return replace(head, trace=trace) if trace else head

    def _parse(self, data: bytes) -> Head:
        parser = HttpRequestParser(self._protocol, self._loop, _LIMIT, auto_decompress=False)
        try:
            messages, upgraded, tail = parser.feed_data(data)
        except HttpProcessingError:
            return UNKNOWN
        if len(messages) != 1 or upgraded or tail:
            return UNKNOWN
        message: RawRequestMessage = messages[0][0]
        headers = message.headers
        if message.chunked or message.upgrade or "Transfer-Encoding" in headers:
            return UNKNOWN
        length = int(headers.get("Content-Length", "0"))
        names = _inference(message.path) if message.method == "POST" else None
        plain = (
            names is not None
            and length > 0
            and message.version == HttpVersion11
            and "Expect" not in headers
            and headers.get("Content-Encoding", "identity").lower() in ("", "identity")
        )
        if names is None or not plain:
            return Head(length, bare=message.method == "HEAD")
        try:
            json_length = header_length(headers)
        except BadRequest:
            return Head(length)  # the slow path says what is wrong
        admitted = self._admits(headers.getall("Authorization", ()))
        keep_alive = not message.should_close
        return Head(length, True, *names, json_length, keep_alive, admitted=admitted)


def _inference(path: str) -> tuple[str, str | None] | None:
    """Give model and version of a path that asks for an inference, else None."""
    if "?" in path:
        return None
    match path.split("/"):
        case ["", "v2", "models", model, "infer"]:
            return unquote(model), None
        case ["", "v2", "models", model, "versions", version, "infer"]:
            return unquote(model), unquote(version)
    return None
