"""What fronts count and pass on, without a process: here a front only takes note."""

from __future__ import annotations

import asyncio
from typing import cast

import pytest

from supervisor.dispatch.model_statistics import ModelStatistics
from supervisor.dispatch.recent_shapes import Shapes
from supervisor.dispatch.statistics import VersionStatistics
from supervisor.fronts import fronts as fronts_module
from supervisor.fronts import messages
from supervisor.fronts.handle import FrontHandle
from supervisor.fronts.messages import FrontMessage
from supervisor.fronts.statistics import FrontStatistics
from supervisor.workers.handle import WorkerHandle
from supervisor.workers.tally import WorkerTally
from tests.unit.supervisor.fronts.company import Company, FakeHandle, company
from tests.unit.supervisor.fronts.near import SETTINGS
from tests.unit.supervisor.http.loops import until


class FakeFront:
    """What is used of a front."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.statistics = FrontStatistics()
        self.shapes: dict[str, list[Shapes]] = {}
        self.workers: dict[int, WorkerTally] = {}
        self.said: list[FrontMessage] = []

        self.listening = True
        self.last_heard = 0.0
        self.aborted = 0

    def say(self, message: FrontMessage) -> None:
        self.said.append(message)

    def abort(self) -> None:
        self.aborted += 1

    def kill(self) -> None:
        """Need not end."""

    async def stop(self, timeout_s: float) -> None:
        """Need not end."""


def join(one: Company, number: int) -> tuple[FakeFront, FrontHandle]:
    front = FakeFront(number)
    handle = cast("FrontHandle", front)
    one.fronts.running.append(handle)
    return front, handle


async def test_without_further_fronts_all_is_done_at_once() -> None:
    async with company(0) as (one, _):
        lane = one.serve("v1")
        one.fronts.publish(one.dispatcher)
        async with one.fronts.held(one.dispatcher), one.fronts.held(one.dispatcher):
            (answer,) = await one.asked()
            one.complete(one.of(lane)[0])
            await answer
        await one.fronts.drained(lane)
        await one.fronts.totals.gather()
        counted = one.fronts.totals.model_statistics(one.dispatcher)
        assert (counted.queued, counted.total().success_count) == (0, 1)


async def test_counts_are_those_of_all_fronts_and_outlive_them() -> None:
    async with company(0) as (one, _):
        lane = one.serve("v1")
        (answer,) = await one.asked()
        one.complete(one.of(lane)[0])
        await answer
        front, handle = join(one, 1)
        one.fronts.publish(one.dispatcher)
        counted = VersionStatistics(success_count=4, failures={500: 1})
        front.statistics.models["m"] = ModelStatistics(
            events={"stale": 2}, versions={"v1": counted}, queued=3, in_flight=2
        )
        front.shapes["m"] = [((9, 4),)]
        for ended in (False, True):
            now = one.fronts.totals.model_statistics(one.dispatcher)
            assert (now.queued, now.in_flight) == ((0, 0) if ended else (3, 2))
            assert now.events["stale"] == 2
            version = one.fronts.totals.version_statistics(lane)
            assert (version.success_count, version.fail_count) == (5, 1)
            shapes = one.fronts.totals.shapes(one.dispatcher)
            assert shapes == ([((1, 4),)] if ended else [((9, 4),), ((1, 4),)])
            if not ended:
                await one.fronts.stop(0)  # no other is started in its place
                one.fronts.front_ended(handle)
        assert one.fronts.running == []


async def test_a_workers_counts_are_those_of_all_fronts_until_it_ends() -> None:
    async with company(0) as (one, _):
        worker = one.start_worker(7)
        handle = cast("WorkerHandle", worker)
        assert not one.pool.has_answered(handle)
        (first, ended), (second, _handle) = join(one, 1), join(one, 2)
        first.workers[7] = WorkerTally(2, 10, 1)
        second.workers[7] = WorkerTally(1, 5, 0)
        assert one.fronts.totals.worker_tally(handle) == WorkerTally(3, 15, 1)
        assert one.pool.has_answered(handle), "an end is no sign of a broken worker"
        await one.fronts.stop(0)
        one.fronts.front_ended(ended)
        assert one.fronts.totals.worker_tally(handle) == WorkerTally(1, 15, 1)
        one.end_worker(worker)
        assert one.fronts.totals.worker_tally(handle) == WorkerTally()
        assert second.said == [messages.WorkerGone(7)]


async def test_what_workers_and_fronts_have_for_each_other_reaches_the_right_one() -> None:
    async with company(0) as (one, _):
        (first, handle), (second, _handle) = join(one, 1), join(one, 2)
        worker, bystander = one.start_worker(7), one.start_worker(8)
        up = [messages.WorkerUp(number, 1, "cpu") for number in (7, 8)]
        assert first.said == second.said == up
        for number in (7, 99):  # of one that has ended nothing is known any more
            one.fronts.links.front_linked(handle, number, (0, 0, 0, 0))
            one.fronts.links.front_freed_space(handle, number)
            one.fronts.links.front_found_hung(handle, number)
        assert worker.told == [("attach", 1), ("space freed", 1), ("abort", 0)]
        assert bystander.told == []
        for front in (1, 99):
            one.pool.on_needs_space(cast("WorkerHandle", worker), front)
        assert (first.said, second.said) == ([*up, messages.NeedSpace(7)], up)


async def test_a_worker_is_told_of_the_end_of_a_front() -> None:
    async with company(0) as (one, _):
        workers: list[FakeHandle] = [one.start_worker(7), one.start_worker(8)]
        _, handle = join(one, 3)
        await one.fronts.stop(0)
        one.fronts.front_ended(handle)
        assert [worker.told for worker in workers] == [[("detach", 3)]] * 2


@pytest.mark.parametrize("listening", [True, False])
async def test_a_front_that_is_silent_for_long_is_ended(
    listening: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fronts_module, "_WATCH_EVERY_S", 0.0)
    async with company(0) as (one, _):
        (silent, _), (talking, _) = join(one, 1), join(one, 2)
        silent.listening = talking.listening = listening
        now = asyncio.get_running_loop().time()
        patience_s = 10.0 if listening else SETTINGS.start_timeout_ms / 1000
        silent.last_heard, talking.last_heard = now - patience_s, now - patience_s + 5
        one.fronts._look_for_silence()  # noqa: SLF001 - what its timer calls
        await until(lambda: silent.aborted)
        for _ in range(3):
            await asyncio.sleep(0)
        assert (silent.aborted, talking.aborted) == (1, 0), "it has time to write its dump"
