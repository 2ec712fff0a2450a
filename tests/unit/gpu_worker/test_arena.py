"""The request arena: how it is divided, what is lent, what a worker may see."""

from __future__ import annotations

import fcntl
import mmap
import os
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from gpu_worker.ipc.arena import (
    SLOT_HEADER,
    ArenaReader,
    RequestArena,
    Slot,
    SlotAllocator,
    plan_slots,
)

K = 1024
M = 1024 * K


@pytest.mark.parametrize(
    ("arena_bytes", "largest_payload", "plan"),
    [
        (8 * K, 0, [(4 * K, 2)]),
        (64 * K, 4 * K, [(8 * K, 8)]),
        (16 * 16 * K, 16 * K - SLOT_HEADER, [(16 * K, 16)]),
        (16 * K + 2 * 20 * K, 16 * K - SLOT_HEADER + 1, [(16 * K, 1), (20 * K, 2)]),
        (M, 64 * K - SLOT_HEADER, [(16 * K, 32), (64 * K, 8)]),
    ],
)
def test_an_arena_is_divided_by_size_class(
    arena_bytes: int, largest_payload: int, plan: list[tuple[int, int]]
) -> None:
    assert plan_slots(arena_bytes, largest_payload) == plan


@given(st.integers(0, 256 * M), st.integers(0, 64 * M))
def test_a_plan_fits_smallest_first_with_two_of_the_largest(
    arena_bytes: int, largest_payload: int
) -> None:
    try:
        plan = plan_slots(arena_bytes, largest_payload)
    except ValueError:
        # 16 K + 64 K + ... stay below a third of the largest class
        assert arena_bytes < 2 * (largest_payload + SLOT_HEADER + 4095) * 2
        return
    sizes = [size for size, _ in plan]
    assert sum(size * count for size, count in plan) <= arena_bytes
    assert sizes == sorted(set(sizes))
    assert all(count >= 1 for _, count in plan)
    assert plan[-1][1] >= 2
    assert largest_payload + SLOT_HEADER <= sizes[-1] < largest_payload + SLOT_HEADER + 4096
    assert all(size % 4096 == 0 for size in sizes)


@pytest.mark.parametrize(("arena_bytes", "largest_payload"), [(8 * K - 1, 0), (M, M), (0, 1)])
def test_an_arena_too_small_for_two_of_the_largest_names_the_settings(
    arena_bytes: int, largest_payload: int
) -> None:
    with pytest.raises(ValueError, match="raise arena_mb or lower max_request_mb"):
        plan_slots(arena_bytes, largest_payload)


PLAN = [(4 * K, 3), (16 * K, 2), (64 * K, 2)]


class AllocatorMachine(RuleBasedStateMachine):
    """Takes and gives back; `lent` is the model."""

    def __init__(self) -> None:
        super().__init__()
        self.slots = SlotAllocator(PLAN)
        self.lent: list[Slot] = []
        self.returned: list[Slot] = []
        self.times_lent: dict[int, int] = {}
        self.high_water = 0

    @rule(payload=st.integers(0, 70 * K))
    def take(self, payload: int) -> None:
        slot = self.slots.take(payload)
        taken = [slot.size for slot in self.lent]
        free = [size for size, count in PLAN if taken.count(size) < count]
        fitting = [size for size in free if size - SLOT_HEADER >= payload]
        if slot is None:
            assert not fitting
            return
        assert slot.size == min(fitting)
        assert slot.capacity >= payload
        assert slot.lent
        assert all(slot is not other for other in self.lent)
        assert slot.reuse == self.times_lent.get(slot.index, 0) + 1
        self.times_lent[slot.index] = slot.reuse
        self.lent.append(slot)
        self.returned = [other for other in self.returned if other is not slot]
        self.high_water = max(self.high_water, sum(slot.size for slot in self.lent))

    @precondition(lambda self: self.lent)
    @rule(data=st.data())
    def give_back(self, data: st.DataObject) -> None:
        slot = self.lent.pop(data.draw(st.integers(0, len(self.lent) - 1)))
        self.slots.give_back(slot)
        self.returned.append(slot)

    @rule()
    def move_to_another_allocator(self) -> None:
        """What is lent stays so where another program takes the arena over."""
        slots = SlotAllocator(PLAN)
        moved = [slots.take_again(slot.index, slot.reuse) for slot in self.lent]
        for old, new in zip(self.lent, moved, strict=True):
            assert (new.offset, new.size, new.reuse) == (old.offset, old.size, old.reuse)
            with pytest.raises(ValueError, match="cannot be lent again"):
                slots.take_again(new.index, new.reuse)
        self.slots, self.lent, self.returned = slots, moved, []
        self.times_lent = {slot.index: slot.reuse for slot in moved}
        self.high_water = slots.high_water_bytes

    @precondition(lambda self: self.returned)
    @rule(data=st.data())
    def give_back_twice(self, data: st.DataObject) -> None:
        slot = data.draw(st.sampled_from(self.returned))
        with pytest.raises(ValueError, match=f"slot {slot.index} is not lent"):
            self.slots.give_back(slot)

    @invariant()
    def nothing_overlaps(self) -> None:
        ranges = sorted((slot.offset, slot.offset + slot.size) for slot in self.lent)
        ends = [0, *(end for _, end in ranges)]
        starts = [*(start for start, _ in ranges), self.slots.total_bytes]
        assert all(end <= start for end, start in zip(ends, starts, strict=True))

    @invariant()
    def figures_are_right(self) -> None:
        assert self.slots.lent_bytes == sum(slot.size for slot in self.lent)
        assert self.slots.lent_slots == len(self.lent)
        assert self.slots.high_water_bytes == self.high_water


def test_the_allocator_agrees_with_its_model() -> None:
    run_state_machine_as_test(
        AllocatorMachine,
        settings=settings(max_examples=150, stateful_step_count=40, deadline=None),
    )


def test_the_allocator_knows_its_total_and_its_largest_payload() -> None:
    slots = SlotAllocator(PLAN)
    assert slots.total_bytes == sum(size * count for size, count in PLAN)
    assert slots.largest_payload == 64 * K - SLOT_HEADER
    assert slots.take(slots.largest_payload + 1) is None


@pytest.fixture
def arena() -> Iterator[RequestArena]:
    arena = RequestArena.create(M, 64 * K)
    yield arena
    arena.close()


@pytest.fixture
def read_only(arena: RequestArena) -> Iterator[int]:
    fd = arena.segment.read_only_fd()
    yield fd
    os.close(fd)


def lend(arena: RequestArena, payload: bytes, request_id: int) -> Slot:
    slot = arena.slots.take(len(payload))
    assert slot is not None
    arena.payload(slot)[: len(payload)] = payload
    arena.stamp(slot, request_id)
    return slot


def test_a_reader_sees_the_payload_that_a_descriptor_names(
    arena: RequestArena, read_only: int
) -> None:
    reader = ArenaReader(read_only)
    payloads = [bytes([number]) * (number * 5000) for number in range(10)]
    slots = [lend(arena, payload, 100 + number) for number, payload in enumerate(payloads)]
    for number, (slot, payload) in enumerate(zip(slots, payloads, strict=True)):
        seen = reader.payload(slot.offset, len(payload), slot.reuse, 100 + number)
        assert seen is not None
        assert seen.readonly
        assert bytes(seen) == payload


def test_a_stale_descriptor_gives_nothing(arena: RequestArena, read_only: int) -> None:
    reader = ArenaReader(read_only)
    slot = lend(arena, b"first", 7)
    assert reader.payload(slot.offset, 5, slot.reuse, 7) is not None
    assert reader.payload(slot.offset, 5, slot.reuse + 1, 7) is None
    assert reader.payload(slot.offset, 5, slot.reuse, 8) is None
    arena.slots.give_back(slot)
    again = lend(arena, b"again", 8)
    assert again is slot
    assert reader.payload(slot.offset, 5, slot.reuse - 1, 7) is None
    assert reader.payload(slot.offset, 5, slot.reuse, 8) is not None


@pytest.mark.parametrize("beyond", [-SLOT_HEADER, 0, 1, 1 << 62, (1 << 64) - 1])
def test_an_offset_beyond_the_segment_gives_nothing(
    arena: RequestArena, read_only: int, beyond: int
) -> None:
    reader = ArenaReader(read_only)
    assert reader.payload(arena.segment.size + beyond, 1, 0, 0) is None
    assert reader.payload(0, arena.segment.size + beyond + 1, 0, 0) is None


def test_a_read_only_descriptor_cannot_be_written_through(
    arena: RequestArena, read_only: int
) -> None:
    with pytest.raises(PermissionError):
        mmap.mmap(read_only, 4096, mmap.MAP_SHARED, mmap.PROT_READ | mmap.PROT_WRITE)
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.pwrite(read_only, b"x", 0)


def test_a_segment_can_neither_shrink_nor_grow_nor_lose_its_seals(arena: RequestArena) -> None:
    fd, size = arena.segment.fd, arena.segment.size
    for other in (0, size - 1, size + 1):
        with pytest.raises(PermissionError):
            os.ftruncate(fd, other)
    with pytest.raises(PermissionError):
        os.pwrite(fd, b"x", size)
    with pytest.raises(PermissionError):
        fcntl.fcntl(fd, fcntl.F_ADD_SEALS, fcntl.F_SEAL_WRITE)
    assert os.fstat(fd).st_size == size


def test_every_page_of_a_segment_is_there_from_the_start(arena: RequestArena) -> None:
    assert os.fstat(arena.segment.fd).st_blocks * 512 >= arena.segment.size


def test_another_program_finds_what_stands_in_the_slots(arena: RequestArena) -> None:
    slot = lend(arena, b"hello", 7)
    other = RequestArena.attach(os.dup(arena.segment.fd), arena.slots.plan)
    try:
        again = other.slots.take_again(slot.index, slot.reuse)
        assert bytes(other.payload(again)[:5]) == b"hello"
        assert other.slots.lent_bytes == slot.size
    finally:
        other.close()


def test_an_arena_that_is_not_as_planned_is_not_taken_over(arena: RequestArena) -> None:
    fd = os.dup(arena.segment.fd)
    with pytest.raises(ValueError, match="planned"):
        RequestArena.attach(fd, [*arena.slots.plan, (4096, 1)])
    os.close(fd)
