"""Errors as bytes: what is answered past aiohttp, and last words where a connection ends with them.

Owns their form. Pure. Runs on the event loop of the supervisor and of further fronts.
"""

from __future__ import annotations

from email.utils import formatdate
from http import HTTPStatus

import orjson

from supervisor.errors import RequestError


def error_parts(error: RequestError) -> tuple[bytes, bytes]:
    """Write an error's head, but for its last lines, and its body."""
    body = orjson.dumps({"error": str(error)})
    retry = "" if error.retry_after_s is None else f"Retry-After: {error.retry_after_s}\r\n"
    head = (
        f"HTTP/1.1 {error.status} {HTTPStatus(error.status).phrase}\r\n"
        f"Content-Type: application/json\r\n{retry}Content-Length: {len(body)}\r\n"
    )
    return head.encode(), body


def last_words(error: RequestError, *, bare: bool = False) -> bytes:
    """Write an error as a whole response that ends its connection; `bare`: without its body."""
    head, body = error_parts(error)
    end = f"Date: {formatdate(usegmt=True)}\r\nConnection: close\r\n\r\n"
    return head + end.encode() + (b"" if bare else body)
