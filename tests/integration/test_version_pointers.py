"""What a version pointer and a `model.toml` may say, and what lies behind a version's name."""

from __future__ import annotations

import itertools
import shutil
import signal
from collections.abc import Callable

import pytest

from tests.conftest import Models
from tests.harness import Repository, Server, mlp_request, wait_for

_numbers = itertools.count(1)


@pytest.fixture(scope="module")
def server(share: Callable[..., Server], shared_repository: Repository, models: Models) -> Server:
    shared_repository.publish("mlp", "v0", models.mlp(1))
    return share("--device", "cpu", "--settle-ms", "100")


@pytest.fixture
def version() -> str:
    return f"v{next(_numbers)}"


def point_bytes(server: Server, data: bytes) -> None:
    """Write bytes as the pointer."""
    pointer = server.repository.root / "mlp" / "model_version.txt"
    temporary = pointer.with_suffix(".new")
    temporary.write_bytes(data)
    temporary.replace(pointer)


def serving(server: Server) -> str:
    """Name the version that answers."""
    answer = server.infer("mlp", mlp_request())
    assert answer.status == 200
    return answer.headers["X-Model-Version"]


GOOD = {
    "plain": "{}",
    "line end": "{}\n",
    "CRLF": "{}\r\n",
    "CR": "{}\r",
    "blanks": "  \t{} \n\n ",
    "byte-order mark": "\ufeff{}\r\n",
}


@pytest.mark.parametrize("form", GOOD.values(), ids=list(GOOD))
def test_a_pointer_may_be_written_by_any_editor(
    form: str, version: str, server: Server, models: Models
) -> None:
    server.repository.copy("mlp", version, models.mlp(2))
    point_bytes(server, form.format(version).encode())
    assert server.reload()["ok"]
    assert serving(server) == version


BAD = {
    "missing version": (b"v999", "the version pointer names v999, which is not in the repository"),
    "empty": (b"", "model_version.txt is empty"),
    "blank": (b" \r\n", "model_version.txt is empty"),
    "only a mark": (b"\xef\xbb\xbf", "model_version.txt is empty"),
    "parent": (b"../mlp/v0", "model_version.txt names '../mlp/v0', which is no version name"),
    "dots": (b"..", "which is no version name"),
    "absolute": (b"/etc", "which is no version name"),
    "hidden": (b".v0", "which is no version name"),
    "two lines": (b"v0\nv1", "which is no version name"),
    "zero byte": (b"v0\0", "which is no version name"),
    "long name": (b"v" * 200, "which is no version name"),
    "not UTF-8": (b"\xff\xfe", "model_version.txt is not UTF-8"),
    "large": (b"v" * 10_000, "model_version.txt is larger than 4096 bytes"),
}


@pytest.mark.parametrize(("data", "reason"), BAD.values(), ids=list(BAD))
def test_a_bad_pointer_is_refused_and_changes_nothing(
    data: bytes, reason: str, server: Server
) -> None:
    before = serving(server)
    point_bytes(server, data)
    told = server.reload()
    verdict = told["verdicts"]["mlp"]
    assert (told["ok"], verdict["outcome"]) == (False, "refused")
    assert reason in verdict["reason"]
    assert reason in server.admin("mlp")["problem"]
    failure = server.admin("mlp")["last_failure"]
    assert (failure["state"], reason in failure["reason"]) == ("REJECTED", True)
    assert serving(server) == before
    assert server.get("/v2/health/ready").status == 200


def test_a_good_pointer_after_bad_ones(version: str, server: Server, models: Models) -> None:
    for _ in range(2):
        point_bytes(server, b"v999")
        assert not server.reload()["ok"]
        server.repository.publish("mlp", version, models.mlp(2))
        assert server.reload()["ok"]
        assert serving(server) == version


def test_a_version_may_come_after_its_pointer(version: str, server: Server, models: Models) -> None:
    server.repository.point("mlp", version)
    server.wait_refused("mlp", version)
    server.repository.copy("mlp", version, models.mlp(2))
    server.wait_serving("mlp", version)


SETTINGS = {
    "unknown": ("batch = 4", "model.toml: unknown setting 'batch'; known are"),
    "type": ('cpu_threads = "many"', "model.toml: cpu_threads = 'many': must be a whole number"),
    "range": ("instances = 0", "model.toml: instances = 0: must be a whole number from 1 to 64"),
    "choice": ('precision = "fp8"', "model.toml: precision = 'fp8': must be one of fp32, fp16"),
    "boolean": ("onednn = 7", "model.toml: onednn = 7: must be true or false"),
    "device": ('devices = ["gpu:7"]', "model.toml: devices names gpu:7, the server has cpu"),
    "warm-up": ("[[warmup]]\nx = [0, 16]", "model.toml: warmup ="),
    "no TOML": ("instances: 1", "model.toml is not TOML"),
    "not UTF-8": ("\udcff", "model.toml is not TOML"),
}


@pytest.mark.parametrize(("text", "reason"), SETTINGS.values(), ids=list(SETTINGS))
def test_bad_model_settings_are_refused(
    text: str, reason: str, version: str, server: Server, models: Models
) -> None:
    before = serving(server)
    target = server.repository.copy("mlp", version, models.mlp(2))
    (target / "model.toml").write_bytes(text.encode(errors="surrogateescape"))
    server.repository.point("mlp", version)
    verdict = server.reload()["verdicts"]["mlp"]
    assert (verdict["outcome"], verdict["version"]) == ("refused", version)
    assert reason in verdict["reason"]
    failure = server.admin("mlp")["last_failure"]
    assert (failure["version"], failure["state"]) == (version, "REJECTED")
    assert serving(server) == before


def test_good_model_settings(version: str, server: Server, models: Models) -> None:
    target = server.repository.copy("mlp", version, models.mlp(2))
    (target / "model.toml").write_text("onednn = false\n[[warmup]]\nx = [3, 16]\n")
    server.repository.point("mlp", version)
    assert server.reload()["ok"]
    assert serving(server) == version


def test_a_version_may_be_a_symbolic_link(version: str, server: Server, models: Models) -> None:
    (server.repository.root / "mlp" / version).symlink_to(models.mlp(2))
    server.repository.point("mlp", version)
    server.wait_serving("mlp", version)


@pytest.mark.parametrize("target", ["nowhere", "."], ids=["broken", "loop"])
def test_a_bad_link_is_no_version(target: str, version: str, server: Server) -> None:
    before = serving(server)
    link = server.repository.root / "mlp" / version
    link.symlink_to(version if target == "." else target)
    server.repository.point("mlp", version)
    verdict = server.reload()["verdicts"]["mlp"]
    assert (verdict["outcome"], serving(server)) == ("refused", before)
    link.unlink()


def test_a_version_that_is_deleted_serves_on(version: str, server: Server, models: Models) -> None:
    server.repository.publish("mlp", version, models.mlp(2))
    server.wait_serving("mlp", version)
    generation = server.admin("mlp")["generation"]
    shutil.rmtree(server.repository.root / "mlp" / version)
    wait_for(lambda: server.admin("mlp")["problem"], "the loss is noticed")
    passes = server.admin()["repository"]["passes"]
    server.process.send_signal(signal.SIGHUP)
    wait_for(lambda: server.admin()["repository"]["passes"] > passes, "a pass after SIGHUP")
    server.reload()
    assert serving(server) == version
    assert server.admin("mlp")["generation"] == generation
    assert server.get("/v2/health/ready").status == 200
    server.repository.copy("mlp", version, models.mlp(2))
    assert server.reload()["ok"]
    assert server.admin("mlp")["generation"] == generation  # the same bytes: nothing to load


def test_a_model_that_is_deleted_serves_on(version: str, server: Server, models: Models) -> None:
    server.repository.publish("mlp", version, models.mlp(2))
    server.wait_serving("mlp", version)
    model, aside = server.repository.root / "mlp", server.repository.root / ".aside"
    model.rename(aside)
    server.reload()
    assert serving(server) == version
    aside.rename(model)
    assert server.reload()["ok"]
    assert serving(server) == version
