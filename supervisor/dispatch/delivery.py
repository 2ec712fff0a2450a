"""Delivery: what a worker answers goes to the dispatcher of the lane that the worker is in.

Owns the way from one to the other. Runs on the event loop of every front.
"""

from __future__ import annotations

from collections.abc import Callable

from gpu_worker.ipc.link import Completion
from supervisor.dispatch.dispatcher import Dispatcher
from supervisor.dispatch.lane import Lane
from supervisor.dispatch.request import InferRequest
from supervisor.workers.port import WorkerPort


class Delivery:
    """Finds dispatchers by their models' names."""

    def __init__(self, find: Callable[[str], Dispatcher | None]) -> None:
        self._find = find

    def completed(
        self, worker: WorkerPort, request: InferRequest, completion: Completion, data: memoryview
    ) -> None:
        """Deliver one answer; `data` is gone when this returns."""
        lane = worker.lane
        if isinstance(lane, Lane) and (dispatcher := self._find(lane.model)) is not None:
            dispatcher.completed(lane, request, completion, data)

    def pumped(self, worker: WorkerPort) -> None:
        """Take note that there may be credit again."""
        lane = worker.lane
        if isinstance(lane, Lane) and (dispatcher := self._find(lane.model)) is not None:
            dispatcher.pump()
            lane.note_idle()

    def died(self, worker: WorkerPort) -> None:
        """Have sent again what a worker held that has ended."""
        lane = worker.lane
        if isinstance(lane, Lane) and (dispatcher := self._find(lane.model)) is not None:
            dispatcher.worker_died(lane, worker)
