"""Any switches, crashes and restarts at all: fronts end up like the supervisor, and keep to G1.

The supervisor's part is played as `Fronts` and `Lanes` play it. What is said to a front waits in an
inbox until the front reads it, which may be much later.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from supervisor.dispatch.lane import Lane
from supervisor.dispatch.result import InferResult
from supervisor.errors import RequestError
from supervisor.fronts import messages
from supervisor.fronts.state import lane_states, model_state
from tests.unit.supervisor.dispatch.bench import Bench, FakeWorker, Reply, step
from tests.unit.supervisor.front_process.mirrored import FakePort, Mirrored, Reader, state_of

LIMITS = {"max_in_flight": 2, "queue_limit": 8}


@dataclass
class Asked:
    """A request, and the newest generation that any front had answered from before it came."""

    floor: int
    replies: list[Reply] = field(default_factory=list)


class Fronts(RuleBasedStateMachine):
    """A supervisor and two further fronts."""

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.complaints: list[object] = []
        self.loop.set_exception_handler(lambda _, context: self.complaints.append(context))
        self.asked: list[Asked] = []
        self.newest = 0
        self.numbers = 0
        self.order = 0  # to hold; 0 while nothing is held

    def run(self, do: Callable[[], None]) -> None:
        async def both() -> None:
            do()
            await step()

        self.loop.run_until_complete(both())

    @initialize()
    def start(self) -> None:
        def build() -> None:
            self.bench = Bench(**LIMITS)
            self.dispatcher = self.bench.dispatcher
            self.fronts = [Reader(Mirrored(**LIMITS)), Reader(Mirrored(**LIMITS))]
            self.switch(self.lane(1))
            for front in self.fronts:
                front.read_all()

        self.run(build)

    # What the supervisor says

    def say(self, message: messages.FrontMessage) -> None:
        for front in self.fronts:
            front.inbox.append(message)

    def told(self) -> list[messages.FrontMessage]:
        state = model_state(self.dispatcher, 0, held=bool(self.order))
        return [*lane_states(self.dispatcher), state]

    def publish(self) -> None:
        for message in self.told():
            self.say(message)

    def lane(self, workers: int) -> Lane:
        """Load a version."""
        self.numbers += 1
        lane = self.bench.lane(f"v{self.numbers}", 0)
        for _ in range(workers):
            self.add_worker(lane)
        return lane

    def add_worker(self, lane: Lane) -> None:
        self.numbers += 1
        port = FakePort(self.numbers)
        port.load_id = self.numbers
        self.bench.add_worker(lane, port)
        self.say(messages.WorkerUp(self.numbers, 1, "cpu"))

    # Switches

    @precondition(lambda self: not self.order)
    @rule()
    def hold(self) -> None:
        def hold() -> None:
            self.numbers += 1
            self.order = self.numbers
            self.say(model_state(self.dispatcher, self.order, held=True))

        self.run(hold)

    def switch(self, lane: Lane) -> None:
        lane.closing = False
        self.dispatcher.switch(lane)
        self.publish()

    def all_obey(self) -> bool:
        return all(self.order in front.obeyed for front in self.fronts)

    @precondition(lambda self: self.order and self.all_obey())
    @rule(workers=st.sampled_from([1, 1, 2, 0]), back=st.booleans())
    def switch_and_release(self, workers: int, back: bool) -> None:
        def switch() -> None:
            retained = self.dispatcher.retained
            if not back:
                self.switch(self.lane(workers))
            elif retained is not None:
                self.switch(retained)
            self.order = 0
            self.publish()

        self.run(switch)

    @precondition(lambda self: self.order)
    @rule()
    def release(self) -> None:
        def release() -> None:
            self.order = 0
            self.publish()

        self.run(release)

    @precondition(lambda self: self.dispatcher.retained)
    @rule(what=st.sampled_from(["close", "open", "forget", "stop"]))
    def end(self, what: str) -> None:
        """End the retained lane, or both."""

        def end() -> None:
            retained = self.dispatcher.retained
            assert retained is not None
            retained.closing = what == "close"
            if what == "stop":
                self.dispatcher.stop_serving("it was unloaded")
            if what in ("forget", "stop"):
                self.dispatcher.forget_retained()
            self.publish()

        self.run(end)

    # Workers

    @precondition(lambda self: self.dispatcher.serving)
    @rule()
    def repair(self) -> None:
        def repair() -> None:
            assert self.dispatcher.serving is not None
            self.add_worker(self.dispatcher.serving)
            self.dispatcher.pump()
            self.publish()

        self.run(repair)

    @precondition(lambda self: self.bench.workers)
    @rule(data=st.data())
    def kill_a_worker(self, data: st.DataObject) -> None:
        def kill() -> None:
            worker = data.draw(st.sampled_from(list(self.bench.workers)))
            assert isinstance(worker, FakePort)
            lane = self.bench.workers[worker]
            self.say(messages.WorkerGone(worker.number))
            self.bench.kill(worker)
            if lane is self.dispatcher.retained:
                self.dispatcher.forget_retained()
                self.publish()

        self.run(kill)

    # Fronts

    @rule(which=st.integers(0, 1), count=st.sampled_from([1, 2, 3, 99]))
    def read(self, which: int, count: int) -> None:
        front = self.fronts[which]

        def read() -> None:
            for _ in range(min(count, len(front.inbox))):
                front.read()

        self.run(read)

    @rule(which=st.integers(0, 1))
    def kill_a_front(self, which: int) -> None:
        """Let its requests go with it, and start another, which is told of everything."""

        def restart() -> None:
            front = self.fronts[which] = Reader(Mirrored(**LIMITS))
            for worker in self.bench.workers:
                assert isinstance(worker, FakePort)
                front.inbox.append(messages.WorkerUp(worker.number, 1, "cpu"))
            front.inbox.extend(self.told())
            if self.order:  # it does not listen before it has read that
                front.obeyed.add(self.order)
            front.read_all()

        self.run(restart)

    # Traffic

    def benches(self) -> list[Bench]:
        return [self.bench, *(front.mirror for front in self.fronts)]

    @rule(
        which=st.integers(0, 2),
        asks=st.sampled_from([0, 1, 3]),
        answer=st.sampled_from(["nothing", "one each", "everything"]),
    )
    def traffic(self, which: int, asks: int, answer: str) -> None:
        def traffic() -> None:
            bench = self.benches()[which]
            for _ in range(asks):
                asked = Asked(self.newest)
                if bench.dispatcher.serving is not None and bench.dispatcher.queued < 8:
                    bench.submit(asked.replies)
                    self.asked.append(asked)
            bench.dispatcher.pump()
            if answer == "one each":
                for worker in self.busy(bench):
                    bench.complete(worker)
            while answer == "everything" and (busy := self.busy(bench)):
                bench.complete(busy[0])

        self.run(traffic)
        self.check_answers()

    def busy(self, bench: Bench) -> list[FakeWorker]:
        return [worker for worker in bench.workers if worker.in_flight]

    def check_answers(self) -> None:
        for asked in self.asked:
            for reply in asked.replies:
                assert isinstance(reply, InferResult | RequestError)
                if isinstance(reply, InferResult):
                    assert reply.lane.generation >= asked.floor, "answered by an older generation"
                    self.newest = max(self.newest, reply.lane.generation)
        self.asked = [asked for asked in self.asked if not asked.replies]

    # What must hold

    @invariant()
    def who_has_read_everything_agrees_with_the_supervisor(self) -> None:
        for front in self.fronts:
            if not front.inbox:
                assert state_of(front.mirror) == state_of(self.bench)
                assert front.mirror.dispatcher.held == bool(self.order)

    @invariant()
    def only_lanes_that_serve_or_run_something_are_kept(self) -> None:
        for front in self.fronts:
            if not front.inbox:
                lanes = front.mirror.mirror._lanes.values()  # noqa: SLF001 - shows nowhere
                kept = front.mirror.dispatcher.generations.lanes()
                assert all(lane in kept or lane.in_flight for lane in lanes)

    @invariant()
    def slots_are_lent_to_live_requests_alone(self) -> None:
        assert [one.lent for one in self.benches()] == [one.live for one in self.benches()]

    def teardown(self) -> None:
        if hasattr(self, "bench"):
            self.run(self.finish)
            self.check_answers()
            assert [one.lent for one in self.benches()] == [0, 0, 0]
            for bench in self.benches():
                bench.close()
        self.loop.close()
        assert self.complaints == []

    def finish(self) -> None:
        self.switch(self.lane(1))
        self.order = 0
        self.publish()
        for front in self.fronts:
            front.read_all()
        for bench in self.benches():
            bench.dispatcher.pump()
            while busy := self.busy(bench):
                bench.complete(busy[0])


TestFronts = Fronts.TestCase
TestFronts.settings = settings(max_examples=100, stateful_step_count=40)
