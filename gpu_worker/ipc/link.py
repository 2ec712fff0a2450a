"""The link between the supervisor and one worker: rings, response ring, doorbells, descriptors.

Owns how one worker's private shared memory is laid out and what the words of a descriptor mean.
Each worker has a link of its own, so that a worker that dies can corrupt nothing but what is thrown
away with it. `SupervisorEnd` runs in the supervisor, `WorkerEnd` in the worker.

The segment holds, in this order: the running words (how many requests of this link the worker runs
at this moment, then their ids), the submission ring, the completion ring, the response ring.
"""

from __future__ import annotations

import os
from array import array
from collections.abc import Sequence
from dataclasses import dataclass, fields
from enum import IntEnum
from typing import Final, NamedTuple, Self

from gpu_worker.ipc.doorbell import Doorbell
from gpu_worker.ipc.response_ring import ResponseRing, span_of
from gpu_worker.ipc.ring import LINE, DescriptorRing, ring_size
from gpu_worker.ipc.segment import Segment

RING_CAPACITY: Final = 256  # more than any worker's credit, so that a ring is never the limit
SOLO: Final = 1 << 63  # in the word `load_id`: run this request alone, it may have ended a worker
_RUNNING_BYTES: Final = LINE * (1 + RING_CAPACITY * 8 // LINE)
STATUS_MASK: Final = 0xFF
_LEADS: Final = 0x100
_named: Final = tuple.__new__  # of words; calling the class takes three times as long
_ROWS_SHIFT: Final = 16


class Status(IntEnum):
    """How the worker ended a request."""

    OK = 0
    FAILED = 1  # the predictor raised; the response is a text
    STALE = 2  # slot or load were no longer what the descriptor said
    EXPIRED = 3  # the deadline had passed before it was run
    TOO_LARGE = 4  # the outputs can never fit into the response ring; the response is a text


class Submission(NamedTuple):
    """One request, as the submission ring carries it; times are CLOCK_MONOTONIC nanoseconds.

    `load_id` may carry `SOLO`.
    """

    request_id: int
    slot_offset: int
    slot_reuse: int
    length: int
    load_id: int
    output_mask: int
    deadline_ns: int
    submitted_ns: int


class Completion(NamedTuple):
    """One answer, as the completion ring carries it; times are CLOCK_MONOTONIC nanoseconds.

    `outcome` is a `Status`, or one with what is known of its execution: see `outcome_of`.
    """

    request_id: int
    slot_reuse: int
    outcome: int
    position: int
    length: int
    started_ns: int
    inferred_ns: int
    finished_ns: int

    @property
    def status(self) -> int:
        """How the request ended, a `Status`."""
        return self.outcome & STATUS_MASK

    @property
    def leads(self) -> bool:
        """Say whether this is the first answer of its execution, to count executions by."""
        return bool(self.outcome & _LEADS)

    @property
    def batch_rows(self) -> int:
        """Rows of the batch that the request was executed in; 0 when nothing was executed."""
        return self.outcome >> _ROWS_SHIFT


def outcome_of(status: Status, batch_rows: int, *, leads: bool) -> int:
    """Put a status and what is known of its execution into one word."""
    return status | (_LEADS if leads else 0) | batch_rows << _ROWS_SHIFT


@dataclass(slots=True)
class RingMarks:
    """How full the rings of a link were at most, of what they can hold."""

    submissions: int = 0
    completions: int = 0
    descriptors: int = RING_CAPACITY  # that each of these two holds
    response_bytes: int = 0
    response_capacity: int = 0

    def note(self, completions: Sequence[Completion]) -> None:
        """Take note of answers that lie in the rings together."""
        first, last = completions[0], completions[-1]
        used = last.position + span_of(last.length) - first.position
        self.completions = max(self.completions, len(completions))
        if used > self.response_bytes:
            self.response_bytes = min(used, self.response_capacity)  # a broken worker says anything

    def add(self, other: RingMarks) -> None:
        """Take the larger figures."""
        for field in fields(self):
            ours, theirs = getattr(self, field.name), getattr(other, field.name)
            setattr(self, field.name, max(ours, theirs))


@dataclass(frozen=True, slots=True)
class LinkFds:
    """The descriptors that a worker inherits."""

    rings: int
    arena: int
    submissions: int
    completions: int
    control: int


class _Layout:
    """Where each part lies in the link's segment."""

    def __init__(self, memory: memoryview) -> None:
        at, size = _RUNNING_BYTES, ring_size(RING_CAPACITY)
        self.running = memory[:at].cast("Q")
        self.submissions = DescriptorRing(memory[at : at + size], RING_CAPACITY)
        self.completions = DescriptorRing(memory[at + size : at + 2 * size], RING_CAPACITY)
        self.responses = ResponseRing(memory[at + 2 * size :])

    def release(self) -> None:
        self.running.release()
        self.submissions.release()
        self.completions.release()
        self.responses.release()


def link_size(response_bytes: int) -> int:
    """Give the size of a link's segment with room for `response_bytes` of responses."""
    return _RUNNING_BYTES + 2 * ring_size(RING_CAPACITY) + 2 * LINE + response_bytes


class SupervisorEnd:
    """Submits requests to one worker and takes its completions."""

    def __init__(
        self, segment: Segment, submission_bell: Doorbell, completion_bell: Doorbell
    ) -> None:
        self._segment = segment
        self._layout = _Layout(segment.memory)
        self.responses = self._layout.responses
        self.marks = RingMarks(response_capacity=self.responses.capacity)
        self.submission_bell = submission_bell
        self.completion_bell = completion_bell

    @classmethod
    def create(cls, response_bytes: int) -> Self:
        """Create a link; no worker knows it yet.

        Raises:
            OSError: there is not enough memory.

        """
        segment = Segment.create("link", link_size(response_bytes))
        return cls(segment, Doorbell.create(), Doorbell.create())

    @classmethod
    def attach(cls, rings: int, submissions: int, completions: int) -> Self:
        """Take over the descriptors of a link that another program has made."""
        segment = Segment.attach(rings, writable=True)
        return cls(segment, Doorbell(submissions), Doorbell(completions))

    @property
    def rings_fd(self) -> int:
        """The segment's descriptor."""
        return self._segment.fd

    def memory(self) -> tuple[memoryview, memoryview]:
        """Give the bytes of both rings of descriptors, for other code that knows their layout."""
        return self._layout.submissions.memory, self._layout.completions.memory

    def fds(self, arena_fd: int) -> tuple[int, int, int, int]:
        """List what the worker needs, in the order of `LinkFds`: rings, arena, doorbells."""
        return self.rings_fd, arena_fd, self.submission_bell.fd, self.completion_bell.fd

    def submit(self, submissions: Sequence[Submission]) -> None:
        """Publish requests and ring once for all of them; the caller keeps within the credit.

        Raises:
            RingFull: there is no room for all of them; none was published.

        """
        used = self._layout.submissions.publish(submissions)
        self.marks.submissions = max(self.marks.submissions, used)
        self.submission_bell.ring(len(submissions))

    def completions(self) -> list[Completion]:
        """Take what the doorbell counted; empty when it did not ring."""
        count = self.completion_bell.answer()
        if not count:
            return []
        completions = [_named(Completion, words) for words in self._layout.completions.take(count)]
        self.marks.note(completions)
        return completions

    def running(self) -> tuple[int, ...]:
        """Give the ids of the requests that the worker is running, one batch of them at most."""
        words = self._layout.running
        return tuple(words[1 : 1 + min(words[0], RING_CAPACITY)])

    def close(self) -> None:
        """Give everything back, after the worker has ended."""
        self._layout.release()
        self._segment.close()
        self.submission_bell.close()
        self.completion_bell.close()


class WorkerEnd:
    """Takes requests and publishes completions."""

    def __init__(self, fds: LinkFds) -> None:
        self._segment = Segment.attach(fds.rings, writable=True)
        self._layout = _Layout(self._segment.memory)
        self.responses = self._layout.responses
        self.submission_bell = Doorbell(fds.submissions)
        self.completion_bell = Doorbell(fds.completions)

    def memory(self) -> tuple[memoryview, memoryview, memoryview]:
        """Give the bytes of both rings of descriptors, and the running words, as they lie there."""
        layout = self._layout
        return layout.submissions.memory, layout.completions.memory, layout.running

    def submissions(self) -> list[Submission]:
        """Take what the doorbell counted; empty when it did not ring."""
        count = self.submission_bell.answer()
        if not count:
            return []
        return [_named(Submission, words) for words in self._layout.submissions.take(count)]

    def run(self, request_ids: Sequence[int]) -> None:
        """Say which requests are being run, for the supervisor to read should this process die."""
        words, count = self._layout.running, len(request_ids)
        words[0] = 0
        if count:
            words[1 : 1 + count] = array("Q", request_ids)
            words[0] = count

    def complete(self, completions: Sequence[Completion]) -> None:
        """Publish answers and ring once for all of them."""
        self._layout.completions.publish(completions)
        self.completion_bell.ring(len(completions))

    def close(self) -> None:
        """Give the segment and the doorbells back: whoever is at the other end has gone."""
        self._layout.release()
        self._segment.close()
        self.submission_bell.close()
        self.completion_bell.close()


def close_fds(fds: Sequence[int]) -> None:
    """Close descriptors that were only opened to be inherited."""
    for fd in fds:
        os.close(fd)
