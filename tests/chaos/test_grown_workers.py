"""Workers that Paddle leaves with a little more memory after each version."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from tests.conftest import Models
from tests.expected import mlp_outputs
from tests.harness import Repository, Server, wait_for
from tests.load import Load

WORKERS = 3  # two models' and a spare
MOST_VERSIONS = 40  # a worker grows by a third of a megabyte per version


def test_a_worker_that_has_grown_is_replaced_and_nobody_notices(
    serve: Callable[..., Server], repository: Repository, models: Models
) -> None:
    repository.publish("mlp", "v1", models.mlp(1))
    _publish(repository, 1, *models("mobilenet_v2_pdmodel"))
    options = ("--worker-growth-mb", "1", "--worker-keep-s", "0")
    server = serve(repository, "--device", "cpu", *options).wait_ready()
    wait_for(lambda: len(_lasting(server)) == WORKERS, "a spare")
    at_first = _lasting(server)
    expected = {"v1": mlp_outputs(models.mlp(1))}
    with Load(server.port, expected, concurrency=2, pause_s=0.01) as load:
        for number in range(2, MOST_VERSIONS):
            _publish(repository, number, *models("mobilenet_v2_pdmodel"))
            server.wait_serving("m", f"v{number}")
            if _gone(server):
                break
        grown = _gone(server)
        assert grown, "none has grown"
        wait_for(lambda: len(_lasting(server)) == WORKERS, "others in their places")
    load.seen.assert_clean()
    assert grown[0] in at_first
    assert server.admin()["worker_restarts"] == 0, "it ended as it was told to"


def _publish(repository: Repository, number: int, source: Path) -> None:
    version = f"v{number}"
    copy = repository.copy("m", version, source)
    (copy / "model.toml").write_text(f"# {number}\n")  # other bytes
    repository.point("m", version)


def _grown(server: Server) -> list[int]:
    return [line["pid"] for line in server.logged("worker has grown")]


def _gone(server: Server) -> list[int]:
    """Give the workers that had grown and are there no more."""
    there = {worker.pid for worker in server.workers()}
    return [pid for pid in _grown(server) if pid not in there]


def _lasting(server: Server) -> set[int]:
    return {worker.pid for worker in server.workers()} - {*_grown(server)}
