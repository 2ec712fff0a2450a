"""The HTTP server: its life, routing, and where errors of the slow path become answers.

Owns the listener and the order of a stop. Connections are `connection`'s, which hands what is no
plain inference to aiohttp, used here below its application layer. Runs on the supervisor's event
loop.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import time
from collections.abc import Sequence
from typing import Any, Final, cast
from urllib.parse import unquote

import structlog
from aiohttp import web

from supervisor import __version__
from supervisor.access.access_log import GONE
from supervisor.access.admin_socket import AdminSocket, listen_for_operators
from supervisor.access.caller import OPERATOR, Caller
from supervisor.access.policy import call_of
from supervisor.access.settings import AccessSettings
from supervisor.errors import MethodNotAllowed, RequestError
from supervisor.http.answers import answer_error, answer_json, answer_request_error
from supervisor.http.connection import Connection
from supervisor.http.front import Front
from supervisor.http.listener import Listener
from supervisor.http.operators import Operators
from supervisor.http.router import Router
from supervisor.http.slow_server import SlowProtocol, SlowServer
from supervisor.lifecycle.model_manager import ModelManager

log = structlog.get_logger()

_SHUTDOWN_S: Final = 1.0  # for aiohttp's own tasks, once their connections have ended
EXTENSIONS: Final = (
    "binary_tensor_data",
    "model_repository",
    "model_repository(unload_dependents)",
    "model_configuration",
    "statistics",
)


class HttpServer:
    """Listens and answers."""

    def __init__(self, manager: ModelManager, front: Front) -> None:
        self.router = Router()
        self.router.add("GET", "v2", self._server_metadata)
        self.router.add("GET", "v2/health/live", self._live)
        self.router.add("GET", "v2/health/ready", self._ready)
        self._manager = manager
        self.front = front
        self._server = SlowServer(self._handle)
        front.slow_path = self._server
        self._listener = Listener(
            front.guard, front.limits.head_timeout_s, lambda: Connection(front)
        )
        self.operators = Operators(lambda: Connection(front, OPERATOR))

    async def start(self, sockets: Sequence[socket.socket], *, ours: bool) -> None:
        """Accept connections; sockets that are not `ours` are systemd's."""
        await self._listener.accept_from(sockets, ours=ours)

    async def start_for_operators(
        self,
        settings: AccessSettings,
        handed: Sequence[socket.socket] = (),
        kept: AdminSocket | None = None,
    ) -> None:
        """Accept connections on the operators' unix sockets: those of systemd's, and our own.

        `kept` is our own that another program has left.

        `kept` is that of another program, which has left it.

        Raises:
            SettingsError: it cannot be had.

        """
        own = kept or listen_for_operators(settings, handed)
        await self.operators.accept_from(handed, own)

    # From one program to the next

    async def pause(self) -> None:
        """Accept nothing for now: who connects waits in the kernel's queues."""
        self.operators.pause()
        await self._listener.pause()

    async def go_on(self) -> None:
        """Accept again.

        Raises:
            OSError: that cannot be.

        """
        await self._listener.go_on()
        await self.operators.go_on()

    def sockets(self) -> tuple[list[int], bool]:
        """Give the descriptors that listen, and whether they are ours."""
        return self._listener.fds(), self._listener.ours

    # Its end

    def adopt(self, sock: socket.socket, caller: Caller | None) -> None:
        """Serve a connection in a front's place; takes the socket over.

        `caller` is who asks where a front passes on what it has read; None for a client that has
        just connected.
        """
        loop = asyncio.get_running_loop()

        async def adopt() -> None:
            with contextlib.suppress(OSError):  # the client has gone, or speaks no TLS
                if caller is None:
                    await self._listener.take(sock)
                else:
                    await loop.connect_accepted_socket(lambda: Connection(self.front, caller), sock)

        self.front.spawn(adopt())

    def drain(self) -> None:
        """Fail readiness and end each connection with its next answer; all else goes on."""
        self.front.drain()

    async def stop(self, timeout_s: float) -> None:
        """Accept nothing more, let requests finish, close connections."""
        self.drain()
        self.operators.close()
        await self._listener.close()  # which waits until who was accepted has a connection
        try:
            await self.front.stop(timeout_s)
            await self._server.shutdown(_SHUTDOWN_S)
        finally:
            await self.front.close_log()
            await self.front.close_spans()

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        protocol = cast("SlowProtocol", request.protocol)
        protocol.begun += 1
        path = request.raw_path.split("?", 1)[0]
        if not path.startswith("/"):  # in absolute form, as a proxy may send it
            path = "/" + path.partition("://")[2].partition("/")[2]
        begun_ns = time.monotonic_ns()
        try:
            response = await self._answer(request, path, protocol.caller)
        except (asyncio.CancelledError, ConnectionError):
            self._note(request, path, begun_ns, None)
            raise
        most = self.front.limits.requests
        if self.front.draining or protocol.last or protocol.begun >= most > 0:
            response.force_close()
        self._note(request, path, begun_ns, response)
        return response

    async def _answer(
        self, request: web.BaseRequest, path: str, caller: Caller
    ) -> web.StreamResponse:
        try:
            handler, names = self.router.find(request.method, path)
            authorizations = request.headers.getall("Authorization", ())
            self.front.guard.check(call_of(path), caller, authorizations)
            return await handler(request, **names)
        except MethodNotAllowed as error:
            response = answer_request_error(error)
            response.headers["Allow"] = ", ".join(self.router.methods(path))
            return response
        except RequestError as error:
            self.front.refusals.note(error)
            return answer_request_error(error)
        except web.HTTPException as error:
            return answer_error(error.reason, error.status)
        except (asyncio.CancelledError, ConnectionError):
            raise
        except Exception:
            log.exception("a handler broke", method=request.method, path=request.path[:200])
            return answer_error("internal error", 500)

    def _note(
        self,
        request: web.BaseRequest,
        path: str,
        begun_ns: int,
        response: web.StreamResponse | None,
    ) -> None:
        """Write a line in the access log, where there is one; None: the client has gone."""
        if self.front.access_log is None:
            return
        model = ""
        match path.strip("/").split("/"):
            case ["v2", "models", name, _, *_] | ["v2", "repository", "models", name, _]:
                model = unquote(name)
        infers = request.method == "POST" and path.endswith("/infer")
        self.front.access_log.add(
            cast("SlowProtocol", request.protocol).caller,
            "infer" if infers else f"{request.method} {path[:200]}",
            GONE if response is None else response.status,
            begun_ns,
            model=model[:200],
            version="" if response is None else response.headers.get("X-Model-Version", ""),
            received=request.content_length or 0,
            sent=0 if response is None else response.content_length or 0,
        )

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
        if self.front.draining:
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
