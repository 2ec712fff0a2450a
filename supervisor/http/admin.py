"""The operators' own calls under `/admin/`: status, history, reload, rollback.

Owns their form. Runs on the supervisor's event loop.
"""

from __future__ import annotations

import asyncio
import math
import os
from collections.abc import Awaitable, Callable
from typing import Any, Final

import psutil
from aiohttp import web

from supervisor import __version__
from supervisor.errors import BadRequest
from supervisor.fronts.fronts import Fronts
from supervisor.fronts.handle import FrontHandle
from supervisor.fronts.statistics import ArenaUse
from supervisor.http.answers import answer_json, read_object
from supervisor.http.router import Router
from supervisor.lifecycle.model_manager import ModelManager
from supervisor.lifecycle.settled_passes import passes_until_settled
from supervisor.lifecycle.triggers import Verdicts
from supervisor.lifecycle.verdict import Outcome
from supervisor.workers.handle import WorkerHandle
from supervisor.workers.pool import WorkerPool
from supervisor.workers.tally import WorkerTally

_LONGEST_WAIT_S: Final = 3600.0


class AdminHandlers:
    """Handlers for operators and pipelines."""

    def __init__(
        self,
        manager: ModelManager,
        pool: WorkerPool,
        fronts: Fronts,
        reread: Callable[[], Awaitable[None]],
    ) -> None:
        """`reread` reads tokens and certificates anew."""
        self._reread = reread
        self._manager = manager
        self._pool = pool
        self._fronts = fronts

    def routes(self, router: Router) -> None:
        """Add the routes."""
        router.add("GET", "admin/models", self.models)
        router.add("GET", "admin/models/{model}", self.model)
        router.add("POST", "admin/models/{model}/rollback", self.rollback)
        router.add("POST", "admin/reload", self.reload)

    async def models(self, request: web.BaseRequest) -> web.StreamResponse:
        """Tell everything: server, repository, workers, models."""
        del request
        manager, fronts = self._manager, self._fronts
        await fronts.totals.gather()
        return answer_json(
            {
                "server": {"name": "hotpaddle", "version": __version__, "pid": os.getpid()},
                "ready": manager.ready,
                "repository": {"passes": manager.passes, "problem": manager.repository_problem},
                "arena": _arena_json(ArenaUse.of(manager.arena.slots)),
                "fronts": [_front_json(front) for front in fronts.running],
                "workers": [
                    _worker_json(worker, fronts.totals.worker_tally(worker))
                    for worker in self._pool.workers
                ],
                "worker_restarts": self._pool.restarts,
                "models": [model.to_json(fronts) for _, model in sorted(manager.models.items())],
            }
        )

    async def model(self, request: web.BaseRequest, model: str) -> web.StreamResponse:
        """Tell one model's versions and its last 50 changes."""
        del request
        found = self._manager.model(model)
        await self._fronts.totals.gather()
        return answer_json(found.to_json(self._fronts))

    async def rollback(self, request: web.BaseRequest, model: str) -> web.StreamResponse:
        """Switch to the retained version at once."""
        await read_object(request)
        return answer_json((await self._manager.rollback(model)).to_json())

    async def reload(self, request: web.BaseRequest) -> web.StreamResponse:
        """Look at the repository; with `?wait=SECONDS` answer with the verdict per model."""
        await read_object(request)
        wait = request.query.get("wait")
        await self._reread()
        if wait is None:
            self._manager.reload("rest")
            return answer_json({"accepted": True}, 202)
        deadline = asyncio.get_running_loop().time() + _seconds(wait)
        verdicts: Verdicts = {}
        complete = True
        try:
            async with asyncio.timeout_at(deadline):
                self._manager.reload("rest")
                async for verdicts in passes_until_settled(self._manager, "rest"):  # noqa: B007 - used below
                    pass  # the last ones count, also when time was up
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


def _arena_json(use: ArenaUse) -> dict[str, int]:
    return {
        "bytes": use.total_bytes,
        "lent_bytes": use.lent_bytes,
        "lent_slots": use.lent_slots,
        "high_water_bytes": use.high_water_bytes,
    }


def _front_json(front: FrontHandle) -> dict[str, Any]:
    return {
        "number": front.number,
        "pid": front.pid,
        "listening": front.listening,
        "arena": _arena_json(front.statistics.arena),
        "rss_bytes": _rss_bytes(front.pid),
    }


def _rss_bytes(pid: int) -> int:
    try:
        return int(psutil.Process(pid).memory_info().rss)
    except psutil.Error:
        return 0


def _worker_json(worker: WorkerHandle, done: WorkerTally) -> dict[str, Any]:
    return {
        "number": worker.number,
        "pid": worker.pid,
        "device": worker.device,
        "device_name": worker.device_name,
        "framework": worker.framework,
        "state": worker.state.value,
        "model": worker.lane.model if worker.lane else "",
        "version": worker.lane.version if worker.lane else "",
        "in_flight": done.in_flight,
        "answered": done.answered,
        "stale": done.stale,
        "rss_bytes": _rss_bytes(worker.pid),
    }
