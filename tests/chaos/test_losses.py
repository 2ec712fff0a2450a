"""Losses at bad moments: workers in the middle of a switch, the log, the JSON worker."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import pytest

from tests.conftest import Models
from tests.expected import mlp_outputs
from tests.harness import FRONTS, ROOT, Repository, Server, mlp_request, wait_for
from tests.load import Load

Serve = Callable[..., Server]


@pytest.mark.soak
def test_kills_at_any_moment_of_many_reloads_lose_nothing(
    serve: Serve, repository: Repository, models: Models
) -> None:
    """Two instances, versions all the time, and any worker killed at any time."""
    chance = random.Random(7)
    folders = [models.mlp(1), models.mlp(2)]
    expected = {f"v{number}": mlp_outputs(folders[number % 2]) for number in range(13)}
    repository.settings("mlp", "instances = 2\n")
    repository.publish("mlp", "v0", folders[0])
    server = serve(repository).wait_ready()
    with Load(server.port, expected, concurrency=4) as load:
        for number in range(1, 13):
            repository.publish("mlp", f"v{number}", folders[number % 2])
            moment = time.monotonic() + chance.random() * 0.8
            wait_for(lambda moment=moment: time.monotonic() >= moment, "a moment")  # type: ignore[misc]  # mypy cannot infer a lambda with a default
            chance.choice(server.workers()).kill()
            load.wait_answers(10)
        # A version whose worker was killed in its load is refused; the next one loads.
        repository.publish("mlp", "last", folders[0])
        load.expected["last"] = expected["v0"]
        state = server.wait_serving("mlp", "last")
        wait_for(lambda: len(server.admin("mlp")["serving"]["workers"]) == 2, "both instances")
        load.wait_answers(20)
    load.seen.assert_clean()
    assert state["ready"]
    assert server.admin()["arena"]["lent_slots"] == 0


@pytest.mark.parametrize("after_s", [0.0, 0.1, 0.3, 0.5])
def test_a_version_whose_worker_died_is_rolled_back_to_only_if_it_was_repaired(
    serve: Serve, repository: Repository, models: Models, after_s: float
) -> None:
    """Depending on the moment the spare repairs v1 first, or loads v2 and v1 is given up."""
    slow = models.slow_mlp()
    repository.publish("mlp", "v1", models.mlp(1))
    server = serve(repository).wait_ready()
    (pid,) = server.serving_pids("mlp")
    repository.publish("mlp", "v2", slow)
    wait_for(lambda: server.admin("mlp")["candidate"], "v2 is loading", poll_s=0.002)
    moment = time.monotonic() + after_s
    wait_for(lambda: time.monotonic() >= moment, "the moment")
    os.kill(pid, signal.SIGKILL)
    server.wait_serving("mlp", "v2")
    answer = server.post("/admin/models/mlp/rollback")
    if answer.status == 503:
        assert "retains no earlier version" in answer.error
    serves = "v2" if answer.status == 503 else "v1"
    assert server.infer("mlp", mlp_request()).headers["X-Model-Version"] == serves


@pytest.mark.parametrize(
    ("file", "text", "reason"),
    [
        ("manifest.json", '{"files": {"\\ud800": {}}}', "sha256"),
        ("model.toml", "[[warmup]]\nx = [1, 16]\n" * 4000, "4000"),
        ("model.toml", "#" * 2_000_000, "larger"),
    ],
)
def test_what_stands_beside_a_version_ends_nothing(
    serve: Serve, repository: Repository, models: Models, file: str, text: str, reason: str
) -> None:
    repository.publish("mlp", "v1", models.mlp(1))
    server = serve(repository).wait_ready()
    for version in ("bad1", "bad2"):
        bad = repository.copy("mlp", version, models.mlp(2))
        (bad / file).write_text(text)
        repository.point("mlp", version)
        assert reason in server.wait_refused("mlp", version)["reason"]
    repository.publish("mlp", "v2", models.mlp(2))
    server.wait_serving("mlp", "v2")


def test_a_log_that_nobody_reads_stops_nothing(repository: Repository, models: Models) -> None:
    repository.publish("mlp", "v1", models.mlp(1))
    reading, writing = os.pipe()
    process = subprocess.Popen(
        [
            sys.executable, "-m", "supervisor", "serve", "--log-format", "json", "--port", "0",
            "--model-repository", str(repository.root),
        ],
        stderr=writing, cwd=ROOT,
    )  # fmt: skip
    os.close(writing)
    try:
        with os.fdopen(reading) as log:
            port = int(
                json.loads(next(line for line in log if "listening" in line))["url"].rsplit(":")[-1]
            )
        server = Server.__new__(Server)
        server.port, server.process = port, process
        wait_for(lambda: server.get("/v2/health/ready").status == 200, "ready")
        (pid,) = server.serving_pids("mlp")
        os.kill(pid, signal.SIGKILL)
        repository.publish("mlp", "v2", models.mlp(2))
        server.wait_serving("mlp", "v2")
        assert server.infer("mlp", mlp_request()).status == 200
        verdicts: dict[str, Any] = server.reload()
        assert verdicts["verdicts"]["mlp"]["outcome"] == "unchanged"
    finally:
        process.terminate()
        assert process.wait(30) == 0


def test_a_json_worker_that_hangs_is_replaced_and_the_client_is_told(
    serve: Serve, repository: Repository, models: Models
) -> None:
    repository.publish("mlp", "v1", models.mlp(1))
    server = serve(repository, "--timeout-ms", "2000", "--json-inline-kb", "1").wait_ready()
    large = mlp_request(rows=500)
    assert server.infer("mlp", large).status == 200
    children = [c for c in server.children() if "supervisor.json_worker" in c.cmdline()]
    assert len(children) == FRONTS
    for child in children:
        child.suspend()
    answer = server.infer("mlp", large)
    assert answer.status == 504
    assert "JSON" in answer.error
    wait_for(lambda: not all(child.is_running() for child in children), "it is ended")
    for child in children:  # that of another front was not asked for anything
        if child.is_running():
            child.resume()
    assert server.infer("mlp", large).status == 200
    wait_for(lambda: server.admin()["arena"]["lent_slots"] == 0, "all slots are back")


def test_signals_to_the_whole_group_do_not_reach_the_workers(
    serve: Serve, repository: Repository, models: Models
) -> None:
    repository.publish("mlp", "v1", models.mlp(1))
    server = serve(repository).wait_ready()
    wait_for(lambda: all(w["state"] != "starting" for w in server.admin()["workers"]), "all up")
    workers = server.children()
    for worker in workers:
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT):
            worker.send_signal(number)
    assert server.infer("mlp", mlp_request()).status == 200
    assert server.children() == workers


def test_spares_as_many_as_are_wished_and_never_too_few_for_a_load(
    serve: Serve, repository: Repository, models: Models
) -> None:
    repository.settings("mlp", "instances = 3\n")
    repository.publish("mlp", "v1", models.mlp(1))
    server = serve(repository, "--spares", "0").wait_ready()
    repository.publish("mlp", "v2", models.mlp(2))
    server.wait_serving("mlp", "v2")
    assert server.infer("mlp", mlp_request()).status == 200


def test_a_directory_that_is_no_model_is_none(
    serve: Serve, repository: Repository, models: Models
) -> None:
    (repository.root / "lost+found").mkdir()
    repository.publish("mlp", "v1", models.mlp(1))
    server = serve(repository).wait_ready()
    assert [model["name"] for model in server.admin()["models"]] == ["mlp"]
    assert server.infer("lost+found", mlp_request()).status == 404


def test_a_rolled_back_version_loads_again_once_the_pointer_came_from_another(
    serve: Serve, repository: Repository, models: Models
) -> None:
    repository.publish("mlp", "v1", models.mlp(1))
    server = serve(repository).wait_ready()
    repository.publish("mlp", "v2", models.mlp(2))
    server.wait_serving("mlp", "v2")
    assert server.post("/admin/models/mlp/rollback").status == 200
    server.wait_serving("mlp", "v1")
    assert server.reload()["verdicts"]["mlp"]["outcome"] == "refused"
    repository.point("mlp", "v1")
    assert server.reload()["verdicts"]["mlp"]["outcome"] == "unchanged"
    repository.point("mlp", "v2")
    server.wait_serving("mlp", "v2")
