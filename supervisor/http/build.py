"""Builds the HTTP server of the supervisor: its front, and the handlers of all calls.

Owns which handlers there are. Runs in the supervisor, once at start.
"""

from __future__ import annotations

from gpu_worker.ipc.arena import RequestArena
from supervisor.access.guard import Guard
from supervisor.fronts.fronts import Fronts
from supervisor.http.admin import AdminHandlers
from supervisor.http.body import BodyReader
from supervisor.http.codec.lane_codec import Codecs
from supervisor.http.front import Front
from supervisor.http.inference import InferenceHandlers
from supervisor.http.large_json import LargeJson
from supervisor.http.limits import Limits
from supervisor.http.metadata import MetadataHandlers
from supervisor.http.metrics import MetricsHandlers
from supervisor.http.repository import RepositoryHandlers
from supervisor.http.server import HttpServer
from supervisor.json_worker.handle import JsonWorker
from supervisor.lifecycle.model_manager import ModelManager
from supervisor.metrics.reading import Reader
from supervisor.settings import Settings
from supervisor.workers.pool import WorkerPool


def build_server(
    settings: Settings,
    manager: ModelManager,
    arena: RequestArena,
    json_worker: JsonWorker,
    fronts: Fronts,
    pool: WorkerPool,
    guard: Guard,
) -> HttpServer:
    """Give a server that does not listen yet."""
    codecs = Codecs()
    large_json = LargeJson(json_worker, settings.json_inline_kb << 10)
    largest_body = settings.max_request_mb << 20
    body_timeout_s = settings.body_timeout_ms / 1000
    front = Front(
        arena, manager.dispatcher, codecs, large_json, guard, Limits.of(settings),
        largest_body=largest_body, body_timeout_s=body_timeout_s,
    )  # fmt: skip
    front.open_express(settings.express)
    front.open_log(settings.access_log)
    front.open_spans(settings.trace_endpoint, settings.scheme)
    server = HttpServer(manager, front)
    inference = InferenceHandlers(
        manager, BodyReader(arena, largest_body, body_timeout_s), codecs, large_json, front
    )
    for handlers in (
        inference,
        MetadataHandlers(manager),
        RepositoryHandlers(manager, fronts),
        AdminHandlers(manager, pool, fronts, guard.reread),
        MetricsHandlers(Reader(manager, pool, front, inference, json_worker, fronts)),
    ):
        handlers.routes(server.router)
    return server
