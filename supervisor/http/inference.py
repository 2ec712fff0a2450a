"""Inference through aiohttp: for requests that the fast path of `connection` does not take.

Owns the life of such a request on this side: body in any encoding, decoding, dispatch, answer. Runs
on the supervisor's event loop.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

from aiohttp import web

from gpu_worker.ipc.tensors import table_size
from supervisor.access.access_log import GONE
from supervisor.dispatch.dispatcher import Dispatcher
from supervisor.dispatch.request import InferRequest
from supervisor.dispatch.result import InferResult
from supervisor.dispatch.waiting import infer
from supervisor.errors import NotFound
from supervisor.http.body import BodyReader, header_length
from supervisor.http.codec.lane_codec import Codecs
from supervisor.http.codec.plan import InferPlan
from supervisor.http.front import Front
from supervisor.http.heads import Head
from supervisor.http.large_json import LargeJson
from supervisor.http.placing import place
from supervisor.http.router import Router
from supervisor.http.tracing import tell_failure
from supervisor.lifecycle.model_manager import ModelManager


@dataclass(slots=True)
class _Progress:
    """How far a request has come."""

    dispatcher: Dispatcher | None = None
    queued: InferRequest | None = None

    def queue(self, request: InferRequest) -> None:
        self.queued = request


class InferenceHandlers:
    """The handler of `infer`."""

    def __init__(
        self,
        manager: ModelManager,
        reader: BodyReader,
        codecs: Codecs,
        large_json: LargeJson,
        front: Front,
    ) -> None:
        self._front = front
        self._manager = manager
        self._reader = reader
        self._codecs = codecs
        self._large_json = large_json
        self.unknown_models = 0  # requests for models that are not there

    def routes(self, router: Router) -> None:
        """Add the routes."""
        router.add("POST", "v2/models/{model}/infer", self.infer)
        router.add("POST", "v2/models/{model}/versions/{version}/infer", self.infer)

    async def infer(
        self, request: web.BaseRequest, model: str, version: str | None = None
    ) -> web.StreamResponse:
        """Run a model on the tensors of the body."""
        progress = _Progress()
        if self._front.spans is None:
            return await self._run(request, model, version, progress)
        begun_ns, status = time.monotonic_ns(), GONE
        try:
            response = await self._run(request, model, version, progress)
            status = response.status
        except ConnectionError:
            raise
        except Exception as error:
            status = getattr(error, "status", 500)
            raise
        finally:
            traces = request.headers.getall("traceparent", ())
            trace = traces[0] if len(traces) == 1 else ""
            head = Head(-1, model=model, version=version, trace=trace)
            self._front.spans.add(head, status, begun_ns, progress.queued, progress.dispatcher)
        return response

    async def _run(
        self, request: web.BaseRequest, model: str, version: str | None, progress: _Progress
    ) -> web.StreamResponse:
        try:
            dispatcher = progress.dispatcher = self._manager.model(model).dispatcher
        except NotFound:
            self.unknown_models += 1
            raise
        try:
            return await self._infer(request, dispatcher, version, progress)
        except ConnectionError:  # nobody is answered
            raise
        except Exception as error:
            dispatcher.ledger.refused(getattr(error, "status", 500))
            tell_failure(model, request.headers.get("traceparent", "")[:64], error)
            raise

    async def _infer(
        self,
        request: web.BaseRequest,
        dispatcher: Dispatcher,
        version: str | None,
        progress: _Progress,
    ) -> web.StreamResponse:
        lane = dispatcher.lane(version)
        body = await self._reader.read(request, table_size(len(lane.contract.inputs)))
        try:
            json_length = header_length(request.headers)
            header = None
            if self._large_json.is_large(body.length, json_length):
                header = await self._large_json.parse(body, json_length)
            lane = dispatcher.lane(version)  # there may have been a switch while the body came
            codec = self._codecs.of(lane)
            plan, arrays = codec.plan(body.view(), json_length, body.at, header)
            place(body, plan, arrays)
        except BaseException:
            body.drop()
            raise
        result = await infer(
            dispatcher,
            lane,
            body.take(),
            plan.layout.length,
            plan.output_mask,
            plan.shapes,
            by_version=version is not None,
            timeout_s=plan.timeout_s,
            queued=progress.queue,
        )
        return await self._answer(plan, result)

    async def _answer(self, plan: InferPlan, result: InferResult) -> web.StreamResponse:
        form = self._codecs.of(result.lane).forms.find(plan, result)
        texts: dict[int, bytes] = {}
        if form.json_outputs and self._large_json.answer_is_large(result):
            texts = await self._large_json.write(form, result)
        json = form.header_json(result.data, texts)
        result.lane.statistics.answered += 1
        parts: list[bytes | memoryview] = [json]
        parts += (result.data[start:end] for start, end in form.spans)
        return web.Response(body=b"".join(parts), headers=form.headers(len(json)))
