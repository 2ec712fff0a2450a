"""Repositories as they are found: missing, empty, flat, linked, half-copied, on two devices."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.conftest import Models
from tests.harness import Repository, Server, mlp_request, wait_for
from tests.integration.tensors import assert_same, bare_answers, outputs_of

Serve = Callable[..., Server]
ROW = np.array([mlp_request()["inputs"][0]["data"]], "float32")


@pytest.fixture(scope="session")
def wanted(models: Models) -> Callable[[int], Any]:
    """What the bare predictor makes of the MLP version of a number."""
    known: dict[int, Any] = {}

    def look(number: int) -> Any:
        if number not in known:
            (known[number],) = bare_answers(models.mlp(number), [{"x": ROW}])
        return known[number]

    return look


def absent(repository: Repository) -> Path:
    """Name a place where there is nothing yet."""
    return repository.root.with_name("absent")


def serve_at(serve: Serve, repository: Repository, root: Path) -> Server:
    """Start a server on what need not be a repository: the last option counts."""
    options = ("--model-repository", str(root), "--watch", "poll", "--poll-interval-ms", "200")
    return serve(repository, *options).wait_listening()


def not_ready(server: Server, reason: str) -> None:
    """See that the server lives, is not ready, and says why."""
    assert server.get("/v2/health/live").status == 200

    def told() -> bool:
        answer = server.get("/v2/health/ready")
        return answer.status == 503 and reason in answer.error

    try:
        wait_for(told, f"not ready because: {reason}")
    except AssertionError as error:
        raise AssertionError(f"{server.get('/v2/health/ready')}\n{server.log()}") from error
    assert server.get("/v2/health/ready").headers["Retry-After"] == "1"
    assert server.admin()["ready"] is False


def test_a_repository_may_come_later(
    serve: Serve, repository: Repository, models: Models, wanted: Callable[[int], Any]
) -> None:
    root, aside = absent(repository), Repository(repository.root.with_name("aside"))
    server = serve_at(serve, repository, root)
    not_ready(server, f"model repository {root} cannot be read: No such file")
    assert server.infer("mlp", mlp_request()).status == 404
    told = server.reload()
    assert (told["ok"], "cannot be read" in told["problem"]) == (False, True)
    aside.publish("mlp", "v1", models.mlp(1))
    aside.root.rename(root)
    server.wait_serving("mlp", "v1")
    assert server.get("/v2/health/ready").status == 200
    assert_same(outputs_of(server.infer("mlp", mlp_request())), wanted(1))
    # and it may go again, without any harm to what serves
    root.rename(aside.root)
    assert "cannot be read" in server.reload()["problem"]
    assert server.get("/v2/health/ready").status == 200
    assert_same(outputs_of(server.infer("mlp", mlp_request())), wanted(1))
    aside.root.rename(root)
    assert server.reload()["ok"]
    Repository(root).publish("mlp", "v2", models.mlp(2))
    server.wait_serving("mlp", "v2")


@pytest.mark.parametrize("kind", ["file", "loop"])
def test_a_repository_that_cannot_be_read(
    kind: str, serve: Serve, repository: Repository, models: Models
) -> None:
    root = absent(repository)
    if kind == "file":
        root.write_text("")
    else:
        root.symlink_to(root.name)
    server = serve_at(serve, repository, root)
    reason = {"file": "Not a directory", "loop": "Too many levels of symbolic links"}[kind]
    not_ready(server, f"cannot be read: {reason}")
    root.unlink()
    Repository(root).publish("mlp", "v1", models.mlp(1))
    server.wait_serving("mlp", "v1")


def test_an_empty_repository_and_an_empty_model(
    serve: Serve, repository: Repository, models: Models, wanted: Callable[[int], Any]
) -> None:
    (repository.root / "notes.txt").write_text("no model")
    server = serve(repository).wait_ready()  # nothing shall serve, nothing is missing
    assert server.get("/v2/models").json() == {"models": []}
    (repository.root / "mlp").mkdir()  # as publishing begins: not a model yet
    server.reload()
    assert server.get("/v2/health/ready").status == 200
    assert server.infer("mlp", mlp_request()).status == 404
    (repository.root / "mlp/v0").mkdir()
    not_ready(server, "mlp: v0 holds no *.pdiparams file")
    answer = server.infer("mlp", mlp_request())
    assert (answer.status, answer.headers["Retry-After"]) == (503, "1")
    assert "v0 holds no *.pdiparams file" in answer.error
    assert server.get("/v2/models/mlp/ready").status == 503
    repository.publish("mlp", "v1", models.mlp(1))
    server.wait_serving("mlp", "v1")
    assert_same(outputs_of(server.infer("mlp", mlp_request())), wanted(1))


@pytest.fixture
def hidden(repository: Repository) -> Path:
    """A place outside the repository."""
    folder = repository.root.parent / "hidden"
    folder.mkdir()
    return folder


def test_models_in_all_their_layouts(
    serve: Serve,
    repository: Repository,
    models: Models,
    wanted: Callable[[int], Any],
    hidden: Path,
) -> None:
    shutil.copytree(models.mlp(1), repository.root / "flat")
    (repository.root / "newest").mkdir()
    repository.copy("newest", "v9", models.mlp(1))
    repository.copy("newest", "v10", models.mlp(2))
    Repository(hidden).publish("linked", "v1", models.mlp(3))
    (repository.root / "linked").symlink_to(hidden / "linked")
    (repository.root / ".hidden").mkdir()
    (repository.root / "not a name").mkdir()
    server = serve(repository, "--settle-ms", "300").wait_ready()
    assert server.get("/v2/models").json()["models"] == ["flat", "linked", "newest"]

    first = server.admin("flat")["serving"]
    assert first["version"] == first["digest"][:12]
    assert server.admin("newest")["serving"]["version"] == "v10"
    for name, number in (("flat", 1), ("newest", 2), ("linked", 3)):
        assert_same(outputs_of(server.infer(name, mlp_request())), wanted(number))

    # a flat model whose content changes is another version
    params = repository.root / "flat" / "inference.pdiparams"
    temporary = params.with_name(".params.tmp")
    shutil.copyfile(models.mlp(2) / params.name, temporary)
    temporary.replace(params)
    wait_for(
        lambda: server.admin("flat")["serving"]["version"] != first["version"],
        "the changed flat model serves",
    )
    second = server.admin("flat")["serving"]
    assert (second["version"], second["generation"]) == (second["digest"][:12], 2)
    assert_same(outputs_of(server.infer("flat", mlp_request())), wanted(2))

    # versions in order of their numbers; an older one that comes later changes nothing
    repository.copy("newest", "v11", models.mlp(3))
    server.wait_serving("newest", "v11")
    repository.copy("newest", "v2", models.mlp(1))
    assert server.reload()["verdicts"]["newest"]["outcome"] == "unchanged"
    assert server.admin("newest")["serving"]["version"] == "v11"

    # a linked model is followed as any other
    Repository(hidden).publish("linked", "v2", models.mlp(1))
    server.reload()
    server.wait_serving("linked", "v2")


def test_a_half_copied_version_is_not_loaded(
    serve: Serve, repository: Repository, models: Models, wanted: Callable[[int], Any]
) -> None:
    repository.copy("mlp", "v1", models.mlp(1))
    server = serve(repository, "--settle-ms", "1500").wait_ready()
    source, target = models.mlp(2), repository.root / "mlp" / "v2"
    target.mkdir()
    params = (source / "inference.pdiparams").read_bytes()
    with (target / "inference.pdiparams").open("wb") as file:
        for at in range(0, len(params), len(params) // 4 + 1):
            file.write(params[at : at + len(params) // 4 + 1])
            file.flush()
            told = server.reload(wait_s=0.3)
            assert server.admin("mlp")["serving"]["version"] == "v1"
            assert all(verdict["outcome"] != "live" for verdict in told["verdicts"].values())
    for name in source.iterdir():
        if name.suffix in (".json", ".pdmodel"):
            shutil.copyfile(name, target / name.name)
    told = server.reload(wait_s=0)
    assert (told["complete"], server.admin("mlp")["serving"]["version"]) == (False, "v1")
    assert server.admin("mlp")["last_failure"] is None
    server.wait_serving("mlp", "v2")
    assert_same(outputs_of(server.infer("mlp", mlp_request())), wanted(2))
    assert server.admin("mlp")["last_failure"] is None


def test_several_models_instances_and_devices(
    serve: Serve, repository: Repository, models: Models, wanted: Callable[[int], Any]
) -> None:
    """Two devices; `mlp` has two instances on each, `other` is on what it may use."""
    repository.settings("mlp", "instances = 2\n")
    repository.publish("mlp", "v1", models.mlp(1))
    repository.settings("other", 'devices = ["cpu"]\n')
    repository.publish("other", "v1", models.mlp(3))
    server = serve(repository, "--device", "cpu,cpu").wait_ready()

    def holders(model: str) -> list[int]:
        return sorted(
            worker["pid"]
            for worker in server.admin()["workers"]
            if worker["model"] == model
            and worker["version"] == server.admin(model)["serving"]["version"]
        )

    for version, number in (("v1", 1), ("v2", 2)):
        if version == "v2":
            repository.publish("mlp", version, models.mlp(number))
            server.wait_serving("mlp", version, 120)
        pids = server.serving_pids("mlp")
        assert len(set(pids)) == 4
        assert holders("mlp") == sorted(pids)
        for _ in range(12):
            answer = server.infer("mlp", mlp_request())
            assert answer.headers["X-Model-Version"] == version
            assert_same(outputs_of(answer), wanted(number))
    assert len(server.serving_pids("other")) == 2
    assert server.admin("other")["generation"] == 1
    assert_same(outputs_of(server.infer("other", mlp_request())), wanted(3))
