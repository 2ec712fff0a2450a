"""The operators' calls under `/admin/`: status, history, reload with verdicts, rollback."""

from __future__ import annotations

import itertools
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests import model_faults
from tests.conftest import Models
from tests.harness import Repository, Server, mlp_request, wait_for

_numbers = itertools.count(1)


@pytest.fixture(scope="module")
def server(share: Callable[..., Server], shared_repository: Repository, models: Models) -> Server:
    """A server on which `mlp` changes and `still` never does."""
    shared_repository.publish("mlp", "v0", models.mlp(1))
    shared_repository.publish("still", "v1", models.mlp(3))
    return share("--spares", "2")


@pytest.fixture
def two(server: Server, models: Models) -> tuple[str, str]:
    """Publish two versions one after the other; the first is retained."""
    names = tuple(f"v{next(_numbers)}" for _ in range(2))
    for name, number in zip(names, (1, 2), strict=True):
        server.repository.publish("mlp", name, models.mlp(number))
        server.wait_serving("mlp", name)
    wait_for(lambda: retained(server) == names[0], "the first version is retained")
    return names[0], names[1]


def retained(server: Server) -> str | None:
    lane = server.admin("mlp")["retained"]
    return lane["version"] if lane and lane["state"] == "RETAINED" else None


def rollback(server: Server) -> Any:
    answer = server.post("/admin/models/mlp/rollback")
    assert answer.status == 200, answer
    return answer.json()


def answered_by(server: Server) -> tuple[str, int]:
    headers = server.infer("mlp", mlp_request()).headers
    return headers["X-Model-Version"], int(headers["X-Model-Generation"])


def hang_up(server: Server) -> None:
    """Send SIGHUP and wait for the pass that it starts."""
    passes = server.admin()["repository"]["passes"]
    server.process.send_signal(signal.SIGHUP)
    wait_for(lambda: server.admin()["repository"]["passes"] > passes, "a pass after SIGHUP")
    server.reload()


def broken(models: Models, folder: Path) -> Path:
    """Build a version that cannot be loaded."""
    source = Repository(folder).copy("broken", "v", models.mlp(2))
    model_faults.truncate_params(source)
    return source


# Status


def test_status_of_everything(server: Server) -> None:
    told = server.admin()
    assert told["server"]["name"] == "hotpaddle"
    assert told["server"]["pid"] == server.process.pid
    assert told["ready"] is True
    assert told["repository"]["problem"] == ""
    assert told["repository"]["passes"] > 0
    assert told["arena"]["lent_slots"] == told["arena"]["lent_bytes"] == 0
    assert told["arena"]["bytes"] > 0
    assert [model["name"] for model in told["models"]] == ["mlp", "still"]
    children = {child.pid for child in server.children()}
    for worker in told["workers"]:
        assert worker["pid"] in children
        assert worker["device"] == "cpu"
        assert worker["rss_bytes"] > 0


def test_status_of_a_model(server: Server, two: tuple[str, str]) -> None:
    told = server.admin("mlp")
    first, second = two
    assert (told["name"], told["ready"], told["unloaded"]) == ("mlp", True, False)
    assert (told["candidate"], told["problem"], told["queued"]) == (None, "", 0)
    serving = told["serving"]
    assert (serving["version"], serving["state"]) == (second, "SERVING")
    assert serving["generation"] == told["generation"]
    assert len(serving["digest"]) == 64
    assert serving["since"].endswith("Z")
    (worker,) = serving["workers"]
    assert worker["pid"] in {child.pid for child in server.children()}
    assert told["retained"]["version"] == first
    answered = serving["requests"]
    server.infer("mlp", mlp_request())
    assert server.admin("mlp")["serving"]["requests"] == answered + 1


def test_history_has_the_changes(
    server: Server, two: tuple[str, str], models: Models, tmp_path: Path
) -> None:
    first, second = two
    server.repository.publish("mlp", f"{second}-bad", broken(models, tmp_path))
    server.wait_refused("mlp", f"{second}-bad")
    rollback(server)
    history = server.admin("mlp")["history"][:4]
    assert [(entry["what"], entry["version"]) for entry in history] == [
        ("rollback", first), ("refused", f"{second}-bad"), ("live", second), ("live", first),
    ]  # fmt: skip
    generation = server.admin("mlp")["generation"]
    assert [entry["generation"] for entry in history] == [
        generation, generation - 1, generation - 1, generation - 2,
    ]  # fmt: skip
    assert history[0]["reason"] == "rollback by request"
    assert history[1]["reason"]
    assert all(entry["at"] and entry["trigger"] for entry in history)
    assert history[2]["cost_ms"] > 0


# Rollback


def test_rollback_goes_back_at_once_and_counts_on(server: Server, two: tuple[str, str]) -> None:
    first, second = two
    version, generation = answered_by(server)
    assert version == second
    verdict = rollback(server)
    assert verdict["outcome"] == "live"
    assert (verdict["version"], verdict["generation"]) == (first, generation + 1)
    assert answered_by(server) == (first, generation + 1)
    wait_for(lambda: retained(server) == second, "the second version is retained")


def test_rollback_stays(server: Server, two: tuple[str, str]) -> None:
    first, second = two
    rollback(server)
    state = answered_by(server)
    verdict = server.reload()["verdicts"]["mlp"]
    assert (verdict["outcome"], verdict["version"]) == ("refused", second)
    assert verdict["reason"] == f"rolled back to {first} by request"
    hang_up(server)
    assert answered_by(server) == state
    assert state[0] == first


def test_a_second_rollback_goes_forward_again(server: Server, two: tuple[str, str]) -> None:
    _, second = two
    _, generation = answered_by(server)
    rollback(server)
    rollback(server)
    server.reload()
    assert answered_by(server) == (second, generation + 2)


def test_a_publish_ends_a_rollback(server: Server, two: tuple[str, str], models: Models) -> None:
    rollback(server)
    newest = f"v{next(_numbers)}"
    server.repository.publish("mlp", newest, models.mlp(3))
    server.wait_serving("mlp", newest)
    assert answered_by(server)[0] == newest


def test_load_forgets_a_rollback(server: Server, two: tuple[str, str]) -> None:
    _, second = two
    rollback(server)
    answer = server.post("/v2/repository/models/mlp/load")
    assert (answer.status, answer.json()["version"]) == (200, second)
    assert answered_by(server)[0] == second


def test_nothing_to_roll_back_to(server: Server) -> None:
    answer = server.post("/admin/models/still/rollback")
    assert answer.status == 503
    assert "'still' retains no earlier version" in answer.error
    assert "point model_version.txt to the version" in answer.error
    assert server.admin("still")["generation"] == 1
    answer = server.post("/admin/models/nobody/rollback")
    assert (answer.status, answer.error) == (404, "model 'nobody' is not in the repository")


# Reload


def test_reload_without_waiting(server: Server) -> None:
    passes = server.admin()["repository"]["passes"]
    answer = server.post("/admin/reload")
    assert (answer.status, answer.json()) == (202, {"accepted": True})
    wait_for(lambda: server.admin()["repository"]["passes"] > passes, "another pass")


def test_reload_tells_a_verdict_per_model(
    server: Server, two: tuple[str, str], models: Models, tmp_path: Path
) -> None:
    _, second = two
    told = server.reload()
    assert (told["ok"], told["complete"], told["problem"]) == (True, True, "")
    assert told["verdicts"]["mlp"] == {
        "model": "mlp", "outcome": "unchanged", "version": second,
        "generation": server.admin("mlp")["generation"], "reason": "",
    }  # fmt: skip
    assert told["verdicts"]["still"]["outcome"] == "unchanged"

    bad = f"v{next(_numbers)}"
    server.repository.publish("mlp", bad, broken(models, tmp_path))
    told = server.reload()
    verdict = told["verdicts"]["mlp"]
    assert told["ok"] is False
    assert (verdict["outcome"], verdict["version"]) == ("refused", bad)
    assert verdict["reason"]
    assert told["verdicts"]["still"]["outcome"] == "unchanged"
    assert answered_by(server)[0] == second

    good = f"v{next(_numbers)}"
    server.repository.publish("mlp", good, models.mlp(1))
    told = server.reload()
    assert told["ok"] is True
    assert told["verdicts"]["mlp"]["version"] == good
    assert answered_by(server)[0] == good


@pytest.mark.parametrize("wait", ["", "x", "-1", "nan", "inf", "1e9", "5s", "%00"])
def test_a_bad_wait_is_told(wait: str, server: Server) -> None:
    answer = server.post(f"/admin/reload?wait={wait}")
    assert answer.status == 400
    assert "'wait' must be a number of seconds up to 3600" in answer.error


def test_a_wait_that_is_too_short_is_told(server: Server, models: Models) -> None:
    version = f"v{next(_numbers)}"
    server.repository.publish("mlp", version, models.mlp(2))
    told = server.reload(wait_s=0)
    assert (told["ok"], told["complete"], told["verdicts"]) == (False, False, {})
    server.wait_serving("mlp", version)
