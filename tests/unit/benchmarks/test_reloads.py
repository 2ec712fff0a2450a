"""Publishing, what a soak drifts by, roles of processes, and promises."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from benchmarks.drift import Minute, drift, minute_header, minute_line
from benchmarks.goals import goals_table, reload_goals, row_goals
from benchmarks.percentiles import Latencies
from benchmarks.process_cost import cpu_between, cpu_seconds, role_of
from benchmarks.publisher import Publisher
from benchmarks.reload_table import memory_table, reload_table
from benchmarks.reloads import ReloadRow, Windows
from benchmarks.report import Report
from benchmarks.series import Series
from benchmarks.server import NAME
from benchmarks.throughput import ThroughputRow, throughput_table
from benchmarks.turns import TurnsRow


@pytest.fixture
def publisher(tmp_path: Path) -> Publisher:
    exports = []
    for name in ("a", "b"):
        folder = tmp_path / name
        folder.mkdir()
        (folder / "inference.json").write_text(name)
        (folder / "inference.pdiparams").write_text(name)
        exports.append(folder)
    return Publisher(tmp_path / "models", "m", exports)


def test_versions_take_turns_and_old_ones_go(publisher: Publisher) -> None:
    for _ in range(6):
        publisher.publish()

    folder = publisher.repository / "m"
    assert sorted(path.name for path in folder.iterdir()) == [
        "model_version.txt", "v3", "v4", "v5", "v6",
    ]  # fmt: skip
    assert (folder / "model_version.txt").read_text() == "v6\n"
    assert (folder / "v5" / "inference.json").read_text() == "a"
    assert (folder / "v6" / "inference.json").read_text() == "b"
    assert publisher.export_of("v6") == 1


def test_publishing_by_a_beat(publisher: Publisher) -> None:
    publisher.publish_every(0.05, time.monotonic() + 0.2)

    assert publisher.count == 4


@pytest.mark.parametrize(("seconds", "turns"), [(60, 6), (30, 3), (8, 1), (0.5, 1)])
def test_windows_give_as_much_time_to_both_by_turns(seconds: float, turns: int) -> None:
    windows = Windows.of(seconds)

    assert len(windows.busy) == turns
    for times in (windows.busy, windows.quiet):
        assert sum(end - start for start, end in times) == pytest.approx(seconds)
    assert windows.quiet[0][0] == 1  # the lead
    for (_, quiet), (start, end), (settled, _) in zip(
        windows.quiet, windows.busy, windows.quiet[1:], strict=False
    ):
        assert quiet == start
        assert settled == end + 2
    assert windows.quiet[-1][1] == pytest.approx(1 + 2 * seconds + 2 * turns) == windows.end


@pytest.mark.parametrize(
    ("command", "role"),
    [
        (["python", "-m", "supervisor", "serve"], "front"),
        (["python", "-m", "gpu_worker", "{}"], "worker"),
        (["python", "-m", "supervisor.json_worker"], "json"),
        (["python", "-m", "supervisor.new_kind"], "new_kind"),
        (["bash"], "other"),
        ([], "other"),
    ],
)
def test_roles(command: list[str], role: str) -> None:
    assert role_of(command) == role


def test_cpu_between_counts_new_processes_and_adds_up_roles() -> None:
    before = {1: ("front", 1.0), 2: ("worker", 5.0)}
    after = {1: ("front", 1.5), 2: ("worker", 6.0), 3: ("worker", 0.25)}

    assert cpu_between(before, after) == {"front": 0.5, "worker": 1.25}


def test_cpu_seconds_grow() -> None:
    before = cpu_seconds(os.getpid())
    deadline = time.monotonic() + 10
    while cpu_seconds(os.getpid()) <= before:  # the kernel counts at ticks
        assert time.monotonic() < deadline


def minute(number: int, p99_ms: float, memory_mb: float, bare_ms: float = 10.0) -> Minute:
    latencies = Latencies(6000, 1.0, 2.0, p99_ms, 9.0, 9.0)
    return Minute(number, 100.0, latencies, 0, 30, {"front": memory_mb}, bare_ms)


def test_drift_compares_the_last_third_with_the_first() -> None:
    minutes = [minute(n, p99, memory) for n, (p99, memory) in enumerate(
        [(10, 100), (10, 100), (50, 400), (10, 100), (12, 110), (12, 110)]
    )]  # fmt: skip

    assert drift(minutes)["p99"] == pytest.approx(20)
    assert drift(minutes)["memory of all processes"] == pytest.approx(10)
    assert drift(minutes[:2]) == {}


def test_what_the_machine_drifts_is_told_apart() -> None:
    found = drift([minute(1, 10, 100), minute(2, 10, 100), minute(3, 12, 100, bare_ms=12.0)])

    assert found["p99"] == found["a bare run's CPU time"] == pytest.approx(20)
    assert found["p99 beside the bare predictor"] == pytest.approx(0)
    assert found["requests/s beside the bare predictor"] == pytest.approx(20)


def test_a_minute_stands_under_its_header() -> None:
    assert len(minute_header(["front"])) == len(minute_line(minute(1, 2.0, 3.0)))


def reload_row(p99_ms: float, first_ms: float, rate: float = 0.0) -> ReloadRow:
    return ReloadRow(
        model="mlp", mode="open" if rate else "closed", rate=rate, published=30, served=30,
        errors=0, error_kinds={}, checked=9,
        generator_late=Latencies(), requests_s_without=100, requests_s_with=96,
        without=Latencies(9, 1, 2, 3, 4, 5), with_reloads=Latencies(9, 1, 2, p99_ms, 4, 5),
        first_ms=[0.5, first_ms], live_after_ms=[50, 60, 70], switches_s=[1, 2, 3],
        windows=Windows(60, 6), series=Series([], [], [], [], []),
        memory_before_mb={"front": 40}, memory_after_mb={"front": 41},
    )  # fmt: skip


def test_reload_goals() -> None:
    assert all(goal.met for goal in reload_goals([reload_row(8.0, 2.0)]))
    missed = [goal.what for goal in reload_goals([reload_row(8.1, 2.1)]) if not goal.met]
    assert missed == [
        "mlp reloads, closed loop: p99", "mlp reloads, closed loop: slowest first answer / median",
    ]  # fmt: skip


def test_reload_tables_show_both_sides() -> None:
    text = reload_table([reload_row(8.0, 2.0), reload_row(8.0, 2.0, 60.0)])

    assert "30/30" in text
    assert "0.960" in text
    assert "40 → 41" in memory_table([reload_row(8.0, 2.0)])


def throughput_row(**changes: object) -> ThroughputRow:
    values: dict[str, object] = {
        "server": NAME, "model": "mlp", "encoding": "binary", "max_batch_size": 1, "concurrency": 1,
        "requests_s": 5000.0, "ratio": 0.25, "p50_ms": 0.2, "p99_ms": 0.3, "max_ms": 1.0,
        "added_ms": 0.15, "errors": 0, "cpu_us": {"front": 50.0, "worker": 60.0, "load": 5.0},
        "generator": "wrk", "request_bytes": 200, "error_kinds": {},
    }  # fmt: skip
    return ThroughputRow(**{**values, **changes})  # type: ignore[arg-type]


def test_row_goals() -> None:
    rows = [
        throughput_row(),
        throughput_row(concurrency=8, added_ms=None, cpu_us={"front": 90.0}),
        throughput_row(model="mobilenet_v2", concurrency=8, added_ms=None, max_batch_size=8,
                       ratio=1.25),
        throughput_row(encoding="json", errors=3, added_ms=9.0),
    ]  # fmt: skip
    goals = list(row_goals(rows))

    assert [goal.met for goal in goals] == [True, False, True, False]
    assert goals_table(goals).count("MISSED") == 2


def test_a_peers_rows_are_not_judged() -> None:
    rows = [
        throughput_row(server="mosec", concurrency=8, cpu_us={"front": 90.0}),
        throughput_row(server="mosec", max_batch_size=8),
    ]

    assert not list(row_goals(rows))
    assert [row.label for row in rows] == ["mosec", "mosec, batching 8"]


def test_errors_of_a_peer_are_not_the_servers() -> None:
    report = Report({}, {})
    report.rows = [throughput_row(errors=2), throughput_row(server="mosec", errors=5)]
    report.turns = [
        TurnsRow("mlp", NAME, 8, 8, [1.0], errors=3),
        TurnsRow("mlp", "mosec", 8, 8, [1.0], errors=7),
    ]

    assert report.errors == 5


def test_the_table_has_a_column_per_kind_of_process_and_the_load_last() -> None:
    header = throughput_table([throughput_row()]).splitlines()[0]

    assert header.split("errors")[1].split() == ["front", "µs", "worker", "µs", "load", "µs"]
