"""The codec of one lane: the plans of its requests and the forms of its answers.

Owns both for as long as the lane serves or is retained. What a lane has learnt, the next one of an
equal contract begins with, so that its first request is as quick as any. Runs on the supervisor's
event loop.
"""

from __future__ import annotations

import asyncio
from typing import Any

from supervisor.dispatch.lane import Lane
from supervisor.http.codec.answer_form import AnswerForms
from supervisor.http.codec.decode import decode_header
from supervisor.http.codec.plan import Arrays, InferPlan, Plans, plan_of


class LaneCodec:
    """What is kept for the requests and answers of one lane."""

    def __init__(self, lane: Lane, plans: Plans) -> None:
        self.plans = plans
        self.forms = AnswerForms(lane)
        self._contract = lane.contract

    def plan(
        self,
        body: memoryview,
        json_length: int | None,
        body_at: int,
        header: dict[str, Any] | None = None,
    ) -> tuple[InferPlan, Arrays]:
        """Plan a body that stands at `body_at`; `header` is its JSON where it is parsed already.

        Raises:
            BadRequest: anything is wrong with it; names the field.

        """
        if header is None:
            return self.plans.find(body, json_length, body_at)
        at = len(body) if json_length is None else json_length
        decoded = decode_header(header, self._contract, at, len(body))
        return plan_of(decoded, body_at, len(body))


class Codecs:
    """The codecs of all lanes."""

    def __init__(self) -> None:
        self._codecs: dict[Lane, LaneCodec] = {}

    def of(self, lane: Lane) -> LaneCodec:
        """Give a lane's codec; those of lanes that have lost their workers are forgotten."""
        codec = self._codecs.get(lane)
        if codec is None:
            like = self._like(lane)
            self._codecs = {old: one for old, one in self._codecs.items() if old.workers}
            plans = Plans(lane.contract) if like is None else like.plans
            codec = self._codecs[lane] = LaneCodec(lane, plans)
            if like is not None:  # behind the request that asks, while a worker runs it
                loop = asyncio.get_running_loop()
                loop.call_soon(loop.call_soon, codec.forms.take_over, like.forms)
        return codec

    def _like(self, lane: Lane) -> LaneCodec | None:
        """Find the codec of the latest other version that takes and gives the same."""
        for known, codec in reversed(self._codecs.items()):
            if known.model == lane.model and known.contract == lane.contract:
                return codec
        return None
