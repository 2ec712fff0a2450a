"""A host with too little memory for two versions: each policy does what it says, under load."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Self

import pytest

from tests.cgroup import MemoryGroup, memory_group
from tests.conftest import Models
from tests.expected import mlp_outputs
from tests.harness import Repository, Server, mlp_request, wait_for
from tests.load import Load

Serve = Callable[..., Server]

ROOMY_MB = 4096
SHORT_MB = 250  # less than the reserve: nothing that needs more than it has fits
RESERVE = ("--memory-reserve-mb", "512")


@pytest.fixture
def group(tmp_path: Path) -> Iterator[MemoryGroup]:
    """Come before `serve`, which ends what is in the group."""
    with memory_group(f"hotpaddle-test-{tmp_path.name}") as made:
        made.leave(ROOMY_MB)
        yield made


def all_idle_or_holding(server: Server, workers: int) -> bool:
    states = [worker["state"] for worker in server.admin()["workers"]]
    return len(states) == workers and set(states) <= {"idle", "holding"}


def start(
    group: MemoryGroup, serve: Serve, repository: Repository, *options: str, workers: int = 2
) -> Server:
    """Start a server in the group; comes back when it has all its workers."""
    server = serve(repository, *options)
    group.take(server.psutil)
    server.wait_ready()
    group.take(server.psutil)
    wait_for(lambda: all_idle_or_holding(server, workers), "all workers are up")
    return server


def test_refuse_keeps_what_serves_and_tries_again_when_there_is_memory(
    group: MemoryGroup, serve: Serve, repository: Repository, models: Models
) -> None:
    expected = {f"v{number}": mlp_outputs(models.mlp(number)) for number in (1, 2)}
    repository.publish("mlp", "v1", models.mlp(1))
    server = start(group, serve, repository, *RESERVE)
    with Load(server.port, expected, concurrency=2) as load:
        group.leave(SHORT_MB)
        repository.publish("mlp", "v2", models.mlp(2))
        failure = server.wait_refused("mlp", "v2")
        assert failure["reason"].startswith("too little memory: the load needs about ")
        assert "512 MB are kept in reserve (memory_reserve_mb)" in failure["reason"]
        passes = server.admin()["repository"]["passes"]
        server.reload()  # tries it once more, in vain
        assert server.admin()["repository"]["passes"] > passes
        assert server.admin("mlp")["serving"]["version"] == "v1"
        refusals = [one for one in server.admin("mlp")["history"] if one["what"] == "refused"]
        assert [one["kind"] for one in refusals] == ["memory", "memory"]
        repository.point("mlp", "v2")  # a look that finds nothing changed copies nothing
        wait_for(lambda: server.admin()["repository"]["passes"] > passes + 1, "another pass")
        load.wait_answers(20)
        group.leave(ROOMY_MB)
        repository.point("mlp", "v2")
        server.wait_serving("mlp", "v2")
        load.wait_answers(20)
    load.seen.assert_clean()
    assert server.admin("mlp")["retained"]["version"] == "v1"
    assert server.admin("mlp")["generation"] == 2


@pytest.mark.parametrize("fronts", ["1", "2"])
def test_reclaim_loads_in_place_and_requests_wait(
    group: MemoryGroup, serve: Serve, repository: Repository, models: Models, fronts: str
) -> None:
    expected = {f"v{number}": mlp_outputs(models.mlp(1 + number % 2)) for number in (1, 2, 3)}
    repository.publish("mlp", "v1", models.mlp(2))
    server = start(
        group, serve, repository, *RESERVE, "--when-memory-is-short", "reclaim", "--fronts", fronts
    )
    with Load(server.port, expected) as load:
        load.wait_answers(50)
        group.leave(SHORT_MB)
        for version, number in (("v2", 1), ("v3", 2)):
            repository.publish("mlp", version, models.mlp(number))
            server.wait_serving("mlp", version)
            load.wait_answers(50)
    load.seen.assert_clean()
    assert set(load.seen.versions) == {"v1", "v2", "v3"}
    assert len(server.logged("loaded in place")) == 2
    state = wait_for(lambda: none_retained(server), "the old version is given up")
    assert state["generation"] == 3
    assert server.admin()["worker_restarts"] == 0
    assert slowest_ms(load) > server_load_ms(server)
    print(f"requests waited for up to {slowest_ms(load):.0f} ms: {server.logged('Loaded ')[-1]}")


def none_retained(server: Server) -> Any:
    state = server.admin("mlp")
    return state if state["retained"] is None else None


def slowest_ms(load: Load) -> float:
    return max(latency_ms for _, latency_ms in load.seen.latencies_ms)


def server_load_ms(server: Server) -> float:
    """Give how long the last load took: requests cannot have waited for less."""
    return float(server.logged("Loaded ")[-1]["load"].removesuffix("ms"))


@pytest.mark.parametrize(("fronts", "bad"), [("1", "nan_mlp"), ("2", "changed_contract")])
def test_a_bad_version_in_place_gives_way_to_the_old_one(
    group: MemoryGroup,
    serve: Serve,
    repository: Repository,
    models: Models,
    fronts: str,
    bad: str,
) -> None:
    expected = {f"v{number}": mlp_outputs(models.mlp(number)) for number in (1, 3)}
    repository.publish("mlp", "v1", models.mlp(1))
    server = start(
        group, serve, repository, *RESERVE, "--when-memory-is-short", "reclaim", "--fronts", fronts
    )
    with Load(server.port, expected) as load:
        load.wait_answers(50)
        group.leave(SHORT_MB)
        repository.publish("mlp", "v2", models(bad)[0])
        server.wait_refused("mlp", "v2")
        server.wait_serving("mlp", "v1")
        load.wait_answers(50)
        assert server.logged("Restored v1")
        repository.publish("mlp", "v3", models.mlp(3))
        server.wait_serving("mlp", "v3")
        load.wait_answers(50)
    load.seen.assert_clean()
    assert server.admin("mlp")["generation"] == 2
    assert server.admin("mlp")["counts"].get("poison", 0) == 0


def test_a_load_in_place_that_hangs_gives_way_too(
    group: MemoryGroup, serve: Serve, repository: Repository, models: Models
) -> None:
    """And what is seen of the model meanwhile."""
    repository.publish("mlp", "v1", models.mlp(1))
    server = start(group, serve, repository, *RESERVE, "--when-memory-is-short", "reclaim")
    with Load(server.port, {"v1": mlp_outputs(models.mlp(1))}) as load:
        load.wait_answers(20)
        group.leave(SHORT_MB)
        hangs = repository.copy("mlp", "v2", models("endless")[0])
        (hangs / "model.toml").write_text("load_timeout_ms = 3000\n")
        repository.point("mlp", "v2")
        wait_for(lambda: server.logged("loaded in place"), "the serving version makes room")
        wait_for(lambda: not server.serving_pids("mlp"), "it has no worker")
        assert server.get("/v2/health/ready").status == 503
        assert server.infer("mlp", mlp_request(), version="v1").status == 404
        assert server.admin("mlp")["serving"]["version"] == "v1"
        server.wait_refused("mlp", "v2")
        load.wait_answers(20)
        assert server.infer("mlp", mlp_request(), version="v1").status == 200
    load.seen.assert_clean()
    assert slowest_ms(load) > 3000
    assert server.admin("mlp")["last_failure"]["reason"].startswith("the load gave no answer")


class Asking(threading.Thread):
    """Asks a model for one inference after the other, and keeps what it is answered."""

    def __init__(self, server: Server, model: str, request: dict[str, Any]) -> None:
        super().__init__(daemon=True)
        self.answers: list[tuple[int, str, float]] = []  # status, version, seconds
        self._server, self._model, self._request = server, model, request
        self._stop_asked = threading.Event()

    def run(self) -> None:
        while not self._stop_asked.is_set():
            started = time.monotonic()
            answer = self._server.infer(self._model, self._request)
            version = answer.headers.get("X-Model-Version", "")
            self.answers.append((answer.status, version, time.monotonic() - started))

    def wait_answers(self, more: int) -> None:
        goal = len(self.answers) + more
        wait_for(lambda: len(self.answers) >= goal, f"{more} more answers")

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop_asked.set()
        self.join(90)
        assert not self.is_alive()


def test_resnet50_where_two_do_not_fit(
    group: MemoryGroup, serve: Serve, repository: Repository, models: Models
) -> None:
    """With a limit that the kernel enforces: what takes too much is killed."""
    (folder,) = models("resnet50" if models.can("resnet50") else "resnet50_pdmodel")
    short_mb = 280  # the copy takes 100 MB, the load 250 MB, the reserve 64 MB
    repository.publish("resnet50", "v1", folder)
    server = start(
        group, serve, repository, "--memory-reserve-mb", "64", "--when-memory-is-short", "reclaim",
        "--spares", "2", workers=3,
    )  # fmt: skip
    (given,) = server.get("/v2/models/resnet50").json()["inputs"]
    request = {
        "inputs": [
            {
                "name": given["name"], "datatype": "FP32", "shape": [1, 3, 224, 224],
                "data": [0.5] * (3 * 224 * 224),
            }
        ]
    }  # fmt: skip
    with Asking(server, "resnet50", request) as asking:
        asking.wait_answers(3)
        group.leave(short_mb)
        repository.publish("resnet50", "v2", folder)
        server.wait_serving("resnet50", "v2")
        asking.wait_answers(3)
        assert len(server.logged("loaded in place")) == 1
        group.leave(ROOMY_MB)
        repository.publish("resnet50", "v3", folder)
        server.wait_serving("resnet50", "v3")
        wait_for(lambda: server.admin("resnet50")["retained"]["state"] == "RETAINED", "drained")
        group.leave(short_mb)  # which suffices once v2 is given up
        repository.publish("resnet50", "v4", folder)
        server.wait_serving("resnet50", "v4")
        asking.wait_answers(3)
    assert len(server.logged("loaded in place")) == 1
    assert {status for status, _, _ in asking.answers} == {200}
    slowest = {
        version: max(seconds for _, by, seconds in asking.answers if by == version)
        for version in ("v1", "v2", "v3", "v4")
    }
    print(f"slowest answers (v2 came in place): {slowest} s; {server.admin('resnet50')['memory']}")
    assert server.admin()["worker_restarts"] == 0
