"""Last words: an answer that ends its connection, where there is no request to answer.

Owns its bytes. Pure. Runs on the event loop of the supervisor and of further fronts.
"""

from __future__ import annotations

from email.utils import formatdate
from http import HTTPStatus

import orjson

from supervisor.errors import RequestError


def last_words(error: RequestError) -> bytes:
    """Write an error as a whole response."""
    body = orjson.dumps({"error": str(error)})
    retry = "" if error.retry_after_s is None else f"Retry-After: {error.retry_after_s}\r\n"
    head = (
        f"HTTP/1.1 {error.status} {HTTPStatus(error.status).phrase}\r\n"
        f"Content-Type: application/json\r\n{retry}Content-Length: {len(body)}\r\n"
        f"Date: {formatdate(usegmt=True)}\r\nConnection: close\r\n\r\n"
    )
    return head.encode() + body
