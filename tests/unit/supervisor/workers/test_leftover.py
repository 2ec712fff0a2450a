"""The leftover: a load that gets too little of the cores is given its share, another is not."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from gpu_worker.ipc.policy import set_policy
from supervisor.workers import leftover
from supervisor.workers.leftover import gets_on, ran_ns, watched
from tests.unit.supervisor.http.loops import until

LOOK_S = 0.005
THREADS = """
import threading
for _ in range(3):
    threading.Thread(target=input, daemon=True).start()
print("up", flush=True)
threading.Event().wait()
"""


@pytest.mark.parametrize(
    ("ran", "passed", "percent", "expected"),
    [(0, 100, 25, False), (24, 100, 25, False), (25, 100, 25, True), (180, 100, 100, True)],
)
def test_what_is_enough(ran: int, passed: int, percent: int, expected: bool) -> None:
    assert gets_on(ran, passed, percent) is expected


def test_the_time_that_a_process_ran() -> None:
    before = ran_ns(os.getpid())
    while ran_ns(os.getpid()) < before + 1_000_000:
        pass
    with pytest.raises(OSError, match="Invalid argument"):
        ran_ns((1 << 22) + 1)  # beyond the largest pid


@pytest.fixture
def sleeper() -> Iterator[int]:
    """Give a process of several threads that do nothing, and run on what is left over."""
    with subprocess.Popen(
        [sys.executable, "-c", THREADS], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        set_policy(process.pid, os.SCHED_IDLE)
        yield process.pid
        process.kill()


def policies(pid: int) -> set[int]:
    threads = Path(f"/proc/{pid}/task").iterdir()
    return {os.sched_getscheduler(int(thread.name)) for thread in threads}


async def test_a_load_that_hardly_runs_gets_its_share(sleeper: int) -> None:
    assert policies(sleeper) == {os.SCHED_IDLE}
    with watched(sleeper, 25, LOOK_S):
        await until(lambda: policies(sleeper) == {os.SCHED_OTHER})


async def test_one_that_steps_back_late_gets_its_share_too(sleeper: int) -> None:
    """The worker may still unload, or be in the midst of its threads, at the first look."""
    with watched(sleeper, 25, LOOK_S):
        for _ in range(3):
            await until(lambda: policies(sleeper) == {os.SCHED_OTHER})
            set_policy(sleeper, os.SCHED_IDLE)
        await until(lambda: policies(sleeper) == {os.SCHED_OTHER})


async def test_a_load_that_gets_on_is_left_alone(
    sleeper: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks: list[int] = []

    def ran(pid: int) -> int:
        looks.append(pid)
        return 1_000_000_000 * len(looks)

    monkeypatch.setattr(leftover, "ran_ns", ran)
    with watched(sleeper, 25, LOOK_S):
        await until(lambda: len(looks) > 3)
    assert policies(sleeper) == {os.SCHED_IDLE}


async def test_a_worker_that_ends_is_looked_at_no_more(
    sleeper: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks: list[int] = []

    def ran(pid: int) -> int:
        looks.append(pid)
        if len(looks) > 1:
            raise ProcessLookupError
        return 0

    monkeypatch.setattr(leftover, "ran_ns", ran)
    with watched(sleeper, 25, LOOK_S):
        await until(lambda: len(looks) == 2)
    assert policies(sleeper) == {os.SCHED_IDLE}


async def test_with_0_percent_nobody_looks(sleeper: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leftover, "ran_ns", None)
    with watched(sleeper, 0):
        pass
    assert policies(sleeper) == {os.SCHED_IDLE}


async def test_who_may_not_raise_it_says_so_once(
    sleeper: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    tries: list[int] = []

    def refused(pid: int, policy: int) -> None:
        tries.append(policy)
        raise PermissionError(f"no {policy} for {pid}")

    monkeypatch.setattr(leftover, "set_policy", refused)
    with capture_logs() as logs, watched(sleeper, 25, LOOK_S):
        await until(lambda: len(tries) > 2)
    assert [(entry["log_level"], entry["reason"]) for entry in logs] == [
        ("warning", f"no {os.SCHED_OTHER} for {sleeper}")
    ]
