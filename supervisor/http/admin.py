"""The operators' own calls under `/admin/`: status, history, reload, rollback.

Owns their form. Runs on the supervisor's event loop.
"""

from __future__ import annotations

import asyncio
import math
import os
from typing import Any, Final

import psutil
from aiohttp import web

from supervisor import __version__
from supervisor.errors import BadRequest
from supervisor.http.answers import answer_json, read_object
from supervisor.http.router import Router
from supervisor.lifecycle.model_manager import ModelManager
from supervisor.lifecycle.triggers import Verdicts
from supervisor.lifecycle.verdict import Outcome
from supervisor.workers.pool import WorkerPool

_LONGEST_WAIT_S: Final = 3600.0
_SETTLE_POLL_S: Final = 0.1


class AdminHandlers:
    """Handlers for operators and pipelines."""

    def __init__(self, manager: ModelManager, pool: WorkerPool) -> None:
        self._manager = manager
        self._pool = pool

    def routes(self, router: Router) -> None:
        """Add the routes."""
        router.add("GET", "admin/models", self.models)
        router.add("GET", "admin/models/{model}", self.model)
        router.add("POST", "admin/models/{model}/rollback", self.rollback)
        router.add("POST", "admin/reload", self.reload)

    async def models(self, request: web.BaseRequest) -> web.StreamResponse:
        """Tell everything: server, repository, workers, models."""
        del request
        manager = self._manager
        arena = manager.arena.slots
        return answer_json(
            {
                "server": {"name": "hotpaddle", "version": __version__, "pid": os.getpid()},
                "ready": manager.ready,
                "repository": {"passes": manager.passes, "problem": manager.repository_problem},
                "arena": {
                    "bytes": arena.total_bytes,
                    "lent_bytes": arena.lent_bytes,
                    "lent_slots": arena.lent_slots,
                    "high_water_bytes": arena.high_water_bytes,
                },
                "workers": [_worker_json(worker) for worker in self._pool.workers],
                "worker_restarts": self._pool.restarts,
                "models": [model.to_json() for _, model in sorted(manager.models.items())],
            }
        )

    async def model(self, request: web.BaseRequest, model: str) -> web.StreamResponse:
        """Tell one model's versions and its last 50 changes."""
        del request
        return answer_json(self._manager.model(model).to_json())

    async def rollback(self, request: web.BaseRequest, model: str) -> web.StreamResponse:
        """Switch to the retained version at once."""
        await read_object(request)
        return answer_json(self._manager.rollback(model).to_json())

    async def reload(self, request: web.BaseRequest) -> web.StreamResponse:
        """Look at the repository; with `?wait=SECONDS` answer with the verdict per model."""
        await read_object(request)
        wait = request.query.get("wait")
        if wait is None:
            self._manager.reload("rest")
            return answer_json({"accepted": True}, 202)
        deadline = asyncio.get_running_loop().time() + _seconds(wait)
        verdicts: Verdicts = {}
        complete = True
        try:
            async with asyncio.timeout_at(deadline):
                self._manager.reload("rest")
                verdicts = await self._manager.reconciled("rest")
                while any(verdict.outcome is Outcome.PENDING for verdict in verdicts.values()):
                    await asyncio.sleep(_SETTLE_POLL_S)
                    verdicts = await self._manager.reconciled("rest")
        except TimeoutError:
            complete = False
        complete = complete and verdicts.keys() >= self._manager.models.keys()
        refused = any(verdict.outcome is Outcome.REFUSED for verdict in verdicts.values())
        problem = self._manager.repository_problem
        return answer_json(
            {
                "ok": complete and not refused and not problem,
                "complete": complete,
                "problem": problem,
                "verdicts": {name: verdict.to_json() for name, verdict in verdicts.items()},
            }
        )


def _seconds(text: str) -> float:
    try:
        seconds = float(text or "nan")
    except ValueError:
        seconds = math.nan
    if not 0 <= seconds <= _LONGEST_WAIT_S:
        raise BadRequest(f"'wait' must be a number of seconds up to {_LONGEST_WAIT_S:g}")
    return seconds


def _worker_json(worker: Any) -> dict[str, Any]:
    try:
        rss = psutil.Process(worker.pid).memory_info().rss
    except psutil.Error:
        rss = 0
    return {
        "number": worker.number,
        "pid": worker.pid,
        "device": worker.device,
        "device_name": worker.device_name,
        "framework": worker.framework,
        "state": worker.state.value,
        "model": worker.lane.model if worker.lane else "",
        "version": worker.lane.version if worker.lane else "",
        "in_flight": len(worker.in_flight),
        "answered": worker.answered,
        "stale": worker.stale,
        "rss_bytes": rss,
    }
