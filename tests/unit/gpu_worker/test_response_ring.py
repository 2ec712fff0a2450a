"""The response ring, compared with a list of what was written and not yet released."""

from __future__ import annotations

from collections import deque

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule, run_state_machine_as_test

from gpu_worker.ipc.response_ring import ResponseRing, ResponseTooLarge
from gpu_worker.ipc.ring import LINE

STARTS = [0, 640 * 7 + 64, (1 << 32) - 64, (1 << 40) + 192]


def make(capacity: int, start: int = 0, beyond: int = 0) -> tuple[ResponseRing, ResponseRing]:
    """Give the worker's and the supervisor's side of one ring."""
    memory = memoryview(bytearray(2 * LINE + capacity + beyond))
    words = memory[: 2 * LINE].cast("Q")
    words[0] = words[LINE // 8] = start
    return ResponseRing(memory), ResponseRing(memory)


def rounded(length: int) -> int:
    """The bytes that a response takes: whole lines, at least one."""
    return max(1, -(-length // LINE)) * LINE


def content(number: int, length: int) -> bytes:
    return bytes((number * 31 + at * 7) % 256 for at in range(length))


def write(ring: ResponseRing, payload: bytes) -> int:
    place = ring.reserve(len(payload))
    assert place is not None
    position, memory = place
    memory[:] = payload
    ring.commit(position, len(payload))
    return position


class ResponseMachine(RuleBasedStateMachine):
    """Writes, reads and releases in order; `held` are the responses not yet released."""

    @initialize(capacity=st.sampled_from([64, 192, 640, 4096]), start=st.sampled_from(STARTS))
    def begin(self, capacity: int, start: int) -> None:
        self.capacity = capacity
        self.worker, self.supervisor = make(capacity, start)
        self.held: deque[tuple[int, bytes]] = deque()
        self.written = 0
        self.last = self.released = start

    @rule(share=st.floats(0, 1.2), exact=st.booleans())
    def respond(self, share: float, exact: bool) -> None:
        length = int(share * self.capacity)
        length -= length % LINE if exact else 0
        if rounded(length) > self.capacity:
            with pytest.raises(ResponseTooLarge):
                self.worker.reserve(length)
            return
        place = self.worker.reserve(length)
        if place is None:
            assert self.held, "an empty ring has room for whatever fits at all"
            # A rest that is skipped is shorter than the response that it was too short for.
            taken = self.last - self.released
            assert taken + 2 * rounded(length) > self.capacity, "there was room enough"
            return
        position, memory = place
        assert position >= self.last, "positions only grow"
        assert len(memory) == length
        self.written += 1
        payload = content(self.written, length)
        memory[:] = payload
        self.worker.commit(position, length)
        if not self.held:
            self.released = position  # nothing skipped before it counts any more
        self.last = position + rounded(length)
        self.held.append((position, payload))
        self.every_byte_is_right()

    @rule(share=st.floats(0, 1))
    def reserve_and_write_but_never_commit(self, share: float) -> None:
        place = self.worker.reserve(int(share * self.capacity))
        if place is not None:
            place[1][:] = b"\xff" * len(place[1])
        self.every_byte_is_right()

    @rule(count=st.integers(1, 5))
    def release(self, count: int) -> None:
        for _ in range(min(count, len(self.held))):
            position, payload = self.held.popleft()
            assert bytes(self.supervisor.view(position, len(payload))) == payload
            self.supervisor.release_to(position, len(payload))
            self.released = position + rounded(len(payload))

    def every_byte_is_right(self) -> None:
        for position, payload in self.held:
            assert bytes(self.supervisor.view(position, len(payload))) == payload


def test_a_response_ring_agrees_with_its_model() -> None:
    run_state_machine_as_test(
        ResponseMachine, settings=settings(max_examples=250, stateful_step_count=40, deadline=None)
    )


def test_a_response_never_wraps_the_rest_is_skipped() -> None:
    worker, supervisor = make(640)
    first = write(worker, b"a" * 256)
    second = write(worker, b"b" * 256)
    supervisor.release_to(first, 256)
    third = write(worker, b"c" * 192)  # 128 bytes are left behind the second
    assert third == 640
    assert bytes(supervisor.view(second, 256)) == b"b" * 256
    assert bytes(supervisor.view(third, 192)) == b"c" * 192


def test_a_full_ring_gives_none_until_enough_is_released() -> None:
    worker, supervisor = make(640)
    positions = [write(worker, bytes(64)) for _ in range(10)]
    assert worker.reserve(1) is None
    supervisor.release_to(positions[0], 64)
    assert worker.reserve(65) is None
    assert worker.reserve(64) is not None


@pytest.mark.parametrize("start", [64, 128, 640 * 5 + 576, (1 << 32) - 64])
def test_an_empty_ring_takes_the_largest_response_wherever_it_stands(start: int) -> None:
    worker, supervisor = make(640, start)
    for number in range(20):
        payload = content(number, 640)
        position = write(worker, payload)
        assert worker.reserve(1) is None
        assert bytes(supervisor.view(position, 640)) == payload
        supervisor.release_to(position, 640)
        small = write(worker, b"x" * 65)
        supervisor.release_to(small, 65)


def test_after_a_skipped_rest_an_empty_ring_overwrites_nothing() -> None:
    worker, supervisor = make(640, 64)
    large = write(worker, b"L" * 600)
    held = [write(worker, bytes([n]) * 64) for n in range(20) if worker.reserve(64) is not None]
    assert bytes(supervisor.view(large, 600)) == b"L" * 600
    assert held == []
    supervisor.release_to(large, 600)
    assert worker.reserve(640) is not None


@pytest.mark.parametrize("length", [641, 704, 1 << 40])
def test_a_response_that_can_never_fit_is_too_large(length: int) -> None:
    worker, _ = make(640)
    with pytest.raises(ResponseTooLarge):
        worker.reserve(length)


def test_the_capacity_is_whole_lines() -> None:
    worker, _ = make(640, beyond=63)
    assert worker.capacity == 640
    with pytest.raises(ResponseTooLarge):
        worker.reserve(641)


@pytest.mark.parametrize(
    ("position", "length"), [(0, 641), (64, 577), (576, 65), (640 + 576, 65), ((1 << 64) - 1, 640)]
)
def test_a_view_outside_the_ring_is_refused(position: int, length: int) -> None:
    _, supervisor = make(640)
    with pytest.raises(ValueError, match="leaves the ring"):
        supervisor.view(position, length)


def test_an_empty_response_has_a_position_of_its_own() -> None:
    worker, supervisor = make(128)
    first, second = write(worker, b""), write(worker, b"")
    assert first != second
    assert bytes(supervisor.view(second, 0)) == b""
    assert worker.reserve(0) is None
    supervisor.release_to(first, 0)
    assert worker.reserve(0) is not None


def test_a_released_response_ring_frees_its_memory() -> None:
    memory = bytearray(2 * LINE + 640)
    ring = ResponseRing(memoryview(memory))
    ring.release()
    memory.append(0)
