"""The JSON worker's handle, with a real child: whom it takes for hung, and when."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from gpu_worker.ipc.arena import RequestArena
from gpu_worker.ipc.link import close_fds
from supervisor.errors import DeadlineExceeded
from supervisor.json_worker.handle import JsonWorker
from supervisor.json_worker.work import read_decoded
from tests.unit.supervisor.http.loops import until

LARGEST = 1 << 21
SMALL = b'{"data":[1,2]}'
LONG = b'{"data":[' + b"1.25," * 200_000 + b"0]}"  # takes a good tenth of a second


@asynccontextmanager
async def json_worker(timeout_s: float) -> AsyncIterator[JsonWorker]:
    arena = RequestArena.create(4 * LARGEST, LARGEST)
    read_only = arena.segment.read_only_fd()
    worker = JsonWorker(arena, read_only, 1 << 24, timeout_s)
    try:
        yield worker
    finally:
        await worker.stop()
        close_fds([read_only])


async def decode(worker: JsonWorker, text: bytes) -> bytes:
    slot = worker.arena.slots.take(len(text))
    assert slot is not None
    worker.arena.payload(slot)[: len(text)] = text
    data = await worker.decode(slot, 0, len(text))
    worker.arena.slots.give_back(slot)
    return data


def all_slots_are_back(worker: JsonWorker) -> bool:
    return worker.arena.slots.lent_slots == 0


def has_ended(pid: int) -> bool:
    """Say whether a process has ended and has been reaped."""
    return not Path(f"/proc/{pid}").exists()


async def test_a_child_that_hangs_in_what_nobody_waits_for_is_ended() -> None:
    async with json_worker(timeout_s=5) as worker:
        await decode(worker, SMALL)
        pid = worker.pid
        abandoned = asyncio.create_task(decode(worker, LONG))
        await until(lambda: worker._link.running() == (2,))  # noqa: SLF001 - stopped in its middle
        os.kill(pid, signal.SIGSTOP)
        abandoned.cancel()
        worker._timeout_s = 0.2  # noqa: SLF001 - soon, now that the child is up
        with pytest.raises(DeadlineExceeded):
            await decode(worker, SMALL)
        await until(lambda: has_ended(pid))
        worker._timeout_s = 30  # noqa: SLF001 - a new child has to start
        assert read_decoded(await decode(worker, SMALL))["data"] == [1, 2]
        await until(lambda: all_slots_are_back(worker))


async def test_a_child_that_gets_on_is_left_alone_however_long_the_queue() -> None:
    async with json_worker(timeout_s=3) as worker:
        await decode(worker, SMALL)
        pid = worker.pid
        first = asyncio.create_task(decode(worker, LONG))
        await until(lambda: worker._link.running() == (2,))  # noqa: SLF001 - the next one queues
        worker._alive = False  # noqa: SLF001 - for ever: this work never reaches the child
        second = asyncio.create_task(decode(worker, SMALL))
        await asyncio.sleep(0)
        worker._alive = True  # noqa: SLF001 - as it is
        await first
        with pytest.raises(DeadlineExceeded):
            await second
        assert read_decoded(await decode(worker, SMALL))["data"] == [1, 2]
        assert worker.pid == pid
