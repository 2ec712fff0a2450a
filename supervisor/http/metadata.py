"""Metadata: what a model takes and gives, whether it is ready, how it is configured.

Owns the handlers of `/v2/models/...` that run nothing. Runs on the supervisor's event loop.
"""

from __future__ import annotations

from typing import Any

from aiohttp import web

from supervisor.dispatch.lane import Lane
from supervisor.http.answers import answer_error, answer_json
from supervisor.http.router import Router
from supervisor.lifecycle.model_manager import ModelManager


class MetadataHandlers:
    """Handlers for metadata, readiness and configuration."""

    def __init__(self, manager: ModelManager) -> None:
        self._manager = manager

    def routes(self, router: Router) -> None:
        """Add the routes."""
        for prefix in ("v2/models/{model}", "v2/models/{model}/versions/{version}"):
            router.add("GET", prefix, self.metadata)
            router.add("GET", f"{prefix}/ready", self.ready)
            router.add("GET", f"{prefix}/config", self.config)
        router.add("GET", "v2/models", self.models)

    def _lane(self, model: str, version: str | None) -> Lane:
        return self._manager.model(model).dispatcher.lane(version)

    async def metadata(
        self, request: web.BaseRequest, model: str, version: str | None = None
    ) -> web.StreamResponse:
        """Tell inputs and outputs."""
        del request
        dispatcher = self._manager.model(model).dispatcher
        lane = dispatcher.lane(version)
        loaded = [one.version for one in (dispatcher.serving, dispatcher.retained) if one]
        return answer_json(
            {
                "name": model,
                "versions": loaded if version is None else [lane.version],
                "platform": lane.platform,
                **lane.contract.to_json(),
            }
        )

    async def ready(
        self, request: web.BaseRequest, model: str, version: str | None = None
    ) -> web.StreamResponse:
        """Say whether the model, or that version of it, answers requests."""
        del request
        lane = self._lane(model, version)
        if not lane.workers:
            return answer_error(f"model {model!r}: its worker is being replaced", 503, 1)
        return answer_json({"name": model, "ready": True})

    async def config(
        self, request: web.BaseRequest, model: str, version: str | None = None
    ) -> web.StreamResponse:
        """Tell the configuration in the terms of Triton's model configuration extension."""
        del request
        return answer_json(model_config(model, self._lane(model, version)))

    async def models(self, request: web.BaseRequest) -> web.StreamResponse:
        """List the models' names (as KServe does)."""
        del request
        return answer_json({"models": sorted(self._manager.models)})


def model_config(name: str, lane: Lane) -> dict[str, Any]:
    """Build a Triton model configuration from a lane."""

    def tensors(specs: Any) -> list[dict[str, Any]]:
        return [
            {"name": spec.name, "data_type": f"TYPE_{spec.datatype}", "dims": list(spec.shape)}
            for spec in specs
        ]

    kind = "KIND_GPU" if lane.workers and lane.workers[0].device != "cpu" else "KIND_CPU"
    return {
        "name": name,
        "platform": lane.platform,
        "backend": "paddle",
        "version_policy": {"specific": {"versions": [lane.version]}},
        "max_batch_size": lane.settings.max_batch_size if lane.settings.max_batch_size > 1 else 0,
        "input": tensors(lane.contract.inputs),
        "output": tensors(lane.contract.outputs),
        "instance_group": [{"name": name, "kind": kind, "count": lane.settings.instances}],
        "parameters": {"digest": {"string_value": lane.record.digest}},
    }
