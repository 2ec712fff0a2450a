"""Placement: real workers run where they were put, with all their threads."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import pytest

from tests.conftest import Models
from tests.harness import ROOT, Repository, Server, mlp_request, wait_for

CORES = sorted(os.sched_getaffinity(0))


def threads(pid: int) -> set[tuple[int, ...]]:
    """Give the cores of all threads of a process."""
    return {
        tuple(sorted(os.sched_getaffinity(int(thread.name))))
        for thread in Path(f"/proc/{pid}/task").iterdir()
    }


@pytest.mark.skipif(len(CORES) < 2, reason="needs two cores")
def test_workers_run_on_the_cores_of_their_device_and_the_supervisor_on_its_own(
    serve: Callable[..., Server], repository: Repository, models: Models
) -> None:
    first, second = CORES[:2]
    repository.settings("mlp", "cpu_threads = 2\n")
    repository.publish("mlp", "v1", models.mlp(1))
    server = serve(
        repository, "--device", "cpu,cpu", "--worker-cpus", f"{first};{second}",
        "--supervisor-cpus", str(second), "--fronts", "2",
    ).wait_ready()  # fmt: skip
    for _ in range(4):
        assert server.infer("mlp", mlp_request()).status == 200
    workers = {worker.pid for worker in server.workers()}
    placed = [threads(pid) for pid in sorted(workers)]
    assert sorted(placed, key=list) == [{(first,)}] * 2 + [{(second,)}] * 2
    for process in (server.psutil, *server.children()):
        if process.pid not in workers:
            assert threads(process.pid) == {(second,)}, process.cmdline()


def test_workers_do_not_follow_the_supervisor(
    serve: Callable[..., Server], repository: Repository, models: Models
) -> None:
    repository.publish("mlp", "v1", models.mlp(1))
    server = serve(repository, "--supervisor-cpus", str(CORES[0])).wait_ready()
    for worker in server.workers():  # one that has just been forked has not moved yet
        wait_for(partial(follows, worker.pid, CORES), "it has all cores")


def follows(pid: int, cores: Sequence[int]) -> bool:
    return threads(pid) == {tuple(cores)}


def test_cores_that_are_not_there_end_the_command(repository: Repository) -> None:
    done = subprocess.run(
        [
            sys.executable, "-m", "supervisor", "serve", "--port", "0", "--worker-cpus", "4095",
            "--model-repository", str(repository.root),
        ],
        cwd=ROOT, capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert done.returncode == 2
    assert "worker_cpus = '4095': the cores 4095 are not to be had" in done.stderr
    assert "this process may use the cores" in done.stderr
