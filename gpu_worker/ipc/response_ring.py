"""The response ring: bytes that a worker writes and the supervisor reads, in order.

Owns the layout::

    byte 0    u64 head  bytes ever reserved and published; written by the worker only
    byte 64   u64 tail  bytes ever released; written by the supervisor only
    byte 128  the data; a response never wraps, the rest of the ring is skipped instead

Never blocks: `reserve` says None when the supervisor must release first. A response's position is
its monotonic byte count; the completion descriptor carries it. Runs in both processes.
"""

from __future__ import annotations

from typing import Final

from gpu_worker.ipc.ring import LINE
from gpu_worker.ipc.tensors import align

_TAIL: Final = LINE // 8
_DATA: Final = 2 * LINE


class ResponseTooLarge(Exception):  # noqa: N818 - named as the error that the client reads
    """The response can never fit; the setting `response_ring_mb` must be raised."""


def span_of(length: int) -> int:
    """Give what a response of `length` bytes takes of the ring: whole lines, at least one."""
    return align(length or 1)


class ResponseRing:
    """One side of a response ring."""

    def __init__(self, memory: memoryview) -> None:
        self._fields = memory[: 2 * LINE].cast("Q")
        self._data = memory[_DATA:]
        self.capacity = len(self._data) & -LINE
        self.restart = 0  # worker: everything before this position has been released

    def reserve(self, length: int) -> tuple[int, memoryview] | None:
        """Worker: find `length` contiguous bytes; publish them with `commit`.

        Returns the position and a writable view, or None when not enough is free at present.

        Raises:
            ResponseTooLarge: `length` exceeds what the ring can ever hold.

        """
        needed = align(length or 1)
        if needed > self.capacity:
            raise ResponseTooLarge
        fields, restart = self._fields, self.restart
        head, tail = fields[0], fields[_TAIL]
        if tail < restart:
            tail = restart
            head = max(head, restart)
        at = head % self.capacity
        if head == tail and at:
            # Empty: begin again at the front, so that small responses stay in warm memory.
            head = tail = self.restart = head + self.capacity - at
            at = 0
        elif at + needed > self.capacity:  # skip the rest: a response is contiguous
            head += self.capacity - at
            at = 0
        if head + needed - tail > self.capacity:
            return None
        return head, self._data[at : at + length]

    def commit(self, position: int, length: int) -> None:
        """Worker: move the head behind a reserved and written response."""
        self._fields[0] = position + align(length or 1)

    def view(self, position: int, length: int) -> memoryview:
        """Supervisor: view a published response.

        Raises:
            ValueError: the figures point outside the ring; the worker is broken.

        """
        at = position % self.capacity
        if at + length > self.capacity:
            raise ValueError(f"a response of {length} bytes at {position} leaves the ring")
        return self._data[at : at + length]

    def release_to(self, position: int, length: int) -> None:
        """Supervisor: give back everything up to the end of this response."""
        self._fields[_TAIL] = position + align(length or 1)

    def memory(self) -> tuple[memoryview, memoryview]:
        """Give the bytes of all responses, and the two words, for other code that knows them."""
        return self._data, self._fields

    def release(self) -> None:
        """Drop the views, so that the segment can be closed."""
        self._fields.release()
        self._data.release()
