"""Both ends of a link in one process, over descriptors as a worker inherits them."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import astuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gpu_worker.ipc.arguments import WorkerArguments
from gpu_worker.ipc.link import (
    RING_CAPACITY,
    Completion,
    LinkFds,
    RingMarks,
    Status,
    Submission,
    SupervisorEnd,
    WorkerEnd,
    close_fds,
    link_size,
    outcome_of,
)
from gpu_worker.ipc.response_ring import ResponseTooLarge
from gpu_worker.ipc.ring import RingFull
from tests.unit.gpu_worker.descriptors import open_descriptors


class Ends:
    """A link, opened from both sides."""

    def __init__(self, response_bytes: int = 4096) -> None:
        self.supervisor = SupervisorEnd.create(response_bytes)
        self._fds = LinkFds(
            rings=os.dup(self.supervisor.rings_fd),
            arena=-1,
            submissions=os.dup(self.supervisor.submission_bell.fd),
            completions=os.dup(self.supervisor.completion_bell.fd),
            control=-1,
        )
        self.worker = WorkerEnd(self._fds)

    def close(self) -> None:
        close_fds([fd for fd in astuple(self._fds) if fd != -1])
        self.supervisor.close()


@pytest.fixture
def ends() -> Iterator[Ends]:
    ends = Ends()
    yield ends
    ends.close()


def submission(number: int) -> Submission:
    return Submission(number, *(number * 10 + word for word in range(7)))


def completion(number: int, status: Status = Status.OK) -> Completion:
    return Completion(number, 1, status, 64 * number, number, 4, 5, 6)


def test_submissions_arrive_as_they_were_sent_and_once(ends: Ends) -> None:
    assert ends.worker.submissions() == []
    batch = [submission(number) for number in range(1, 8)]
    ends.supervisor.submit(batch)
    assert ends.worker.submissions() == batch
    assert ends.worker.submissions() == []


def test_the_doorbell_counts_every_descriptor_once(ends: Ends) -> None:
    ends.supervisor.submit([submission(number) for number in range(3)])
    ends.supervisor.submit([submission(3)])
    ends.supervisor.submit([])
    assert ends.supervisor.submission_bell.answer() == 4
    for number in range(5):
        ends.worker.complete([completion(number)])
    assert ends.supervisor.completion_bell.answer() == 5


def test_as_many_are_taken_as_the_doorbell_counted(ends: Ends) -> None:
    ends.supervisor.submit([submission(number) for number in range(10)])
    assert ends.supervisor.submission_bell.answer() == 10
    ends.supervisor.submission_bell.ring(4)
    assert [taken.request_id for taken in ends.worker.submissions()] == [0, 1, 2, 3]
    ends.supervisor.submission_bell.ring(6)
    assert [taken.request_id for taken in ends.worker.submissions()] == [4, 5, 6, 7, 8, 9]


def test_a_count_beyond_the_ring_is_an_error(ends: Ends) -> None:
    ends.worker.complete([completion(1)])
    os.eventfd_write(ends.supervisor.completion_bell.fd, 1)
    with pytest.raises(ValueError, match="doorbell counted 2"):
        ends.supervisor.completions()


def test_a_batch_without_room_is_refused_as_a_whole(ends: Ends) -> None:
    ends.supervisor.submit([submission(number) for number in range(RING_CAPACITY - 1)])
    with pytest.raises(RingFull):
        ends.supervisor.submit([submission(1000), submission(1001)])
    ends.supervisor.submit([submission(RING_CAPACITY - 1)])
    numbers = [taken.request_id for taken in ends.worker.submissions()]
    assert numbers == list(range(RING_CAPACITY))


@pytest.mark.parametrize("status", list(Status))
def test_a_status_comes_back_as_it_was_given(ends: Ends, status: Status) -> None:
    ends.worker.complete([completion(1, status)])
    (taken,) = ends.supervisor.completions()
    assert taken == completion(1, status)
    assert Status(taken.status) is status


@pytest.mark.parametrize("status", list(Status))
@pytest.mark.parametrize("leads", [False, True])
@pytest.mark.parametrize("rows", [0, 1, 255, 256, (1 << 40)])
def test_an_outcome_tells_status_rows_and_who_leads(
    ends: Ends, status: Status, leads: bool, rows: int
) -> None:
    outcome = outcome_of(status, rows, leads=leads)
    ends.worker.complete([completion(1)._replace(outcome=outcome)])
    (taken,) = ends.supervisor.completions()
    assert (taken.status, taken.leads, taken.batch_rows) == (status, leads, rows)


def test_completions_without_room_are_refused_as_a_whole(ends: Ends) -> None:
    ends.worker.complete([completion(number) for number in range(RING_CAPACITY - 1)])
    with pytest.raises(RingFull):
        ends.worker.complete([completion(1000), completion(1001)])
    ends.worker.complete([completion(RING_CAPACITY - 1)])
    numbers = [taken.request_id for taken in ends.supervisor.completions()]
    assert numbers == list(range(RING_CAPACITY))


def test_status_codes_are_fixed() -> None:
    assert {status.name: status.value for status in Status} == {
        "OK": 0, "FAILED": 1, "STALE": 2, "EXPIRED": 3, "TOO_LARGE": 4,
    }  # fmt: skip


def test_the_supervisor_sees_what_the_worker_runs(ends: Ends) -> None:
    assert ends.supervisor.running() == ()
    batches = [(7,), (), ((1 << 64) - 1, 1, 2), (3,), tuple(range(RING_CAPACITY)), ()]
    for batch in batches:
        ends.worker.run(batch)
        assert ends.supervisor.running() == batch


def test_a_response_travels_beside_its_completion(ends: Ends) -> None:
    place = ends.worker.responses.reserve(5)
    assert place is not None
    place[1][:] = b"hello"
    place[1].release()
    ends.worker.responses.commit(place[0], 5)
    ends.worker.complete([Completion(9, 1, Status.OK, place[0], 5, 0, 0, 0)])
    (taken,) = ends.supervisor.completions()
    view = ends.supervisor.responses.view(taken.position, taken.length)
    assert bytes(view) == b"hello"
    view.release()


@settings(deadline=None, max_examples=25)
@given(st.lists(st.tuples(st.integers(0, 40), st.integers(0, 40)), max_size=30))
def test_both_rings_keep_order_whatever_the_batches(batches: list[tuple[int, int]]) -> None:
    ends = Ends()
    sent = taken = 0
    waiting: list[Submission] = []
    for publish, answer in batches:
        fits = min(publish, RING_CAPACITY - len(waiting))
        ends.supervisor.submit([submission(sent + more) for more in range(fits)])
        sent += fits
        waiting += ends.worker.submissions()
        expected = [completion(done.request_id) for done in waiting[:answer]]
        ends.worker.complete(expected)
        assert ends.supervisor.completions() == expected
        taken += len(expected)
        waiting = waiting[answer:]
    assert [done.request_id for done in waiting] == list(range(taken, sent))
    ends.close()


@pytest.mark.parametrize("response_bytes", [64, 4096, 1 << 20])
def test_a_link_holds_the_response_bytes_it_was_made_for(response_bytes: int) -> None:
    ends = Ends(response_bytes)
    assert os.fstat(ends.supervisor.rings_fd).st_size == link_size(response_bytes)
    assert ends.worker.responses.capacity == response_bytes
    assert ends.worker.responses.reserve(response_bytes) is not None
    with pytest.raises(ResponseTooLarge):
        ends.worker.responses.reserve(response_bytes + 1)
    ends.close()


def test_the_parts_of_a_link_do_not_overlap(ends: Ends) -> None:
    place = ends.worker.responses.reserve(4096)
    assert place is not None
    place[1][:] = b"\xff" * 4096
    ids = tuple(range(RING_CAPACITY, 0, -1))
    ends.worker.run(ids)
    ends.supervisor.submit([submission(n) for n in range(RING_CAPACITY)])
    for number in range(RING_CAPACITY):
        ends.worker.complete([completion(number)])
    assert bytes(place[1]) == b"\xff" * 4096
    assert ends.supervisor.running() == ids
    assert ends.worker.submissions() == [submission(n) for n in range(RING_CAPACITY)]
    assert ends.supervisor.completions() == [completion(n) for n in range(RING_CAPACITY)]


def test_a_closed_link_leaves_no_descriptor() -> None:
    before = open_descriptors()
    ends = Ends()
    ends.supervisor.submit([submission(1)])
    ends.close()
    del ends
    assert open_descriptors() == before


def test_worker_arguments_survive_the_command_line() -> None:
    fds = LinkFds(rings=3, arena=4, submissions=5, completions=6, control=7)
    arguments = WorkerArguments("gpu:1", 4711, fds)
    assert WorkerArguments.from_json(arguments.to_json()) == arguments
    older = json.loads(arguments.to_json())  # as a server says it that runs the code before
    del older["express"]
    assert WorkerArguments.from_json(json.dumps(older)) == arguments


def test_the_fullest_that_the_rings_were_is_remembered(ends: Ends) -> None:
    marks = ends.supervisor.marks
    assert marks == RingMarks(response_capacity=ends.supervisor.responses.capacity)
    ends.supervisor.submit([submission(number) for number in range(3)])
    ends.supervisor.submit([submission(3)])
    ends.worker.submissions()
    ends.supervisor.submit([submission(4)])
    assert marks.submissions == 4
    lengths = [1, 100, 64]
    for number, length in enumerate(lengths):
        found = ends.worker.responses.reserve(length)
        assert found is not None
        ends.worker.responses.commit(found[0], length)
        answer = completion(number)._replace(position=found[0], length=length)
        ends.worker.complete([answer])
    for taken in ends.supervisor.completions():
        ends.supervisor.responses.release_to(taken.position, taken.length)
    assert (marks.completions, marks.response_bytes) == (3, 64 + 128 + 64)
    ends.worker.complete([completion(4)])
    ends.supervisor.completions()
    assert (marks.completions, marks.response_bytes) == (3, 64 + 128 + 64)


def test_figures_of_a_broken_worker_make_no_mark_beyond_the_ring(ends: Ends) -> None:
    ends.worker.complete([completion(0), completion(1)._replace(position=(1 << 64) - 1)])
    ends.supervisor.completions()
    assert ends.supervisor.marks.response_bytes == ends.supervisor.responses.capacity
