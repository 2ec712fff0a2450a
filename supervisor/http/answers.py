"""Answers: JSON bodies and errors, the same everywhere.

Owns the form of every answer that is not an inference. Runs on the supervisor's event loop.
"""

from __future__ import annotations

from typing import Any

import orjson
from aiohttp import web

from supervisor.errors import BadRequest, RequestError, TooLarge, Unauthorized
from supervisor.http.codec.decode import parse_json

_SMALL: int = 1 << 18  # bytes of a body that is no inference


def answer_json(value: Any, status: int = 200) -> web.Response:
    """Answer with a JSON body."""
    body = orjson.dumps(value, option=orjson.OPT_NON_STR_KEYS)
    return web.Response(body=body, status=status, content_type="application/json")


def answer_error(text: str, status: int, retry_after_s: int | None = None) -> web.Response:
    """Answer with `{"error": text}`."""
    response = answer_json({"error": text}, status)
    if retry_after_s is not None:
        response.headers["Retry-After"] = str(retry_after_s)
    return response


def answer_request_error(error: RequestError) -> web.Response:
    """Answer with an error of the tree."""
    response = answer_error(str(error), error.status, error.retry_after_s)
    if isinstance(error, Unauthorized):
        response.headers["WWW-Authenticate"] = "Bearer"
    return response


async def read_object(request: web.BaseRequest) -> dict[str, Any]:
    """Read a small JSON object; an empty body is an empty object.

    Raises:
        BadRequest: it is none.
        TooLarge: it is not small.

    """
    data = bytearray()
    while chunk := await request.content.readany():
        data += chunk
        if len(data) > _SMALL:
            raise TooLarge(f"the body of this call may have {_SMALL} bytes at most")
    if not data.strip():
        return {}
    try:
        return parse_json(memoryview(data))
    except BadRequest as error:
        raise BadRequest(str(error).replace(" with the field 'inputs'", "")) from error
