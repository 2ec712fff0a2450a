"""Several fronts at the hard moments: one switch for all, and only a dead front loses anything."""

from __future__ import annotations

import http.client
import json
import os
import signal
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

import psutil
import pytest

from tests.conftest import Models
from tests.expected import mlp_outputs
from tests.harness import Repository, Server, mlp_request, wait_for
from tests.load import Load
from tests.processes import living
from tests.shared_memory import named_memory, wait_until_none_is_left

Serve = Callable[..., Server]


def listening(server: Server, count: int) -> list[dict[str, Any]]:
    """Wait until so many fronts beside the supervisor's own listen."""

    def fronts() -> list[dict[str, Any]]:
        found = [front for front in server.admin()["fronts"] if front["listening"]]
        return found if len(found) == count else []

    return list(wait_for(fronts, f"{count} fronts listen"))


@pytest.mark.soak
def test_no_front_steps_back_while_versions_come_every_half_second(
    serve: Serve, repository: Repository, models: Models
) -> None:
    """G1 over all fronts: what one has answered from, no other falls behind later."""
    folders = [models.mlp(number) for number in (1, 2, 3)]
    outputs = [mlp_outputs(folder) for folder in folders]
    expected = {f"v{number}": outputs[number % 3] for number in range(15)}
    repository.publish("mlp", "v0", folders[0])
    server = serve(repository, "--fronts", "3").wait_ready()
    listening(server, 2)
    with Load(server.port, expected, concurrency=24) as load:
        for number in range(1, 15):
            repository.publish("mlp", f"v{number}", folders[number % 3])
            server.wait_serving("mlp", f"v{number}")
            load.wait_answers(60)
            if number % 4 == 0:
                wait_for(lambda: server.admin("mlp")["retained"]["state"] == "RETAINED", "drained")
                rolled_back = server.post("/admin/models/mlp/rollback").json()
                assert rolled_back["outcome"] == "live", rolled_back
                load.wait_answers(60)
        state = server.admin("mlp")
    load.seen.assert_clean()
    assert state["generation"] >= 14 + 3
    assert state["counts"].get("stale", 0) == 0
    assert len(server.admin()["fronts"]) == 2
    assert not server.logged("it is ended")


def test_a_front_that_hangs_does_not_hold_a_switch_up(
    serve: Serve, repository: Repository, models: Models
) -> None:
    repository.publish("mlp", "v1", models.mlp(1))
    server = serve(repository, "--fronts", "2").wait_ready()
    (front,) = listening(server, 1)
    os.kill(front["pid"], signal.SIGSTOP)
    repository.publish("mlp", "v2", models.mlp(2))
    wait_for(lambda: server.logged("a front does not stop for a switch"), "it is ended")
    wait_for(lambda: "v2" in str(server.logged("Loaded v2")), "the switch")
    (other,) = listening(server, 1)
    assert other["pid"] != front["pid"]
    for _ in range(12):
        assert server.infer("mlp", mlp_request()).headers["X-Model-Version"] == "v2"


def test_a_front_that_hangs_is_replaced(
    serve: Serve, repository: Repository, models: Models
) -> None:
    repository.publish("mlp", "v1", models.mlp(1))
    server = serve(repository, "--fronts", "2").wait_ready()
    (front,) = listening(server, 1)
    os.kill(front["pid"], signal.SIGSTOP)
    wait_for(lambda: server.logged("a front gives no sign of life"), "it is noticed", 30)
    wait_for(lambda: not psutil.pid_exists(front["pid"]), "it is reaped")
    listening(server, 1)


@pytest.mark.soak
def test_fronts_that_are_killed_leave_nothing_and_lose_only_their_connections(
    serve: Serve, repository: Repository, models: Models
) -> None:
    """Who connects meanwhile is served by the supervisor, which keeps the socket open."""
    repository.publish("mlp", "v1", models.mlp(1))
    server = serve(repository, "--fronts", "2").wait_ready()
    wait_for(lambda: server.states() == ["holding", "idle"], "a worker and a spare")
    requests = 0
    counts: set[tuple[int, ...]] = set()
    for _ in range(6):
        (front,) = listening(server, 1)
        for _ in range(10):
            assert server.infer("mlp", mlp_request()).status == 200
        requests += 10
        state = server.admin("mlp")
        assert state["serving"]["requests"] <= requests
        descriptors = [psutil.Process(worker.pid).num_fds() for worker in server.workers()]
        counts.add((len(server.children()), server.descriptors(), *sorted(descriptors)))
        os.kill(front["pid"], signal.SIGKILL)
        for _ in range(10):  # some go to the socket of the dead one
            assert server.infer("mlp", mlp_request()).status == 200
        requests += 10
    assert server.admin("mlp")["generation"] == 1
    assert all(max(column) - min(column) <= 2 for column in zip(*counts, strict=True)), counts


@pytest.mark.soak
def test_workers_that_are_killed_fail_no_request_of_any_front(
    serve: Serve, repository: Repository, models: Models
) -> None:
    folder = models.mlp(1)
    repository.publish("mlp", "v1", folder)
    server = serve(repository, "--fronts", "3").wait_ready()
    listening(server, 2)
    with Load(server.port, {"v1": mlp_outputs(folder)}, concurrency=24) as load:
        for _ in range(3):
            load.wait_answers(100)
            (worker,) = server.wait_serving("mlp", "v1")["serving"]["workers"]
            os.kill(worker["pid"], signal.SIGKILL)
            wait_for(lambda: not psutil.pid_exists(worker["pid"]), "the worker is reaped")  # noqa: B023 - waited for here
        load.wait_answers(100)
    load.seen.assert_clean()
    assert server.admin()["worker_restarts"] == 3


def test_a_worker_that_hangs_with_requests_of_a_further_front_is_ended(
    serve: Serve, repository: Repository, models: Models
) -> None:
    folder = models.mlp(1)
    repository.publish("mlp", "v1", folder)
    server = serve(repository, "--fronts", "2", "--hang-timeout-ms", "1000").wait_ready()
    listening(server, 1)
    with Load(server.port, {"v1": mlp_outputs(folder)}, concurrency=16) as load:
        load.wait_answers(50)
        (pid,) = server.serving_pids("mlp")
        os.kill(pid, signal.SIGSTOP)
        wait_for(lambda: not psutil.pid_exists(pid), "it is ended", 30)
        load.wait_answers(50)
    load.seen.assert_clean()


def test_a_killed_supervisor_takes_all_fronts_along(
    serve: Serve, repository: Repository, models: Models
) -> None:
    repository.publish("mlp", "v1", models.mlp(1))
    before = named_memory()
    server = serve(repository, "--fronts", "3").wait_ready()
    listening(server, 2)
    children = server.children()
    with Load(server.port, {"v1": mlp_outputs(models.mlp(1))}) as load:
        load.wait_answers(10)
        server.kill()
        wait_for(lambda: not living(children), "nothing is left", 2)
    wait_until_none_is_left(before)


def test_a_stop_answers_what_each_front_has_in_flight(
    serve: Serve, repository: Repository, models: Models
) -> None:
    slow = models.slow_mlp()
    repository.publish("mlp", "v1", slow)
    server = serve(repository, "--fronts", "2").wait_ready()
    listening(server, 1)
    with ExitStack() as stack:
        opened = []
        for _ in range(12):
            one = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
            stack.callback(one.close)
            one.request("POST", "/v2/models/mlp/infer", json.dumps(mlp_request()))
            opened.append(one)
        wait_for(lambda: len(server.workers()) == 2 and held(server) == 12, "all are in flight")
        server.process.send_signal(signal.SIGTERM)
        answers = [one.getresponse() for one in opened]
        assert [answer.status for answer in answers] == [200] * 12
        assert {answer.headers["Connection"] for answer in answers} == {"close"}
    assert server.process.wait(30) == 0


def held(server: Server) -> int:
    """Count the requests that wait or run, and those that have been answered."""
    state = server.admin("mlp")
    in_flight = sum(worker["in_flight"] for worker in state["serving"]["workers"])
    return int(state["queued"] + in_flight + state["serving"]["requests"])
