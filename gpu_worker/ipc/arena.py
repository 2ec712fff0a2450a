"""The request arena: slots of several sizes for request payloads, and who holds which.

Owns the arena's segment and, in the supervisor's private memory, the free lists. A worker maps the
segment read-only and sees only the slot that a descriptor names. Never blocks, never overwrites: a
full arena is None, which the caller turns into back-pressure.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Self

from gpu_worker.ipc.segment import Segment
from gpu_worker.ipc.tensors import ALIGNMENT

SLOT_HEADER: Final = ALIGNMENT  # u64 reuse counter, u64 request id; the payload starts behind it
_SMALLEST: Final = 16 * 1024
_STEP: Final = 4  # each size class is four times the one before


@dataclass(slots=True)
class Slot:
    """A piece of the arena lent to one request.

    `reuse` counts how often the slot was lent; a descriptor that carries another figure is stale.
    """

    index: int
    offset: int
    size: int
    reuse: int = 0
    lent: bool = False

    @property
    def capacity(self) -> int:
        """Payload bytes that fit."""
        return self.size - SLOT_HEADER


def plan_slots(arena_bytes: int, largest_payload: int) -> list[tuple[int, int]]:
    """Divide an arena into (slot size, count) classes, the smallest first.

    Every class gets about the same share of bytes, the largest at least two slots.

    Raises:
        ValueError: the arena is too small for two of the largest payloads.

    """
    largest = _round_up(largest_payload + SLOT_HEADER)
    sizes = []
    size = _SMALLEST
    while size < largest:
        sizes.append(size)
        size *= _STEP
    sizes.append(largest)
    if 2 * largest + sum(sizes[:-1]) > arena_bytes:
        raise ValueError(
            f"an arena of {arena_bytes} bytes has no room for two requests of {largest_payload} "
            "bytes: raise arena_mb or lower max_request_mb"
        )
    plan = [(largest, max(2, arena_bytes // len(sizes) // largest))]
    left = arena_bytes - plan[0][0] * plan[0][1]
    for position, size in enumerate(reversed(sizes[:-1])):
        classes_left = len(sizes) - 1 - position
        count = max(1, left // classes_left // size)
        plan.append((size, count))
        left -= size * count
    return plan[::-1]


def _round_up(size: int, page: int = 4096) -> int:
    return (size + page - 1) & -page


class SlotAllocator:
    """Free lists by size class. Pure bookkeeping: no memory is touched."""

    def __init__(self, plan: Sequence[tuple[int, int]]) -> None:
        self.plan = plan
        self._slots: list[Slot] = []
        self._free: list[list[Slot]] = []
        self._sizes = [size for size, _ in plan]
        offset = 0
        for size, count in plan:
            free = []
            for _ in range(count):
                slot = Slot(len(self._slots), offset, size)
                self._slots.append(slot)
                free.append(slot)
                offset += size
            self._free.append(free)
        self.total_bytes = offset
        self.lent_bytes = 0
        self.lent_slots = 0
        self.high_water_bytes = 0

    @property
    def largest_payload(self) -> int:
        """Payload bytes of the largest slot."""
        return self._sizes[-1] - SLOT_HEADER

    def take(self, payload: int) -> Slot | None:
        """Lend the smallest free slot with room for `payload` bytes; None when there is none."""
        needed = payload + SLOT_HEADER
        for size, free in zip(self._sizes, self._free, strict=True):
            if size >= needed and free:
                slot = free.pop()
                slot.reuse += 1
                self._lend(slot)
                return slot
        return None

    def take_again(self, index: int, reuse: int) -> Slot:
        """Lend the slot that another program has lent already, for the `reuse`th time.

        Raises:
            ValueError: there is no such slot, or it is lent.

        """
        if not 0 <= index < len(self._slots) or self._slots[index].lent:
            raise ValueError(f"slot {index} cannot be lent again")
        slot = self._slots[index]
        self._free[self._sizes.index(slot.size)].remove(slot)
        slot.reuse = reuse
        self._lend(slot)
        return slot

    def _lend(self, slot: Slot) -> None:
        slot.lent = True
        self.lent_bytes += slot.size
        self.lent_slots += 1
        self.high_water_bytes = max(self.high_water_bytes, self.lent_bytes)

    def give_back(self, slot: Slot) -> None:
        """Take a slot back.

        Raises:
            ValueError: it is not lent; two requests would have shared it.

        """
        if not slot.lent:
            raise ValueError(f"slot {slot.index} is not lent")
        slot.lent = False
        self._free[self._sizes.index(slot.size)].append(slot)
        self.lent_bytes -= slot.size
        self.lent_slots -= 1


class RequestArena:
    """The supervisor's side of the arena: a segment, its allocator, writable views of slots."""

    def __init__(self, slots: SlotAllocator, segment: Segment) -> None:
        self.slots = slots
        self.segment = segment
        self._words = self.segment.memory.cast("Q")

    @classmethod
    def create(cls, arena_bytes: int, largest_payload: int) -> Self:
        """Create an arena.

        Raises:
            ValueError: it is too small for two of the largest payloads.
            OSError: there is not enough memory.

        """
        slots = SlotAllocator(plan_slots(arena_bytes, largest_payload))
        return cls(slots, Segment.create("requests", slots.total_bytes))

    @classmethod
    def attach(cls, fd: int, plan: Sequence[tuple[int, int]]) -> Self:
        """Take over an arena that another program has divided by `plan`; no slot is lent.

        Raises:
            ValueError: the segment is not as large as the plan.

        """
        segment = Segment.attach(fd, writable=True)
        slots = SlotAllocator(plan)
        if segment.size != slots.total_bytes:
            raise ValueError(f"an arena of {segment.size} bytes, planned {slots.total_bytes}")
        return cls(slots, segment)

    def payload(self, slot: Slot) -> memoryview:
        """View the payload bytes of a lent slot."""
        start = slot.offset + SLOT_HEADER
        return self.segment.memory[start : slot.offset + slot.size]

    def stamp(self, slot: Slot, request_id: int) -> None:
        """Write the slot's reuse counter and its request's id, which a reader compares."""
        word = slot.offset >> 3
        self._words[word] = slot.reuse
        self._words[word + 1] = request_id

    def close(self) -> None:
        """Give the memory back. No slot may be in use."""
        self._words.release()
        self.segment.close()


class ArenaReader:
    """A worker's side of the arena: read-only, slot by slot, as descriptors name them."""

    def __init__(self, fd: int) -> None:
        self._segment = Segment.attach(fd, writable=False)
        self._words = self._segment.memory.cast("Q")
        self.memory = self._segment.memory  # all of it, to be registered with a device

    def payload(self, offset: int, length: int, reuse: int, request_id: int) -> memoryview | None:
        """View the payload that a descriptor names; None when the descriptor is stale."""
        if offset + SLOT_HEADER + length > self._segment.size:
            return None
        word = offset >> 3
        if self._words[word] != reuse or self._words[word + 1] != request_id:
            return None
        return self._segment.memory[offset + SLOT_HEADER : offset + SLOT_HEADER + length]

    def close(self) -> None:
        """Unmap, once no payload is viewed any more."""
        self._words.release()
        self._segment.close()
