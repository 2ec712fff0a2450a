"""The descriptor ring, compared with a deque."""

from __future__ import annotations

import struct
from collections import deque

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule, run_state_machine_as_test

from gpu_worker.ipc.ring import LINE, WORDS, DescriptorRing, RingFull, ring_size

WORD = st.integers(0, (1 << 64) - 1)
STARTS = [0, 1, 7, (1 << 32) - 3, 1 << 32, (1 << 32) + 5, (1 << 63) - 2, (1 << 64) - 100_000]


def ring_memory(capacity: int, start: int = 0) -> memoryview:
    """Give memory of a ring whose head and tail both stand at `start`."""
    memory = memoryview(bytearray(ring_size(capacity)))
    words = memory.cast("Q")
    words[0] = words[LINE // 8] = start
    return memory


def descriptor(number: int) -> tuple[int, ...]:
    return tuple((number * WORDS + word) * 0x9E3779B97F4A7C15 % (1 << 64) for word in range(WORDS))


class RingMachine(RuleBasedStateMachine):
    """Two sides of one memory; the model is a deque."""

    @initialize(capacity=st.sampled_from([1, 2, 4, 16]), start=st.sampled_from(STARTS))
    def begin(self, capacity: int, start: int) -> None:
        memory = ring_memory(capacity, start)
        self.capacity = capacity
        self.producer = DescriptorRing(memory, capacity)
        self.consumer = DescriptorRing(memory, capacity)
        self.waiting: deque[tuple[int, ...]] = deque()

    @rule(descriptors=st.lists(st.tuples(*[WORD] * WORDS), max_size=20))
    def publish_one_by_one(self, descriptors: list[tuple[int, ...]]) -> None:
        for words in descriptors:
            if len(self.waiting) < self.capacity:
                self.producer.publish([words])
                self.waiting.append(words)
            else:
                with pytest.raises(RingFull):
                    self.producer.publish([words])
        self.agree()

    @rule(descriptors=st.lists(st.tuples(*[WORD] * WORDS), max_size=20))
    def publish(self, descriptors: list[tuple[int, ...]]) -> None:
        if len(self.waiting) + len(descriptors) <= self.capacity:
            self.waiting.extend(descriptors)
            assert self.producer.publish(descriptors) == len(self.waiting)
        else:
            with pytest.raises(RingFull):
                self.producer.publish(descriptors)
        self.agree()

    @rule(count=st.integers(0, 20))
    def take(self, count: int) -> None:
        if count > len(self.waiting):
            with pytest.raises(ValueError, match="doorbell"):
                self.consumer.take(count)
        else:
            expected = [self.waiting.popleft() for _ in range(count)]
            assert self.consumer.take(count) == expected
        self.agree()

    def agree(self) -> None:
        assert len(self.producer) == len(self.consumer) == len(self.waiting)


def test_a_ring_agrees_with_a_deque() -> None:
    run_state_machine_as_test(
        RingMachine, settings=settings(max_examples=150, stateful_step_count=30, deadline=None)
    )


@pytest.mark.parametrize("start", STARTS)
def test_a_ring_wraps_around_many_times_from_any_start(start: int) -> None:
    ring = DescriptorRing(ring_memory(8, start), 8)
    for number in range(0, 3000, 3):
        batch = [descriptor(number + more) for more in range(3)]
        for words in batch:
            ring.publish([words])
        assert ring.take(3) == batch
    assert len(ring) == 0


def test_a_full_ring_refuses_and_overwrites_nothing() -> None:
    memory = ring_memory(4)
    ring = DescriptorRing(memory, 4)
    for number in range(4):
        ring.publish([descriptor(number)])
    before = bytes(memory)
    for _ in range(3):
        with pytest.raises(RingFull):
            ring.publish([descriptor(99)])
    assert bytes(memory) == before
    assert ring.take(4) == [descriptor(number) for number in range(4)]


def test_taking_more_than_there_is_takes_nothing() -> None:
    ring = DescriptorRing(ring_memory(4), 4)
    ring.publish([descriptor(1)])
    with pytest.raises(ValueError, match="counted 2 descriptors, the ring says 1"):
        ring.take(2)
    assert ring.take(1) == [descriptor(1)]


@pytest.mark.parametrize("head", [5, 1 << 40, (1 << 64) - 1])
def test_a_head_that_a_broken_peer_left_beyond_the_capacity_is_refused(head: int) -> None:
    memory = ring_memory(4)
    memory.cast("Q")[0] = head
    for count in (1, 4, head):
        with pytest.raises(ValueError, match="doorbell"):
            DescriptorRing(memory, 4).take(count)


@pytest.mark.parametrize("words", [[-1] * WORDS, [1 << 64] * WORDS, [1] * (WORDS - 1)])
def test_a_descriptor_that_does_not_fit_is_never_published(words: list[int]) -> None:
    ring = DescriptorRing(ring_memory(4), 4)
    with pytest.raises(struct.error):
        ring.publish([words])
    with pytest.raises(struct.error):
        ring.publish([[1] * WORDS, words])
    assert len(ring) == 0


@pytest.mark.parametrize("capacity", [-4, 0, 3, 6, 100, 255])
def test_a_capacity_that_is_no_power_of_two_is_refused(capacity: int) -> None:
    with pytest.raises(ValueError, match="power of two"):
        DescriptorRing(memoryview(bytearray(ring_size(256))), capacity)


def test_head_and_tail_have_a_cache_line_each() -> None:
    memory = ring_memory(2)
    ring = DescriptorRing(memory, 2)
    ring.publish([descriptor(1)])
    ring.publish([descriptor(2)])
    ring.take(1)
    words = memory.cast("Q")
    assert words[0] == 2
    assert words[8] == 1
    assert tuple(words[16:24]) == descriptor(1)
    assert tuple(words[24:32]) == descriptor(2)


def test_a_released_ring_frees_its_memory() -> None:
    memory = bytearray(ring_size(2))
    ring = DescriptorRing(memoryview(memory), 2)
    with pytest.raises(BufferError):
        memory.append(0)
    ring.release()
    memory.append(0)
