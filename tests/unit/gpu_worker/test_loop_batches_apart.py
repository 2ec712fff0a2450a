"""The worker's loop: batches that have to be taken apart, and what is never in one."""

from __future__ import annotations

import numpy as np
import pytest

from gpu_worker.ipc.link import Status
from gpu_worker.ipc.tensors import Contract, TensorSpec
from tests.unit.gpu_worker.held_worker import (
    ONE,
    WIDE,
    Inputs,
    StartBatches,
    by_rows,
    check,
    rows_of,
)
from tests.unit.gpu_worker.loop_harness import Arrays


def test_a_bad_request_in_a_batch_fails_alone(start_batches: StartBatches) -> None:
    def run(inputs: Inputs) -> Arrays:
        if (inputs[1] == 77).any():
            raise RuntimeError("77 is bad")
        return by_rows(inputs)

    batches = start_batches(run)
    asked = [rows_of(number, 1) for number in (1, 2, 77, 4)]
    answers = batches.serve([batches.worker.submission(arrays)[0] for arrays in asked], ONE)
    assert batches.sizes() == [4, 1, 1, 1, 1]
    for place in (0, 1, 3):
        check(answers[place], asked[place])
    assert answers[2].completion.status == Status.FAILED
    assert answers[2].data == b"RuntimeError: 77 is bad"
    assert all(answer.completion.leads for answer in answers)
    assert [answer.completion.batch_rows for answer in answers] == [1] * 4
    # and the next ones are batched again
    answers = batches.serve([batches.worker.submission(rows_of(1, 1))[0] for _ in range(3)], ONE)
    assert batches.sizes() == [3]


def test_outputs_that_do_not_follow_the_batch_end_batching_of_that_shape(
    start_batches: StartBatches,
) -> None:
    def run(inputs: Inputs) -> Arrays:
        if inputs[0].shape == (3, 5):
            return [inputs[0][:2]]
        return [inputs[0] * 2]

    batches = start_batches(run, WIDE)

    def ask(width: int) -> list[int]:
        asked: list[Arrays] = [[np.full((1, width), n, np.float32)] for n in range(3)]
        submissions = [batches.worker.submission(arrays)[0] for arrays in asked]
        answers = batches.serve(submissions, [np.ones((1, 2), np.float32)])
        for answer, arrays in zip(answers, asked, strict=True):
            assert np.array_equal(answer.arrays()[0], arrays[0] * 2)
        return batches.sizes()

    assert ask(5) == [3, 1, 1, 1]
    assert ask(5) == [1, 1, 1]
    assert ask(6) == [3]


@pytest.mark.parametrize(
    "contract",
    [
        Contract((TensorSpec("x", "FP32", (1, 4)),), (TensorSpec("y", "FP32", (-1, 4)),)),
        Contract((TensorSpec("x", "FP32", (-1, 4)),), (TensorSpec("y", "FP32", ()),)),
    ],
)
def test_a_contract_without_a_batch_is_served_one_by_one(
    start_batches: StartBatches, contract: Contract
) -> None:
    total = contract.outputs[0].shape == ()
    batches = start_batches(lambda inputs: [inputs[0].sum() if total else inputs[0] * 2], contract)
    (warning,) = batches.loaded.warnings
    assert warning.startswith("batching is off: not every input and output has a variable first")
    x = np.ones((1, 4), np.float32)
    batches.serve([batches.worker.submission([x])[0] for _ in range(3)], [x])
    assert batches.sizes() == [1, 1, 1]


def test_the_running_words_name_the_whole_batch_and_then_each_alone(
    start_batches: StartBatches,
) -> None:
    seen: list[tuple[int, ...]] = []

    def run(inputs: Inputs) -> Arrays:
        seen.append(batches.worker.link.running())
        if len(inputs[0]) > 1:
            raise RuntimeError("only one at a time")
        return by_rows(inputs)

    batches = start_batches(by_rows)
    batches._run = run  # noqa: SLF001 - after the warm-up
    submissions = [batches.worker.submission(ONE)[0] for _ in range(3)]
    batches.serve(submissions, ONE)
    ids = tuple(submission.request_id for submission in submissions)
    assert seen[1:] == [ids, *[(one,) for one in ids]]


def test_a_request_of_another_type_than_the_contract_says_fails(
    start_batches: StartBatches,
) -> None:
    worker = start_batches().worker
    wrong: list[tuple[Arrays, bytes]] = [
        ([ONE[0].astype(np.float64), ONE[1]], b"input 'x' is FP64[1, 4], the model takes FP32"),
        ([ONE[0][:, :3], ONE[1]], b"input 'x' is FP32[1, 3], the model takes FP32[-1, 4]"),
        ([ONE[0], ONE[1][None]], b"input 'n' is INT64[1, 1], the model takes INT64[-1]"),
        ([ONE[0]], b"a request of 1 tensors, not 2 inputs"),
    ]
    for arrays, said in wrong:
        worker.link.submit([worker.submission(arrays)[0]])
        (answer,) = worker.answers()
        assert answer.completion.status == Status.FAILED
        assert said in answer.data
