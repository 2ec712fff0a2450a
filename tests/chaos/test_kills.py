"""Kills: no request is lost with a worker, nothing is left of a supervisor."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable

import psutil
import pytest

from tests.conftest import Models
from tests.expected import mlp_outputs
from tests.harness import FRONTS, Repository, Server, mlp_request, wait_for
from tests.load import Load
from tests.processes import alive
from tests.shared_memory import named_memory, wait_until_none_is_left

Serve = Callable[..., Server]


@pytest.mark.soak
def test_ten_kills_of_the_serving_worker_fail_no_request(
    serve: Serve, repository: Repository, models: Models
) -> None:
    folder = models.mlp(1)
    repository.publish("mlp", "v1", folder)
    server = serve(repository).wait_ready()
    with Load(server.port, {"v1": mlp_outputs(folder)}) as load:
        for _ in range(10):
            load.wait_answers(50)
            (pid,) = server.wait_serving("mlp", "v1")["serving"]["workers"]
            os.kill(pid["pid"], signal.SIGKILL)
            wait_for(gone(pid["pid"]), "the worker is reaped")
        load.wait_answers(50)
    load.seen.assert_clean()
    state = server.admin()
    assert state["worker_restarts"] == 10
    assert state["models"][0]["generation"] == 1
    assert state["arena"]["lent_slots"] == 0
    wait_for(lambda: len(server.workers()) == 2, "a worker and a spare")


def test_a_killed_supervisor_leaves_no_worker_and_no_memory(
    serve: Serve, repository: Repository, models: Models
) -> None:
    repository.publish("mlp", "v1", models.mlp(1))
    before = named_memory()
    server = serve(repository).wait_ready()
    # A worker, a spare, each front's JSON worker; importing Paddle starts a shell for a moment.
    count = 2 + FRONTS + (FRONTS - 1)
    workers = wait_for(lambda: exactly(count, server.children()), f"{count} children")
    with Load(server.port, {"v1": mlp_outputs(models.mlp(1))}) as load:
        load.wait_answers(10)
        server.kill()
        wait_for(lambda: not any(alive(worker) for worker in workers), "no worker is left", 2)
    wait_until_none_is_left(before)


def test_a_killed_supervisor_takes_a_loading_worker_along(
    serve: Serve, repository: Repository, models: Models
) -> None:
    """Paddle holds the interpreter lock in a load: only the kernel can end it."""
    (endless,) = models("endless" if models.paddle.startswith("3") else "endless_pdmodel")
    repository.publish("mlp", "v1", endless)
    server = serve(repository).wait_listening()
    wait_for(lambda: server.logged("LOADING → WARMING"), "the endless warm-up")
    workers = server.children()
    server.kill()
    wait_for(lambda: not any(alive(worker) for worker in workers), "no worker is left", 2)


def exactly(count: int, found: list[psutil.Process]) -> list[psutil.Process]:
    return found if len(found) == count else []


def has_worked(pid: int, seconds: float = 0.05) -> Callable[[], bool]:
    """See a process use so much CPU from now on."""
    before = psutil.Process(pid).cpu_times().user
    return lambda: bool(psutil.Process(pid).cpu_times().user - before >= seconds)


def gone(pid: int) -> Callable[[], bool]:
    return lambda: not psutil.pid_exists(pid)


def test_a_worker_killed_in_the_middle_of_a_run_loses_nothing(
    serve: Serve, repository: Repository, models: Models
) -> None:
    slow = models.slow_mlp()
    repository.publish("mlp", "v1", slow)
    server = serve(repository).wait_ready()
    with Load(server.port, {"v1": mlp_outputs(slow)}, concurrency=6) as load:
        load.wait_answers(2)
        (pid,) = server.serving_pids("mlp")
        wait_for(lambda: server.admin("mlp")["serving"]["workers"][0]["in_flight"], "in flight")
        os.kill(pid, signal.SIGKILL)
        load.wait_answers(8)
    load.seen.assert_clean()
    assert server.admin("mlp")["counts"]["sent_again"] >= 1


@pytest.mark.skipif(FRONTS > 1, reason="which of several fronts' requests runs first is open")
def test_a_request_that_kills_two_workers_is_poison_and_its_neighbours_are_not(
    serve: Serve, repository: Repository, models: Models
) -> None:
    """The request that is being run is answered 500; those that wait behind it are served."""
    slow = models.slow_mlp()
    repository.publish("mlp", "v1", slow)
    server = serve(repository).wait_ready()
    code = (
        "import http.client, sys; c = http.client.HTTPConnection('127.0.0.1', int(sys.argv[1]));"
        "c.request('POST', '/v2/models/mlp/infer', sys.argv[2]); r = c.getresponse();"
        "print(r.status, r.read().decode())"
    )
    import json

    body = json.dumps(mlp_request())
    first = subprocess.Popen(
        [sys.executable, "-c", code, str(server.port), body], stdout=subprocess.PIPE, text=True
    )
    wait_for(lambda: in_flight(server) == 1, "the first request runs")
    others = [
        subprocess.Popen(
            [sys.executable, "-c", code, str(server.port), body], stdout=subprocess.PIPE, text=True
        )
        for _ in range(2)
    ]
    wait_for(lambda: in_flight(server) == 3, "three are in flight")
    for _ in range(2):
        (pid,) = wait_for(lambda: server.serving_pids("mlp"), "a worker serves")
        wait_for(lambda: in_flight(server) == 3, "three are in flight again")
        wait_for(has_worked(pid), "the worker runs the first of them")
        os.kill(pid, signal.SIGKILL)
        wait_for(gone(pid), "it is reaped")
    assert first.communicate(timeout=60)[0].startswith("500 ")
    assert [other.communicate(timeout=60)[0][:4] for other in others] == ["200 ", "200 "]
    assert server.logged("poison request")
    assert server.admin()["arena"]["lent_slots"] == 0


def in_flight(server: Server) -> int:
    serving = server.admin("mlp")["serving"]
    return sum(worker["in_flight"] for worker in serving["workers"])


def test_a_hung_worker_is_ended_and_its_requests_are_answered(
    serve: Serve, repository: Repository, models: Models
) -> None:
    folder = models.mlp(1)
    repository.publish("mlp", "v1", folder)
    server = serve(repository, "--hang-timeout-ms", "1000").wait_ready()
    with Load(server.port, {"v1": mlp_outputs(folder)}) as load:
        load.wait_answers(20)
        (pid,) = server.serving_pids("mlp")
        os.kill(pid, signal.SIGSTOP)
        wait_for(lambda: not psutil.pid_exists(pid), "the hung worker is ended", 30)
        load.wait_answers(50)
    load.seen.assert_clean()


def test_a_dead_spare_is_replaced_and_the_next_version_loads(
    serve: Serve, repository: Repository, models: Models
) -> None:
    repository.publish("mlp", "v1", models.mlp(1))
    server = serve(repository).wait_ready()
    serving = server.serving_pids("mlp")
    spare = next(child for child in server.workers() if child.pid not in serving)
    spare.kill()
    wait_for(gone(spare.pid), "the supervisor knows that it is dead")
    repository.publish("mlp", "v2", models.mlp(2))
    server.wait_serving("mlp", "v2")


def test_an_idle_server_sleeps(serve: Serve, repository: Repository, models: Models) -> None:
    """Nobody spins: all processes together take less than 2 % of a core over three seconds."""
    repository.publish("mlp", "v1", models.mlp(1))
    server = serve(repository).wait_ready()
    wait_for(lambda: all(w["state"] != "starting" for w in server.admin()["workers"]), "all up")

    def spent() -> float:
        processes = [server.psutil, *server.children()]
        times = [process.cpu_times() for process in processes]
        return float(sum(one.user + one.system for one in times))

    before, began = spent(), time.monotonic()
    wait_for(lambda: time.monotonic() - began > 3, "three seconds")
    assert (spent() - before) / 3 < 0.02
