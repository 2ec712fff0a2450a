"""The links between further fronts and workers: what each tells the other through the supervisor.

Owns the way only: fronts make the links, workers serve them. Runs on the supervisor's event loop.
"""

from __future__ import annotations

from collections.abc import Sequence

import structlog

from supervisor.fronts import messages
from supervisor.fronts.handle import FrontHandle
from supervisor.workers.handle import WorkerHandle
from supervisor.workers.pool import WorkerPool

log = structlog.get_logger()


class WorkerLinks:
    """Passes on; `running` belongs to the fronts."""

    def __init__(self, running: Sequence[FrontHandle], pool: WorkerPool) -> None:
        self._running = running
        self._pool = pool
        pool.on_started = self._worker_started
        pool.on_needs_space = self._worker_needs_space

    def _worker_started(self, worker: WorkerHandle) -> None:
        for front in self._running:
            front.say(messages.WorkerUp(worker.number, worker.pid, worker.device))

    def _worker_needs_space(self, worker: WorkerHandle, number: int) -> None:
        for front in self._running:  # the answer to one that has ended is `Detach`
            if front.number == number:
                front.say(messages.NeedSpace(worker.number))

    def _worker(self, number: int) -> WorkerHandle | None:
        return next((one for one in self._pool.workers if one.number == number), None)

    def front_linked(self, front: FrontHandle, worker: int, fds: tuple[int, int, int, int]) -> None:
        """Pass a front's link on to the worker."""
        handle = self._worker(worker)
        if handle is not None:
            handle.attach(front.number, fds)

    def front_freed_space(self, front: FrontHandle, worker: int) -> None:
        """Wake the worker."""
        handle = self._worker(worker)
        if handle is not None:
            handle.space_freed(front.number)

    def front_found_hung(self, front: FrontHandle, worker: int) -> None:
        """End a worker that gives a front no answer."""
        handle = self._worker(worker)
        if handle is not None:
            log.error(
                "worker gives a front no answer, it is ended",
                worker=worker, pid=handle.pid, front=front.number,
            )  # fmt: skip
            self._pool.end_overdue(handle)
