"""Drains: a front says when no request is left in a lane, and never leaves who asked waiting."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

import pytest

from supervisor.errors import NotFound
from tests.unit.supervisor.dispatch.bench import step
from tests.unit.supervisor.front_process.mirrored import Mirrored


def switched() -> Mirrored:
    """Give a front in which `v2` serves with worker 8 and `v1` is retained with worker 7."""
    front = Mirrored(7, 8)
    front.tell_lane(1, 7, generation=1)
    front.tell_model(1, generation=1)
    front.tell_lane(2, 8, generation=2)
    front.tell_model(2, 1, generation=2)
    return front


def known(front: Mirrored) -> set[str]:
    """Name the versions that the mirror keeps."""
    return {lane.version for lane in front.mirror._lanes.values()}  # noqa: SLF001 - shows nowhere


@contextlib.asynccontextmanager
async def draining(front: Mirrored, number: int) -> AsyncIterator[asyncio.Task[None]]:
    """Wait for a lane's drain, which must end."""
    task = asyncio.create_task(front.mirror.drained(number))
    await step()
    yield task
    async with asyncio.timeout(10):
        await task


@pytest.mark.parametrize("number", [0, 2, 99])
async def test_an_unknown_lane_and_the_serving_one_have_none(number: int) -> None:
    front = switched()
    (answer,) = await front.asked()
    async with draining(front, number) as drain:
        assert drain.done()
    front.complete(front.ports[8])
    await answer


async def test_a_lane_that_was_told_of_before_its_model_has_none() -> None:
    front = Mirrored(7)
    front.tell_lane(1, 7)
    async with draining(front, 1) as drain:
        assert drain.done()


async def test_it_waits_for_what_runs_and_for_what_waits_by_version() -> None:
    front = switched()
    answers = await front.asked(3, front.dispatcher.lane("v1"))
    async with draining(front, 1) as drain:
        for _ in range(3):
            await step()
            assert not drain.done()
            front.complete(front.ports[7])
    assert {result.lane.version for result in await asyncio.gather(*answers)} == {"v1"}
    assert known(front) == {"v1", "v2"}, "it is still retained"


async def test_traffic_of_the_new_version_delays_nothing() -> None:
    front = switched()
    answers = await front.asked(4)
    async with draining(front, 1) as drain:
        assert drain.done()
    while front.live:
        front.complete(front.ports[8])
    await asyncio.gather(*answers)


async def test_a_request_whose_client_has_gone_counts_until_its_worker_is_done() -> None:
    front = switched()
    (answer,) = await front.asked(1, front.dispatcher.lane("v1"))
    answer.cancel()
    async with draining(front, 1) as drain:
        await step()
        assert not drain.done()
        front.complete(front.ports[7])
    assert front.lent == 0


async def test_a_lane_that_is_switched_back_to_is_not_waited_for() -> None:
    front = switched()
    (answer,) = await front.asked(1, front.dispatcher.lane("v1"))
    async with draining(front, 1) as drain:
        front.tell_lane(1, 7, generation=3)
        front.tell_model(1, 2, generation=3)
        await step()
        assert drain.done()
    front.complete(front.ports[7])
    assert (await answer).lane.generation == 3


async def test_a_worker_that_ends_ends_the_drain_of_what_it_held() -> None:
    front = switched()
    front.tell_model(1, 2, generation=3)
    (moved,) = await front.asked()  # runs on v1, by name of none
    front.tell_model(2, 1, generation=4)
    async with draining(front, 1) as drain:
        assert not drain.done()
        front.end(7)
    front.complete(front.ports[8])
    assert (await moved).lane.version == "v2"


@pytest.mark.parametrize("stop", [True, False])
async def test_a_lane_that_loses_its_worker_and_is_forgotten_ends_the_drain(stop: bool) -> None:
    front = switched()
    (mine,) = await front.asked(1, front.dispatcher.lane("v1"))
    async with draining(front, 1) as drain:
        front.end(7)  # the request waits for another worker of this version
        await step()
        assert (drain.done(), front.dispatcher.queued) == (False, 1)
        if stop:
            front.tell_model(0, generation=2)
        else:
            front.tell_model(2, generation=2)
    with pytest.raises(NotFound, match="no longer loaded"):
        await mine
    assert "v1" not in known(front)


async def test_a_forgotten_lane_is_kept_until_it_is_drained() -> None:
    front = switched()
    (mine,) = await front.asked(1, front.dispatcher.lane("v1"))
    front.tell_model(2, generation=2)
    assert known(front) == {"v1", "v2"}
    async with draining(front, 1):
        front.complete(front.ports[7])
    assert (await mine).lane.version == "v1"
    assert known(front) == {"v2"}


async def test_two_who_wait_for_the_same_lane_both_hear() -> None:
    front = switched()
    (mine,) = await front.asked(1, front.dispatcher.lane("v1"))
    async with draining(front, 1) as first, draining(front, 1) as second:
        assert [first.done(), second.done()] == [False, False]
        front.complete(front.ports[7])
    await mine
