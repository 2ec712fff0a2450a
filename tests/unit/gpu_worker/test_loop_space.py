"""The worker's loop when response rings are full: who waits, for whom, and until when."""

from __future__ import annotations

import numpy as np
import pytest

from gpu_worker.ipc import messages
from gpu_worker.ipc.channel import PeerGone
from gpu_worker.ipc.link import Status
from tests.unit.gpu_worker.linked_worker import (
    StartWorker,
    Worker,
    ask,
    check,
    check_with_waits,
    free_and_check,
)
from tests.unit.gpu_worker.loop_harness import Front


def test_answers_of_one_batch_may_exceed_the_ring(start_worker: StartWorker) -> None:
    worker = start_worker(1024)
    worker.hold()
    for number in range(3):
        ask(worker, number, rows=20)  # 448 bytes each, more than 1024 together
    worker.go_on()
    check_with_waits(worker, 0, worker, [0, *range(3)])
    assert worker.sizes() == [60]
    worker.hold()
    for number in range(40):
        ask(worker, number)
    worker.go_on()
    check_with_waits(worker, 0, worker, [0, *range(40)])
    assert worker.sizes() == [40]


def test_an_answer_of_a_batch_that_can_never_fit_fails_alone(start_worker: StartWorker) -> None:
    worker = start_worker(1024)
    worker.hold()
    ask(worker, 1)
    ask(worker, 2, rows=60)  # 128 bytes of table and 960
    ask(worker, 3)
    worker.go_on()
    answers = worker.answers(4)[1:]
    assert worker.sizes() == [62]
    statuses = [answer.completion.status for answer in answers]
    assert statuses == [Status.OK, Status.TOO_LARGE, Status.OK]
    assert [answer.completion.batch_rows for answer in answers] == [62] * 3
    assert answers[1].data.startswith(b"the outputs take 1088 bytes, more than the response ring")
    assert (answers[2].arrays()[0] == 6).all()


def test_a_text_longer_than_the_ring_is_cut(start_worker: StartWorker) -> None:
    worker = start_worker()
    front = worker.front(1, 64)
    submission, _ = front.submission([np.zeros((1, 5), np.float32)])
    front.link.submit([submission])
    (answer,) = front.answers()
    assert answer.completion.status == Status.FAILED
    assert answer.data == b"ValueError: input 'x' is FP32[1, 5], the model takes FP32[-1, 4]"[:64]


def fill(worker: Worker, number: int) -> Front:
    """Attach a link with a small ring and have the worker wait for its space."""
    front = worker.front(number, 1024)
    worker.hold()
    for which in range(10):
        ask(front, which)
    worker.go_on()
    check(worker, [0])
    assert worker.message() == messages.NeedSpace(number)
    return front


def test_space_is_asked_for_on_the_link_that_has_none(start_worker: StartWorker) -> None:
    worker = start_worker()
    front = fill(worker, 3)
    worker.control.send(messages.SpaceFreed(5))  # of a link that has gone, or nonsense
    found = front.take()
    assert found
    worker.control.send(messages.SpaceFreed(3))
    rest = list(range(len(found), 10))
    check_with_waits(worker, 3, front, rest)
    ask(worker, 9)
    check(worker, [9])


def test_a_link_that_goes_while_its_space_is_waited_for_holds_nobody_up(
    start_worker: StartWorker,
) -> None:
    worker = start_worker()
    fill(worker, 3)
    worker.control.send(messages.Detach(3))
    ask(worker, 5)
    check(worker, [5])
    assert worker.silent()


def test_links_come_and_go_while_space_is_waited_for(start_worker: StartWorker) -> None:
    worker = start_worker()
    other = worker.front(1)
    full = fill(worker, 3)
    newer = worker.attach(4)
    worker.fronts.append(newer)
    worker.control.send(messages.Detach(1))
    ask(newer, 6)
    ask(other, 7)
    free_and_check(worker, 3, full, list(range(10)))
    check(newer, [6])
    assert other.take() == []


@pytest.mark.parametrize("stop", [True, False])
def test_a_worker_that_waits_for_space_can_be_ended(start_worker: StartWorker, stop: bool) -> None:
    worker = start_worker()
    fill(worker, 3)
    if stop:
        worker.control.send(messages.Stop())
    else:
        worker.control.close()
    assert isinstance(worker.join(), PeerGone)


def test_a_link_detached_in_the_middle_of_its_batch_is_not_answered(
    start_worker: StartWorker,
) -> None:
    worker = start_worker()
    small = worker.front(1, 1024)
    other = worker.front(2)
    worker.hold()
    for number in range(10):
        ask(small, number)
        ask(other, number)
    worker.go_on()
    check(worker, [0])
    assert worker.message() == messages.NeedSpace(1)
    worker.control.send(messages.Detach(2))
    free_and_check(worker, 1, small, list(range(10)))
    ask(worker, 4)
    check(worker, [4])
    assert len(other.take()) in (0, 10)


def test_who_has_room_is_answered_once_where_another_has_none(start_worker: StartWorker) -> None:
    worker = start_worker()
    small = worker.front(1, 1024)
    worker.hold()
    for number in range(10):
        ask(worker, number)
        ask(small, number)
    worker.go_on()
    check(worker, [0, *range(10)])
    check_with_waits(worker, 1, small, list(range(10)))
    assert worker.sizes() == [20]
    ask(worker, 7)
    check(worker, [7])


def test_a_link_detached_while_what_it_asked_for_waits_is_closed(start_worker: StartWorker) -> None:
    worker = start_worker()
    small, other = worker.front(1, 1024), worker.front(2)
    worker.hold()
    for number in range(64):
        ask(other, number)
    for number in range(10):
        ask(small, number)
    ask(other, 64)
    worker.control.send(messages.SpaceFreed(5))  # has Python code take all of it
    worker.go_on()
    check(other, list(range(64)))
    assert worker.message() == messages.NeedSpace(1)
    worker.control.send(messages.Detach(2))
    free_and_check(worker, 1, small, list(range(10)))
    ask(worker, 4)
    check(worker, [0, 4])
    assert len(other.take()) in (0, 1)
