"""A ring of fixed-size descriptors between exactly one producer and one consumer.

Owns the layout of a ring in shared memory::

    byte 0    u64 head  descriptors ever published; written by the producer only
    byte 64   u64 tail  descriptors ever taken; written by the consumer only
    byte 128  capacity x 64 bytes, each descriptor eight u64 words

Never waits: a full ring refuses, and the doorbell beside it says how many descriptors to take.
Head and tail are stored through `memoryview.cast("Q")`, one machine store each; `struct.pack_into`
would zero the field first, and the other process would read that zero. A descriptor's own place is
not live until the head has moved past it, so that it may be packed. Runs in both processes.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Final

LINE: Final = 64
WORDS: Final = 8  # u64 words in a descriptor
_HEAD: Final = 0
_TAIL: Final = LINE // 8
_FIRST: Final = 2 * LINE
_DESCRIPTOR: Final = struct.Struct(f"{WORDS}Q")


def ring_size(capacity: int) -> int:
    """Give the bytes that a ring of `capacity` descriptors takes."""
    return 2 * LINE + capacity * LINE


class RingFull(Exception):  # noqa: N818 - a condition that callers expect, not an error
    """The consumer has not taken enough yet; nothing was written."""


class DescriptorRing:
    """One side of a ring. Head and tail grow for ever; their difference is what waits."""

    def __init__(self, memory: memoryview, capacity: int) -> None:
        if capacity < 1 or capacity & (capacity - 1):
            raise ValueError(f"a ring's capacity must be a power of two, not {capacity}")
        self._memory = memory[: ring_size(capacity)]
        self._words = self._memory.cast("Q")
        self._capacity = capacity
        self._mask = capacity - 1

    def __len__(self) -> int:
        """Count the descriptors published and not yet taken."""
        return self._words[_HEAD] - self._words[_TAIL]

    def publish(self, descriptors: Sequence[Sequence[int]]) -> int:
        """Write descriptors, then move the head once; gives how many wait in the ring then.

        Raises:
            RingFull: there is no room for all of them; none was published.

        """
        words, memory, mask = self._words, self._memory, self._mask
        head = words[_HEAD]
        waiting = head + len(descriptors) - words[_TAIL]
        if waiting > self._capacity:
            raise RingFull
        for number, descriptor in enumerate(descriptors, head):
            _DESCRIPTOR.pack_into(memory, _FIRST + (number & mask) * LINE, *descriptor)
        words[_HEAD] = head + len(descriptors)
        return waiting

    def take(self, count: int) -> list[tuple[int, ...]]:
        """Take exactly `count` descriptors, as many as the doorbell said.

        Raises:
            ValueError: fewer are there, or more than can be; the peer is broken.

        """
        words = self._words
        tail = words[_TAIL]
        waiting = words[_HEAD] - tail
        if not count <= waiting <= self._capacity:
            raise ValueError(f"the doorbell counted {count} descriptors, the ring says {waiting}")
        memory, mask = self._memory, self._mask
        taken = [
            _DESCRIPTOR.unpack_from(memory, _FIRST + (number & mask) * LINE)
            for number in range(tail, tail + count)
        ]
        words[_TAIL] = tail + count
        return taken

    @property
    def memory(self) -> memoryview:
        """Its bytes, for other code that knows the layout."""
        return self._memory

    def release(self) -> None:
        """Drop the view, so that the segment can be closed."""
        self._words.release()
        self._memory.release()
