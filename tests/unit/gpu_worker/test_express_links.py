"""Compiled code in the worker's loop, and several links: what comes by them is served together."""

from __future__ import annotations

import select
from collections.abc import Iterator
from itertools import pairwise

import numpy as np
import pytest

from gpu_worker.express.parts import Express
from gpu_worker.ipc.link import Completion, Status, Submission
from gpu_worker.ipc.response_ring import span_of
from tests.unit.gpu_worker.held_worker import PLAIN, Batches, Inputs, StartBatches, plain
from tests.unit.gpu_worker.loop_harness import NEVER, PATIENCE_S, Arrays

pytestmark = pytest.mark.skipif(Express is None, reason="there was no compiler at installation")


def numbered(number: int) -> Arrays:
    return [np.full((1, 2), number, np.float32), np.ones(1, np.int64)]


def total(answer_arrays: dict[int, np.ndarray]) -> float:
    return float(answer_arrays[0][0])


class Fronts:
    """A worker's own front and some more, which submit by turns."""

    def __init__(self, batches: Batches, count: int) -> None:
        self.batches = batches
        more = [
            batches.worker.attach_and_wait(1 + number, numbered(0)) for number in range(count - 1)
        ]
        self.all = [batches.worker, *more]

    def serve(
        self, each: int, late: int | None = None, *, message: bool = False
    ) -> list[list[float | None]]:
        """Have every front ask for `each` numbers, all at once; give what they were answered.

        The numbers are submitted in ascending order, by turns. The deadline of the one that is
        `late` has passed.
        """
        asked: list[list[Submission]] = [[] for _ in self.all]
        slots = []
        for number in range(each * len(self.all)):
            which = number % len(self.all)
            submission, slot = self.all[which].submission(
                numbered(number), deadline_ns=1 if number == late else NEVER
            )
            asked[which].append(submission)
            slots.append((self.all[which], slot))
        own = self.batches.serve(
            asked[0], numbered(0), list(zip(self.all[1:], asked[1:], strict=True)), message
        )
        found = [own, *(front.answers(each) for front in self.all[1:])]
        for front, slot in slots:
            front.arena.slots.give_back(slot)
        for theirs, submissions in zip(found, asked, strict=True):
            assert sorted(answer.completion.request_id for answer in theirs) == [
                submission.request_id for submission in submissions
            ]
        return [
            [
                None if answer.completion.status == Status.EXPIRED else total(answer.arrays())
                for answer in sorted(theirs, key=lambda one: one.completion.request_id)
            ]
            for theirs in found
        ]

    def wanted(self, each: int, late: int | None = None) -> list[list[float | None]]:
        """Give what `serve` should."""
        count = len(self.all)
        return [
            [
                None if number == late else 2.0 * number
                for number in range(which, each * count, count)
            ]
            for which in range(count)
        ]

    def close(self) -> None:
        for front in self.all[1:]:
            front.close()


@pytest.fixture
def closing() -> Iterator[list[Fronts]]:
    """Fronts to close."""
    open_fronts: list[Fronts] = []
    yield open_fronts
    for one in open_fronts:
        one.close()


def test_links_that_ring_together_never_reach_python_code(
    closing: list[Fronts], start_batches: StartBatches, taken_by_python: list[int]
) -> None:
    fronts = Fronts(start_batches(plain, PLAIN), 3)
    closing.append(fronts)
    for _ in range(3):
        assert fronts.serve(8) == fronts.wanted(8)
        assert fronts.batches.sizes() == [8, 8, 8]
    assert taken_by_python == []


@pytest.mark.parametrize("express", [True, False], indirect=True)
def test_what_was_submitted_first_runs_first_whatever_the_link(
    closing: list[Fronts], start_batches: StartBatches, express: bool
) -> None:
    del express
    order: list[float] = []

    def run(inputs: Inputs) -> Arrays:
        order.extend(inputs[0][:, 0].tolist())
        return plain(inputs)

    fronts = Fronts(start_batches(run, PLAIN, max_batch_size=3), 4)
    closing.append(fronts)
    order.clear()
    assert fronts.serve(6) == fronts.wanted(6)
    assert order == [0, *range(24)]


def test_answers_take_no_more_room_than_they_need(start_batches: StartBatches) -> None:
    front = start_batches(plain, PLAIN).worker
    found: list[Completion] = []
    for count in (2, 4, 6):
        front.link.submit([front.submission(numbered(1))[0] for _ in range(2)])
        while len(found) < count:
            assert select.select([front.link.completion_bell.fd], [], [], PATIENCE_S)[0]
            found += front.link.completions()  # and releases nothing
    for one, following in pairwise(found):
        assert following.position == one.position + span_of(one.length)


@pytest.mark.parametrize("late", [None, 0, 700])
@pytest.mark.parametrize("message", [False, True])
def test_more_than_can_be_taken_at_once_is_served_all_the_same(
    closing: list[Fronts], start_batches: StartBatches, late: int | None, message: bool
) -> None:
    fronts = Fronts(start_batches(plain, PLAIN), 8)
    closing.append(fronts)
    assert fronts.serve(140, late, message=message) == fronts.wanted(140, late)
