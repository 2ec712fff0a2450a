"""Upgrades in place: the program is replaced, everything that it had goes on, whatever happens."""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import psutil
import pytest

from tests.certificates import Authority
from tests.conftest import Models
from tests.expected import mlp_outputs
from tests.harness import FRONTS, Repository, Server, mlp_request, wait_for
from tests.load import Load
from tests.posts import Posts
from tests.processes import living

Serve = Callable[..., Server]
MOST_UPGRADES = 20


def worker_pids(server: Server) -> list[int]:
    return sorted(worker["pid"] for worker in server.admin()["workers"])


def wait_all_up(server: Server, workers: int = 2) -> None:
    def up() -> bool:
        found = server.admin()["workers"]
        return len(found) == workers and all(one["state"] != "starting" for one in found)

    wait_for(up, "all workers are up")


def ended(server: Server) -> bool:
    return server.get("/admin/upgrade").json()["phase"] in ("done", "refused")


def folder_of(models: Models, version: int) -> Path:
    """Give the model that is published as a version; two that alternate."""
    return models.mlp(2 - version % 2)


@contextmanager
def under_load(
    serve: Serve, repository: Repository, models: Models, *options: str, concurrency: int = 8
) -> Iterator[tuple[Server, Load]]:
    """Serve two MLP versions under a load that must see nothing but answers."""
    expected = {f"v{number}": mlp_outputs(folder_of(models, number)) for number in range(1, 9)}
    repository.publish("mlp", "v1", folder_of(models, 1))
    server = serve(repository, *options).wait_ready()
    wait_all_up(server)
    with Load(server.port, expected, concurrency=concurrency) as load:
        load.wait_answers(50)
        yield server, load
        load.wait_answers(50)
    load.seen.assert_clean()


def carried(server: Server) -> int:
    """Count the requests that one program has taken over from another."""
    return sum(line["requests"] for line in server.logged("the new program takes over"))


def test_sigusr2_under_load_loses_nothing_and_keeps_the_workers(
    serve: Serve, repository: Repository, models: Models
) -> None:
    with under_load(serve, repository, models, concurrency=32) as (server, load):
        repository.publish("mlp", "v2", folder_of(models, 2))
        server.wait_serving("mlp", "v2")
        before, pids = server.admin("mlp"), worker_pids(server)
        server.process.send_signal(signal.SIGUSR2)
        assert server.wait_upgraded(1)["phase"] == "done"
        load.wait_answers(200)
        after, upgrades = server.admin("mlp"), 1
        while upgrades < 2 or not carried(server):  # a request under way in that very moment
            assert upgrades < MOST_UPGRADES, "no request was under way in the moment of any"
            assert server.upgrade()["phase"] == "done"
            upgrades += 1
            load.wait_answers(200)
        assert worker_pids(server) == pids
        repository.publish("mlp", "v3", folder_of(models, 3))
        server.wait_serving("mlp", "v3")
        load.wait_answers(200)
    assert (after["generation"], after["serving"]["version"]) == (2, "v2")
    assert after["retained"]["version"] == "v1"
    assert after["history"] == before["history"]
    assert after["serving"]["requests"] >= before["serving"]["requests"] + 200
    assert worker_pids(server) == pids
    assert server.post("/admin/models/mlp/rollback").json()["version"] == "v2"
    assert len(server.logged("Upgraded from")) == upgrades


def test_many_upgrades_leave_nothing_behind(
    serve: Serve, repository: Repository, models: Models
) -> None:
    def held() -> tuple[int, list[int], int]:
        names = [
            path.readlink().name.split(":")[0]
            for path in Path(f"/proc/{server.process.pid}/fd").iterdir()
        ]
        memory = sum("memfd" in name or "hotpaddle" in name for name in names)
        children = sorted(child.pid for child in server.workers())
        return memory, children, len(server.children())

    with under_load(serve, repository, models, "--log-level", "info") as (server, load):
        assert server.upgrade()["phase"] == "done"
        wait_for(lambda: len(server.children()) == 2 + FRONTS * 2 - 1, "all children are there")
        load.wait_answers(100)
        first, descriptors = held(), server.descriptors()
        for _ in range(2):
            assert server.upgrade()["phase"] == "done"
            load.wait_answers(100)
        wait_for(lambda: held() == first, "memory files and processes are as before")
        wait_for(lambda: server.descriptors() <= descriptors, "descriptors are as before")
        wait_for(lambda: server.admin()["arena"]["lent_slots"] <= 8, "slots have come back")
        zombies = [one for one in server.children() if one.status() == psutil.STATUS_ZOMBIE]
        assert zombies == []
    wait_for(lambda: server.admin()["arena"]["lent_slots"] == 0, "all slots are back")


def test_a_worker_that_dies_while_the_program_is_replaced_costs_nobody_an_answer(
    serve: Serve, repository: Repository, models: Models
) -> None:
    # A further front would wait for the worker, and it is ours that is replaced.
    with under_load(serve, repository, models, "--fronts", "1") as (server, load):
        serving = server.admin("mlp")["serving"]["workers"][0]["pid"]
        worker = psutil.Process(serving)
        worker.suspend()  # so that it holds requests in that moment
        server.process.send_signal(signal.SIGUSR2)
        wait_for(lambda: server.logged("the new program takes over"), "it is being replaced")
        worker.kill()
        assert server.wait_upgraded(1)["phase"] == "done"
        load.wait_answers(200)
        wait_for(lambda: server.admin()["worker_restarts"] == 1, "its end was seen")
        assert server.admin("mlp")["serving"]["version"] == "v1"


def test_workers_are_replaced_though_the_repository_has_gone_meanwhile(
    serve: Serve, repository: Repository, models: Models
) -> None:
    with under_load(serve, repository, models) as (server, load):
        repository.root.rename(repository.root.with_name("gone"))
        assert server.upgrade()["phase"] == "done"
        for _ in range(2):
            for pid in server.serving_pids("mlp"):
                psutil.Process(pid).kill()
            load.wait_answers(100)
        wait_all_up(server)


def test_a_load_under_way_is_waited_for(
    serve: Serve, repository: Repository, models: Models
) -> None:
    with under_load(serve, repository, models) as (server, load):
        spare = next(one for one in server.admin()["workers"] if one["state"] == "idle")
        psutil.Process(spare["pid"]).suspend()  # a load that takes as long as we like
        repository.publish("mlp", "v2", folder_of(models, 2))
        wait_for(lambda: server.admin("mlp")["candidate"], "the load has begun")
        server.process.send_signal(signal.SIGUSR2)
        wait_for(lambda: server.get("/admin/upgrade").json()["phase"] == "waiting", "it waits")
        load.wait_answers(50)
        psutil.Process(spare["pid"]).resume()
        assert server.wait_upgraded(1)["phase"] == "done"
        assert server.admin("mlp")["serving"]["version"] == "v2"


def test_triggers_that_come_meanwhile_are_heard_by_the_new_program(
    serve: Serve, repository: Repository, models: Models
) -> None:
    with under_load(serve, repository, models) as (server, load):
        for number in range(2, 6):
            server.process.send_signal(signal.SIGUSR2)
            server.process.send_signal(signal.SIGHUP)
            repository.publish("mlp", f"v{number}", folder_of(models, number))
            server.process.send_signal(signal.SIGHUP)
            server.wait_serving("mlp", f"v{number}")
            load.wait_answers(20)
        server.process.send_signal(signal.SIGHUP)
        wait_for(
            lambda: server.get("/admin/upgrade").json()["phase"] in ("done", "refused"),
            "it is over",
        )
        assert server.upgrade()["phase"] == "done"


@pytest.mark.parametrize("pause_s", [0.0, 0.7])
def test_sigterm_after_sigusr2_stops_the_server_in_order(
    serve: Serve, repository: Repository, models: Models, pause_s: float
) -> None:
    repository.publish("mlp", "v1", models.mlp(1))
    server = serve(repository).wait_ready()
    children = server.children()
    server.process.send_signal(signal.SIGUSR2)
    time.sleep(pause_s)  # on trial, or in the middle of it: whatever it is then
    server.process.send_signal(signal.SIGTERM)
    assert server.process.wait(40) == 0
    assert not any(child.is_running() for child in children)


def test_workers_still_die_with_the_supervisor(
    serve: Serve, repository: Repository, models: Models
) -> None:
    repository.publish("mlp", "v1", models.mlp(1))
    server = serve(repository).wait_ready()
    assert server.upgrade()["phase"] == "done"
    children = server.children()
    server.process.kill()
    wait_for(lambda: not living(children), "all have gone with it")


@pytest.mark.skipif(FRONTS > 1, reason="starts two fronts itself")
def test_further_fronts_are_replaced_too(
    serve: Serve, repository: Repository, models: Models
) -> None:
    def fronts() -> set[int]:
        state = server.admin()["fronts"]
        return {front["pid"] for front in state if front["listening"]}

    with under_load(serve, repository, models, "--fronts", "2") as (server, load):
        wait_for(lambda: len(fronts()) == 1, "the further front listens")
        before, pids = fronts(), worker_pids(server)
        answered = sum(one["answered"] for one in server.admin()["workers"])
        assert server.upgrade()["phase"] == "done"
        wait_for(lambda: len(fronts()) == 1 and not fronts() & before, "a new one listens")
        load.wait_answers(100)
        assert worker_pids(server) == pids
        assert sum(one["answered"] for one in server.admin()["workers"]) > answered


@pytest.mark.parametrize("how", ["large JSON", "chunked", "TLS"])
def test_clients_that_cannot_be_taken_along_lose_nothing_either(
    serve: Serve, repository: Repository, models: Models, tmp_path: Path, how: str
) -> None:
    options, context, scheme = ["--json-inline-kb", "1"], None, "http"
    if how == "TLS":
        authority = Authority(tmp_path)
        certificate, key = authority.server()
        options += ["--tls-certificate", str(certificate), "--tls-key", str(key)]
        options += ["--admin-socket", str(tmp_path / "admin.sock")]
        context, scheme = authority.context(), "https"
    repository.publish("mlp", "v1", models.mlp(1))
    server = serve(repository, *options).wait_listening()
    rows = 2000 if how == "large JSON" else 1
    body = json.dumps(mlp_request(rows=rows)).encode()
    url = f"{scheme}://127.0.0.1:{server.port}/v2/models/mlp/infer"
    wait_for(lambda: server.logged("Loaded v1"), "v1 serves")
    with ExitStack() as stack:
        clients = [
            stack.enter_context(Posts(url, body, chunked=how == "chunked", context=context))
            for _ in range(3)
        ]
        for client in clients:
            client.wait_answers(5)
        server.process.send_signal(signal.SIGUSR2)
        wait_for(lambda: server.logged("Upgraded from"), "it is done")
        for client in clients:
            client.wait_answers(5)
    assert [client.failures for client in clients] == [[], [], []]
