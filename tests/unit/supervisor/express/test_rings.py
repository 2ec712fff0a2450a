"""Rings, written and read by compiled code on one side and by Python on the other."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from gpu_worker.ipc.link import (
    RING_CAPACITY,
    Completion,
    LinkFds,
    RingMarks,
    SupervisorEnd,
    WorkerEnd,
    outcome_of,
)
from gpu_worker.ipc.response_ring import span_of
from gpu_worker.ipc.ring import LINE
from gpu_worker.ipc.slots import Slot
from supervisor.dispatch.request import InferRequest
from supervisor.express.ring_parts import collect
from supervisor.workers.events import Answered
from supervisor.workers.port import WorkerPort
from tests.unit.supervisor.dispatch.bench import CONTRACT
from tests.unit.supervisor.express.course import KINDS
from tests.unit.supervisor.express.ring_site import COMPILED, ring_site
from tests.unit.supervisor.http.client import ask, numbers
from tests.unit.supervisor.http.loops import run, until

pytestmark = COMPILED
RING = 64 * LINE
WORD = st.integers(0, (1 << 64) - 1)
STARTS = st.sampled_from([0, 1, 200, 255, (1 << 32) - 9, (1 << 63) + 250])
ANSWER = st.tuples(st.integers(0, RING), st.sampled_from(list(range(5))), WORD, WORD, WORD)
PUBLISH = st.lists(ANSWER, min_size=1, max_size=40)
TAKE = st.sampled_from(["compiled", "compiled", "Python"])


class Ends:
    """A link: its worker's end, and its port, which has requests of any ids in flight."""

    def __init__(self, start: int) -> None:
        self.link = SupervisorEnd.create(RING)
        words = self.link.memory()[1].cast("Q")
        words[0] = words[LINE // 8] = start
        words.release()
        fds = [self.link.rings_fd, self.link.submission_bell.fd, self.link.completion_bell.fd]
        rings, submissions, completions = map(os.dup, fds)
        self.worker = WorkerEnd(LinkFds(rings, -1, submissions, completions, -1))
        self.port = WorkerPort(1, 0, "cpu", self.link, self)
        self.marks = RingMarks(response_capacity=self.link.responses.capacity)
        self.published: list[tuple[Completion, bytes]] = []  # and not taken
        self.ids = self.told = self.stale = 0

    def worker_answered(self, worker: WorkerPort, answers: Sequence[Answered]) -> None:
        assert worker is self.port
        for (request, completion, data), (expected, wrote) in zip(
            answers, [one for one in self.published if one[0].request_id % 7], strict=True
        ):
            assert (request.id, completion, bytes(data)) == (expected.request_id, expected, wrote)
        self.told += len(answers)

    def publish(self, answers: Sequence[tuple[int, int, int, int, int]]) -> None:
        """Answer as a worker does, as far as there is room."""
        made = []
        for length, status, *times in answers:
            place = self.worker.responses.reserve(length)
            if place is None or len(self.published) == RING_CAPACITY:
                break
            position, into = place
            self.ids += 1
            into[:] = data = self.ids.to_bytes(8, "little") * (length // 8) + bytes(length % 8)
            self.worker.responses.commit(position, length)
            reuse = self.ids * 3
            outcome = outcome_of(status, self.ids % 100, leads=bool(self.ids % 2))  # type: ignore[arg-type]  # a number will do
            one = Completion(self.ids, reuse, outcome, position, length, *times)
            made.append(one)
            self.published.append((one, data))
            if self.ids % 7:  # the others are stale
                slot = Slot(0, 1 << 14, [], reuse, lent=True)
                self.port.in_flight[self.ids] = InferRequest(
                    self.ids, slot, 0, CONTRACT, 1, (), lambda _: None, False, 0, 0
                )
        if made:
            self.worker.complete(made)

    def take(self, who: str) -> None:
        """Have everything taken, and compare."""
        if who == "Python":
            self.port.collect()
        else:
            assert collect is not None
            collect(self.port)
        if self.published:
            taken = [completion for completion, _ in self.published]
            self.marks.note(taken)
            last = taken[-1]
            assert self.released() == last.position + span_of(last.length)
            self.stale += sum(one.request_id % 7 == 0 for one in taken)
        self.published.clear()
        assert self.port.marks == self.marks
        assert (self.port.stale, self.port.answered) == (self.stale, self.told)
        assert not self.port.in_flight

    def released(self) -> int:
        return int(self.link.responses.memory()[1][LINE // 8])

    def close(self) -> None:
        self.port.close()
        self.worker.close()


@settings(max_examples=100)
@given(STARTS, st.lists(PUBLISH | TAKE, min_size=2, max_size=40))
def test_answers_are_taken_as_they_were_published(start: int, steps: list[Any]) -> None:
    async def play() -> None:
        ends = Ends(start)
        try:
            for step in [*steps, "compiled"]:
                if isinstance(step, str):
                    ends.take(step)
                else:
                    ends.publish(step)
        finally:
            ends.close()

    run(play())


def test_a_ring_of_answers_is_taken_whole_and_goes_round() -> None:
    async def play() -> None:
        ends = Ends(100)
        try:
            for _ in range(5):
                for count in (1, 255, 256):
                    ends.publish([(0, 0, 1, 2, 3)] * min(count, RING // LINE))
                    ends.take("compiled")
            assert ends.told > RING_CAPACITY
            assert ends.port.marks.completions == RING // LINE
        finally:
            ends.close()

    run(play())


def test_what_is_closed_is_touched_no_more() -> None:
    async def play() -> None:
        ends = Ends(0)
        ends.publish([(5, 0, 1, 2, 3)])
        rings = ends.port.rings
        ends.close()
        assert collect is not None
        assert rings is not None
        collect(ends.port)
        rings.ring()
        rings.close()
        assert ends.told == 0

    run(play())


# The other way: compiled code publishes requests

CLIENTS = 6
SENT = st.tuples(st.sampled_from(["plain", "plain", "plain", "JSON"]), st.integers(1, CLIENTS))


@settings(max_examples=25)
@given(STARTS, st.lists(SENT | st.just("take"), min_size=5, max_size=60))
def test_requests_are_published_as_they_are(start: int, steps: list[Any]) -> None:
    """The other end compares each descriptor that it takes, and its payload, with the request."""

    async def play() -> None:
        async with ring_site(max_in_flight=RING_CAPACITY) as one:
            one.lay_in(CLIENTS)
            (worker,) = one.serve_rings(prompt=False, start=start)
            clients = [await one.client() for _ in range(CLIENTS)]
            most = sent = 0
            free = list(clients)
            wanted: list[bytes] = []
            for step in [("plain", 1), "take", *steps, "take"]:
                if step == "take":
                    worker.take()
                    assert [taken.x for taken in worker.seen] == wanted
                    worker.answer(len(worker.waiting))
                    await until(lambda: not worker.port.in_flight)
                    for client in clients:
                        if client not in free:
                            assert (await client.answer()).status == 200
                    free = list(clients)
                    continue
                kind, count = step
                for client in free[:count]:
                    sent += 1
                    await client.send(KINDS[kind](sent))
                    wanted.append(numbers(sent).tobytes())
                free = free[count:]
                for _ in range(5):
                    await asyncio.sleep(0)
                most = max(most, CLIENTS - len(free))
                assert worker.port.marks.submissions == most
            assert worker.port.answered == sent

    run(play())


def test_requests_go_round_the_ring_many_times() -> None:
    async def play() -> None:
        async with ring_site() as one:
            (worker,) = one.serve_rings()
            client = await one.client()
            for seed in range(3 * RING_CAPACITY):
                assert (await client.ask(ask(numbers(seed)))).status == 200
            assert one.express == 3 * RING_CAPACITY - 1
            assert len(worker.seen) == 3 * RING_CAPACITY
            assert worker.port.marks.submissions == worker.port.marks.completions == 1

    run(play())
