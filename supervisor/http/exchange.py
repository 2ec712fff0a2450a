"""An exchange: one inference of a connection, from its head to its answer.

Owns the body's slot, the request that waits for a worker, and the task that large JSON takes. A
connection has at most one at a time. No task is made where a callback does. Runs on the
supervisor's event loop.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import structlog

from gpu_worker.ipc.tensors import table_size
from supervisor.access.access_log import GONE
from supervisor.dispatch.dispatcher import Dispatcher
from supervisor.dispatch.lane import Lane
from supervisor.dispatch.result import Answer, InferResult
from supervisor.errors import BodyTimeout, InferenceFailed, Overloaded, RequestError
from supervisor.express.wire_parts import ExchangeState
from supervisor.http.body import Body, start_of
from supervisor.http.client import Client
from supervisor.http.codec.answer_form import AnswerForm
from supervisor.http.front import Front
from supervisor.http.heads import UNKNOWN, Head
from supervisor.http.last_words import error_parts
from supervisor.http.placing import place
from supervisor.http.tracing import tell_failure

log = structlog.get_logger()


class Exchange(ExchangeState):
    """One inference at a time."""

    def __init__(self, front: Front, client: Client) -> None:
        self.filling = None  # what is missing of a body goes here
        self.busy = False
        self.reply = self._replied  # to requests
        self._front = front
        self._client = client
        self._body = None
        self._head = UNKNOWN
        self._dispatcher = None
        self._plan = None
        self._request = None
        self._task = None

    def give_up(self) -> None:
        """Let go of whatever is under way: the client has gone."""
        if self.busy and self._front.access_log is not None:
            self._note(GONE)
        if self.busy and self._front.spans is not None and self._head.trace:
            self._trace(GONE)
        if self._task is not None:
            self._task.cancel()
        if self._request is not None and self._dispatcher is not None:
            self._dispatcher.abandon(self._request)
        if self.filling is not None:
            self._front.late_bodies.forget(self)
            self.filling = None
        self._drop_body()  # while the JSON worker reads it, the slot is not the body's

    def _drop_body(self) -> None:
        if self._body is not None:
            self._body.drop()
            self._body = None

    # The body

    def begin(
        self, head: Head, dispatcher: Dispatcher, lane: Lane, data: bytes, at: int
    ) -> bytes | None:
        """Take a slot and what there is of the body at `at`; gives the bytes behind it.

        None says that the slow path shall refuse it.
        """
        arena, length = self._front.arena, head.length
        start = start_of(table_size(len(lane.contract.inputs)), head.json_length or 0)
        slot = arena.slots.take(start + length)
        have = min(len(data) - at, length)
        self._head = head
        self._begun_ns = time.monotonic_ns()
        self._dispatcher = dispatcher
        self.busy = True
        if slot is None:
            if have < length:
                self.busy = False
                return None
            self._refuse(Overloaded("the request arena is full (arena_mb); try again later"))
            return data[at + length :]
        self._body = Body(arena, slot, start, length)
        payload = arena.payload(slot)
        end = at + have
        payload[start : start + have] = memoryview(data)[at:end]
        if have < length:
            have += self._client.receive(payload[start + have : start + length])
        if have < length:
            self._fill(payload[start + have : start + length])
        else:
            self._arrived(lane)
        return data[end:]

    def _fill(self, missing: memoryview) -> None:
        """Have what is missing of the body come."""
        self.filling = missing
        self._client.expect(len(missing))
        timeout_ns = int(self._front.body_timeout_s * 1_000_000_000)
        self._front.late_bodies.watch(self, time.monotonic_ns() + timeout_ns)

    def filled(self, nbytes: int) -> None:
        """Take note of bytes that came into `filling`."""
        filling = self.filling
        assert filling is not None
        self._client.expect(len(filling) - nbytes)
        if nbytes < len(filling):
            self.filling = filling[nbytes:]
            return
        self.filling = None
        self._front.late_bodies.forget(self)
        self._arrived()

    def body_is_late(self) -> None:
        """Refuse a body that has not arrived in time."""
        filling = self.filling
        assert filling is not None
        if self._front.holding:  # the rest may be there, and is not read
            self._fill(filling)
            return
        missing = len(filling) - self._client.receive(filling)  # some may wait below the mark
        if not missing:
            self.filled(len(filling))
            return
        self.filling = None
        self._drop_body()
        self._head = replace(self._head, keep_alive=False)
        self._refuse(
            BodyTimeout(
                f"the body did not arrive within {self._front.body_timeout_s:g} s "
                f"(body_timeout_ms); {self._head.length - missing} bytes did"
            )
        )

    def _arrived(self, lane: Lane | None = None) -> None:
        """Make a request of a body that is there; without `lane` there may have been a switch."""
        body, head, dispatcher = self._body, self._head, self._dispatcher
        assert body is not None
        assert dispatcher is not None
        if self._front.large_json.is_large(body.length, head.json_length):
            self._task = self._front.spawn(self._decode_elsewhere(body, dispatcher))
            return
        try:
            self._submit(dispatcher, lane or dispatcher.lane(head.version), body)
        except Exception as error:  # noqa: BLE001 - the client gets an answer whatever it is
            self._fail(error)

    async def _decode_elsewhere(self, body: Body, dispatcher: Dispatcher) -> None:
        head = self._head
        try:
            header = await self._front.large_json.parse(body, head.json_length)
            self._task = None  # before the answer: the next exchange may begin with it
            lane = dispatcher.lane(head.version)
            self._submit(dispatcher, lane, body, header)
        except Exception as error:  # noqa: BLE001 - the client gets an answer whatever it is
            self._task = None
            self._fail(error)

    def _submit(
        self,
        dispatcher: Dispatcher,
        lane: Lane,
        body: Body,
        header: dict[str, Any] | None = None,
    ) -> None:
        """Make tensors of a body, and queue the request."""
        codec = self._front.codecs.of(lane)
        at = body.at
        plan, arrays = codec.plan(body.view(), self._head.json_length, at, header)
        place(body, plan, arrays)
        self._plan = plan
        self._body = None
        self._request = dispatcher.submit(
            lane,
            body.take(),
            plan.layout.length,
            plan.output_mask,
            plan.shapes,
            self.reply,
            by_version=self._head.version is not None,
            timeout_s=plan.timeout_s,
        )
        if self._front.express is not None and header is None:
            self._client.learn(lane, at)

    # The answer

    def _replied(self, answer: Answer) -> None:
        if not isinstance(answer, InferResult):
            self._refuse(answer)
            return
        try:
            form = self.form_of(answer.lane, answer.data)
            if form.json_outputs and self._front.large_json.answer_is_large(answer):
                self._task = self._front.spawn(self._write_elsewhere(form, answer.copy()))
                return
            self._answer(form, answer, {})
        except Exception as error:  # noqa: BLE001 - the client gets an answer whatever it is
            self._fail(error)

    def form_of(self, lane: Lane, data: memoryview | bytes) -> AnswerForm:
        """Give the form of the answer whose bytes a worker of `lane` has written."""
        plan = self._plan
        assert plan is not None
        return self._front.codecs.of(lane).forms.find(plan, InferResult(lane, memoryview(data)))

    async def _write_elsewhere(self, form: AnswerForm, answer: InferResult) -> None:
        try:
            texts = await self._front.large_json.write(form, answer)
            self._task = None  # before the answer: the next exchange may begin with it
            self._answer(form, answer, texts)
        except Exception as error:  # noqa: BLE001 - the client gets an answer whatever it is
            self._task = None
            self._fail(error)

    def _answer(self, form: AnswerForm, answer: InferResult, texts: dict[int, bytes]) -> None:
        data, closes = answer.data, self._closes()
        if form.json_outputs:
            json = form.header_json(data, texts)
            head = form.head(len(json))
        else:
            head, json = form.fixed_head, form.fixed_json
        answer.lane.statistics.answered += 1
        parts: list[bytes | memoryview] = [head, self._front.last_lines(closes=closes), json]
        for start, end in form.spans:
            parts.append(data[start:end])
        self._send(parts, 200, answer.lane.version, closes=closes)

    def _fail(self, error: Exception) -> None:
        """Answer with what went wrong, unless the answer has been given."""
        self._drop_body()
        if isinstance(error, RequestError):
            self._refuse(error)
            return
        log.error("an exchange broke", model=self._head.model, exc_info=error)
        if self.busy:
            self._refuse(InferenceFailed("internal error"))

    def _refuse(self, error: RequestError) -> None:
        assert self._dispatcher is not None
        self._dispatcher.ledger.refused(error.status)
        tell_failure(self._head.model, self._head.trace, error)
        head, body = error_parts(error)
        closes = self._closes()
        parts = [head, self._front.last_lines(closes=closes), body]
        self._send(parts, error.status, closes=closes)

    def _closes(self) -> bool:
        return self._front.draining or not self._head.keep_alive

    def _note(self, status: int, version: str = "", sent: Sequence[Any] = ()) -> None:
        """Write a line in the access log, which there is."""
        assert self._front.access_log is not None
        self._front.access_log.add(
            self._client.caller, "infer", status, self._begun_ns,
            model=self._head.model, version=version,
            received=self._head.length, sent=sum(map(len, sent)),
        )  # fmt: skip

    def _trace(self, status: int) -> None:
        """Have spans made of a traced request, if it is sampled."""
        assert self._front.spans is not None
        self._front.spans.add(self._head, status, self._begun_ns, self._request, self._dispatcher)

    def _send(self, parts: Sequence[Any], status: int, version: str = "", *, closes: bool) -> None:
        self.busy = False
        if self._front.access_log is not None:
            self._note(status, version, parts[2:])
        if self._front.spans is not None and self._head.trace:
            self._trace(status)
        self._request = None
        self._client.send(parts, close=closes)
