"""The worker's loop: batches and what they are made of."""

from __future__ import annotations

import time

import numpy as np
import pytest

from gpu_worker.ipc import messages
from gpu_worker.ipc.link import SOLO, Status
from gpu_worker.ipc.tensors import Contract, TensorSpec
from tests.unit.gpu_worker.held_worker import (
    ONE,
    ROWS,
    WIDE,
    StartBatches,
    by_rows,
    check,
    rows_of,
)
from tests.unit.gpu_worker.loop_harness import Arrays


@pytest.mark.parametrize("shares", [True, False])
def test_requests_that_arrive_together_are_run_together(
    start_batches: StartBatches, shares: bool
) -> None:
    batches = start_batches(shares=shares)
    asked = [rows_of(number, rows) for number, rows in enumerate([1, 2, 1, 3, 1])]
    answers = batches.serve([batches.worker.submission(arrays)[0] for arrays in asked], ONE)
    for answer, arrays in zip(answers, asked, strict=True):
        check(answer, arrays)
        assert answer.completion.batch_rows == 8
    assert [answer.completion.leads for answer in answers] == [True, False, False, False, False]
    assert batches.predictor.batches == [[(8, 4), (8,)]]
    assert len({answer.completion.started_ns for answer in answers}) == 1


def test_batches_have_the_size_that_is_allowed(start_batches: StartBatches) -> None:
    batches = start_batches(max_batch_size=4)
    asked = [rows_of(number, rows) for number, rows in enumerate([1, 1, 1, 1, 1, 3, 2, 9, 1])]
    answers = batches.serve([batches.worker.submission(arrays)[0] for arrays in asked], ONE)
    # the one of nine rows runs alone, as soon as it is the oldest
    assert batches.sizes() == [4, 4, 3, 9]
    by_id = sorted(answers, key=lambda answer: answer.completion.request_id)
    for answer, arrays in zip(by_id, asked, strict=True):
        check(answer, arrays)


def test_without_batching_each_runs_alone(start_batches: StartBatches) -> None:
    batches = start_batches(max_batch_size=1)
    batches.serve([batches.worker.submission(ONE)[0] for _ in range(5)], ONE)
    assert batches.sizes() == [1] * 5


def test_one_that_shall_run_solo_does(start_batches: StartBatches) -> None:
    batches = start_batches()
    asked = [rows_of(number, 1) for number in range(5)]
    submissions = [batches.worker.submission(arrays)[0] for arrays in asked]
    submissions[2] = submissions[2]._replace(load_id=1 | SOLO)
    answers = batches.serve(submissions, ONE)
    assert batches.sizes() == [4, 1]
    for answer in answers:
        check(answer, asked[answer.completion.request_id - 1])
    stale = batches.worker.submission(ONE)[0]._replace(load_id=2 | SOLO)
    batches.worker.link.submit([stale])
    assert batches.worker.answers()[0].completion.status == Status.STALE


def test_each_gets_the_outputs_that_it_asked_for(start_batches: StartBatches) -> None:
    batches = start_batches()
    masks = [0b01, 0b10, 0b11, 0, 0b01]
    asked = [rows_of(number, 1 + number % 2) for number in range(5)]
    submissions = [
        batches.worker.submission(arrays, mask=mask)[0]
        for arrays, mask in zip(asked, masks, strict=True)
    ]
    answers = batches.serve(submissions, ONE)
    assert len(batches.sizes()) == 1
    for answer, mask, arrays in zip(answers, masks, asked, strict=True):
        found = answer.arrays()
        assert list(found) == [index for index in range(2) if mask >> index & 1]
        for index, array in found.items():
            assert np.array_equal(array, by_rows(arrays)[index])


def test_shapes_do_not_mix(start_batches: StartBatches) -> None:
    batches = start_batches(lambda inputs: [inputs[0] + 1], WIDE)
    widths = [3, 4, 3, 4, 4, 5]
    asked: list[Arrays] = [[np.full((1, width), n, np.float32)] for n, width in enumerate(widths)]
    answers = batches.serve(
        [batches.worker.submission(arrays)[0] for arrays in asked], [np.ones((1, 2), np.float32)]
    )
    assert batches.predictor.batches == [[(2, 3)], [(3, 4)], [(1, 5)]]
    for answer in answers:
        (array,) = asked[answer.completion.request_id - 1]
        assert np.array_equal(answer.arrays()[0], array + 1)


@pytest.mark.parametrize("shares", [True, False])
def test_padding_lets_shapes_share_and_hangs_on_nobody_else(
    start_batches: StartBatches, shares: bool
) -> None:
    batches = start_batches(lambda inputs: [inputs[0] + 1], WIDE, shares, pad={"x": [0, 8]})
    widths = [3, 8, 5, 9, 16]
    asked: list[Arrays] = [
        [np.full((1 + n % 2, width), n + 1, np.float32)] for n, width in enumerate(widths)
    ]
    answers = batches.serve(
        [batches.worker.submission(arrays)[0] for arrays in asked],
        [np.full((8, 64), 99, np.float32)],  # what the buffers hold before
    )
    assert batches.predictor.batches == [[(4, 8)], [(3, 16)]]
    for answer, (array,) in zip(answers, asked, strict=True):
        expected = np.ones((len(array), -(-array.shape[1] // 8) * 8), np.float32)
        expected[:, : array.shape[1]] += array
        assert np.array_equal(answer.arrays()[0], expected)
        alone = batches.serve(
            [batches.worker.submission([array])[0]], [np.full((8, 64), 99, np.float32)]
        )
        assert np.array_equal(alone[0].arrays()[0], expected)


def test_a_request_with_inputs_of_different_lengths_runs_alone(start_batches: StartBatches) -> None:
    contract = Contract(ROWS.inputs, (TensorSpec("y", "FP32", (-1,)),))
    batches = start_batches(lambda inputs: [inputs[0][:, 0].copy()], contract)
    odd = [rows_of(1, 2)[0], np.zeros(3, np.int64)]
    submissions = [batches.worker.submission(arrays)[0] for arrays in (ONE, odd, odd, ONE)]
    answers = batches.serve(submissions, ONE)
    assert batches.predictor.batches == [[(2, 4), (2,)], [(2, 4), (3,)], [(2, 4), (3,)]]
    assert {answer.completion.status for answer in answers} == {Status.OK}


def test_expired_requests_take_no_place_in_a_batch(start_batches: StartBatches) -> None:
    batches = start_batches(max_batch_size=4)
    past = time.monotonic_ns()
    deadlines = [past, past, 1 << 62, past, 1 << 62, 1 << 62, 1 << 62, 1 << 62]
    submissions = [
        batches.worker.submission(ONE, deadline_ns=deadline)[0] for deadline in deadlines
    ]
    answers = batches.serve(submissions, ONE)
    assert batches.sizes() == [4, 1]
    for submission in submissions:
        (answer,) = [a for a in answers if a.completion.request_id == submission.request_id]
        expired = submission.deadline_ns == past
        assert answer.completion.status == (Status.EXPIRED if expired else Status.OK)
        assert (answer.completion.batch_rows == 0) is expired


def test_a_batch_waits_for_company_and_then_goes(start_batches: StartBatches) -> None:
    batches = start_batches(max_queue_delay_us=100_000)
    worker = batches.worker
    submissions = [worker.submission(ONE)[0] for _ in range(2)]
    worker.link.submit(submissions[:1])
    worker.link.submit(submissions[1:])
    for answer in worker.answers(2):
        waited_us = (answer.completion.started_ns - submissions[0].submitted_ns) / 1000
        assert waited_us >= 100_000
    assert batches.sizes() == [2]


def test_a_full_batch_does_not_wait(start_batches: StartBatches) -> None:
    batches = start_batches(max_batch_size=3, max_queue_delay_us=60_000_000)
    worker = batches.worker
    worker.link.submit([worker.submission(ONE)[0] for _ in range(3)])
    assert len(worker.answers(3)) == 3


def test_requests_that_wait_when_a_load_comes_are_stale(start_batches: StartBatches) -> None:
    batches = start_batches(max_queue_delay_us=60_000_000)
    worker = batches.worker
    worker.link.submit([worker.submission(ONE)[0] for _ in range(2)])
    # the loop has taken them once it has answered one that is refused at once
    worker.link.submit([worker.submission(ONE, load_id=9)[0]])
    assert worker.answers()[0].completion.status == Status.STALE
    worker.control.send(messages.Unload())
    assert [answer.completion.status for answer in worker.answers(2)] == [Status.STALE] * 2
    assert isinstance(worker.message(), messages.Unloaded)
