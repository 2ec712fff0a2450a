"""Triton's model repository and statistics extensions.

Owns `/v2/repository/...` and `.../stats`. Runs on the supervisor's event loop.
"""

from __future__ import annotations

import asyncio
from typing import Any

from aiohttp import web

from supervisor.errors import BadRequest, ModelUnavailable
from supervisor.fronts.fronts import Fronts
from supervisor.http.answers import answer_json, read_object
from supervisor.http.router import Router
from supervisor.lifecycle.model import Model
from supervisor.lifecycle.model_manager import ModelManager
from supervisor.lifecycle.verdict import Outcome

_SETTLE_POLL_S = 0.1  # between two looks at a version that is still being written


class RepositoryHandlers:
    """Handlers for index, load, unload and statistics."""

    def __init__(self, manager: ModelManager, fronts: Fronts) -> None:
        self._manager = manager
        self._fronts = fronts

    def routes(self, router: Router) -> None:
        """Add the routes."""
        router.add("POST", "v2/repository/index", self.index)
        router.add("POST", "v2/repository/models/{model}/load", self.load)
        router.add("POST", "v2/repository/models/{model}/unload", self.unload)
        router.add("GET", "v2/models/stats", self.statistics)
        router.add("GET", "v2/models/{model}/stats", self.statistics)
        router.add("GET", "v2/models/{model}/versions/{version}/stats", self.statistics)

    async def index(self, request: web.BaseRequest) -> web.StreamResponse:
        """List what the repository holds and in which state it is."""
        wish = await read_object(request)
        ready_only = wish.get("ready", False)
        if not isinstance(ready_only, bool):
            raise BadRequest("'ready' must be true or false")
        rows = [row for _, model in sorted(self._manager.models.items()) for row in _rows(model)]
        return answer_json([row for row in rows if row["state"] == "READY" or not ready_only])

    async def load(self, request: web.BaseRequest, model: str) -> web.StreamResponse:
        """Bring a model to what its repository asks for; answers when that is done."""
        wish = await read_object(request)
        parameters = wish.get("parameters", {})
        if not isinstance(parameters, dict) or parameters:
            raise BadRequest(
                "'parameters' must be empty: settings stand in the model's model.toml, files in "
                "its repository"
            )
        verdict = await self._manager.load(model)
        while verdict.outcome is Outcome.PENDING:
            await asyncio.sleep(_SETTLE_POLL_S)
            if self._manager.model(model).unloaded:
                break  # somebody wanted the opposite meanwhile
            verdict = (await self._manager.reconciled("rest")).get(model, verdict)
        known = self._manager.model(model)
        if verdict.outcome is Outcome.REFUSED or known.dispatcher.serving is None:
            raise ModelUnavailable(
                f"failed to load {model!r} {verdict.version}: "
                f"{verdict.reason or known.reason_not_ready()}"
            )
        return answer_json({"name": model, "load": True, **verdict.to_json()})

    async def unload(self, request: web.BaseRequest, model: str) -> web.StreamResponse:
        """Take a model out of service until it is loaded again."""
        await read_object(request)
        # Once this is answered no front answers for the model.
        async with self._fronts.held(self._manager.model(model).dispatcher):
            self._manager.unload(model)
        return answer_json({"name": model, "unload": True})

    async def statistics(
        self, request: web.BaseRequest, model: str | None = None, version: str | None = None
    ) -> web.StreamResponse:
        """Tell counts and durations of one or all models."""
        del request
        await self._fronts.totals.gather()
        names = sorted(self._manager.models) if model is None else [model]
        stats = []
        for dispatcher in (self._manager.model(name).dispatcher for name in names):
            lanes = (
                dispatcher.generations.lanes() if version is None else [dispatcher.lane(version)]
            )
            stats += [
                self._fronts.totals.version_statistics(lane).to_json(lane.model, lane.version)
                for lane in lanes
            ]
        return answer_json({"model_stats": stats})


def _rows(model: Model) -> list[dict[str, Any]]:
    dispatcher, rows = model.dispatcher, []
    for lane in (dispatcher.serving, dispatcher.retained):
        if lane is not None:
            state = "READY" if lane.workers else "UNAVAILABLE"
            reason = "" if lane is dispatcher.serving else "retained for rollback"
            rows.append(
                {"name": model.name, "version": lane.version, "state": state, "reason": reason}
            )
    if model.candidate is not None:
        version = model.candidate.version
        state = model.candidate.state.value
        rows.append({"name": model.name, "version": version, "state": "LOADING", "reason": state})
    if not rows:
        reason = model.reason_not_ready()
        rows.append({"name": model.name, "version": "", "state": "UNAVAILABLE", "reason": reason})
    return rows
