"""The request arena: what a worker may see of it, and what another program finds in it."""

from __future__ import annotations

import fcntl
import mmap
import os
from collections.abc import Iterator

import pytest

from gpu_worker.ipc.arena import ArenaReader, RequestArena
from gpu_worker.ipc.slots import SLOT_HEADER, Slot

K = 1024
M = 1024 * K


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
        again = other.slots.take_again(slot.offset, slot.size, slot.reuse)
        assert bytes(other.payload(again)[:5]) == b"hello"
        assert other.slots.lent_bytes == slot.size
    finally:
        other.close()


def test_an_arena_that_is_not_as_planned_is_not_taken_over(arena: RequestArena) -> None:
    fd = os.dup(arena.segment.fd)
    with pytest.raises(ValueError, match="planned"):
        RequestArena.attach(fd, [*arena.slots.plan, (4096, 1)])
    os.close(fd)
