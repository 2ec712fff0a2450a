"""The responder: answers into response rings, completions into completion rings.

Owns the one copy of each output, and the order in which a link's answers are published. Where a
ring is full it publishes what it has, then has somebody wait for space. Runs in the worker.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from gpu_worker.answer import Answer
from gpu_worker.ipc.link import STATUS_MASK, Completion, Status
from gpu_worker.ipc.response_ring import ResponseTooLarge, span_of
from gpu_worker.links import AttachedLink


class Responder:
    """Answers on any link; `wait_for_space` sleeps until a link's ring is empty or detached."""

    def __init__(self, wait_for_space: Callable[[AttachedLink], None]) -> None:
        self._wait_for_space = wait_for_space

    def send(
        self, link: AttachedLink, answers: Sequence[Answer], started_ns: int, inferred_ns: int
    ) -> None:
        """Publish answers to requests of one link, with one ring of its bell where they fit.

        Raises:
            PeerGone: the supervisor has gone, or wants this process to end.

        """
        if not self._send_whole(link, answers, started_ns, inferred_ns):
            self._send_in_parts(link, answers, started_ns, inferred_ns)

    def _send_whole(
        self, link: AttachedLink, answers: Sequence[Answer], started_ns: int, inferred_ns: int
    ) -> bool:
        """Write all answers into one piece of the ring; False when it has none of that size."""
        total = 0
        for answer in answers:
            total += answer.span
        responses = link.end.responses
        try:
            place = responses.reserve(total)
        except ResponseTooLarge:
            return False
        if place is None:
            return False
        position, memory = place
        at, places = 0, []
        for answer in answers:
            _write(memory, at, answer)
            places.append((answer, position + at))
            at += answer.span
        responses.commit(position, total)
        now_ns = time.monotonic_ns()
        link.end.complete(
            [_completion(*place, started_ns, inferred_ns, now_ns) for place in places]
        )
        return True

    def _send_in_parts(
        self, link: AttachedLink, answers: Sequence[Answer], started_ns: int, inferred_ns: int
    ) -> None:
        responses = link.end.responses
        written: list[Completion] = []
        for asked in answers:
            answer = asked
            if answer.span > responses.capacity:
                answer = _shortened(answer, responses.capacity)
            while (place := responses.reserve(answer.length)) is None:
                if written:  # the supervisor frees what it has been told of, nothing else
                    link.end.complete(written)
                    written = []
                self._wait_for_space(link)
                if not link.attached:
                    return
            position, memory = place
            _write(memory, 0, answer)
            responses.commit(position, answer.length)
            now_ns = time.monotonic_ns()
            written.append(_completion(answer, position, started_ns, inferred_ns, now_ns))
        link.end.complete(written)


def _write(memory: memoryview, at: int, answer: Answer) -> None:
    memory[at : at + len(answer.head)] = answer.head
    for start, end, data in answer.pieces:
        memory[at + start : at + end] = data


def _completion(
    answer: Answer, position: int, started_ns: int, inferred_ns: int, finished_ns: int
) -> Completion:
    submission = answer.submission
    return Completion(
        submission.request_id,
        submission.slot_reuse,
        answer.outcome,
        position,
        answer.length,
        started_ns,
        inferred_ns,
        finished_ns,
    )


def _shortened(answer: Answer, capacity: int) -> Answer:
    """Give what can be said instead of an answer that can never fit."""
    text, outcome = answer.head, answer.outcome
    if outcome & STATUS_MASK == Status.OK:
        outcome |= Status.TOO_LARGE  # it was executed all the same: what is known of that stays
        text = (
            f"the outputs take {answer.length} bytes, more than the response ring of {capacity}: "
            "raise response_ring_mb"
        ).encode()
    text = text[:capacity]
    return Answer(answer.submission, outcome, len(text), span_of(len(text)), text)
