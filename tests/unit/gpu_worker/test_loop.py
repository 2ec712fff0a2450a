"""The worker's loop: requests, what they are answered with, and the wait for space."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from gpu_worker.ipc import messages
from gpu_worker.ipc.channel import PeerGone
from gpu_worker.ipc.link import Status
from gpu_worker.ipc.vocabulary import ProtocolError
from tests.unit.gpu_worker.loop_harness import PATIENCE_S, Answer, Arrays, FakePredictor, Harness

Inputs = Sequence[npt.NDArray[Any]]
Serve = Callable[..., Harness]


@pytest.fixture
def serve() -> Iterator[Serve]:
    """Start a loop with a predictor loaded as load 1."""
    harnesses: list[Harness] = []

    def begin(
        run_with: Callable[[Inputs], Arrays] | None = None, response_bytes: int = 1 << 16
    ) -> Harness:
        predictor = FakePredictor(run_with)
        harness = Harness(lambda *_: predictor, response_bytes)
        harnesses.append(harness)
        harness.load()
        return harness

    yield begin
    for harness in harnesses:
        harness.close()


def check(answer: Answer, rows: int, times: int) -> None:
    assert answer.completion.status == Status.OK
    arrays = answer.arrays()
    expected = np.arange(rows * 4, dtype=np.float32).reshape(rows, 4) * times
    assert np.array_equal(arrays[0], expected)
    assert arrays[0].dtype == np.float32
    assert arrays[1].shape == ()
    assert arrays[1] == expected.sum()


def test_one_request_is_answered(serve: Serve) -> None:
    check(serve().infer(rows=3, times=5), 3, 5)


def test_an_answer_tells_its_times(serve: Serve) -> None:
    before = time.monotonic_ns()
    completion = serve().infer().completion
    times = [before, completion.started_ns, completion.inferred_ns, completion.finished_ns]
    assert times == sorted(times)
    assert times[-1] <= time.monotonic_ns()


def test_many_requests_are_answered_in_order(serve: Serve) -> None:
    worker = serve()
    asked = [(1 + number % 7, number) for number in range(40)]
    submissions = [worker.request(rows=rows, times=times)[0] for rows, times in asked]
    worker.link.submit(submissions[:1])
    worker.link.submit(submissions[1:30])
    worker.link.submit(submissions[30:])
    answers = worker.answers(len(asked))
    assert [answer.completion.request_id for answer in answers] == list(range(1, 41))
    for answer, (rows, times) in zip(answers, asked, strict=True):
        check(answer, rows, times)
    assert worker.silent()


@pytest.mark.parametrize(
    ("mask", "outputs"), [(0b01, [0]), (0b10, [1]), (0b11, [0, 1]), (0, []), (0b100, [])]
)
def test_only_the_outputs_asked_for_are_written(
    serve: Serve, mask: int, outputs: list[int]
) -> None:
    answer = serve().infer(rows=2, mask=mask)
    assert answer.completion.status == Status.OK
    assert list(answer.arrays()) == outputs


def test_an_output_that_is_not_contiguous_arrives_whole(serve: Serve) -> None:
    def turn(inputs: Inputs) -> Arrays:
        product, total = FakePredictor.multiply(inputs)
        return [product.T, total]

    arrays = serve(turn).infer(rows=2, times=1).arrays()
    assert arrays[0].tolist() == [[0, 4], [1, 5], [2, 6], [3, 7]]


def test_an_empty_output_arrives(serve: Serve) -> None:
    arrays = serve(lambda inputs: [inputs[0][:0], inputs[0].sum()]).infer().arrays()
    assert arrays[0].shape == (0, 4)


class Odd:
    """Raises for odd factors."""

    def __init__(self, error: Exception) -> None:
        self._error = error

    def __call__(self, inputs: Inputs) -> Arrays:
        if inputs[1][0] % 2:
            raise self._error
        return FakePredictor.multiply(inputs)


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (RuntimeError("shape 3 != 4"), "RuntimeError: shape 3 != 4"),
        (ValueError("größer"), "ValueError: größer"),
        (OSError("\udcff is no UTF-8"), "OSError: ? is no UTF-8"),
        (RuntimeError("a" * 5000), "a" * 2000),
        (MemoryError(), "MemoryError: "),
    ],
)
def test_a_request_that_fails_fails_alone(serve: Serve, error: Exception, text: str) -> None:
    worker = serve(Odd(error))
    submissions = [worker.request(times=times)[0] for times in (2, 3, 4)]
    worker.link.submit(submissions)
    good, failed, also_good = worker.answers(3)
    check(good, 1, 2)
    check(also_good, 1, 4)
    assert failed.completion.status == Status.FAILED
    assert failed.data.decode() == text


def test_a_payload_that_is_no_table_fails_alone(serve: Serve) -> None:
    worker = serve()
    submission, slot = worker.request()
    worker.arena.payload(slot)[:16] = b"\xff" * 16  # no such data type, no such rank
    worker.link.submit([submission])
    (answer,) = worker.answers()
    assert answer.completion.status == Status.FAILED
    assert answer.data == b"ValueError: not a tensor table"
    check(worker.infer(), 1, 2)


def test_a_slot_lent_again_is_stale(serve: Serve) -> None:
    worker = serve()
    answer = worker.infer(stale=1)
    assert answer.completion.status == Status.STALE
    assert answer.data == b""
    submission, slot = worker.request()
    worker.arena.stamp(slot, 4711)
    worker.link.submit([submission])
    assert worker.answers()[0].completion.status == Status.STALE
    check(worker.infer(), 1, 2)


@pytest.mark.parametrize("load_id", [0, 2])
def test_a_request_for_another_load_is_stale(serve: Serve, load_id: int) -> None:
    worker = serve()
    assert worker.infer(load_id=load_id).completion.status == Status.STALE
    check(worker.infer(), 1, 2)


def test_a_request_whose_deadline_has_passed_is_not_run(serve: Serve) -> None:
    ran: list[int] = []

    def run(inputs: Inputs) -> Arrays:
        ran.append(int(inputs[1][0]))
        return FakePredictor.multiply(inputs)

    worker = serve(run)
    answer = worker.infer(times=9, deadline_ns=time.monotonic_ns())
    assert answer.completion.status == Status.EXPIRED
    assert answer.data == b""
    check(worker.infer(times=8), 1, 8)
    assert 9 not in ran


def test_outputs_larger_than_the_ring_name_the_setting(serve: Serve) -> None:
    worker = serve(response_bytes=4096)
    answer = worker.infer(rows=1000)
    assert answer.completion.status == Status.TOO_LARGE
    assert b"more than the response ring of 4096: raise response_ring_mb" in answer.data
    assert answer.data.startswith(b"the outputs take 16")
    check(worker.infer(), 1, 2)


def test_the_running_word_names_the_request_being_run(serve: Serve) -> None:
    inside, go_on = threading.Event(), threading.Event()

    def run(inputs: Inputs) -> Arrays:
        if inputs[1][0] == 77:
            inside.set()
            assert go_on.wait(PATIENCE_S)
        return FakePredictor.multiply(inputs)

    worker = serve(run)
    worker.infer()
    submission, _ = worker.request(times=77)
    worker.link.submit([submission])
    assert inside.wait(PATIENCE_S)
    assert worker.link.running() == (submission.request_id,) == (2,)
    go_on.set()
    worker.answers()
    worker.control.send(messages.Unload())
    worker.message()  # the request before it is done with
    assert worker.link.running() == ()


def fill(worker: Harness, count: int = 10) -> None:
    """Submit more than a ring of 4096 bytes holds, and wait until the worker asks for space."""
    worker.link.submit([worker.request(rows=60, times=times)[0] for times in range(count)])
    assert worker.message() == messages.NeedSpace()


def test_a_worker_without_space_waits_until_it_is_freed(serve: Serve) -> None:
    worker = serve(response_bytes=4096)
    fill(worker)
    answers: list[Answer] = []
    while True:
        answers += worker.take()
        worker.control.send(messages.SpaceFreed())
        while len(answers) < 10 and worker.silent():
            answers += worker.take()
        if len(answers) == 10:
            break
        assert worker.message() == messages.NeedSpace()
    for times, answer in enumerate(answers):
        check(answer, 60, times)
    assert worker.silent()
    check(worker.infer(), 1, 2)


def test_a_worker_asks_again_while_what_is_freed_does_not_suffice(serve: Serve) -> None:
    worker = serve(response_bytes=4096)
    fill(worker, 4)
    for _ in range(3):
        worker.control.send(messages.SpaceFreed())
        assert worker.message() == messages.NeedSpace()
    early = worker.take()
    worker.control.send(messages.SpaceFreed())
    for times, answer in enumerate([*early, *worker.answers(4 - len(early))]):
        check(answer, 60, times)


def test_stop_ends_a_worker_that_waits_for_space(serve: Serve) -> None:
    worker = serve(response_bytes=4096)
    fill(worker)
    worker.control.send(messages.Stop())
    assert isinstance(worker.join(), PeerGone)


def test_a_closed_channel_ends_a_worker_that_waits_for_space(serve: Serve) -> None:
    worker = serve(response_bytes=4096)
    fill(worker)
    worker.control.close()
    assert isinstance(worker.join(), PeerGone)


def test_a_worker_that_waits_for_space_takes_nothing_else(serve: Serve) -> None:
    worker = serve(response_bytes=4096)
    fill(worker)
    worker.control.send(messages.Unload())
    assert isinstance(worker.join(), ProtocolError)


def test_a_doorbell_that_lies_ends_the_worker(serve: Serve) -> None:
    worker = serve()
    worker.link.submission_bell.ring(3)
    assert isinstance(worker.join(), ValueError)
