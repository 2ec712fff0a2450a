"""The composition root of a further front: builds the parts, starts and stops them in order.

Runs in the front's process.
"""

from __future__ import annotations

import asyncio
import gc
import os
import socket

import structlog

from gpu_worker.ipc.arena import RequestArena
from gpu_worker.ipc.link import close_fds
from supervisor.access.guard import Guard
from supervisor.front_process.conversation import Conversation
from supervisor.front_process.counting import Counting
from supervisor.front_process.mirror import Mirror
from supervisor.front_process.ports import Ports
from supervisor.front_process.relay import Relay
from supervisor.fronts import messages
from supervisor.fronts.arguments import FrontArguments
from supervisor.fronts.messages import FrontChannel
from supervisor.http.codec.lane_codec import Codecs
from supervisor.http.connection import Connection
from supervisor.http.front import Front
from supervisor.http.large_json import LargeJson
from supervisor.http.limits import Limits
from supervisor.http.listener import Listener
from supervisor.json_worker.handle import JsonWorker

log = structlog.get_logger()

_MB = 1 << 20


class FrontApp:
    """A running front."""

    def __init__(self, arguments: FrontArguments) -> None:
        self._arguments = arguments

    async def run(self) -> None:
        """Serve until told to stop, or until the supervisor is gone.

        Raises:
            OSError: no memory for the arena or a link.
            SettingsError: a file of access cannot be used.

        """
        settings = self._arguments.settings
        guard = Guard(settings)
        arena = RequestArena.create(settings.arena_mb * _MB, settings.max_request_mb * _MB)
        read_only = arena.segment.read_only_fd()
        talk = Conversation(FrontChannel.inherited(self._arguments.channel, blocking=False))
        mirror = Mirror(arena, self._arguments.number)
        ports = Ports(
            settings.response_ring_mb * _MB,
            read_only,
            settings.hang_timeout_ms / 1000,
            mirror.dispatcher,
            talk.say,
        )
        json_worker = JsonWorker(
            arena, read_only, 2 * settings.max_request_mb * _MB, settings.timeout_ms / 1000
        )
        front = Front(
            arena, mirror.dispatcher, Codecs(),
            LargeJson(json_worker, settings.json_inline_kb << 10), guard, Limits.of(settings),
            largest_body=settings.max_request_mb * _MB,
            body_timeout_s=settings.body_timeout_ms / 1000,
        )  # fmt: skip
        front.open_express(settings.express)
        front.open_log(settings.access_log)
        front.open_spans(settings.trace_endpoint, settings.scheme)
        front.slow_path = lambda caller: Relay(lambda: talk.pass_on(caller))
        talk.on_reread = guard.reread_soon
        listening = asyncio.Event()
        talk.on_closing = front.drain
        talk.begin(mirror, ports)
        counted = Counting(front, mirror, ports).messages
        obeying = asyncio.create_task(talk.obey(mirror, ports, counted, listening.set))
        listener = Listener(guard, front.limits.head_timeout_s, lambda: Connection(front))
        serving = asyncio.create_task(self._serve(listener, listening, talk))
        waits = [asyncio.create_task(event.wait()) for event in (talk.over, talk.stop_asked)]
        try:
            await asyncio.wait({obeying, *waits}, return_when=asyncio.FIRST_COMPLETED)
            if obeying.done():
                await obeying  # raises
            if not talk.over.is_set():
                await listener.close(for_good=talk.for_good)
                await self._stop(front, talk)
                talk.tell(counted)
        finally:
            for task in (obeying, serving, *waits):
                task.cancel()
            ports.stop()
            await json_worker.stop()
            close_fds([read_only])

    async def _serve(
        self, listener: Listener, listening: asyncio.Event, talk: Conversation
    ) -> None:
        await listening.wait()
        sockets = [socket.socket(fileno=fd) for fd in self._arguments.listeners]
        await listener.accept_from(sockets, ours=self._arguments.ours)
        gc.collect()
        gc.freeze()
        log.info("front listens", front=self._arguments.number, pid=os.getpid())
        talk.say(messages.Listening())

    async def _stop(self, front: Front, talk: Conversation) -> None:
        stopping = asyncio.create_task(front.stop(talk.stop_timeout_s))
        hurry = asyncio.create_task(talk.hurry.wait())
        await asyncio.wait({stopping, hurry}, return_when=asyncio.FIRST_COMPLETED)
        for task in (stopping, hurry):
            task.cancel()
        await asyncio.wait({stopping, hurry})
        await front.close_log()
        await front.close_spans()
