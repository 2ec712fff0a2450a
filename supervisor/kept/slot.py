"""What is kept of a slot of the request arena that is lent.

Owns the fields. Pure. Written and read by the supervisor at an upgrade in place.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

from gpu_worker.ipc.slots import Slot, SlotAllocator


@dataclass(frozen=True, slots=True)
class KeptSlot:
    """Where a slot lies in the arena, in bytes, and as which it was lent."""

    offset: int
    size: int
    reuse: int

    @classmethod
    def of(cls, slot: Slot) -> Self:
        """Give what is to be kept."""
        return cls(slot.offset, slot.size, slot.reuse)

    def take_again(self, slots: SlotAllocator) -> Slot:
        """Lend it again.

        Raises:
            ValueError: it is not there, or lent to somebody else.

        """
        return slots.take_again(self.offset, self.size, self.reuse)
