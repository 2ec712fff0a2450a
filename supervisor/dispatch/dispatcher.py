"""The dispatcher of one model: its queue, its lanes, and the switch from one to the next.

Owns admission, deadlines, credit and generations. A request is bound to a lane, and so to a
generation, only when it goes onto a worker's ring; before that it follows every switch. Slots go
home exactly once: when the request ended and no worker reads them. Nothing here waits for I/O.
Runs on the supervisor's event loop.
"""

from __future__ import annotations

import asyncio
import itertools
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable
from typing import Final

import structlog

from gpu_worker.ipc.arena import RequestArena, Slot
from gpu_worker.ipc.link import Completion, Status
from supervisor.dispatch.generations import Generations
from supervisor.dispatch.lane import Lane
from supervisor.dispatch.recent_shapes import RecentShapes, Shapes
from supervisor.dispatch.request import InferRequest, RequestState
from supervisor.dispatch.result import InferResult, contract_change, result_of
from supervisor.errors import (
    DeadlineExceeded,
    NotFound,
    NotReady,
    Overloaded,
    PoisonRequest,
    RequestError,
)
from supervisor.workers.handle import WorkerHandle

log = structlog.get_logger()

_CRASHES_OF_POISON: Final = 2
_request_ids = itertools.count(1)


class Dispatcher:
    """Queue and lanes of one model."""

    def __init__(self, model: str, arena: RequestArena) -> None:
        self.model = model
        self.counts: Counter[str] = Counter()
        self.recent_shapes = RecentShapes()
        self._generations = Generations(model)
        self._arena = arena
        self._queue: deque[InferRequest] = deque()
        self._loop = asyncio.get_running_loop()

    # What serves

    @property
    def serving(self) -> Lane | None:
        """The lane that requests go to."""
        return self._generations.serving

    @property
    def retained(self) -> Lane | None:
        """The lane that served before, ready for rollback."""
        return self._generations.retained

    @property
    def generation(self) -> int:
        """How many switches there have been."""
        return self._generations.number

    def explain(self, why_not: str) -> None:
        """Set what is said to requests while nothing serves."""
        self._generations.why_not = why_not

    @property
    def queued(self) -> int:
        """Count the requests that wait for a worker."""
        return sum(len(queue) for queue in self._queues())

    @property
    def ready(self) -> bool:
        """Say whether a version serves and a worker is alive to run it."""
        return self.serving is not None and bool(self.serving.workers)

    def lane(self, version: str | None) -> Lane:
        """Find the lane that a request asks for, as `Generations.find` does."""
        return self._generations.find(version)

    async def infer(
        self,
        lane: Lane,
        slot: Slot,
        length: int,
        output_mask: int,
        shapes: Shapes,
        *,
        by_version: bool,
        timeout_s: float | None = None,
    ) -> InferResult:
        """Queue a request whose payload stands in `slot` and wait for its answer.

        Takes the slot over, whatever happens. `lane` is what the payload was checked against;
        `by_version` says that only this version may answer.

        Raises:
            RequestError: any of queue full, deadline, failure, as the tree in `errors` has it.

        """
        limit_s = lane.settings.timeout_ms / 1000
        request = InferRequest(
            next(_request_ids),
            slot,
            length,
            lane.contract,
            output_mask,
            shapes,
            self._loop.time() + min(timeout_s or limit_s, limit_s),
            self._loop.create_future(),
            by_version,
            time.monotonic_ns(),
        )
        try:
            self._admit(request, lane)
            result: InferResult = await request.future
            return result
        finally:
            self._end(request)

    def _admit(self, request: InferRequest, lane: Lane) -> None:
        if self.queued >= lane.settings.queue_limit:
            self.counts["queue_full"] += 1
            text = f"model {self.model!r} has {self.queued} requests waiting, its queue_limit"
            raise Overloaded(f"{text}; try again later")
        if request.by_version and lane.closing:
            raise self._gone(lane)
        self._arena.stamp(request.slot, request.id)
        request.timer = self._loop.call_at(request.deadline, self._expire, request)
        (lane.waiting if request.by_version else self._queue).append(request)
        self.pump()

    def _expire(self, request: InferRequest) -> None:
        if not request.future.done():
            self.counts["deadline"] += 1
            where = "in a worker" if request.state is RequestState.IN_FLIGHT else "in the queue"
            request.future.set_exception(
                DeadlineExceeded(f"model {self.model!r} gave no answer in time; it was {where}")
            )

    def _end(self, request: InferRequest) -> None:
        """Let go of a request whose handler is done: answered, failed, or its client has gone."""
        if request.timer is not None:
            request.timer.cancel()
        if request.state is not RequestState.QUEUED:
            return  # in flight: the slot goes home when the worker is done with it
        for queue in self._queues():
            if request in queue:
                queue.remove(request)
        self._free(request)
        for lane in self._generations.lanes():
            lane.note_idle()

    def _queues(self) -> Iterable[deque[InferRequest]]:
        yield self._queue
        for lane in self._generations.lanes():
            yield lane.waiting

    def _free(self, request: InferRequest) -> None:
        request.state = RequestState.ENDED
        self._arena.slots.give_back(request.slot)

    # To the workers

    def pump(self) -> None:
        """Hand waiting requests to workers with credit; one ring of the doorbell per worker."""
        for lane in self._generations.lanes():
            if lane.waiting:
                self._pump(lane, lane.waiting)
        if self.serving is not None and self._queue:
            self._pump(self.serving, self._queue)

    def _pump(self, lane: Lane, queue: deque[InferRequest]) -> None:
        batches: dict[WorkerHandle, list[InferRequest]] = {}
        while queue:
            worker = lane.best_worker()
            if worker is None:
                break
            request = queue.popleft()
            if request.future.done():
                self._free(request)
                continue
            changed = contract_change(lane, request)
            if changed is not None:
                self._fail(request, changed)
                continue
            request.state = RequestState.IN_FLIGHT
            worker.in_flight[request.id] = request
            batches.setdefault(worker, []).append(request)
        for worker, batch in batches.items():
            worker.submit(batch)

    # From the workers

    def completed(
        self, lane: Lane, request: InferRequest, completion: Completion, data: bytes
    ) -> None:
        """Take one answer from a worker of `lane`."""
        if completion.status == Status.STALE and not request.future.done():
            self.counts["stale"] += 1
            self._send_again(lane, request, blamed=True)
            return
        self._free(request)
        if request.future.done():
            return
        total_ns = time.monotonic_ns() - request.enqueued_ns
        try:
            result = result_of(lane, request, completion, data)
        except RequestError as error:
            lane.statistics.failed(total_ns)
            request.future.set_exception(error)
            return
        lane.statistics.succeeded(total_ns, result.queue_ns, result.infer_ns, result.output_ns)
        self.recent_shapes.note(request.shapes)
        request.future.set_result(result)

    def worker_died(self, lane: Lane, worker: WorkerHandle, running: int) -> None:
        """Take back what a dead worker held, and send it again in the same order."""
        if worker in lane.workers:
            lane.workers.remove(worker)
        for request in reversed(list(worker.in_flight.values())):
            if request.future.done():
                self._free(request)
            else:
                self._send_again(lane, request, blamed=request.id == running)
        worker.in_flight.clear()
        lane.note_idle()
        self.pump()

    def _send_again(self, lane: Lane, request: InferRequest, *, blamed: bool) -> None:
        """Queue a request once more, first in line; not one that has been blamed twice."""
        request.crashes += blamed
        if request.crashes >= _CRASHES_OF_POISON:
            self.counts["poison"] += 1
            log.error(
                "poison request: it was running when two workers died",
                model=self.model, version=lane.version, request=request.id, shapes=request.shapes,
            )  # fmt: skip
            self._fail(
                request, PoisonRequest(f"model {self.model!r}: two workers could not run it")
            )
        elif request.by_version and lane not in self._generations.lanes():
            self._fail(request, self._gone(lane))
        elif self.serving is None and not request.by_version:
            self._fail(request, NotReady(f"model {self.model!r}: {self._generations.why_not}"))
        else:
            self.counts["sent_again"] += 1
            request.state = RequestState.QUEUED
            (lane.waiting if request.by_version else self._queue).appendleft(request)

    def _fail(self, request: InferRequest, error: RequestError) -> None:
        """End a request that no worker holds with an error."""
        self._free(request)
        if not request.future.done():
            request.future.set_exception(error)

    def _gone(self, lane: Lane) -> NotFound:
        return NotFound(f"version {lane.version!r} of {self.model!r} is no longer loaded")

    def switch(self, lane: Lane) -> Lane | None:
        """Make `lane` the serving one: one assignment, one generation more. Gives the old one.

        Everything that waits follows. What is in flight finishes where it is.
        """
        if self.retained is not None and self.retained is not lane:
            self.forget_retained()
        old = self._generations.switch(lane)
        self.pump()
        return old

    def stop_serving(self, why: str) -> Lane | None:
        """Take the model out of service; requests that wait are answered 503."""
        old = self._generations.stop(why)
        self._fail_all(self._queue, lambda: NotReady(f"model {self.model!r}: {why}"))
        if old is not None:
            self._fail_all(old.waiting, lambda: self._gone(old))
        return old

    def forget_retained(self) -> None:
        """Drop the retained lane; requests that asked for it by version and wait get 404."""
        lane = self._generations.forget()
        if lane is not None:
            self._fail_all(lane.waiting, lambda: self._gone(lane))

    def _fail_all(self, queue: deque[InferRequest], error: Callable[[], RequestError]) -> None:
        while queue:
            self._fail(queue.popleft(), error())
