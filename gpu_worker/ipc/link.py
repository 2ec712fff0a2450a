"""The link between the supervisor and one worker: rings, response ring, doorbells, descriptors.

Owns how one worker's private shared memory is laid out and what the words of a descriptor mean.
Each worker has a link of its own, so that a worker that dies can corrupt nothing but what is thrown
away with it. `SupervisorEnd` runs in the supervisor, `WorkerEnd` in the worker.

The segment holds, in this order: one line whose first word is the id of the request that the worker
runs at this moment (0: none), the submission ring, the completion ring, the response ring.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Final, NamedTuple

from gpu_worker.ipc.control import ControlChannel, PeerGone
from gpu_worker.ipc.doorbell import Doorbell
from gpu_worker.ipc.messages import NeedSpace, ProtocolError, SpaceFreed, Stop
from gpu_worker.ipc.response_ring import ResponseRing
from gpu_worker.ipc.ring import LINE, DescriptorRing, RingFull, ring_size
from gpu_worker.ipc.segment import Segment

RING_CAPACITY: Final = 256  # more than any worker's credit, so that a ring is never the limit


class Status(IntEnum):
    """How the worker ended a request."""

    OK = 0
    FAILED = 1  # the predictor raised; the response is a text
    STALE = 2  # slot or load were no longer what the descriptor said
    EXPIRED = 3  # the deadline had passed before it was run
    TOO_LARGE = 4  # the outputs can never fit into the response ring; the response is a text


class Submission(NamedTuple):
    """One request, as the submission ring carries it; times are CLOCK_MONOTONIC nanoseconds."""

    request_id: int
    slot_offset: int
    slot_reuse: int
    length: int
    load_id: int
    output_mask: int
    deadline_ns: int
    submitted_ns: int


class Completion(NamedTuple):
    """One answer, as the completion ring carries it; times are CLOCK_MONOTONIC nanoseconds."""

    request_id: int
    slot_reuse: int
    status: int
    position: int
    length: int
    started_ns: int
    inferred_ns: int
    finished_ns: int


@dataclass(frozen=True, slots=True)
class LinkFds:
    """The descriptors that a worker inherits."""

    rings: int
    arena: int
    submissions: int
    completions: int
    control: int

    def numbers(self) -> tuple[int, ...]:
        """List them."""
        return (self.rings, self.arena, self.submissions, self.completions, self.control)


class _Layout:
    """Where each part lies in the link's segment."""

    def __init__(self, memory: memoryview) -> None:
        size = ring_size(RING_CAPACITY)
        self.running = memory[:8].cast("Q")
        self.submissions = DescriptorRing(memory[LINE : LINE + size], RING_CAPACITY)
        self.completions = DescriptorRing(memory[LINE + size : LINE + 2 * size], RING_CAPACITY)
        self.responses = ResponseRing(memory[LINE + 2 * size :])

    def release(self) -> None:
        self.running.release()
        self.submissions.release()
        self.completions.release()
        self.responses.release()


def link_size(response_bytes: int) -> int:
    """Give the size of a link's segment with room for `response_bytes` of responses."""
    return LINE + 2 * ring_size(RING_CAPACITY) + 2 * LINE + response_bytes


class SupervisorEnd:
    """Submits requests to one worker and takes its completions."""

    def __init__(self, response_bytes: int) -> None:
        self._segment = Segment.create("link", link_size(response_bytes))
        self._layout = _Layout(self._segment.memory)
        self.responses = self._layout.responses
        self.submission_bell = Doorbell.create()
        self.completion_bell = Doorbell.create()

    @property
    def rings_fd(self) -> int:
        """The segment's descriptor, for the worker to inherit."""
        return self._segment.fd

    def submit(self, submissions: Sequence[Submission]) -> None:
        """Publish requests and ring once for all of them; the caller keeps within the credit.

        Raises:
            RingFull: there is no room for all of them; none was published.

        """
        ring = self._layout.submissions
        if len(ring) + len(submissions) > RING_CAPACITY:
            raise RingFull
        for submission in submissions:
            ring.publish(submission)
        self.submission_bell.ring(len(submissions))

    def completions(self) -> list[Completion]:
        """Take what the doorbell counted; empty when it did not ring."""
        count = self.completion_bell.answer()
        if not count:
            return []
        return [Completion(*words) for words in self._layout.completions.take(count)]

    def running(self) -> int:
        """Give the id of the request that the worker is running, 0 for none."""
        return self._layout.running[0]

    def close(self) -> None:
        """Give everything back, after the worker has ended."""
        self._layout.release()
        self._segment.close()
        self.submission_bell.close()
        self.completion_bell.close()


class WorkerEnd:
    """Takes requests and publishes completions."""

    def __init__(self, fds: LinkFds) -> None:
        self._layout = _Layout(Segment.attach(fds.rings, writable=True).memory)
        self.responses = self._layout.responses
        self.submission_bell = Doorbell(fds.submissions)
        self._completion_bell = Doorbell(fds.completions)

    def submissions(self) -> list[Submission]:
        """Take what the doorbell counted; empty when it did not ring."""
        count = self.submission_bell.answer()
        if not count:
            return []
        return [Submission(*words) for words in self._layout.submissions.take(count)]

    def reserve(self, control: ControlChannel, length: int) -> tuple[int, memoryview]:
        """Find room for a response; where there is none, sleep until the supervisor says so.

        Only `SpaceFreed` or an end can come meanwhile: nobody loads into a process that serves.

        Raises:
            ResponseTooLarge: it can never fit.
            PeerGone: the supervisor has gone, or wants this process to end.

        """
        while True:
            place = self.responses.reserve(length)
            if place is not None:
                return place
            control.send(NeedSpace())
            message, _ = control.receive()
            if isinstance(message, Stop):
                raise PeerGone
            if not isinstance(message, SpaceFreed):
                raise ProtocolError(f"a worker that waits for space got {message}")

    def run(self, request_id: int) -> None:
        """Say which request is being run, for the supervisor to read should this process die."""
        self._layout.running[0] = request_id

    def complete(self, completion: Completion) -> None:
        """Publish one answer and ring."""
        self._layout.completions.publish(completion)
        self._completion_bell.ring()


def close_fds(fds: Sequence[int]) -> None:
    """Close descriptors that were only opened to be inherited."""
    for fd in fds:
        os.close(fd)
