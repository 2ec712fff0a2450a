"""Two processes and a million requests: every byte of every payload and answer is checked."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
from collections import deque
from dataclasses import astuple
from pathlib import Path
from typing import Final

import pytest

from gpu_worker.ipc import messages
from gpu_worker.ipc.arena import RequestArena
from gpu_worker.ipc.arguments import WorkerArguments
from gpu_worker.ipc.channel import PeerGone
from gpu_worker.ipc.control import ControlChannel
from gpu_worker.ipc.link import (
    RING_CAPACITY,
    LinkFds,
    Status,
    Submission,
    SupervisorEnd,
    link_size,
)
from gpu_worker.ipc.ring import LINE, ring_size
from gpu_worker.ipc.segment import Segment
from gpu_worker.ipc.slots import Slot
from tests.unit.gpu_worker.descriptors import open_descriptors
from tests.unit.gpu_worker.torture_pattern import (
    ANSWER_RING_BYTES,
    LARGEST,
    answer_to,
    payload_of,
)

ROOT: Final = Path(__file__).parent.parent.parent.parent
IN_FLIGHT: Final = 64
PATIENCE_MS: Final = 30_000  # the peer says nothing for so long only when it hangs


class Torture:
    """The supervisor's side: submits, checks answers, keeps count."""

    def __init__(self, stop_at: int = 0) -> None:
        self.arena = RequestArena.create(4 << 20, LARGEST)
        self.link = SupervisorEnd.create(ANSWER_RING_BYTES)
        self.control, theirs = ControlChannel.pair()
        arena_fd = self.arena.segment.read_only_fd()
        fds = LinkFds(
            rings=self.link.rings_fd,
            arena=arena_fd,
            submissions=self.link.submission_bell.fd,
            completions=self.link.completion_bell.fd,
            control=theirs.sock.fileno(),
        )
        self.peer = subprocess.Popen(
            [sys.executable, "-m", "tests.unit.gpu_worker.torture_peer",
             WorkerArguments("cpu", os.getpid(), fds).to_json(), str(stop_at)],
            cwd=ROOT, pass_fds=astuple(fds),
        )  # fmt: skip
        os.close(arena_fd)
        theirs.close()
        self.in_flight: deque[tuple[int, Slot, bytes]] = deque()
        self.submitted = self.answered = self.waits_for_space = 0
        self._poll = select.poll()
        self._poll.register(self.link.completion_bell.fd, select.POLLIN)
        self._poll.register(self.control.sock, select.POLLIN)

    def submit(self, up_to: int) -> None:
        """Keep as many in flight as there may be."""
        batch = []
        while self.submitted < up_to and len(self.in_flight) < IN_FLIGHT:
            request_id = self.submitted + 1
            payload = payload_of(request_id)
            slot = self.arena.slots.take(len(payload))
            if slot is None:
                break
            self.arena.payload(slot)[: len(payload)] = payload
            self.arena.stamp(slot, request_id)
            self.in_flight.append((request_id, slot, payload))
            self.submitted = request_id
            batch.append(Submission(request_id, slot.offset, slot.reuse, len(payload), 1, 1, 0, 0))
        self.link.submit(batch)

    def collect(self) -> None:
        """Take all answers that have come; each must be the next one, and right in every byte."""
        responses = self.link.responses
        for completion in self.link.completions():
            request_id, slot, payload = self.in_flight.popleft()
            assert completion.request_id == request_id
            assert completion.slot_reuse == slot.reuse
            assert completion.status == Status.OK
            data = bytes(responses.view(completion.position, completion.length))
            assert data == answer_to(payload, request_id)
            responses.release_to(completion.position, completion.length)
            self.arena.slots.give_back(slot)
            self.answered += 1

    def wait(self) -> messages.Message | None:
        """Sleep until the peer does something; give what it says on the control channel."""
        ready = {fd for fd, _ in self._poll.poll(PATIENCE_MS)}
        assert ready, f"the peer hangs after {self.answered} answers"
        if self.control.sock.fileno() not in ready:
            return None
        return self.control.receive()[0]

    def run(self, count: int) -> None:
        """Have `count` requests answered."""
        while self.answered < count:
            self.submit(count)
            message = self.wait()
            self.collect()
            if message is not None:
                assert message == messages.NeedSpace()
                self.waits_for_space += 1
                self.control.send(messages.SpaceFreed())

    def heads_and_tails(self) -> list[tuple[int, int]]:
        """Read both rings' words from the segment itself."""
        segment = Segment.attach(os.dup(self.link.rings_fd), writable=False)
        first = link_size(0) - 2 * LINE - 2 * ring_size(RING_CAPACITY)  # behind the running words
        words = segment.memory[: link_size(0)].cast("Q")
        starts = [at // 8 for at in (first, first + ring_size(RING_CAPACITY))]
        found = [(words[at], words[at + LINE // 8]) for at in starts]
        words.release()
        segment.close()
        return found

    def close(self) -> None:
        """End the peer, whatever it does, and give everything back."""
        self.peer.kill()
        self.peer.wait()
        self.control.close()
        self.link.close()
        self.arena.close()


def move(count: int) -> Torture:
    """Move requests to the end and stop the peer; the caller closes."""
    torture = Torture()
    try:
        torture.run(count)
        torture.control.send(messages.Stop())
        assert torture.peer.wait(30) == 0
    except BaseException:
        torture.close()
        raise
    return torture


@pytest.mark.soak
def test_a_million_requests_are_answered_once_in_order_and_right_in_every_byte() -> None:
    before = open_descriptors()
    torture = move(1_000_000)
    assert torture.answered == torture.submitted == 1_000_000
    assert torture.heads_and_tails() == [(1_000_000, 1_000_000)] * 2
    assert torture.link.running() == ()
    assert torture.link.completions() == []
    assert torture.arena.slots.lent_slots == torture.arena.slots.lent_bytes == 0
    torture.close()
    assert open_descriptors() == before


def test_a_response_ring_that_fills_up_stops_the_peer_only_until_it_is_emptied() -> None:
    torture = Torture()
    total = 20_000
    while torture.answered < total:
        torture.submit(total)
        # No answer is taken before the peer has nothing left to do or no room left to answer.
        if torture.heads_and_tails()[1][0] == torture.submitted:
            torture.collect()
        elif select.select([torture.control.sock], [], [], 0)[0]:
            assert torture.control.receive() == (messages.NeedSpace(), [])
            torture.waits_for_space += 1
            torture.collect()
            torture.control.send(messages.SpaceFreed())
    torture.close()
    assert torture.waits_for_space > 0


@pytest.mark.parametrize("stop_at", [1, 777, 20_000])
def test_a_peer_killed_in_the_middle_leaves_its_running_word_and_the_unanswered_ids(
    stop_at: int,
) -> None:
    before = open_descriptors()
    torture = Torture(stop_at)
    message = None
    while message is None or message == messages.NeedSpace():
        torture.submit(1 << 62)
        message = torture.wait()
        torture.collect()
        if message == messages.NeedSpace():
            torture.control.send(messages.SpaceFreed())
    assert message == messages.Unloaded()
    torture.peer.send_signal(signal.SIGKILL)
    assert torture.peer.wait(30) == -signal.SIGKILL
    with pytest.raises(PeerGone):
        torture.wait()
    torture.collect()  # answers given before the end count
    assert torture.link.running() == (stop_at,)
    assert torture.answered == stop_at - 1
    unanswered = [request_id for request_id, _, _ in torture.in_flight]
    assert unanswered == list(range(stop_at, torture.submitted + 1))
    for request_id, slot, payload in torture.in_flight:  # all there, to be sent again
        assert bytes(torture.arena.payload(slot)[: len(payload)]) == payload_of(request_id)
    torture.close()
    assert open_descriptors() == before


def test_a_peer_killed_at_any_moment_has_answered_a_prefix() -> None:
    torture = Torture()
    while torture.answered < 500:
        torture.submit(1 << 62)
        if torture.wait() is not None:
            torture.collect()
            torture.control.send(messages.SpaceFreed())
        torture.collect()
    torture.submit(1 << 62)
    torture.peer.kill()
    torture.peer.wait()
    torture.collect()
    running = torture.link.running()
    unanswered = [request_id for request_id, _, _ in torture.in_flight]
    assert unanswered == list(range(torture.answered + 1, torture.submitted + 1))
    # it ran nothing, the first that has no answer, or had just answered and not yet said so
    assert running in ((), (torture.answered,), (torture.answered + 1,))
    torture.close()
