"""Slots: how an arena is divided, what is lent, and that nothing free is refused."""

from __future__ import annotations

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

from gpu_worker.ipc.slots import SLOT_HEADER, Slot, SlotAllocator, plan_zones
from gpu_worker.ipc.tensors import ALIGNMENT

K = 1024
M = 1024 * K
SMALLEST = 16448  # 32 MB and a header, halved eleven times, to the next cache line


@pytest.mark.parametrize(
    ("arena_bytes", "largest_payload", "plan"),
    [
        (8 * K, 0, [(64, 128)]),
        (64 * K, 4 * K, [(4 * K + 64, 15)]),
        (16 * 16 * K, 16 * K - SLOT_HEADER, [(16 * K, 16)]),
        (M, 64 * K - SLOT_HEADER, [(64 * K, 16)]),
        (8 * M, M - SLOT_HEADER, [(256 * K, 4), (M, 7)]),
        # The default: 16 KB to 256 KB, to 4 MB, to 32 MB
        (256 * M, 32 * M, [(16 * SMALLEST, 140), (256 * SMALLEST, 7), (2048 * SMALLEST, 6)]),
        (96 * M, 32 * M, [(16 * SMALLEST, 62), (256 * SMALLEST, 4), (2048 * SMALLEST, 2)]),
    ],
)
def test_an_arena_is_divided_into_zones(
    arena_bytes: int, largest_payload: int, plan: list[tuple[int, int]]
) -> None:
    assert plan_zones(arena_bytes, largest_payload) == plan


@given(st.integers(0, 256 * M), st.integers(0, 64 * M))
def test_a_plan_fits_smallest_first_with_two_of_the_largest(
    arena_bytes: int, largest_payload: int
) -> None:
    try:
        plan = plan_zones(arena_bytes, largest_payload)
    except ValueError:
        # Rounding up costs a cache line for each of the smallest
        assert arena_bytes < 2.01 * (largest_payload + SLOT_HEADER) + 2 * ALIGNMENT
        return
    sizes = [size for size, _ in plan]
    assert sum(size * count for size, count in plan) <= arena_bytes
    assert sizes == sorted(set(sizes))
    assert all(count >= 1 for _, count in plan)
    assert plan[-1][1] >= 2
    assert largest_payload + SLOT_HEADER <= sizes[-1]
    assert all(size % ALIGNMENT == 0 for size in sizes)


@given(st.integers(96 * M, 1024 * M), st.integers(M, 32 * M))
def test_an_eighth_is_for_small_requests_and_little_is_left_over(
    arena_bytes: int, largest_payload: int
) -> None:
    plan = plan_zones(arena_bytes, largest_payload)
    small, count = plan[0]
    assert small <= 512 * K
    assert small * count >= arena_bytes // 8 - small
    assert arena_bytes - sum(size * count for size, count in plan) < small


@pytest.mark.parametrize(("arena_bytes", "largest_payload"), [(127, 0), (M, M), (0, 1)])
def test_an_arena_too_small_for_two_of_the_largest_names_the_settings(
    arena_bytes: int, largest_payload: int
) -> None:
    with pytest.raises(ValueError, match="raise arena_mb or lower max_request_mb"):
        plan_zones(arena_bytes, largest_payload)


PLAN = [(64 * K, 2), (256 * K, 2)]
SIZES = [16 * K, 32 * K, 64 * K, 128 * K, 256 * K]


def free_places(lent: list[Slot], size: int) -> list[int]:
    """Give the offsets at which a slot of a size could lie, by looking at every one."""
    places, base = [], 0
    for block, count in PLAN:
        end = base + block * count
        if block >= size:
            places += [
                offset
                for offset in range(base, end, size)
                if all(s.offset + s.size <= offset or offset + size <= s.offset for s in lent)
            ]
        base = end
    return places


class AllocatorMachine(RuleBasedStateMachine):
    """Takes and gives back; `lent` is the model."""

    def __init__(self) -> None:
        super().__init__()
        self.slots = SlotAllocator(PLAN)
        self.lent: list[Slot] = []
        self.returned: list[Slot] = []
        self.lends = 0
        self.high_water = 0

    @rule(payload=st.one_of(st.integers(0, 270 * K), st.sampled_from([100, 20 * K, 60 * K])))
    def take(self, payload: int) -> None:
        size = next((size for size in SIZES if size - SLOT_HEADER >= payload), None)
        slot = self.slots.take(payload)
        if slot is None:
            assert size is None or not free_places(self.lent, size)
            return
        assert slot.size == size
        assert slot.capacity >= payload
        assert slot.offset in free_places(self.lent, size)
        assert slot.lent
        assert slot.reuse > self.lends  # unlike that of any slot before
        self.lends = slot.reuse
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
        moved = [slots.take_again(slot.offset, slot.size, slot.reuse) for slot in self.lent]
        for old, new in zip(self.lent, moved, strict=True):
            assert (new.offset, new.size, new.reuse) == (old.offset, old.size, old.reuse)
            with pytest.raises(ValueError, match="cannot be lent again"):
                slots.take_again(new.offset, new.size, new.reuse)
        self.slots, self.lent, self.returned = slots, moved, []
        self.lends = max((slot.reuse for slot in moved), default=0)
        self.high_water = slots.high_water_bytes

    @precondition(lambda self: self.returned)
    @rule(data=st.data())
    def give_back_twice(self, data: st.DataObject) -> None:
        slot = data.draw(st.sampled_from(self.returned))
        with pytest.raises(ValueError, match=f"slot at {slot.offset} is not lent"):
            self.slots.give_back(slot)

    @invariant()
    def figures_are_right(self) -> None:
        assert self.slots.lent_bytes == sum(slot.size for slot in self.lent)
        assert self.slots.lent_slots == len(self.lent)
        assert self.slots.high_water_bytes == self.high_water

    def teardown(self) -> None:
        """Whatever has happened, all of it can be lent as wholes in the end."""
        for slot in self.lent:
            self.slots.give_back(slot)
        for block, count in reversed(PLAN):
            assert all(self.slots.take(block - SLOT_HEADER) for _ in range(count))
        assert self.slots.lent_bytes == self.slots.total_bytes


def test_the_allocator_agrees_with_its_model() -> None:
    run_state_machine_as_test(
        AllocatorMachine,
        settings=settings(max_examples=150, stateful_step_count=40, deadline=None),
    )


def test_the_allocator_knows_its_total_and_its_largest_payload() -> None:
    slots = SlotAllocator(PLAN)
    assert slots.total_bytes == sum(size * count for size, count in PLAN)
    assert slots.largest_payload == 256 * K - SLOT_HEADER
    assert slots.take(slots.largest_payload + 1) is None


@pytest.mark.parametrize(
    ("offset", "size"), [(8 * K, 16 * K), (0, 24 * K), (512 * K, 256 * K), (1 << 40, 16 * K)]
)
def test_what_is_no_slot_cannot_be_lent_again(offset: int, size: int) -> None:
    with pytest.raises(ValueError, match="cannot be lent again"):
        SlotAllocator(PLAN).take_again(offset, size, 1)


def lend_all(slots: SlotAllocator, payload: int) -> list[Slot]:
    lent = []
    while (slot := slots.take(payload)) is not None:
        lent.append(slot)
    return lent


@pytest.mark.parametrize(("payload", "count"), [(602_112, 220), (2_500_000, 52), (3_100_000, 52)])
def test_the_default_arena_holds_that_many_bodies_of_one_size(payload: int, count: int) -> None:
    assert len(lend_all(SlotAllocator(plan_zones(256 * M, 32 * M)), payload)) >= count


def test_large_requests_leave_room_for_small_ones() -> None:
    slots = SlotAllocator(plan_zones(256 * M, 32 * M))
    lend_all(slots, 600_000)
    assert len(lend_all(slots, 100)) >= 2000


def test_a_thousand_small_slots_become_large_ones_again() -> None:
    slots = SlotAllocator([(M, 16)])
    for slot in lend_all(slots, 100):
        slots.give_back(slot)
    assert len(lend_all(slots, M - SLOT_HEADER)) == 16
