"""The dispatcher of one model: its queue, its lanes, and the switch from one to the next.

Owns admission, deadlines, credit and generations. A request is bound to a lane, and so to a
generation, only when it goes onto a worker's ring; before that it follows every switch. Slots go
home exactly once: when the request ended and no worker reads them. Nothing here waits for I/O.
Runs on the event loop of every front.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable

import structlog

from gpu_worker.ipc.arena import RequestArena
from gpu_worker.ipc.link import Completion, Status
from gpu_worker.ipc.slots import Slot
from supervisor.deadlines import Deadlines
from supervisor.dispatch import refusals
from supervisor.dispatch.generations import Generations
from supervisor.dispatch.lane import Lane
from supervisor.dispatch.recent_shapes import RecentShapes, Shapes
from supervisor.dispatch.request import InferRequest, Reply, RequestState
from supervisor.dispatch.result import Answer, InferResult, contract_change, error_of
from supervisor.errors import PoisonRequest, RequestError
from supervisor.workers.port import WorkerPort

log = structlog.get_logger()


class Dispatcher:
    """Queue and lanes of one model."""

    def __init__(self, model: str, arena: RequestArena) -> None:
        self.model = model
        self.recent_shapes = RecentShapes()
        self.generations = Generations(model)
        self.ledger = self.generations.ledger
        self.counts = self.ledger.events
        self._arena = arena
        self.queue: deque[InferRequest] = deque()
        self._loop = asyncio.get_running_loop()
        self.deadlines: Deadlines[InferRequest] = Deadlines(self._expire)
        self._pumping = False  # a look at the queues is due
        self.held = False  # what is queued waits: for a switch of all fronts, or a lane to empty

    @property
    def serving(self) -> Lane | None:
        """The lane that requests go to."""
        return self.generations.serving

    @property
    def retained(self) -> Lane | None:
        """The lane that served before, ready for rollback."""
        return self.generations.retained

    @property
    def queued(self) -> int:
        """Count the requests that wait for a worker."""
        waiting = len(self.queue)
        for lane in (self.generations.serving, self.generations.retained):
            waiting += 0 if lane is None else len(lane.waiting)
        return waiting

    @property
    def ready(self) -> bool:
        """Say whether a version serves and a worker is alive to run it."""
        return self.serving is not None and bool(self.serving.workers)

    def lane(self, version: str | None) -> Lane:
        """Find the lane that a request asks for, as `Generations.find` does."""
        return self.generations.find(version)

    # Admission

    def submit(
        self,
        lane: Lane,
        slot: Slot,
        length: int,
        output_mask: int,
        shapes: Shapes,
        reply: Reply,
        *,
        by_version: bool,
        timeout_s: float | None = None,
    ) -> InferRequest:
        """Queue a request whose payload stands in `slot`; `reply` is called once, not at once.

        Takes the slot over, whatever happens. `lane` is what the payload was checked against;
        `by_version` says that only this version may answer. Raises Overloaded where the queue is
        full, NotFound where that version is on its way out.

        """
        limit_s = lane.settings.timeout_ms / 1000
        limit_s = min(timeout_s or limit_s, limit_s)
        request = InferRequest.begin(
            limit_s, slot, length, lane.contract, output_mask, shapes, reply, by_version=by_version
        )
        try:
            self._admit(request, lane)
        except RequestError:
            self._free(request)
            raise
        return request

    def _admit(self, request: InferRequest, lane: Lane) -> None:
        waiting, limit = self.queued, lane.settings.queue_limit
        if waiting >= limit:
            self.pump()  # they may only wait to be handed on: came, or got credit, a moment ago
            waiting = self.queued
        if waiting >= limit:
            self.counts["queue_full"] += 1
            raise refusals.queue_full(self.model, waiting)
        if request.by_version and lane.closing:
            raise refusals.gone(lane)
        self._arena.stamp(request.slot, request.id)
        self.deadlines.watch(request, request.deadline_ns)
        (lane.waiting if request.by_version else self.queue).append(request)
        if not self._pumping:  # once for all requests that one wake-up of the loop brings
            self._pumping = True
            self._loop.call_soon(self.pump)

    def abandon(self, request: InferRequest) -> None:
        """Let go of a request whose client has gone: it costs the device no time any more."""
        if request.answered:
            return
        request.answered = True
        self.counts["abandoned"] += 1
        self.deadlines.forget(request)
        self._drop_queued(request)

    def _expire(self, request: InferRequest) -> None:
        self.counts["deadline"] += 1
        self._answer(request, refusals.late(self.model, request))
        self._drop_queued(request)

    def _drop_queued(self, request: InferRequest) -> None:
        """Take an answered request out of its queue; one in flight goes home with its worker."""
        if request.state is RequestState.QUEUED:
            for queue in self.queues():
                if request in queue:
                    queue.remove(request)
            self._free(request)
            for lane in self.generations.lanes():
                lane.note_idle()

    def _answer(self, request: InferRequest, answer: Answer) -> None:
        """Answer once; whoever takes the answer cannot harm what comes after it."""
        request.answered = True
        self.deadlines.forget(request)
        try:
            request.reply(answer)
        except Exception:
            log.exception("an answer could not be given", model=self.model)

    def queues(self) -> list[deque[InferRequest]]:
        """Give what waits for a worker: for any version, then by lane for that one alone."""
        return [self.queue, *(lane.waiting for lane in self.generations.lanes())]

    def _free(self, request: InferRequest) -> None:
        request.state = RequestState.ENDED
        self._arena.slots.give_back(request.slot)

    # To the workers

    def pump(self) -> None:
        """Hand waiting requests to workers with credit; one ring of the doorbell per worker."""
        self._pumping = False
        serving, retained = self.generations.serving, self.generations.retained
        if retained is not None and retained.waiting:
            self._pump(retained, retained.waiting)
        if serving is None:
            return
        if serving.waiting:
            self._pump(serving, serving.waiting)
        if self.queue and not self.held:
            self._pump(serving, self.queue)

    def _pump(self, lane: Lane, queue: deque[InferRequest]) -> None:
        batches: dict[WorkerPort, list[InferRequest]] = {}
        while queue:
            worker = lane.best_worker()
            if worker is None:
                break
            request = queue.popleft()
            if request.contract is not lane.contract:
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
        self, lane: Lane, request: InferRequest, completion: Completion, data: memoryview
    ) -> None:
        """Take one answer from a worker of `lane`; `data` is gone when this returns."""
        status = completion.status
        if status == Status.STALE and not request.answered:
            self.counts["stale"] += 1
            self._send_again(lane, request, blamed=True)
            return
        self._free(request)
        if request.answered:
            return
        request.lane, request.completion = lane, completion
        if status == Status.OK:
            lane.statistics.succeeded(request, completion, self.ledger.calm_since_ns)
            if request.shapes is not self.recent_shapes.latest:
                self.recent_shapes.note(request.shapes)
            self._answer(request, InferResult(lane, data))
        else:
            error = error_of(lane, completion, data)
            lane.statistics.failed(time.monotonic_ns() - request.enqueued_ns, error.status)
            self._answer(request, error)

    def worker_died(self, lane: Lane, worker: WorkerPort) -> None:
        """Take back what a dead worker held, and send it again in the same order.

        Those that it was running are blamed. If that was a batch, each of them runs alone from now
        on, so that the second death, if there is one, names the guilty one.
        """
        running = worker.running()
        if worker in lane.workers:
            lane.workers.remove(worker)
        for request in reversed(list(worker.in_flight.values())):
            if request.answered:
                self._free(request)
            else:
                self._send_again(lane, request, blamed=request.id in running)
        worker.in_flight.clear()
        lane.note_idle()
        self.pump()

    def _send_again(self, lane: Lane, request: InferRequest, *, blamed: bool) -> None:
        """Queue a request once more, first in line; not one that has been blamed twice."""
        request.crashes += blamed
        refusal = refusals.after_death(self.model, request, lane, self.generations)
        if isinstance(refusal, PoisonRequest):
            self.counts["poison"] += 1
            log.error(
                "poison request: it was running when two workers died",
                model=self.model, version=lane.version, request=request.id, shapes=request.shapes,
            )  # fmt: skip
        if refusal is not None:
            self._fail(request, refusal)
        else:
            self.counts["sent_again"] += 1
            request.state = RequestState.QUEUED
            (lane.waiting if request.by_version else self.queue).appendleft(request)

    def _fail(self, request: InferRequest, error: RequestError) -> None:
        """End a request that no worker holds with an error."""
        self._free(request)
        self._answer(request, error)

    # From one lane to the next

    def switch(self, lane: Lane, generation: int | None = None) -> Lane | None:
        """Make `lane` the serving one: one assignment, one generation more. Gives the old one.

        Everything that waits follows. What is in flight finishes where it is. `generation` is given
        where another process has counted it.
        """
        if self.retained is not None and self.retained is not lane:
            self.forget_retained()
        old = self.generations.switch(lane, generation)
        self.pump()
        return old

    def stop_serving(self, why: str) -> Lane | None:
        """Take the model out of service; requests that wait are answered 503."""
        old = self.generations.stop(why)
        self._fail_all(self.queue, lambda: refusals.not_ready(self.model, why))
        if old is not None:
            self._fail_all(old.waiting, lambda: refusals.gone(old))
            old.note_idle()
        return old

    def forget_retained(self) -> None:
        """Drop the retained lane; requests that asked for it by version and wait get 404."""
        lane = self.generations.forget()
        if lane is not None:
            self._fail_all(lane.waiting, lambda: refusals.gone(lane))
            lane.note_idle()

    def _fail_all(self, queue: deque[InferRequest], error: Callable[[], RequestError]) -> None:
        while queue:
            self._fail(queue.popleft(), error())
