"""Triggers: each brings a new version; a storm of them is one pass."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable

from tests.conftest import Models
from tests.expected import mlp_outputs
from tests.harness import Repository, Server, mlp_request, wait_for
from tests.load import Load

Serve = Callable[..., Server]


def loaded_by(server: Server, version: str) -> str:
    """Give the trigger that the log names for a version."""
    text = f"Loaded {version}, cost="
    (line,) = wait_for(lambda: server.logged(text), "the switch is logged, after it")
    return str(line["trigger"])


def test_inotify_brings_a_new_version(serve: Serve, repository: Repository, models: Models) -> None:
    repository.publish("mlp", "v1", models.mlp(1))
    server = serve(repository, "--watch", "inotify").wait_ready()
    assert server.logged("watching the model repository")[0]["how"] == "inotify"
    repository.publish("mlp", "v2", models.mlp(2))
    server.wait_serving("mlp", "v2", 10)
    assert "inotify" in loaded_by(server, "v2")


def test_forced_polling_brings_a_new_version(
    serve: Serve, repository: Repository, models: Models
) -> None:
    repository.publish("mlp", "v1", models.mlp(1))
    server = serve(repository, "--watch", "poll", "--poll-interval-ms", "200").wait_ready()
    assert server.logged("watching the model repository")[0]["how"] == "poll"
    repository.publish("mlp", "v2", models.mlp(2))
    server.wait_serving("mlp", "v2", 20)
    assert "poll" in loaded_by(server, "v2")


def test_sighup_brings_a_new_version(serve: Serve, repository: Repository, models: Models) -> None:
    repository.publish("mlp", "v1", models.mlp(1))
    server = serve(repository, "--watch", "off").wait_ready()
    repository.publish("mlp", "v2", models.mlp(2))
    server.process.send_signal(signal.SIGHUP)
    server.wait_serving("mlp", "v2", 20)
    assert loaded_by(server, "v2") == "sighup"


def test_a_rest_load_brings_a_new_version_and_answers_when_it_serves(
    serve: Serve, repository: Repository, models: Models
) -> None:
    repository.publish("mlp", "v1", models.mlp(1))
    server = serve(repository, "--watch", "off").wait_ready()
    repository.publish("mlp", "v2", models.mlp(2))
    answer = server.post("/v2/repository/models/mlp/load")
    assert answer.status == 200
    assert server.infer("mlp", mlp_request()).headers["X-Model-Version"] == "v2"


def test_a_hundred_sighups_during_a_load_end_in_one_pass(
    serve: Serve, repository: Repository, models: Models
) -> None:
    folders = [models.mlp(1), models.mlp(2)]
    (slow,) = models("resnet50" if models.paddle.startswith("3") else "resnet50_pdmodel")
    expected = {"v1": mlp_outputs(folders[0]), "v2": mlp_outputs(folders[1])}
    repository.publish("mlp", "v1", folders[0])
    repository.settings("slow", "[[warmup]]\nimage = [1, 3, 224, 224]\n")
    repository.publish("slow", "v1", slow)
    server = serve(repository, "--watch", "off").wait_ready()
    with Load(server.port, expected, concurrency=2) as load:
        repository.copy("slow", "v2", slow)
        (repository.root / "slow/v2/model.toml").write_text("[[warmup]]\nimage=[1,3,224,224]\n")
        repository.point("slow", "v2")
        server.process.send_signal(signal.SIGHUP)
        wait_for(lambda: server.admin("slow")["candidate"], "the load runs", poll_s=0.002)
        passes = server.admin()["repository"]["passes"]
        for _ in range(100):
            os.kill(server.process.pid, signal.SIGHUP)
        repository.publish("mlp", "v2", folders[1])
        assert server.admin("slow")["candidate"], "the load still runs"
        server.wait_serving("slow", "v2")
        os.kill(server.process.pid, signal.SIGHUP)
        server.wait_serving("mlp", "v2")
        load.wait_answers(5)
    load.seen.assert_clean()
    # One pass for the hundred, and one for the last where it came after that had begun.
    assert server.admin()["repository"]["passes"] - passes <= 2


def test_a_failed_version_is_tried_again_by_sighup_only_when_asked(
    serve: Serve, repository: Repository, models: Models
) -> None:
    repository.publish("mlp", "v1", models.mlp(1))
    server = serve(repository).wait_ready()
    bad = repository.copy("mlp", "v2", models.mlp(2))
    whole = (bad / "inference.pdiparams").read_bytes()
    (bad / "inference.pdiparams").write_bytes(whole[:-10])
    repository.point("mlp", "v2")
    first = server.wait_refused("mlp", "v2")
    server.process.send_signal(signal.SIGHUP)
    wait_for(lambda: server.admin("mlp")["last_failure"]["at"] != first["at"], "tried again")
    # Mended in place, without any signal: other files are another wish.
    (bad / "inference.pdiparams").write_bytes(whole)
    server.wait_serving("mlp", "v2")


def test_sigterm_finishes_what_is_under_way_and_exits_0(
    serve: Serve, repository: Repository, models: Models
) -> None:
    slow = models.slow_mlp()
    repository.publish("mlp", "v1", slow)
    server = serve(repository).wait_ready()
    children = server.children()
    with Load(server.port, {"v1": mlp_outputs(slow)}, concurrency=3) as load:
        load.wait_answers(3)
        wait_for(lambda: server.admin("mlp")["serving"]["workers"][0]["in_flight"], "in flight")
        assert server.stop() == 0
    # What was accepted was answered; afterwards nobody listens.
    assert load.seen.wrong == []
    assert all("Cannot connect" in error or "Disconnected" in error for error in load.seen.errors)
    assert not any(child.is_running() for child in children)


def test_versions_that_come_faster_than_they_load_do_not_keep_each_other_from_serving(
    serve: Serve, repository: Repository, models: Models
) -> None:
    slow = models.slow_mlp()
    for version in ("v1", "v2", "v3", "v4"):
        folder = repository.copy("mlp", version, slow)
        (folder / "model.toml").write_text(f"# {version}\n[[warmup]]\nx = [64, 16]\n")
    repository.point("mlp", "v1")
    server = serve(repository).wait_ready()

    for version, newer in (("v2", "v3"), ("v3", "v4")):
        repository.point("mlp", version)

        def loads(wanted: str = version) -> bool:
            candidate = server.admin("mlp")["candidate"]
            return bool(candidate) and candidate["version"] == wanted

        wait_for(loads, f"{version} loads", poll_s=0.002)
        repository.point("mlp", newer)
    server.wait_serving("mlp", "v4")
    history = server.admin("mlp")["history"]
    assert [(entry["what"], entry["version"]) for entry in reversed(history)] == [
        ("live", "v1"), ("superseded", "v2"), ("live", "v3"), ("live", "v4"),
    ]  # fmt: skip
