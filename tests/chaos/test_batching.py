"""Batching at the hard moments: what is promised of single requests holds in batches, too."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable

import pytest

from tests.conftest import Models
from tests.expected import mlp_outputs
from tests.harness import Repository, Server, wait_for
from tests.load import Load

Serve = Callable[..., Server]

BATCHING = ("--max-batch-size", "8")
TOLERANCE = 1e-4


def batches(server: Server) -> dict[int, int]:
    """Count the executions by batch size, over the versions that are there."""
    stats = server.get("/v2/models/mlp/stats").json()["model_stats"]
    return {
        one["batch_size"]: one["compute_infer"]["count"]
        for version in stats
        for one in version["batch_stats"]
    }


def restarted(server: Server, times: int) -> Callable[[], bool]:
    return lambda: bool(server.admin()["worker_restarts"] == times)


@pytest.mark.soak
def test_versions_switch_between_batches(
    serve: Serve, repository: Repository, models: Models
) -> None:
    """G1 and G2: each answer is its own version's, whoever shared its batch."""
    folders = [models.mlp(number) for number in (1, 2, 3)]
    outputs = [mlp_outputs(folder) for folder in folders]
    repository.publish("mlp", "v0", folders[0])
    server = serve(repository, *BATCHING).wait_ready()
    expected = {f"v{number}": outputs[number % 3] for number in range(16)}
    with Load(server.port, expected, concurrency=32, tolerance=TOLERANCE) as load:
        for number in range(1, 16):
            load.wait_answers(200)
            repository.publish("mlp", f"v{number}", folders[number % 3])
            server.wait_serving("mlp", f"v{number}")
        load.wait_answers(200)
        assert max(batches(server)) > 1
    load.seen.assert_clean()
    assert len(load.seen.versions) == 16
    assert server.admin()["worker_restarts"] == 0


@pytest.mark.soak
def test_ten_kills_in_the_middle_of_batches_fail_no_request(
    serve: Serve, repository: Repository, models: Models
) -> None:
    folder = models.mlp(1)
    repository.publish("mlp", "v1", folder)
    server = serve(repository, *BATCHING).wait_ready()
    expected = {"v1": mlp_outputs(folder)}
    with Load(server.port, expected, concurrency=32, tolerance=TOLERANCE) as load:
        for goal in range(1, 11):
            load.wait_answers(200)
            (worker,) = server.wait_serving("mlp", "v1")["serving"]["workers"]
            os.kill(worker["pid"], signal.SIGKILL)
            wait_for(restarted(server, goal), "it is replaced")
        load.wait_answers(200)
    load.seen.assert_clean()
    state = server.admin()
    assert state["models"][0]["counts"].get("poison", 0) == 0
    assert state["arena"]["lent_slots"] == 0
