"""Workers' loops in threads of this process, which end with the test."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from gpu_worker.ipc.tensors import Contract
from gpu_worker.loop import Loop
from tests.unit.gpu_worker.held_worker import ROWS, Batches, Inputs, StartBatches, by_rows
from tests.unit.gpu_worker.linked_worker import StartWorker, Worker
from tests.unit.gpu_worker.loop_harness import Arrays, Harness


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run the loop's tests with compiled code and without."""
    if metafunc.module.__name__.rpartition(".")[2].startswith("test_loop"):
        metafunc.parametrize("express", [True, False], indirect=True, ids=["express", "python"])


@pytest.fixture(autouse=True)
def express(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    """Say whether the loops of a test may use compiled code."""
    wanted = bool(getattr(request, "param", True))
    monkeypatch.setattr(Harness, "express", wanted)
    return wanted


@pytest.fixture
def taken_by_python(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Note how many submissions Python code takes in, each time."""
    noted: list[int] = []
    take_in = Loop._take_in  # noqa: SLF001 - where compiled code hands over

    def noting(loop: Loop, link: object, submissions: list[object]) -> None:
        noted.append(len(submissions))
        take_in(loop, link, submissions)  # type: ignore[arg-type]  # passed on

    monkeypatch.setattr(Loop, "_take_in", noting)
    return noted


@pytest.fixture
def start_batches() -> Iterator[StartBatches]:
    begun: list[Batches] = []

    def begin(
        run: Callable[[Inputs], Arrays] = by_rows, contract: Contract = ROWS,
        shares: bool = True, **batching: Any,
    ) -> Batches:  # fmt: skip
        begun.append(Batches(run, contract, shares, **{"max_batch_size": 8, **batching}))
        return begun[-1]

    yield begin
    for batches in begun:
        batches.worker.close()


@pytest.fixture
def start_worker() -> Iterator[StartWorker]:
    begun: list[Worker] = []

    def begin(response_bytes: int = 1 << 16, max_batch_size: int = 64) -> Worker:
        begun.append(Worker(response_bytes, max_batch_size))
        return begun[-1]

    yield begin
    for worker in begun:
        worker.close()
