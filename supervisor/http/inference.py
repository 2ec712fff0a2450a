"""Inference: the handlers of `/v2/models/...` that serve clients.

Owns the life of a request on this side: checks, body, decoding, dispatch, answer. Runs on the
supervisor's event loop.
"""

from __future__ import annotations

from typing import Any

from aiohttp import web

from gpu_worker.ipc.tensors import table_size
from supervisor.dispatch.lane import Lane
from supervisor.errors import Overloaded
from supervisor.http.answers import answer_error, answer_json
from supervisor.http.body import Body, BodyReader, declared_length, header_length
from supervisor.http.codec.decode import decode_request
from supervisor.http.codec.decoded import HEADER_LENGTH, DecodedRequest
from supervisor.http.codec.encode import encode_response
from supervisor.http.codec.payload import payload_size, write_payload
from supervisor.http.router import Router
from supervisor.lifecycle.model_manager import ModelManager


class InferenceHandlers:
    """Handlers for metadata, readiness and inference of models."""

    def __init__(self, manager: ModelManager, reader: BodyReader) -> None:
        self._manager = manager
        self._reader = reader
        self._arena = reader.arena

    def routes(self, router: Router) -> None:
        """Add the routes."""
        for prefix in ("v2/models/{model}", "v2/models/{model}/versions/{version}"):
            router.add("GET", prefix, self.metadata)
            router.add("GET", f"{prefix}/ready", self.ready)
            router.add("GET", f"{prefix}/config", self.config)
            router.add("POST", f"{prefix}/infer", self.infer)
        router.add("GET", "v2/models", self.models)

    def _lane(self, model: str, version: str | None) -> Lane:
        return self._manager.model(model).dispatcher.lane(version)

    async def infer(
        self, request: web.BaseRequest, model: str, version: str | None = None
    ) -> web.StreamResponse:
        """Run a model on the tensors of the body."""
        dispatcher = self._manager.model(model).dispatcher
        lane = dispatcher.lane(version)
        declared_length(request.headers, self._reader.limit)
        body = await self._reader.read(request, table_size(len(lane.contract.inputs)))
        # From here on the slot is `body`'s until the dispatcher takes it over.
        try:
            lane = dispatcher.lane(version)  # there may have been a switch while the body came
            payload = self._arena.payload(body.slot)
            decoded = decode_request(
                payload[body.at : body.at + body.length],
                header_length(request.headers),
                lane.contract,
            )
            length = self._write(body, decoded)
        except BaseException:
            self._arena.slots.give_back(body.slot)
            raise
        result = await dispatcher.infer(
            lane,
            body.slot,
            length,
            decoded.output_mask,
            decoded.shapes,
            by_version=version is not None,
            timeout_s=decoded.timeout_s,
        )
        served = result.lane
        parts, json_length = encode_response(
            model, served.version, decoded, served.contract, result.data, result.tensors
        )
        headers = {
            "X-Model-Version": served.version,
            "X-Model-Generation": str(served.generation),
            "Content-Type": "application/json",
        }
        if json_length is not None:
            headers["Content-Type"] = "application/octet-stream"
            headers[HEADER_LENGTH] = str(json_length)
        return web.Response(body=b"".join(parts), headers=headers)

    def _write(self, body: Body, decoded: DecodedRequest) -> int:
        """Write the tensor table and what JSON gave; move to a larger slot where it must be."""
        at = max(body.at, table_size(len(decoded.inputs)))
        needed = payload_size(decoded, at, body.length)
        if needed > body.slot.capacity or at != body.at:
            slot = self._arena.slots.take(needed)
            if slot is None:
                raise Overloaded("the request arena is full (arena_mb); try again later")
            old = self._arena.payload(body.slot)[body.at : body.at + body.length]
            self._arena.payload(slot)[at : at + body.length] = old
            self._arena.slots.give_back(body.slot)
            body.slot, body.at = slot, at
        return write_payload(self._arena.payload(body.slot), decoded, at, body.length)

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
        "max_batch_size": 0,
        "input": tensors(lane.contract.inputs),
        "output": tensors(lane.contract.outputs),
        "instance_group": [{"name": name, "kind": kind, "count": lane.settings.instances}],
        "parameters": {"digest": {"string_value": lane.record.digest}},
    }
