"""The worker's loop with several links: batches across them, and fronts that come and go."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from gpu_worker.ipc import messages
from gpu_worker.ipc.link import Status
from gpu_worker.ipc.vocabulary import ProtocolError
from tests.unit.gpu_worker.descriptors import open_descriptors
from tests.unit.gpu_worker.linked_worker import CONTRACT, Inputs, StartWorker, ask, check
from tests.unit.gpu_worker.loop_harness import Arrays, FakePredictor, Harness


def mapped() -> int:
    """Count the segments of links and arenas that this process has mapped."""
    return Path("/proc/self/maps").read_text().count("memfd:hotpaddle")


def test_requests_of_several_links_share_a_batch(start_worker: StartWorker) -> None:
    worker = start_worker()
    others = [worker.front(1), worker.front(7)]
    worker.hold()
    for number in range(3):
        for which, front in enumerate([worker, *others]):
            # the ids of two fronts may be the same
            ask(front, 10 * which + number)
    worker.go_on()
    check(worker, [0, 0, 1, 2])
    check(others[0], [10, 11, 12])
    check(others[1], [20, 21, 22])
    assert worker.sizes() == [9]


def test_each_links_running_words_name_its_own_requests(start_worker: StartWorker) -> None:
    worker = start_worker()
    other = worker.front(1)
    worker.hold()
    seen: list[list[tuple[int, ...]]] = []
    worker.predictor._run_with = lambda inputs: (  # noqa: SLF001 - after the warm-up
        seen.append([front.link.running() for front in (worker, other)]) or [inputs[0] * 2]  # type: ignore[func-returns-value]
    )
    own = [ask(worker, 1), ask(worker, 2)]
    foreign = [ask(other, 3)]
    worker.go_on()
    check(worker, [0, 1, 2])
    check(other, [3])
    assert seen == [[tuple(own), tuple(foreign)]]
    worker.control.send(messages.Unload())
    worker.message()
    assert worker.link.running() == other.link.running() == ()


def test_where_a_batch_is_run_apart_each_run_names_one_request(start_worker: StartWorker) -> None:
    worker = start_worker()
    other = worker.front(1)
    worker.hold()
    seen: list[tuple[int, ...]] = []

    def run(inputs: Inputs) -> Arrays:
        if len(inputs[0]) > 1:
            raise RuntimeError("not together")
        seen.append(worker.link.running() + other.link.running())
        return [inputs[0] * 2]

    worker.predictor._run_with = run  # noqa: SLF001 - after the warm-up
    ids = [ask(other, 1), ask(worker, 2), ask(other, 3)]
    worker.go_on()
    check(worker, [0, 2])
    check(other, [1, 3])
    assert seen == [(one,) for one in ids]


def test_one_execution_has_one_leader_whatever_the_links(start_worker: StartWorker) -> None:
    worker = start_worker()
    other = worker.front(1)
    worker.hold()
    ask(other, 1)
    ask(worker, 2)
    ask(other, 3)
    worker.go_on()
    completions = [a.completion for a in [*worker.answers(2)[1:], *other.answers(2)]]
    assert [completion.batch_rows for completion in completions] == [3, 3, 3]
    assert sum(completion.leads for completion in completions) == 1


def test_a_detached_link_leaves_neither_memory_nor_descriptors(start_worker: StartWorker) -> None:
    worker = start_worker()
    ask(worker, 1)
    check(worker, [1])
    fds, maps = open_descriptors(), mapped()
    for number in range(1, 30):
        front = worker.attach(number)
        for which in range(4):
            ask(front, which)
        check(front, [0, 1, 2, 3])
        worker.hold()
        ask(front, 1)  # waits, and is never answered
        worker.control.send(messages.Detach(number))
        ask(worker, 2)
        worker.go_on()
        check(worker, [0, 2])
        assert front.take() == []
        front.close()
    ask(worker, 3)
    check(worker, [3])
    assert (open_descriptors(), mapped()) == (fds, maps)


def test_a_link_that_goes_with_its_requests_waiting_takes_nobody_with_it(
    start_worker: StartWorker,
) -> None:
    worker = start_worker(max_batch_size=1)
    front = worker.front(1)
    submissions = [front.submission([np.zeros((1, 4), np.float32)])[0] for _ in range(4)]
    worker.hold(lambda: front.link.submit(submissions))
    worker.control.send(messages.Detach(1))
    worker.go_on()
    ask(worker, 5)
    check(worker, [5])


@pytest.mark.parametrize(
    "message", [messages.Detach(9), messages.Attach(0)], ids=["unknown", "twice"]
)
def test_a_link_that_cannot_be_ends_the_worker(
    start_worker: StartWorker, message: messages.Message
) -> None:
    worker = start_worker()
    if isinstance(message, messages.Attach):
        worker.fronts.append(worker.attach(0))
    else:
        worker.control.send(message)
    assert isinstance(worker.join(), ProtocolError)


def test_a_link_may_be_attached_before_the_load(start_worker: StartWorker) -> None:
    worker = Harness(lambda *_: FakePredictor(contract=CONTRACT, run_with=lambda i: [i[0] * 2]))
    front = worker.attach(1)
    ask(front, 5)
    assert front.answers()[0].completion.status == Status.STALE
    worker.load(1)
    ask(front, 5)
    check(front, [5])
    worker.close()
    front.close()
