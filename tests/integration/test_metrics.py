"""/metrics of a real server: what was asked of it, what serves, what it runs on."""

from __future__ import annotations

import os
import signal
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import pytest
from prometheus_client import Metric, parser

from supervisor.metrics.families import FAMILIES
from tests.conftest import Models
from tests.harness import Repository, Server, mlp_request, wait_for
from tests.integration.wire import Wire

Serve = Callable[..., Server]
MOST = 6  # connections to each front


class Metrics:
    """One reading."""

    def __init__(self, server: Server) -> None:
        answer = server.get("/metrics")
        assert answer.status == 200
        assert answer.headers["Content-Type"].startswith("text/plain; version=0.0.4")
        self.families: dict[str, Metric] = {
            one.name: one for one in parser.text_string_to_metric_families(answer.body.decode())
        }

    def values(self, name: str, **labels: str) -> list[float]:
        family = self.families[name.removesuffix("_total").removesuffix("_count")]
        return [
            sample.value
            for sample in family.samples
            if sample.name == name and labels.items() <= sample.labels.items()
        ]

    def one(self, name: str, **labels: str) -> float:
        (value,) = self.values(name, **labels)
        return value

    def by(self, label: str, name: str) -> dict[str, float]:
        """Give the figures by the values of their one label."""
        family = self.families[name.removesuffix("_total")]
        return {sample.labels[label]: sample.value for sample in family.samples}

    def versions(self, name: str) -> set[str]:
        return {sample.labels["version"] for sample in self.families[name].samples}

    def of_role(self, role: str) -> set[str]:
        return {
            sample.labels["version"]
            for sample in self.families["hotpaddle_model_version_info"].samples
            if sample.labels["role"] == role
        }


@pytest.fixture
def server(serve: Serve, repository: Repository, models: Models) -> Server:
    repository.publish("mlp", "v1", models.mlp(1))
    return serve(repository).wait_ready()


def test_requests_and_what_they_run_on(server: Server) -> None:
    for _ in range(7):
        assert server.infer("mlp", mlp_request()).status == 200
    assert server.infer("mlp", {"inputs": []}).status == 400
    assert server.infer("mlp", mlp_request(), "v9").status == 404
    assert server.infer("nobody", mlp_request()).status == 404
    now = Metrics(server)
    assert set(now.families) == {family.name.removesuffix("_total") for family in FAMILIES}
    codes = {code: now.one("hotpaddle_requests_total", model="mlp", code=code)
             for code in ("200", "400", "404", "500", "503")}  # fmt: skip
    assert codes == {"200": 7, "400": 1, "404": 1, "500": 0, "503": 0}
    assert now.one("hotpaddle_unknown_model_requests_total") == 1
    assert now.one("hotpaddle_version_requests_total", version="v1", code="200") == 7
    for stage in ("queue", "batch_wait", "inference", "total"):
        name = "hotpaddle_request_duration_seconds_count"
        assert now.one(name, stage=stage, reload="false") == 7
        assert now.one(name, stage=stage, reload="true") == 0
    assert now.one("hotpaddle_batch_rows_count") == 7
    assert (now.one("hotpaddle_ready"), now.one("hotpaddle_model_generation")) == (1, 1)
    assert now.one("hotpaddle_model_version_mismatch") == 0
    assert now.one("hotpaddle_arena_high_water_bytes") > 0
    assert now.one("hotpaddle_arena_lent_bytes") == 0
    assert now.one("hotpaddle_ring_high_water_descriptors", ring="submission") == 1
    assert now.one("hotpaddle_response_ring_high_water_bytes") > 0
    for kind, count in (("supervisor", 1), ("json_worker", 1), ("worker", 2)):
        memory = now.values("hotpaddle_process_resident_memory_bytes", kind=kind)
        assert len(memory) == count
        assert min(memory) > 10 << 20
    assert now.values("hotpaddle_gpu_temperature_celsius") == []
    assert server.post("/metrics").status == 405
    accept = {"Accept": "application/openmetrics-text; version=1.0.0,text/plain;q=0.5"}
    openmetrics = server.call("GET", "/metrics", headers=accept)
    assert openmetrics.headers["Content-Type"].startswith("application/openmetrics-text")
    assert openmetrics.body.endswith(b"# EOF\n")

    (pid,) = server.serving_pids("mlp")
    os.kill(pid, signal.SIGKILL)
    wait_for(lambda: Metrics(server).one("hotpaddle_worker_restarts_total") == 1, "the end is seen")
    assert server.infer("mlp", mlp_request()).status == 200
    assert Metrics(server).one("hotpaddle_requests_total", code="200") == 8


@pytest.mark.parametrize("fronts", ["1", "2"])
def test_refused_calls_of_all_fronts(
    serve: Serve, repository: Repository, models: Models, tmp_path: Path, fronts: str
) -> None:
    for name in ("admin", "inference"):
        (tmp_path / name).touch(0o600)
        (tmp_path / name).write_text(f"{name}-token\n")
    repository.publish("mlp", "v1", models.mlp(1))
    server = serve(
        repository, "--fronts", fronts, "--max-connections", str(MOST), "--head-timeout-ms", "300",
        "--admin-from-loopback", "false", "--admin-token-file", str(tmp_path / "admin"),
        "--inference-token-file", str(tmp_path / "inference"),
    ).wait_ready()  # fmt: skip
    as_admin = {"Authorization": "Bearer admin-token"}

    def listening() -> list[bool]:
        shown = server.call("GET", "/admin/models", headers=as_admin).json()
        return [front["listening"] for front in shown["fronts"]]

    wait_for(lambda: all(listening()), "all fronts listen")
    seen: Counter[str] = Counter()
    for _ in range(MOST):  # some in each front
        assert server.infer("mlp", mlp_request()).status == 401
        wrong = {"Authorization": "Bearer nonsense"}
        assert server.call("GET", "/admin/models", headers=wrong).status == 403
        seen.update(("no_token", "wrong_token"))

    with ExitStack() as opened:
        slow = [opened.enter_context(Wire(server)) for _ in range(int(fronts) * MOST + 3)]
        for at, wire in enumerate(slow):
            wire.send([b"GET /v2/hea", b"POST /v2/models/mlp/in"][at % 2])
        reasons = {408: "late_head", 503: "too_many_connections"}
        seen.update(reasons[wire.answer().status] for wire in slow)
    assert seen["too_many_connections"] >= 3

    def counted() -> dict[str, float] | None:
        if server.get("/v2/health/live").status == 503:  # the others have just gone
            seen["too_many_connections"] += 1
            return None
        return Metrics(server).by("reason", "hotpaddle_refused_calls_total")

    assert wait_for(counted, "who reads metrics is let in") == seen
    assert sum(Metrics(server).values("hotpaddle_requests_total", model="mlp")) == 0


def test_versions_that_come_are_refused_go_back_and_go(server: Server, models: Models) -> None:
    repository = server.repository
    server.infer("mlp", mlp_request())
    repository.publish("mlp", "v2", models.mlp(2))
    server.wait_serving("mlp", "v2")
    server.infer("mlp", mlp_request())
    repository.point("mlp", "v3")
    server.wait_refused("mlp", "v3")
    now = Metrics(server)
    assert (now.of_role("serving"), now.of_role("desired")) == ({"v2"}, {"v3"})
    assert now.one("hotpaddle_model_version_mismatch") == 1
    assert now.one("hotpaddle_reloads_total", outcome="live") == 2
    assert now.one("hotpaddle_reload_refusals_total", reason="missing") == 1
    assert now.one("hotpaddle_reload_phase_seconds_count", phase="load") == 2
    assert server.post("/admin/models/mlp/rollback").status == 200
    now = Metrics(server)
    assert (now.of_role("serving"), now.of_role("retained")) == ({"v1"}, {"v2"})
    assert now.one("hotpaddle_reloads_total", outcome="rollback") == 1
    switched = now.one("hotpaddle_model_last_switch_timestamp_seconds")
    assert switched < now.one("hotpaddle_model_last_refusal_timestamp_seconds") + 60

    # v2 goes: its series vanish, what it counted stays
    repository.publish("mlp", "v4", models.mlp(3))
    server.wait_serving("mlp", "v4")
    wait_for(lambda: Metrics(server).of_role("retained") == {"v1"}, "v2 goes")
    now = Metrics(server)
    assert now.versions("hotpaddle_version_requests") == {"v1", "v4"}
    assert now.one("hotpaddle_requests_total", code="200") == 2
    assert now.one("hotpaddle_model_version_mismatch") == 0
