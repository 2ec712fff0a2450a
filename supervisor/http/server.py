"""The HTTP server: its life, routing, and where errors of the slow path become answers.

Owns the listener and the order of a stop. Connections are `connection`'s, which hands what is no
plain inference to aiohttp, used here below its application layer. Runs on the supervisor's event
loop.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Sequence
from typing import Any, Final

import structlog
from aiohttp import web

from supervisor import __version__
from supervisor.errors import MethodNotAllowed, RequestError
from supervisor.http.answers import answer_error, answer_json, answer_request_error
from supervisor.http.connection import Connection
from supervisor.http.front import Front
from supervisor.http.heads import Head
from supervisor.http.listener import Listener
from supervisor.http.router import Router
from supervisor.lifecycle.model_manager import ModelManager

log = structlog.get_logger()

_NEVER_S: Final = 1e9  # the front closes idle connections; aiohttp does not see all requests
_SHUTDOWN_S: Final = 1.0  # for aiohttp's own tasks, once their connections have ended
_LINGER_S: Final = 5.0  # how long a refused body is read on, so that the client sees the answer
EXTENSIONS: Final = (
    "binary_tensor_data",
    "model_repository",
    "model_repository(unload_dependents)",
    "model_configuration",
    "statistics",
)


class _Protocol(web.RequestHandler):
    """aiohttp's connection, with our form of an error for what is no HTTP at all."""

    __slots__ = ()

    @property
    def idle(self) -> bool:
        """Say whether the last request has been answered and the next one has not come."""
        return self._waiter is not None and not self._waiter.done()

    def begin(self, head: Head) -> None:
        """Need not be told: aiohttp reads requests itself."""

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


class _Server(web.Server):
    """Hands connections to `_Protocol`."""

    def __call__(self) -> _Protocol:
        return _Protocol(self, loop=self._loop, **self._kwargs)


class HttpServer:
    """Listens and answers."""

    def __init__(self, manager: ModelManager, front: Front) -> None:
        self.router = Router()
        self.router.add("GET", "v2", self._server_metadata)
        self.router.add("GET", "v2/health/live", self._live)
        self.router.add("GET", "v2/health/ready", self._ready)
        self._manager = manager
        self._front = front
        self._server = _Server(
            self._handle,
            handler_cancellation=True,
            access_log=None,
            auto_decompress=False,
            lingering_time=_LINGER_S,
            keepalive_timeout=_NEVER_S,
        )
        front.slow_path = self._server
        self._listener = Listener(lambda: Connection(front))

    async def start(self, sockets: Sequence[socket.socket], *, ours: bool) -> None:
        """Accept connections; sockets that are not `ours` are systemd's."""
        await self._listener.accept_from(sockets, ours=ours)

    def adopt(self, sock: socket.socket) -> None:
        """Serve a connection that another front passes on; takes the socket over."""
        loop = asyncio.get_running_loop()

        async def adopt() -> None:
            await loop.connect_accepted_socket(lambda: Connection(self._front), sock)

        self._front.spawn(adopt())

    def drain(self) -> None:
        """Fail readiness and end each connection with its next answer; all else goes on."""
        self._front.drain()

    async def stop(self, timeout_s: float) -> None:
        """Accept nothing more, let requests finish, close connections."""
        self.drain()
        await self._listener.close()
        await self._front.stop(timeout_s)
        await self._server.shutdown(_SHUTDOWN_S)

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        path = request.raw_path.split("?", 1)[0]
        if not path.startswith("/"):  # in absolute form, as a proxy may send it
            path = "/" + path.partition("://")[2].partition("/")[2]
        try:
            handler, names = self.router.find(request.method, path)
            response = await handler(request, **names)
        except MethodNotAllowed as error:
            response = answer_request_error(error)
            response.headers["Allow"] = ", ".join(self.router.methods(path))
        except RequestError as error:
            response = answer_request_error(error)
        except web.HTTPException as error:
            response = answer_error(error.reason, error.status)
        except (asyncio.CancelledError, ConnectionError):
            raise
        except Exception:
            log.exception("a handler broke", method=request.method, path=request.path[:200])
            response = answer_error("internal error", 500)
        if self._front.draining:
            response.force_close()
        return response

    async def _server_metadata(self, request: web.BaseRequest) -> web.StreamResponse:
        del request
        return answer_json(
            {"name": "hotpaddle", "version": __version__, "extensions": list(EXTENSIONS)}
        )

    async def _live(self, request: web.BaseRequest) -> web.StreamResponse:
        del request
        return answer_json({"live": True})

    async def _ready(self, request: web.BaseRequest) -> web.StreamResponse:
        del request
        if self._front.draining:
            return answer_error("not ready: stopping", 503, 1)
        if self._manager.ready:
            return answer_json({"ready": True})
        waiting: list[Any] = [
            f"{name}: {model.reason_not_ready()}"
            for name, model in sorted(self._manager.models.items())
            if not model.unloaded and not model.dispatcher.ready
        ]
        reason = "; ".join(waiting) or self._manager.repository_problem
        return answer_error(f"not ready: {reason}", 503, 1)
