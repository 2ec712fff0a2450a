"""A movable exchange: one that another program can go on with.

Owns what of an exchange is kept at an upgrade in place, and how it is taken up. Runs on the event
loop of every front.
"""

from __future__ import annotations

from collections.abc import Mapping

from supervisor.dispatch.request import InferRequest
from supervisor.http.body import Body
from supervisor.http.codec.decoded import OutputWish
from supervisor.http.codec.plan import answer_plan
from supervisor.http.exchange import Exchange
from supervisor.kept.clients import KeptExchange, KeptQuestion


class MovableExchange(Exchange):
    """An exchange between a connection and whichever program serves it."""

    @property
    def movable(self) -> bool:
        """Say whether another program can go on with it: not while a task has it."""
        return self._task is None

    def keep(self, raw_head: bytes) -> KeptExchange | None:
        """Give what another program needs to go on with it, if anything is under way."""
        if not self.busy:
            return None
        if self._request is not None and self._plan is not None:
            wishes = [(wish.index, wish.binary) for wish in self._plan.outputs]
            question = KeptQuestion(self._request.id, self._plan.request_id, wishes)
            return KeptExchange(raw_head, self._begun_ns, question=question)
        assert self._body is not None
        return KeptExchange(raw_head, self._begun_ns, self._body.keep(len(self.filling or b"")))

    def take_up(
        self, kept: KeptExchange, requests: Mapping[int, InferRequest], data: bytes
    ) -> bytes:
        """Go on with what another program has begun; `requests` by their ids.

        `data` are bytes that have come meanwhile; gives those behind the body.
        """
        self._head = self._front.heads.read(kept.head)
        self._begun_ns = kept.begun_ns
        self._dispatcher = self._front.find(self._head.model)
        self.busy = True
        if kept.question is not None:
            self._request = requests[kept.question.request]
            self._request.reply = self.reply
            wishes = [OutputWish(*wish) for wish in kept.question.outputs]
            self._plan = answer_plan(kept.question.request_id, wishes)
        elif kept.body is not None:
            self._body = Body.take_up(self._front.arena, kept.body)
            missing = self._body.view()[-kept.body.missing :]
            data, rest = data[: len(missing)], data[len(missing) :]
            missing[: len(data)] = data
            self._fill(missing)
            if data:
                self.filled(len(data))
            return rest
        return data
