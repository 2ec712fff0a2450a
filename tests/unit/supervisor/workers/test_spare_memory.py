"""How long a spare keeps the memory of the version before."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import cast

import pytest

from supervisor.workers.events import WorkerState
from supervisor.workers.handle import WorkerHandle
from supervisor.workers.spare_memory import SpareMemory

STARTING, IDLE, LOADING, HOLDING = (
    WorkerState.STARTING, WorkerState.IDLE, WorkerState.LOADING, WorkerState.HOLDING,
)  # fmt: skip
KEEP_S = 0.05
LONG_S = 3600.0


@dataclass(eq=False)
class Worker:
    """What is asked of a worker."""

    state: WorkerState = STARTING
    load_id: int = 0
    unloads: int = 0
    asked: asyncio.Event = field(default_factory=asyncio.Event)

    def unload(self) -> None:
        self.unloads += 1
        self.asked.set()


class Site:
    """Some spare memory, and workers that become what they are told."""

    def __init__(self, keep_s: float) -> None:
        self.memory = SpareMemory(keep_s)

    def become(self, worker: Worker, *states: WorkerState, model: str = "m") -> None:
        for state in states:
            if state is LOADING:
                self.memory.expect(handle(worker), model)
            worker.state = state
            self.memory.note(handle(worker))


def handle(worker: Worker) -> WorkerHandle:
    return cast("WorkerHandle", worker)


def run(keep_s: float, script: Callable[[Site], None], then_s: float = 0.0) -> None:
    """Run within a loop, which goes on for a while."""

    async def main() -> None:
        site = Site(keep_s)
        script(site)
        await asyncio.sleep(then_s)
        site.memory.close()

    asyncio.run(main())


def test_it_is_given_back_once_when_no_load_comes() -> None:
    worker = Worker()

    async def main() -> None:
        site = Site(KEEP_S)
        site.become(worker, STARTING, IDLE, LOADING, HOLDING, IDLE, IDLE)
        assert worker.unloads == 0
        assert site.memory.keeps(handle(worker))
        await asyncio.wait_for(worker.asked.wait(), 10)
        assert not site.memory.keeps(handle(worker))
        site.become(worker, IDLE)  # it says that it has done so
        await asyncio.sleep(2 * KEEP_S)

    asyncio.run(main())
    assert worker.unloads == 1


def test_a_worker_that_never_loaded_keeps_nothing() -> None:
    worker = Worker()

    def script(site: Site) -> None:
        site.become(worker, STARTING, IDLE)
        site.memory.give_back([handle(worker)])

    run(0, script)
    assert worker.unloads == 0


def test_it_can_be_given_back_at_once() -> None:
    loaded, failed = Worker(), Worker()

    def script(site: Site) -> None:
        site.become(loaded, IDLE, LOADING, HOLDING, IDLE)
        site.become(failed, IDLE, LOADING, IDLE)

    run(0, script)
    assert (loaded.unloads, failed.unloads) == (1, 1)


@pytest.mark.parametrize(("model", "unloads"), [("m", 0), ("other", 1)])
def test_a_load_of_the_same_model_has_it(model: str, unloads: int) -> None:
    worker = Worker()

    def script(site: Site) -> None:
        site.become(worker, IDLE, LOADING, IDLE)
        site.become(worker, LOADING, model=model)
        assert worker.unloads == unloads, "before the load"
        site.become(worker, HOLDING, IDLE, LOADING, model=model)

    run(KEEP_S, script, 3 * KEEP_S)
    assert worker.unloads == unloads, "it is loading"


def test_when_somebody_finds_too_little_spares_give_it_back_and_nobody_else() -> None:
    spare, serving, loading = Worker(), Worker(), Worker()

    def script(site: Site) -> None:
        site.become(spare, LOADING, HOLDING, IDLE)
        site.become(serving, LOADING, HOLDING)
        site.become(loading, LOADING)
        site.memory.give_back(map(handle, (spare, serving, loading)))
        site.memory.give_back([handle(spare)])

    run(LONG_S, script)
    assert (spare.unloads, serving.unloads, loading.unloads) == (1, 0, 0)


def test_one_that_has_ended_is_not_asked() -> None:
    worker = Worker()

    def script(site: Site) -> None:
        site.become(worker, LOADING, IDLE)
        site.memory.forget(handle(worker))

    run(KEEP_S, script, 3 * KEEP_S)
    assert worker.unloads == 0


@pytest.mark.parametrize("keep_s", [0, KEEP_S])
def test_workers_of_another_program_may_keep_something(keep_s: float) -> None:
    spare, serving, fresh = Worker(IDLE, 3), Worker(HOLDING, 4), Worker(IDLE)

    async def main() -> None:
        site = Site(keep_s)
        site.memory.take_up(map(handle, (spare, serving, fresh)))
        await asyncio.wait_for(spare.asked.wait(), 10)
        site.become(serving, IDLE, LOADING)

    asyncio.run(main())
    assert (spare.unloads, fresh.unloads) == (1, 0)
    assert serving.unloads == 1, "whose memory it keeps nobody knows"
