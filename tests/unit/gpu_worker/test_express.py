"""Compiled code in the worker's loop: it serves plain requests, and as Python code would."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gpu_worker.express.parts import Express
from gpu_worker.ipc import messages
from gpu_worker.ipc.link import SOLO, Status, Submission
from tests.unit.gpu_worker.held_worker import (
    PLAIN,
    Batches,
    Inputs,
    StartBatches,
    plain,
    rows_of,
)
from tests.unit.gpu_worker.loop_harness import NEVER, Answer, Arrays, Harness

pytestmark = pytest.mark.skipif(Express is None, reason="there was no compiler at installation")

ONE: Arrays = [np.ones((1, 2), np.float32), np.ones(1, np.int64)]


def test_plain_requests_never_reach_python_code(
    start_batches: StartBatches, taken_by_python: list[int]
) -> None:
    batches = start_batches(plain, PLAIN)
    for _ in range(3):
        answers = batches.serve([batches.worker.submission(ONE)[0] for _ in range(8)], ONE)
        assert batches.sizes() == [8]
        for answer in answers:
            total, doubled = answer.arrays()[0], answer.arrays()[1]
            assert total.tolist() == [2.0]
            assert doubled.tolist() == [[2.0, 2.0]]
    assert taken_by_python == []


def test_a_batch_that_fails_is_run_once_together_and_then_apart(
    start_batches: StartBatches, taken_by_python: list[int]
) -> None:
    def run(inputs: Inputs) -> Arrays:
        if (inputs[1] == 77).any():
            raise RuntimeError("77 is bad")
        return plain(inputs)

    batches = start_batches(run, PLAIN)
    asked = [[ONE[0], np.array([n], np.int64)] for n in (1, 77, 3)]
    answers = batches.serve([batches.worker.submission(arrays)[0] for arrays in asked], ONE)
    assert batches.sizes() == [3, 1, 1, 1]
    assert [answer.completion.status for answer in answers] == [0, 1, 0]
    assert b"77 is bad" in answers[1].data
    assert taken_by_python == []


def test_outputs_that_are_not_contiguous_are_answered_without_a_second_run(
    start_batches: StartBatches,
) -> None:
    batches = start_batches()  # one of its outputs is turned round
    asked = [rows_of(number, 1) for number in range(4)]
    answers = batches.serve([batches.worker.submission(arrays)[0] for arrays in asked], asked[0])
    assert batches.sizes() == [4]
    assert [answer.completion.status for answer in answers] == [0] * 4


@contextmanager
def worker(*, express: bool, **batching: object) -> Iterator[Batches]:
    class Small(Harness):
        pass

    Small.express = express
    batches = Batches(plain, PLAIN, shares=True, harness=Small, **batching)
    try:
        yield batches
    finally:
        batches.worker.close()


def test_one_that_is_not_plain_does_not_keep_those_behind_it_in_python_code(
    start_batches: StartBatches, taken_by_python: list[int]
) -> None:
    batches = start_batches(plain, PLAIN, max_batch_size=2)
    worker = batches.worker
    late = worker.submission(ONE, deadline_ns=1)[0]
    batches.serve([late, *(worker.submission(ONE)[0] for _ in range(9))], ONE)
    assert taken_by_python == [10], "those that had come with it"
    batches.serve([worker.submission(ONE)[0] for _ in range(9)], ONE)
    assert taken_by_python == [10]


@pytest.mark.parametrize("express", [True, False], indirect=True)
def test_memory_that_cannot_be_had_fails_the_request_that_was_named_as_running(
    start_batches: StartBatches, monkeypatch: pytest.MonkeyPatch, express: bool
) -> None:
    batches = start_batches(plain, PLAIN)
    seen: list[tuple[int, ...]] = []

    def buffers(shapes: object) -> object:
        del shapes
        seen.append(batches.worker.link.running())
        raise MemoryError("no memory")

    submission = batches.worker.submission(ONE)[0]
    with monkeypatch.context() as broken:
        broken.setattr(batches.predictor, "buffers", buffers)
        batches.worker.link.submit([submission])
        (answer,) = batches.worker.answers()
    assert answer.completion.status == Status.FAILED
    assert b"no memory" in answer.data
    assert seen == [(submission.request_id,)]
    assert batches.serve([batches.worker.submission(ONE)[0]], ONE)[0].completion.status == 0


@pytest.mark.parametrize("express", [True, False], indirect=True)
@pytest.mark.parametrize("shares", [True, False])
def test_a_failed_request_holds_no_memory_of_a_front_that_goes(
    start_batches: StartBatches, shares: bool, express: bool
) -> None:
    def run(inputs: Inputs) -> Arrays:
        if (inputs[1] == 77).any():
            raise RuntimeError("77 is bad")
        return plain(inputs)

    batches = start_batches(run, PLAIN, shares=shares)
    front = batches.worker.attach(1)
    for number in (77, 3):
        front.link.submit([front.submission([ONE[0], np.array([number], np.int64)])[0]])
        assert front.answers()[0].completion.status == (number == 77)
    batches.worker.control.send(messages.Detach(1))
    assert batches.serve([batches.worker.submission(ONE)[0]], ONE)[0].completion.status == 0
    front.close()


def said_by(answer: Answer) -> object:
    """Give an answer's numbers, or its text; what lies between tensors is nobody's."""
    if answer.completion.status:
        return answer.data
    return {index: array.tolist() for index, array in answer.arrays().items()}


REQUESTS = st.lists(
    st.tuples(
        st.integers(1, 4),  # rows
        st.sampled_from([1, 2, 2, 2, 3]),  # columns: another group
        st.sampled_from([0b11, 0b11, 0b01, 0b10]),  # outputs that are asked for
        st.sampled_from([1, 1, 1, 1, 1, 1 | SOLO, 2]),  # the load; 2 is another
        st.sampled_from([0, 0, 0, 0, 0, 0, 1]),  # whether the deadline has passed
        st.sampled_from([0, 0, 1, 2]),  # the link
    ),
    min_size=1,
    max_size=12,
)


@given(REQUESTS, st.sampled_from([1, 4, 8]), st.sampled_from([[], [2, 4]]))
@settings(max_examples=30, deadline=None)
def test_it_answers_as_python_code_does(
    asked: list[tuple[int, int, int, int, int, int]], limit: int, preferred: list[int]
) -> None:
    found = []
    for express in (True, False):
        with worker(
            express=express, max_batch_size=limit,
            preferred_batch_sizes=[one for one in preferred if one <= limit],
        ) as batches:  # fmt: skip
            more = [batches.worker.attach_and_wait(number, ONE) for number in (1, 2)]
            fronts = [batches.worker, *more]
            asked_of: list[list[Submission]] = [[] for _ in fronts]
            for number, (rows, columns, mask, load_id, late, which) in enumerate(asked):
                arrays: Arrays = [
                    np.full((rows, columns), number, np.float32), np.arange(rows, dtype=np.int64)
                ]  # fmt: skip
                submission, _ = fronts[which].submission(
                    arrays, load_id, mask, deadline_ns=1 if late else NEVER
                )
                asked_of[which].append(submission)
            answers = [
                batches.serve(asked_of[0], ONE, list(zip(fronts[1:], asked_of[1:], strict=True))),
                *(front.answers(len(own)) for front, own in zip(fronts, asked_of, strict=True)
                  if front is not batches.worker),
            ]  # fmt: skip
            found.append(
                {
                    (which, answer.completion.request_id): (
                        answer.completion.status, answer.completion.batch_rows,
                        answer.completion.leads, said_by(answer),
                    )
                    for which, own in enumerate(answers)
                    for answer in own
                }
            )  # fmt: skip
            assert len(found[-1]) == len(asked), "each is answered once"
        for front in more:
            front.close()
    assert found[0] == found[1]
