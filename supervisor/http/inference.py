"""Inference: the handler that runs a model for a client.

Owns the life of a request on this side: body, decoding, dispatch, answer, and which JSON is too
large to be parsed or written here. Runs on the supervisor's event loop.
"""

from __future__ import annotations

from aiohttp import web

from gpu_worker.ipc.tensors import table_size
from supervisor.dispatch.result import InferResult
from supervisor.errors import Overloaded, TooLarge
from supervisor.http.body import Body, BodyReader, header_length
from supervisor.http.codec.decode import decode_header, decode_request
from supervisor.http.codec.decoded import HEADER_LENGTH, DecodedRequest
from supervisor.http.codec.encode import check_json_outputs, encode_response
from supervisor.http.codec.payload import payload_size, write_payload
from supervisor.http.router import Router
from supervisor.json_worker.handle import JsonWorker
from supervisor.json_worker.work import read_decoded, read_encoded
from supervisor.lifecycle.model_manager import ModelManager


class InferenceHandlers:
    """The handler of `infer`."""

    def __init__(
        self, manager: ModelManager, reader: BodyReader, json_worker: JsonWorker, inline_bytes: int
    ) -> None:
        """JSON of more than `inline_bytes` goes to the JSON worker."""
        self._manager = manager
        self._reader = reader
        self._arena = reader.arena
        self._json_worker = json_worker
        self._inline_bytes = inline_bytes

    def routes(self, router: Router) -> None:
        """Add the routes."""
        router.add("POST", "v2/models/{model}/infer", self.infer)
        router.add("POST", "v2/models/{model}/versions/{version}/infer", self.infer)

    async def infer(
        self, request: web.BaseRequest, model: str, version: str | None = None
    ) -> web.StreamResponse:
        """Run a model on the tensors of the body."""
        dispatcher = self._manager.model(model).dispatcher
        lane = dispatcher.lane(version)
        body = await self._reader.read(request, table_size(len(lane.contract.inputs)))
        try:
            header = await self._parse_elsewhere(request, body)
            lane = dispatcher.lane(version)  # there may have been a switch while the body came
            if header is None:
                json_length = header_length(request.headers)
                decoded = decode_request(body.view(), json_length, lane.contract)
            else:
                json_length = header_length(request.headers) or body.length
                decoded = decode_header(header, lane.contract, json_length, body.length)
            length = self._write(body, decoded)
        except BaseException:
            body.drop()
            raise
        result = await dispatcher.infer(
            lane,
            body.take(),
            length,
            decoded.output_mask,
            decoded.shapes,
            by_version=version is not None,
            timeout_s=decoded.timeout_s,
        )
        return await self._answer(model, decoded, result)

    async def _parse_elsewhere(
        self, request: web.BaseRequest, body: Body
    ) -> dict[str, object] | None:
        """Have large JSON parsed by the JSON worker; None where it can be parsed here."""
        json_length = header_length(request.headers)
        if json_length is None or json_length > body.length:
            json_length = body.length
        if json_length <= self._inline_bytes:
            return None
        slot = body.take()
        data = await self._json_worker.decode(slot, body.at, body.at + json_length)
        body.slot = slot
        return read_decoded(data)

    def _write(self, body: Body, decoded: DecodedRequest) -> int:
        """Write the tensor table and what JSON gave; move to a larger slot where it must be."""
        at = max(body.at, table_size(len(decoded.inputs)))
        needed = payload_size(decoded, at, body.length)
        assert body.slot is not None
        if needed > self._arena.slots.largest_payload:
            raise TooLarge(
                f"the tensors take {needed} bytes, more than the largest slot of the request "
                "arena (max_request_mb); send them as binary data"
            )
        if needed > body.slot.capacity or at != body.at:
            slot = self._arena.slots.take(needed)
            if slot is None:
                raise Overloaded("the request arena is full (arena_mb); try again later")
            self._arena.payload(slot)[at : at + body.length] = body.view()
            body.drop()
            body.slot, body.at = slot, at
        return write_payload(self._arena.payload(body.slot), decoded, at, body.length)

    async def _answer(
        self, model: str, decoded: DecodedRequest, result: InferResult
    ) -> web.StreamResponse:
        served = result.lane
        mask = check_json_outputs(decoded, served.contract, result.data, result.tensors)
        texts: dict[int, bytes] = {}
        size = len(result.data)
        if mask and self._inline_bytes < size <= self._arena.slots.largest_payload:
            texts = read_encoded(await self._json_worker.encode(result.data, mask))
        parts, json_length = encode_response(
            model, served.version, decoded, served.contract, result.data, result.tensors, texts
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
