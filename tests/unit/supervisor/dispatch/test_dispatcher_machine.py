"""Any traffic, switches and crashes at all: what must hold of the dispatcher after each step."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from dataclasses import dataclass
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from gpu_worker.ipc.link import Status
from supervisor.dispatch.lane import Lane
from supervisor.errors import RequestError
from tests.unit.supervisor.dispatch.bench import OTHER_CONTRACT, Answer, Bench, FakeWorker, step

STATUSES = [Status.OK, Status.OK, Status.OK, Status.FAILED, Status.EXPIRED, Status.STALE]


@dataclass
class Asked:
    """A request, and the newest generation that had answered when it was asked."""

    answer: Answer
    floor: int
    lane: Lane | None
    ended: bool = False


class Traffic(RuleBasedStateMachine):
    """Requests, switches and crashes in any order."""

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.complaints: list[Any] = []
        self.loop.set_exception_handler(lambda _, context: self.complaints.append(context))
        self.asked: list[Asked] = []
        self.newest = 0
        self.versions = 0

    def run(self, work: Coroutine[Any, Any, None]) -> None:
        """Run something on the loop and look what has ended."""

        async def both() -> None:
            await work
            await step()

        self.loop.run_until_complete(both())
        for one in self.asked:
            if one.ended or not one.answer.done():
                continue
            one.ended = True
            if one.answer.cancelled():
                continue
            error = one.answer.exception()
            if error is not None:
                assert isinstance(error, RequestError), error
                continue
            served = one.answer.result().lane
            if one.lane is None:
                assert served.generation >= one.floor, "answered by an older generation"
            else:
                assert served is one.lane, "answered by another version"
            self.newest = max(self.newest, served.generation)

    @initialize()
    def start(self) -> None:
        async def build() -> None:
            self.bench = Bench(max_in_flight=2, queue_limit=8)
            self.dispatcher = self.bench.dispatcher

        self.run(build())

    # Requests

    @rule(by_version=st.sampled_from([None, None, "serving", "retained"]), count=st.integers(1, 4))
    def ask(self, by_version: str | None, count: int) -> None:
        async def ask() -> None:
            for _ in range(count):
                lane: Lane | None = getattr(self.dispatcher, by_version) if by_version else None
                if self.dispatcher.serving is None or (by_version and lane is None):
                    return
                self.asked.append(Asked(self.bench.ask(lane), self.newest, lane))

        self.run(ask())

    def pick(self, data: st.DataObject) -> Asked | None:
        open_ones = [one for one in self.asked if not one.ended]
        return data.draw(st.sampled_from(open_ones)) if open_ones else None

    @rule(data=st.data())
    def go_away(self, data: st.DataObject) -> None:
        async def cancel() -> None:
            one = self.pick(data)
            if one is not None:
                one.answer.cancel()

        self.run(cancel())

    @rule(data=st.data())
    def let_a_deadline_pass(self, data: st.DataObject) -> None:
        async def expire() -> None:
            waiting = [one for queue in self.dispatcher.queues() for one in queue]
            held = [one for worker in self.bench.workers for one in worker.in_flight.values()]
            if waiting or held:
                request = data.draw(st.sampled_from(waiting + held))
                self.dispatcher._expire(request)  # noqa: SLF001 - what its timer calls

        self.run(expire())

    # Workers

    def busy(self) -> list[FakeWorker]:
        return [worker for worker in self.bench.workers if worker.in_flight]

    @precondition(lambda self: self.busy())
    @rule(data=st.data(), status=st.sampled_from(STATUSES))
    def complete(self, data: st.DataObject, status: Status) -> None:
        async def complete() -> None:
            worker = data.draw(st.sampled_from(self.busy()))
            nth = data.draw(st.integers(0, len(worker.in_flight) - 1))
            self.bench.complete(worker, status, nth=nth)

        self.run(complete())

    @precondition(lambda self: self.bench.workers)
    @rule(data=st.data())
    def kill(self, data: st.DataObject) -> None:
        async def kill() -> None:
            worker = data.draw(st.sampled_from(list(self.bench.workers)))
            ids = st.sampled_from([0, *worker.in_flight])
            self.bench.kill(worker, *data.draw(st.lists(ids, unique=True)))

        self.run(kill())

    @rule()
    def add_worker(self) -> None:
        async def add() -> None:
            if self.dispatcher.serving is not None:
                self.bench.add_worker(self.dispatcher.serving)
                self.dispatcher.pump()

        self.run(add())

    # Lanes

    @rule(workers=st.integers(0, 2), change=st.booleans())
    def switch(self, workers: int, change: bool) -> None:
        async def switch() -> None:
            self.versions += 1
            contract = OTHER_CONTRACT if change else None
            self.bench.serve(f"v{self.versions}", workers, contract)

        self.run(switch())

    @rule()
    def switch_back(self) -> None:
        async def back() -> None:
            if self.dispatcher.retained is not None:
                self.dispatcher.switch(self.dispatcher.retained)

        self.run(back())

    @rule()
    def forget_retained(self) -> None:
        async def forget() -> None:
            self.dispatcher.forget_retained()

        self.run(forget())

    @rule()
    def stop_serving(self) -> None:
        async def stop() -> None:
            self.dispatcher.stop_serving("it was unloaded")

        self.run(stop())

    # What must hold

    @invariant()
    def a_slot_is_lent_to_each_live_request_and_to_nobody_else(self) -> None:
        assert self.bench.lent == self.bench.live

    @invariant()
    def no_worker_has_more_than_its_credit(self) -> None:
        assert all(len(worker.in_flight) <= 2 for worker in self.bench.workers)

    @invariant()
    def nobody_waits_beside_a_worker_with_credit(self) -> None:
        serving = self.dispatcher.serving
        if serving is not None and serving.best_worker() is not None:
            assert not serving.waiting
            retained = self.dispatcher.retained
            assert self.dispatcher.queued == (len(retained.waiting) if retained else 0)

    @invariant()
    def who_is_not_answered_waits_or_runs(self) -> None:
        assert sum(not one.ended for one in self.asked) <= self.bench.live

    def teardown(self) -> None:
        if hasattr(self, "bench"):

            async def finish() -> None:
                self.bench.serve("last", workers=1)
                self.dispatcher.forget_retained()
                while busy := self.busy():
                    self.bench.complete(busy[0])

            self.run(finish())
            assert all(one.ended for one in self.asked)
            assert (self.bench.lent, self.bench.live) == (0, 0)
            self.bench.close()
        self.loop.close()
        assert self.complaints == []


TestTraffic = Traffic.TestCase
TestTraffic.settings = settings(max_examples=80, stateful_step_count=40)
