"""Delivery: what a worker answers goes to the dispatcher of the lane that the worker is in.

Owns the way from one to the other. Runs on the event loop of every front.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from supervisor.dispatch.dispatcher import Dispatcher
from supervisor.dispatch.lane import Lane
from supervisor.workers.events import Answered
from supervisor.workers.port import WorkerPort


class Delivery:
    """Finds dispatchers by their models' names."""

    def __init__(self, find: Callable[[str], Dispatcher | None]) -> None:
        self._find = find

    def answered(self, worker: WorkerPort, answers: Sequence[Answered]) -> None:
        """Deliver answers, whose bytes are gone when this returns; there may be credit again."""
        lane = worker.lane
        if isinstance(lane, Lane) and (dispatcher := self._find(lane.model)) is not None:
            for request, completion, data in answers:
                dispatcher.completed(lane, request, completion, data)
            dispatcher.pump()
            lane.note_idle()

    def died(self, worker: WorkerPort) -> None:
        """Have sent again what a worker held that has ended."""
        lane = worker.lane
        if isinstance(lane, Lane) and (dispatcher := self._find(lane.model)) is not None:
            dispatcher.worker_died(lane, worker)
