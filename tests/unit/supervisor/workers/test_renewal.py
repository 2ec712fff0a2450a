"""Which workers give their place to a new one, and when."""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import pytest

from supervisor.workers.events import WorkerState
from supervisor.workers.handle import WorkerHandle
from supervisor.workers.renewal import Renewal

MB = 1 << 20
STARTING, IDLE, HOLDING = WorkerState.STARTING, WorkerState.IDLE, WorkerState.HOLDING


@dataclass(eq=False)
class Worker:
    """What a renewal looks at."""

    state: WorkerState
    grown_mb: int = 0
    number: int = 1
    pid: int = 1

    @property
    def grown_bytes(self) -> int:
        return self.grown_mb * MB


def workers(*those: Worker) -> list[WorkerHandle]:
    return cast("list[WorkerHandle]", list(those))


@pytest.mark.parametrize(
    ("limit_mb", "grown_mb", "worn"),
    [(100, 101, True), (100, 100, False), (100, 0, False), (100, -5, False), (0, 9000, False)],
)
def test_a_worker_that_has_grown_beyond_the_limit_is_replaced(
    limit_mb: int, grown_mb: int, worn: bool
) -> None:
    renewal = Renewal(limit_mb * MB)
    (one,) = workers(Worker(HOLDING, grown_mb))
    assert renewal.note(one) is worn
    assert renewal.lasting([one]) == ([] if worn else [one])


@pytest.mark.parametrize(
    ("worn", "others", "wanted", "ended"),
    [
        (IDLE, [HOLDING, IDLE], 2, True),
        (IDLE, [HOLDING, STARTING], 2, False),  # nobody has taken its place yet
        (IDLE, [HOLDING], 2, False),
        (HOLDING, [IDLE, IDLE], 2, False),  # it serves, or keeps a version for a rollback
        (IDLE, [], 0, True),
    ],
)
def test_it_is_ended_when_it_holds_nothing_and_others_are_up(
    worn: WorkerState, others: list[WorkerState], wanted: int, ended: bool
) -> None:
    renewal = Renewal(MB)
    present = workers(Worker(worn, 2), *map(Worker, others))
    assert renewal.note(present[0])
    assert renewal.done_with(present, wanted) == (present[:1] if ended else [])


def test_one_that_was_told_of_is_worn_until_it_has_ended() -> None:
    renewal = Renewal(MB)
    one = Worker(HOLDING, 2)
    (handle,) = workers(one)
    assert renewal.note(handle)
    one.grown_mb = 0  # the next version has taken up what was left
    assert renewal.note(handle)
    renewal.forget(handle)
    assert not renewal.note(handle)
