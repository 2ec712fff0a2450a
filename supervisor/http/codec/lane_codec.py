"""The codec of one lane: the plans of its requests and the forms of its answers.

Owns both for as long as the lane serves or is retained. Pure. Runs on the supervisor's event loop.
"""

from __future__ import annotations

from supervisor.dispatch.lane import Lane
from supervisor.http.codec.answer_form import AnswerForms
from supervisor.http.codec.plan import Plans


class LaneCodec:
    """What is kept for the requests and answers of one lane."""

    def __init__(self, lane: Lane) -> None:
        self.plans = Plans(lane.contract)
        self.forms = AnswerForms(lane)


class Codecs:
    """The codecs of all lanes."""

    def __init__(self) -> None:
        self._codecs: dict[Lane, LaneCodec] = {}

    def of(self, lane: Lane) -> LaneCodec:
        """Give a lane's codec; those of lanes that have lost their workers are forgotten."""
        codec = self._codecs.get(lane)
        if codec is None:
            self._codecs = {old: one for old, one in self._codecs.items() if old.workers}
            codec = self._codecs[lane] = LaneCodec(lane)
        return codec
