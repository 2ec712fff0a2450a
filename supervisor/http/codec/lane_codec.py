"""The codec of one lane: the plans of its requests and the forms of its answers.

Owns both for as long as the lane serves or is retained. What a lane has learnt, the next one of an
equal contract begins with, so that its first request is as quick as any. Runs on the supervisor's
event loop.
"""

from __future__ import annotations

import asyncio

from supervisor.dispatch.lane import Lane
from supervisor.http.codec.answer_form import AnswerForms
from supervisor.http.codec.plan import Plans


class LaneCodec:
    """What is kept for the requests and answers of one lane."""

    def __init__(self, lane: Lane, plans: Plans) -> None:
        self.plans = plans
        self.forms = AnswerForms(lane)


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
