"""A real Prometheus reads a real server; rules, alerts and the dashboard are checked against it.

`make tools` fetches it.
"""

from __future__ import annotations

import json
import math
import re
import shutil
import socket
import subprocess
import threading
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, Self

import pytest

from supervisor.metrics.families import FAMILIES
from tests.conftest import Models
from tests.harness import ROOT, Repository, Server, mlp_request, wait_for

Serve = Callable[..., Server]
MONITORING = ROOT / "monitoring"
SCRAPE_S = 0.25
WINDOW = "3s"  # stands for $__rate_interval


def tool(name: str) -> str:
    unpacked = ROOT / ".cache/prometheus/usr/bin" / name
    found = str(unpacked) if unpacked.exists() else shutil.which(name)
    if found is None:
        pytest.skip(f"{name} is not there: `make tools`, or install the Debian package prometheus")
    return found


def promtool(*arguments: str | Path, feed: bytes = b"") -> str:
    done = subprocess.run(
        [tool("promtool"), *arguments], input=feed, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT, check=False,
    )  # fmt: skip
    said = done.stdout.decode()
    assert done.returncode == 0, said
    return said


class Prometheus:
    """One Prometheus that scrapes one server."""

    def __init__(self, folder: Path, target: int) -> None:
        with socket.socket() as one:
            one.bind(("127.0.0.1", 0))
            self.port = one.getsockname()[1]
        configuration = (MONITORING / "prometheus.yml").read_text()
        configuration = configuration.replace("localhost:8000", f"127.0.0.1:{target}")
        configuration = configuration.replace("interval: 15s", f"interval: {SCRAPE_S * 1000:.0f}ms")
        folder.mkdir()
        (folder / "prometheus.yml").write_text(configuration)
        shutil.copy(MONITORING / "alerts.yml", folder)
        with (folder / "log").open("wb") as log:
            self._process = subprocess.Popen(
                [
                    tool("prometheus"), f"--config.file={folder}/prometheus.yml",
                    f"--storage.tsdb.path={folder}/data",
                    f"--web.listen-address=127.0.0.1:{self.port}",
                ],
                stdout=log, stderr=log,
            )  # fmt: skip

    def get(self, path: str, **query: str) -> Any:
        url = f"http://127.0.0.1:{self.port}/api/v1/{path}?{urllib.parse.urlencode(query)}"
        try:
            with urllib.request.urlopen(url, timeout=10) as answer:
                return json.load(answer)["data"]
        except urllib.error.HTTPError as error:
            if error.code == 503:  # it is starting
                return None
            raise AssertionError(f"{query}: {error.read().decode()}") from error
        except urllib.error.URLError:  # it does not listen yet
            return None

    def values(self, query: str) -> list[float]:
        """Run a query; gives the figures that it has."""
        data = self.get("query", query=query)
        values = [float(row["value"][1]) for row in data["result"]] if data else []
        return [value for value in values if math.isfinite(value)]

    def stop(self) -> None:
        self._process.terminate()
        self._process.wait(30)


class Traffic:
    """Requests, one after the other, until told to stop."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self.failures = 0

    def _run(self) -> None:
        while not self._stop.wait(0.005):
            self.failures += self._server.infer("mlp", mlp_request()).status != 200

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(30)


def dashboard_queries() -> list[tuple[str, str]]:
    """Give title and query of all that the dashboard asks."""
    dashboard = json.loads((MONITORING / "grafana-dashboard.json").read_text())
    return [
        (panel["title"], target["expr"])
        for panel in dashboard["panels"]
        for target in panel.get("targets", ())
    ] + [(one["name"], one["expr"]) for one in dashboard["annotations"]["list"]]


def filled(query: str) -> str:
    """Fill in what Grafana fills in."""
    query = query.replace("$__rate_interval", WINDOW)
    return query.replace("$instance", ".*").replace("$model", ".*")


def test_rules_and_configuration_are_valid() -> None:
    assert "10 rules found" in promtool("check", "rules", MONITORING / "alerts.yml")
    promtool("check", "config", MONITORING / "prometheus.yml")


def test_alerts_fire_when_they_should() -> None:
    assert "SUCCESS" in promtool("test", "rules", MONITORING / "alerts.test.yml")


def test_every_alert_is_tested_to_fire_and_says_what_to_do() -> None:
    alerts = set(re.findall(r"alert: (\w+)", (MONITORING / "alerts.yml").read_text()))
    tests = (MONITORING / "alerts.test.yml").read_text()
    assert set(re.findall(r"alertname: (\w+)\n +exp_alerts:", tests)) == alerts
    text = (MONITORING / "alerts.yml").read_text()
    assert text.count("description: >-") == text.count("summary: ") == len(alerts)


def test_only_metrics_that_exist_are_used() -> None:
    exist = {
        name
        for family in FAMILIES
        for name in (
            [f"{family.name}_{part}" for part in ("bucket", "count", "sum")]
            if family.kind == "histogram"
            else [family.name]
        )
    }
    used = "\n".join(query for _, query in dashboard_queries())
    used += "\n".join(
        re.findall(r"expr: .*|^ {10}.*", (MONITORING / "alerts.yml").read_text(), re.MULTILINE)
    )
    used = re.sub(r"\{\{.*?\}\}", "", used)
    assert set(re.findall(r"\bhotpaddle_\w+", used)) <= exist
    queried = set(re.findall(r"\bhotpaddle_\w+", "\n".join(q for _, q in dashboard_queries())))
    assert len(queried) > 30


@pytest.fixture
def server(serve: Serve, repository: Repository, models: Models) -> Server:
    repository.publish("mlp", "v1", models.mlp(1))
    return serve(repository).wait_ready()


@pytest.fixture
def prometheus(server: Server, tmp_path: Path) -> Iterator[Prometheus]:
    one = Prometheus(tmp_path / "prometheus", server.port)
    yield one
    one.stop()


def test_every_panel_shows_something_under_load(
    server: Server, prometheus: Prometheus, models: Models
) -> None:
    repository = server.repository
    with Traffic(server) as traffic:
        wait_for(lambda: prometheus.values("sum(hotpaddle_requests_total) > 50"), "a scrape")
        repository.publish("mlp", "v2", models.mlp(2))
        server.wait_serving("mlp", "v2")
        repository.point("mlp", "v3")
        server.wait_refused("mlp", "v3")

        def still_empty() -> list[tuple[str, str]]:
            return [
                (title, query)
                for title, query in dashboard_queries()
                if "hotpaddle_gpu_" not in query and not prometheus.values(filled(query))
            ]

        try:
            wait_for(lambda: not still_empty(), "every panel shows something", 30, SCRAPE_S)
        except AssertionError:
            raise AssertionError(f"panels without data: {still_empty()}") from None
        reloading = (
            "sum(hotpaddle_request_duration_seconds_count{stage='total', reload='true'}) > 0"
        )
        assert prometheus.values(reloading)
        for alert in ("HotpaddleReloadRefused", "HotpaddleVersionMismatch"):  # fires; waits
            query = f'ALERTS{{alertname="{alert}"}}'
            wait_for(partial(prometheus.values, query), f"{alert} is on its way")
    assert traffic.failures == 0
    (group,) = prometheus.get("rules")["groups"]
    assert {rule["health"] for rule in group["rules"]} == {"ok"}
    for title, query in dashboard_queries():
        if "hotpaddle_gpu_" in query:
            assert prometheus.values(filled(query)) == [], title  # valid, and nothing here to show
    promtool("check", "metrics", feed=server.get("/metrics").body)
