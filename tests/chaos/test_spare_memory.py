"""What workers keep of a version that was given up, and when they give it back."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from tests.cgroup import MemoryGroup, memory_group
from tests.conftest import Models
from tests.harness import Repository, Server, wait_for

Serve = Callable[..., Server]

VERSION_MB = 30  # MobileNetV2 takes more
RESERVE_MB = 512
INSTANCES = 3
SHORT_MB = 815  # too little for ResNet50 beside the reserve, if spares keep theirs


def private_mb(server: Server) -> list[int]:
    """Give the workers' memory of their own, in MB, least first."""
    found = []
    for worker in server.workers():
        with suppress(FileNotFoundError):  # it has just ended
            status = Path(f"/proc/{worker.pid}/status").read_text()
            anonymous = re.search(r"^RssAnon:\s+(\d+) kB", status, re.MULTILINE)
            assert anonymous
            found.append(int(anonymous[1]) // 1024)
    return sorted(found)


def wait_all_up(server: Server, workers: int) -> None:
    def up() -> bool:
        states = server.states()
        return len(states) == workers and set(states) <= {"idle", "holding"}

    wait_for(up, "all workers are up")


@pytest.mark.parametrize("keep_s", ["3600", "1", "0"])
def test_a_spare_keeps_its_memory_for_the_next_version(
    keep_s: str, serve: Serve, repository: Repository, models: Models
) -> None:
    repository.publish("m", "v1", models("mobilenet_v2_pdmodel")[0])
    repository.publish("mlp", "v1", models.mlp(1))
    server = serve(repository, "--worker-keep-s", keep_s).wait_ready()
    wait_all_up(server, 3)
    empty, *_, full = private_mb(server)
    half = (empty + full) / 2
    assert server.post("/v2/repository/models/m/unload").status == 200
    wait_for(lambda: server.states() == ["holding", "idle"], "one ends, one has given it up")
    if keep_s == "3600":
        assert private_mb(server)[-1] > half
    else:
        wait_for(lambda: private_mb(server)[-1] < half, "it is given back")
    assert server.post("/v2/repository/models/m/load").status == 200
    server.wait_serving("m", "v1")
    assert private_mb(server)[-1] < full + half - empty
    assert server.admin()["worker_restarts"] == 0


@pytest.fixture
def group(tmp_path: Path) -> Iterator[MemoryGroup]:
    """Come before `serve`, which ends what is in the group."""
    with memory_group(f"hotpaddle-test-{tmp_path.name}") as made:
        made.leave(8192)
        yield made


def test_no_version_is_refused_for_what_spares_keep(
    group: MemoryGroup, serve: Serve, repository: Repository, models: Models
) -> None:
    (small,) = models("mobilenet_v2_pdmodel")
    (large,) = models("resnet50" if models.can("resnet50") else "resnet50_pdmodel")
    single = "max_batch_size = 1\n"  # the sizes are those of single runs
    settings = f"instances = {INSTANCES}\n{single}[[warmup]]\nimage = [8, 3, 224, 224]\n"
    repository.settings("m", settings)
    repository.settings("large", single)
    repository.publish("m", "v1", small)
    repository.publish("large", "v1", large)
    server = serve(repository, "--worker-keep-s", "3600", "--memory-reserve-mb", str(RESERVE_MB))
    group.take(server.psutil)
    server.wait_ready()
    wait_all_up(server, 2 * INSTANCES + 1)
    group.take(server.psutil)
    empty = private_mb(server)[0]
    copy = repository.copy("m", "v2", small)
    (copy / "model.toml").write_text(f"# other bytes\n{settings}")
    repository.point("m", "v2")
    server.wait_serving("m", "v2")
    repository.publish("large", "v2", large)  # in one of those that have held the first
    server.wait_serving("large", "v2")
    wait_for(lambda: server.states().count("idle") == INSTANCES - 1, "the others keep theirs")
    assert private_mb(server)[0] > empty + VERSION_MB

    group.leave(SHORT_MB)
    repository.publish("large", "v3", large)
    server.wait_serving("large", "v3")

    history = server.admin("large")["history"]
    assert "refused" not in {one["what"] for one in history}, history
    assert private_mb(server)[0] < empty + VERSION_MB / 2, "the other keeps nothing now"
