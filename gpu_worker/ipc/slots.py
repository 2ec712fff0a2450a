"""Slots: how the request arena is divided, and who holds which piece.

The arena is a row of *zones*, each of equal *blocks*. A block is halved as often as a request asks
for, and halves that are both free become whole again (a buddy system). Small requests have a zone
of their own, so that large ones cannot take all of it. Owns the free lists. Pure bookkeeping, no
memory is touched; runs in the supervisor.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from gpu_worker.ipc.tensors import ALIGNMENT

SLOT_HEADER: Final = ALIGNMENT  # u64 reuse counter, u64 request id; the payload starts behind it
_SMALLEST: Final = 16 * 1024  # no block is halved below it
_SMALL: Final = 4  # halvings from the small zone's blocks to the smallest slot: 256 KB to 16 KB
_MIDDLE: Final = 8  # likewise, for what the largest blocks leave over: 4 MB
_SMALL_SHARE: Final = 8  # an eighth of the arena is for small requests alone
KEPT: Final = 32  # free slots of each size that are kept as they are, for the next request


@dataclass(slots=True)
class Slot:
    """A piece of the arena lent to one request.

    `reuse` counts what the arena has lent; a descriptor that carries another figure is stale.
    `home` is where slots of its size wait that have just come back.
    """

    offset: int
    size: int
    home: list[Slot] = field(repr=False, compare=False)
    reuse: int = 0
    lent: bool = False

    @property
    def capacity(self) -> int:
        """Payload bytes that fit."""
        return self.size - SLOT_HEADER


def plan_zones(arena_bytes: int, largest_payload: int) -> list[tuple[int, int]]:
    """Divide an arena into zones (block size, count), the smallest blocks first.

    Raises:
        ValueError: the arena is too small for two of the largest payloads.

    """
    needed = largest_payload + SLOT_HEADER
    halvings = max(0, (needed // _SMALLEST).bit_length() - 1)
    smallest = _round_up(-(-needed >> halvings))
    largest = smallest << halvings
    if 2 * largest > arena_bytes:
        raise ValueError(
            f"an arena of {arena_bytes} bytes has no room for two requests of {largest_payload} "
            "bytes: raise arena_mb or lower max_request_mb"
        )
    if halvings <= _SMALL:
        return [(largest, arena_bytes // largest)]
    small, middle = smallest << _SMALL, smallest << min(_MIDDLE, halvings)
    kept = arena_bytes // _SMALL_SHARE // small * small
    count = max(2, (arena_bytes - kept) // largest)
    left = arena_bytes - count * largest
    middles = max(0, left - kept) // middle if middle < largest else 0
    left -= middles * middle
    zones = [(small, left // small), (middle, middles), (largest, count)]
    return [zone for zone in zones if zone[1]]


def _round_up(size: int) -> int:
    return (size + ALIGNMENT - 1) & -ALIGNMENT


def _sizes(block: int) -> list[int]:
    """Give the sizes that a block can be halved to, the smallest first."""
    sizes = [block]
    while block >= 2 * _SMALLEST and block % (2 * ALIGNMENT) == 0:
        block //= 2
        sizes.append(block)
    return sizes[::-1]


class _Zone:
    """`count` blocks from `base`. A level is a place in `sizes`.

    `_free` holds offsets of what has been made as whole as it can be, `kept` slots that have just
    come back: taking and giving them back costs no halving and no joining.
    """

    def __init__(self, base: int, block: int, count: int) -> None:
        self.base = base
        self.end = base + block * count
        self.block = block
        self.sizes = _sizes(block)
        self._free: list[dict[int, None]] = [{} for _ in self.sizes]
        self.kept: list[list[Slot]] = [[] for _ in self.sizes]
        whole = self._free[-1]
        for number in reversed(range(count)):  # the last one in is the first one out
            whole[base + number * block] = None

    def take(self, needed: int) -> Slot | None:
        """Give a free slot of at least `needed` bytes, which the zone's blocks have."""
        level = bisect_left(self.sizes, needed)
        kept = self.kept[level]
        if kept:
            return kept.pop()
        offset = self._carve(level)
        if offset is None and self._join_kept():
            offset = self._carve(level)
        return None if offset is None else Slot(offset, self.sizes[level], kept)

    def take_at(self, offset: int, size: int) -> Slot | None:
        """Give this very slot; None where it is not free."""
        if size not in self.sizes or (offset - self.base) % size:
            return None
        self._join_kept()
        level = self.sizes.index(size)
        for upper in range(level, len(self.sizes)):
            start = self._start(offset, upper)
            if start in self._free[upper]:
                del self._free[upper][start]
                self._halve(start, upper, level, offset)
                return Slot(offset, size, self.kept[level])
        return None

    def join(self, slot: Slot) -> None:
        """Take a slot back that is not kept as it is."""
        self._join(slot.offset, self.sizes.index(slot.size))

    def _start(self, offset: int, level: int) -> int:
        """Say where the piece of a level begins that `offset` lies in."""
        return offset - (offset - self.base) % self.sizes[level]

    def _carve(self, level: int) -> int | None:
        for upper in range(level, len(self.sizes)):
            free = self._free[upper]
            if free:
                offset, _ = free.popitem()
                self._halve(offset, upper, level, offset)
                return offset
        return None

    def _halve(self, start: int, upper: int, level: int, offset: int) -> None:
        """Halve a piece down to the one of `level` at `offset`; the other halves are free."""
        for lower in reversed(range(level, upper)):
            size = self.sizes[lower]
            if offset < start + size:
                self._free[lower][start + size] = None
            else:
                self._free[lower][start] = None
                start += size

    def _join(self, offset: int, level: int) -> None:
        """Free a piece, as part of the largest whole that its neighbours allow."""
        while level + 1 < len(self.sizes):
            start = self._start(offset, level + 1)
            other = 2 * start + self.sizes[level] - offset
            if other not in self._free[level]:
                break
            del self._free[level][other]
            offset, level = start, level + 1
        self._free[level][offset] = None

    def _join_kept(self) -> bool:
        """Free what is kept; gives whether there was any."""
        found = False
        for level, kept in enumerate(self.kept):
            for slot in kept:
                self._join(slot.offset, level)
                found = True
            kept.clear()
        return found


class SlotAllocator:
    """The zones of one arena, and what is lent of them."""

    def __init__(self, plan: Sequence[tuple[int, int]]) -> None:
        self.plan = plan
        self._zones: list[_Zone] = []
        base = 0
        for block, count in plan:
            self._zones.append(_Zone(base, block, count))
            base += block * count
        self.lends = 0
        self.total_bytes = base
        self.lent_bytes = 0
        self.lent_slots = 0
        self.high_water_bytes = 0

    @property
    def largest_payload(self) -> int:
        """Payload bytes of the largest slot."""
        return self._zones[-1].block - SLOT_HEADER

    def take(self, payload: int) -> Slot | None:
        """Lend a slot with room for `payload` bytes, less than twice as large, or the smallest.

        None when there is none.
        """
        needed = payload + SLOT_HEADER
        for zone in self._zones:
            if zone.block >= needed:
                slot = zone.take(needed)
                if slot is not None:
                    self.lends += 1
                    self._lend(slot, self.lends)
                    return slot
        return None

    def take_again(self, offset: int, size: int, reuse: int) -> Slot:
        """Lend the slot that another program has lent already, as its `reuse`th.

        Raises:
            ValueError: there is no such slot, or it is lent.

        """
        slot = None
        for zone in self._zones:
            if zone.base <= offset < zone.end:
                slot = zone.take_at(offset, size)
        if slot is None:
            raise ValueError(f"the slot of {size} bytes at {offset} cannot be lent again")
        self.lends = max(self.lends, reuse)
        self._lend(slot, reuse)
        return slot

    def _lend(self, slot: Slot, reuse: int) -> None:
        slot.reuse, slot.lent = reuse, True
        self.lent_bytes += slot.size
        self.lent_slots += 1
        self.high_water_bytes = max(self.high_water_bytes, self.lent_bytes)

    def give_back(self, slot: Slot) -> None:
        """Take a slot back.

        Raises:
            ValueError: it is not lent; two requests would have shared it.

        """
        if not slot.lent:
            raise ValueError(f"the slot at {slot.offset} is not lent")
        slot.lent = False
        if len(slot.home) < KEPT:
            slot.home.append(slot)
        else:
            next(zone for zone in self._zones if slot.offset < zone.end).join(slot)
        self.lent_bytes -= slot.size
        self.lent_slots -= 1
