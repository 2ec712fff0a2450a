"""Bad versions: each is refused with its reason, what serves goes on, the next good one loads."""

from __future__ import annotations

import os
import re
import signal
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest

from tests import model_faults
from tests.conftest import Models
from tests.expected import mlp_outputs
from tests.harness import Repository, Server, wait_for
from tests.load import Load

Serve = Callable[..., Server]
Spoil = Callable[[Path, Models], None]


def _named(models: Models, name: str) -> Path:
    suffix = "" if models.paddle.startswith("3") else "_pdmodel"
    return models(name + suffix)[0]


def _replace_by(name: str) -> Spoil:
    def spoil(folder: Path, models: Models) -> None:
        model_faults.replace(folder, _named(models, name))

    return spoil


def _fault(fault: Callable[[Path], None]) -> Spoil:
    return lambda folder, _models: fault(folder)


def _settings(text: str) -> Spoil:
    def spoil(folder: Path, _models: Models) -> None:
        (folder / "model.toml").write_text(text)

    return spoil


def _empty_params(folder: Path, _models: Models) -> None:
    (folder / "inference.pdiparams").write_bytes(b"")


def _other_params(folder: Path, models: Models) -> None:
    model_faults.swap_params(folder, _named(models, "changed_contract"))


def _wrong_manifest(folder: Path, _models: Models) -> None:
    (folder / "manifest.json").write_text('{"files": {}}')


# name: how it is spoilt, final state, what the reason says
BAD: dict[str, tuple[Spoil, str, str]] = {
    "program_truncated": (_fault(model_faults.truncate), "FAILED", "program"),
    "program_garbage": (_fault(model_faults.garbage), "FAILED", "program"),
    "program_missing": (_fault(model_faults.missing_program), "REJECTED", "neither"),
    "params_truncated": (_fault(model_faults.truncate_params), "FAILED", "truncated|missing"),
    "params_one_byte_short": (_fault(model_faults.shorten_params), "FAILED", "missing"),
    "params_garbage": (_fault(model_faults.garbage_params), "FAILED", "corrupt"),
    "params_missing": (_fault(model_faults.missing_params), "REJECTED", "no \\*.pdiparams"),
    "params_empty": (_empty_params, "REJECTED", "empty"),
    "params_of_another_model": (_other_params, "FAILED", "warm-up"),
    "unknown_operator": (_fault(model_faults.unknown_operator), "FAILED", "."),
    "outputs_nan": (_replace_by("nan_mlp"), "FAILED", "not finite"),
    "contract_changed": (_replace_by("changed_contract"), "REJECTED", "contract"),
    "input_renamed": (_replace_by("renamed_contract"), "REJECTED", "contract"),
    "unsupported_dtype": (_replace_by("bf16_out"), "FAILED", "BF16"),
    "settings_unknown": (_settings("instnces = 2\n"), "REJECTED", "instnces"),
    "manifest_wrong": (_wrong_manifest, "REJECTED", "manifest.json"),
}


@pytest.mark.soak
def test_bad_good_bad_good_with_every_kind_of_bad(
    serve: Serve, repository: Repository, models: Models
) -> None:
    kind = "mlp" if models.paddle.startswith("3") else "mlp_pdmodel"
    folders = models(f"{kind}_v1", f"{kind}_v2")
    expected = {"good0": mlp_outputs(folders[0])}
    repository.publish("mlp", "good0", folders[0])
    server = serve(repository).wait_ready()
    with Load(server.port, expected, concurrency=4) as load:
        for number, (name, (spoil, state, reason)) in enumerate(BAD.items(), 1):
            bad = repository.copy("mlp", name, folders[number % 2])
            spoil(bad, models)
            serving = server.admin("mlp")["serving"]["version"]
            repository.point("mlp", name)
            failure = server.wait_refused("mlp", name)
            assert failure["state"] == state, failure
            assert re.search(reason, failure["reason"]), failure
            assert server.admin("mlp")["serving"]["version"] == serving
            load.wait_answers(5)
            good = f"good{number}"
            expected[good] = mlp_outputs(folders[number % 2])
            repository.publish("mlp", good, folders[number % 2])
            server.wait_serving("mlp", good)
            load.wait_answers(5)
    load.seen.assert_clean()
    assert set(load.seen.versions) == set(expected)
    assert server.admin()["repository"]["problem"] == ""


def test_a_program_that_crashes_paddle_ends_its_worker_and_nothing_else(
    serve: Serve, repository: Repository, models: Models
) -> None:
    folders = models("mlp_pdmodel_v1", "mlp_pdmodel_v2")
    expected = {"v1": mlp_outputs(folders[0]), "v3": mlp_outputs(folders[1])}
    repository.publish("mlp", "v1", folders[0])
    server = serve(repository).wait_ready()
    with Load(server.port, expected, concurrency=4) as load:
        for round_number in range(3):
            bad = f"crash{round_number}"
            model_faults.corrupt_protobuf(repository.copy("mlp", bad, folders[1]))
            repository.point("mlp", bad)
            failure = server.wait_refused("mlp", bad)
            assert failure["state"] == "FAILED"
            assert "SIGSEGV" in failure["reason"]
            load.wait_answers(5)
        repository.publish("mlp", "v3", folders[1])
        server.wait_serving("mlp", "v3")
        load.wait_answers(5)
    load.seen.assert_clean()


def test_a_version_that_hangs_in_warm_up_is_failed_and_its_worker_replaced(
    serve: Serve, repository: Repository, models: Models
) -> None:
    folders = [models.mlp(1), models.mlp(2)]
    expected = {"v1": mlp_outputs(folders[0]), "v3": mlp_outputs(folders[1])}
    repository.publish("mlp", "v1", folders[0])
    server = serve(repository, "--load-timeout-ms", "2000").wait_ready()
    with Load(server.port, expected, concurrency=4) as load:
        bad = repository.copy("mlp", "v2", folders[0])
        # The contract is the same where the exporter names outputs alike; it hangs before that.
        model_faults.replace(bad, _named(models, "endless"))
        repository.point("mlp", "v2")
        failure = server.wait_refused("mlp", "v2")
        assert failure["state"] == "FAILED"
        assert "no answer within 2 s" in failure["reason"]
        repository.publish("mlp", "v3", folders[1])
        server.wait_serving("mlp", "v3")
        load.wait_answers(5)
    load.seen.assert_clean()


def test_a_worker_killed_while_it_loads_fails_that_version_only(
    serve: Serve, repository: Repository, models: Models
) -> None:
    folders = [models.mlp(1), models.mlp(2)]
    expected = {"v1": mlp_outputs(folders[0]), "v3": mlp_outputs(folders[1])}
    repository.publish("mlp", "v1", folders[0])
    server = serve(repository).wait_ready()
    with Load(server.port, expected, concurrency=4) as load:
        bad = repository.copy("mlp", "v2", folders[0])
        model_faults.replace(bad, _named(models, "endless"))
        repository.point("mlp", "v2")

        def loading() -> list[int]:
            workers = server.admin()["workers"]
            return [worker["pid"] for worker in workers if worker["state"] == "loading"]

        (pid,) = wait_for(loading, "a worker loads")
        os.kill(pid, signal.SIGKILL)
        failure = server.wait_refused("mlp", "v2")
        assert failure["state"] == "FAILED"
        assert "SIGKILL" in failure["reason"]
        left = f"hotpaddle-load-{pid}-*"
        wait_for(lambda: not list(Path(tempfile.gettempdir()).glob(left)), "nothing is left")
        repository.publish("mlp", "v3", folders[1])
        server.wait_serving("mlp", "v3")
        load.wait_answers(5)
    load.seen.assert_clean()


def test_memory_that_runs_out_in_staging_refuses_the_version(
    serve: Serve, repository: Repository, models: Models
) -> None:
    """A parameter file of 8 TiB (sparse): it is refused before anything is copied."""
    folders = [models.mlp(1), models.mlp(2)]
    expected = {"v1": mlp_outputs(folders[0]), "v3": mlp_outputs(folders[1])}
    repository.publish("mlp", "v1", folders[0])
    server = serve(repository).wait_ready()
    with Load(server.port, expected, concurrency=4) as load:
        bad = repository.copy("mlp", "v2", folders[0])
        os.truncate(bad / "inference.pdiparams", 8 << 40)
        repository.point("mlp", "v2")
        failure = server.wait_refused("mlp", "v2")
        assert failure["state"] == "FAILED"
        assert "memory" in failure["reason"]
        repository.publish("mlp", "v3", folders[1])
        server.wait_serving("mlp", "v3")
        load.wait_answers(5)
    load.seen.assert_clean()


def test_a_contract_may_change_where_the_publisher_says_so(
    serve: Serve, repository: Repository, models: Models
) -> None:
    repository.publish("mlp", "v1", models.mlp(1))
    server = serve(repository).wait_ready()
    new = repository.copy("mlp", "v2", _named(models, "changed_contract"))
    (new / "model.toml").write_text("allow_contract_change = true\n")
    repository.point("mlp", "v2")
    server.wait_serving("mlp", "v2")
    metadata = server.get("/v2/models/mlp").json()
    assert metadata["inputs"][0]["shape"] == [-1, 17]
