"""The slow path in the supervisor: aiohttp's server, below its application layer.

Owns what is different from aiohttp's own: who calls, which request is a connection's last, and the
form of an error for what is no HTTP at all. Runs on the supervisor's event loop.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Final

from aiohttp import web

from supervisor.access.caller import NOBODY, Caller
from supervisor.http.answers import answer_error
from supervisor.http.heads import Head

_NEVER_S: Final = 1e9  # the front closes idle connections; aiohttp does not see all requests
_LINGER_S: Final = 5.0  # how long a refused body is read on, so that the client sees the answer


class SlowProtocol(web.RequestHandler):
    """aiohttp's connection, with our form of an error for what is no HTTP at all."""

    __slots__ = ("begun", "caller", "last")

    def __init__(self, server: web.Server, caller: Caller, **options: Any) -> None:
        super().__init__(server, **options)
        self.caller = caller
        self.begun = 0
        self.last = False  # the request that has begun last is the connection's last one

    @property
    def idle(self) -> bool:
        """Say whether the last request has been answered and the next one has not come."""
        return self._waiter is not None and not self._waiter.done()

    def begin(self, head: Head) -> None:
        """Take note of the connection's last request; aiohttp reads them itself."""
        self.last = self.last or not head.keep_alive

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """Answer a request that could not be parsed, or a handler that broke."""
        del request, exc
        if self.transport is None or self.transport.is_closing():
            raise ConnectionResetError
        text = _malformed(message) if status < 500 and message else "internal error"
        response = answer_error(text, status)
        response.force_close()
        return response


def _malformed(message: str) -> str:
    """Make one line of what the parser says, whose last line only points into the one before."""
    lines = [line.strip() for line in message.splitlines() if line.strip(" ^")]
    return f"malformed HTTP: {' '.join(lines)}"[:300]


class SlowServer(web.Server):
    """Hands connections to `SlowProtocol`, and their requests to `handle`."""

    def __init__(self, handle: Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]) -> None:
        super().__init__(
            handle,
            handler_cancellation=True,
            access_log=None,
            auto_decompress=False,
            lingering_time=_LINGER_S,
            keepalive_timeout=_NEVER_S,
        )

    def __call__(self, caller: Caller = NOBODY) -> SlowProtocol:
        """Make the protocol of one connection."""
        return SlowProtocol(self, caller, loop=self._loop, **self._kwargs)
