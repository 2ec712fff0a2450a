"""The request arena: one segment for the payloads of all requests.

Owns the segment; which slot of it is lent to whom stands in the supervisor's private memory. A
worker maps the segment read-only and sees only the slot that a descriptor names. Never blocks,
never overwrites: a full arena is None, which the caller turns into back-pressure.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Self

from gpu_worker.ipc.segment import Segment
from gpu_worker.ipc.slots import SLOT_HEADER, Slot, SlotAllocator, plan_zones


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
        slots = SlotAllocator(plan_zones(arena_bytes, largest_payload))
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
