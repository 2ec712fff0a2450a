"""Spare memory: what workers without a version keep for the next one, and how long.

A worker that gives up a version keeps its memory, since the next load takes as much again: it is
quicker that way and disturbs less. Owns until when: until a load of another model, for
`worker_keep_s`, or until somebody finds too little. Runs on the supervisor's event loop.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

from supervisor.workers.events import WorkerState
from supervisor.workers.handle import WorkerHandle


class SpareMemory:
    """Has spares give back what they keep."""

    def __init__(self, keep_s: float) -> None:
        """Let them keep it for `keep_s` seconds; 0: not at all."""
        self._keep_s = keep_s
        self._models: dict[WorkerHandle, str] = {}  # loaded last, since they gave back all
        self._timers: dict[WorkerHandle, asyncio.TimerHandle] = {}

    def take_up(self, workers: Iterable[WorkerHandle]) -> None:
        """Go on with the workers of another program, which may have loaded anything."""
        for worker in workers:
            if worker.load_id:
                self._models[worker] = ""
            self.note(worker)

    def expect(self, worker: WorkerHandle, model: str) -> None:
        """Have a spare that a version of `model` comes into give back what another has left."""
        if self._models.get(worker, model) != model:
            self._give_back(worker)
        self._models[worker] = model

    def note(self, worker: WorkerHandle) -> None:
        """Look at a worker that has changed."""
        if not self.keeps(worker):
            self._cancel(worker)
        elif not self._keep_s:
            self._give_back(worker)
        elif worker not in self._timers:
            loop = asyncio.get_running_loop()
            self._timers[worker] = loop.call_later(self._keep_s, self._give_back, worker)

    def forget(self, worker: WorkerHandle) -> None:
        """Take note that a worker has ended."""
        self._cancel(worker)
        self._models.pop(worker, None)

    def keeps(self, worker: WorkerHandle) -> bool:
        """Say whether it is a spare that keeps something."""
        return worker in self._models and worker.state is WorkerState.IDLE

    def give_back(self, workers: Iterable[WorkerHandle]) -> None:
        """Have the spares among these give back at once what they keep."""
        for worker in workers:
            if self.keeps(worker):
                self._give_back(worker)

    def close(self) -> None:
        """Ask nobody any more."""
        for worker in list(self._timers):
            self._cancel(worker)

    def _give_back(self, worker: WorkerHandle) -> None:
        self.forget(worker)
        worker.unload()

    def _cancel(self, worker: WorkerHandle) -> None:
        timer = self._timers.pop(worker, None)
        if timer is not None:
            timer.cancel()
