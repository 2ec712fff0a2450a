"""Hotpaddle as a service of a real systemd. `make test-systemd`; needs root and some minutes.

The tests follow one another in one container, as an operator's day does.
"""

from __future__ import annotations

import re
import signal
import time
from contextlib import ExitStack

import pytest

from tests import model_faults
from tests.conftest import Models
from tests.expected import mlp_outputs
from tests.harness import Repository, Server, mlp_request, wait_for
from tests.load import Load
from tests.systemd.container import VENV, Container
from tests.systemd.service import (
    ADMIN,
    ADMIN_PATH,
    SOCKET,
    UNIT,
    operators_status,
    status_text,
)

HIGHEST_EXPOSURE = 3.0
SHORT_START_S = 10


def test_units_are_clean_and_tight(container: Container, server: Server) -> None:
    verify = container.run("systemd-analyze", "verify", UNIT, SOCKET, ADMIN)
    assert (verify.stdout, verify.stderr) == ("", "")
    security = container.run("systemd-analyze", "security", "--no-pager", UNIT).stdout
    found = re.search(r"Overall exposure level for hotpaddle.service: ([0-9.]+)", security)
    assert found, security
    print(found[0])
    assert float(found[1]) <= HIGHEST_EXPOSURE


def test_the_unit_is_of_the_type_that_this_systemd_knows(
    container: Container, server: Server
) -> None:
    version = container.run("systemctl", "--version").stdout.split()[1]
    print(f"systemd {version}")
    kind = "notify-reload" if int(version) >= 253 else "notify"
    assert container.show(UNIT, "Type") == {"Type": kind}


def test_a_start_is_over_when_the_model_serves(container: Container, server: Server) -> None:
    container.run("systemctl", "enable", "--now", SOCKET, ADMIN, UNIT)
    state = container.show(UNIT, "ActiveState", "SubState", "StatusText", "MainPID")
    print(state)
    assert (state["ActiveState"], state["SubState"]) == ("active", "running")
    assert state["StatusText"] == "serving mlp v1"
    assert server.get("/v2/health/ready").status == 200
    for url in (f"http://127.0.0.1:{server.port}", f"unix:{ADMIN_PATH}"):
        status = container.run(f"{VENV}/bin/hotpaddle", "status", "--url", url)
        assert "mlp" in status.stdout


def test_the_service_answers_as_the_bare_predictor_does(server: Server, models: Models) -> None:
    with Load(server.port, {"v1": mlp_outputs(models.mlp(1))}, concurrency=2) as load:
        load.wait_answers(50)
    load.seen.assert_clean()


def test_it_runs_without_privileges_and_sees_its_files_read_only(container: Container) -> None:
    pid = container.show(UNIT, "MainPID")["MainPID"]
    status = container.run("cat", f"/proc/{pid}/status").stdout
    assert re.search(r"^CapEff:\s*0+$", status, re.MULTILINE)
    assert re.search(r"^NoNewPrivs:\s*1$", status, re.MULTILINE)
    assert not re.search(r"^Uid:\s*0\s", status, re.MULTILINE)
    mounts = container.run("cat", f"/proc/{pid}/mountinfo").stdout
    assert re.search(r" /srv/models ro[, ]", mounts) or re.search(r" / / ro[, ]", mounts), mounts
    # What a host grants below that is the host's business.
    limits = container.show(UNIT, "LimitNICE", "LimitCORE")
    assert limits == {"LimitNICE": "20", "LimitCORE": "0"}
    journal = container.journal()
    assert "keeps a low priority" not in journal
    assert "Operation not permitted" not in journal


def test_a_reload_of_a_good_version_succeeds(
    container: Container, server: Server, published: Repository, models: Models
) -> None:
    published.publish("mlp", "v2", models.mlp(2))
    assert server.infer("mlp", mlp_request()).headers["X-Model-Version"] == "v1"
    container.run("systemctl", "reload", UNIT)
    assert server.infer("mlp", mlp_request()).headers["X-Model-Version"] == "v2"
    wait_for(lambda: status_text(container) == "serving mlp v2", "the status")
    # With notify-reload systemd's own SIGHUP may have loaded it just before.
    assert re.search(r"^mlp: (live|unchanged) v2 generation 2$", container.journal(), re.MULTILINE)


def test_a_reload_of_a_bad_version_fails_and_says_why(
    container: Container, server: Server, published: Repository, models: Models
) -> None:
    bad = published.copy("mlp", "v3", models.mlp(3))
    model_faults.truncate_params(bad)
    published.point("mlp", "v3")
    reload = container.run("systemctl", "reload", UNIT, check=False)
    assert reload.returncode != 0
    assert "Job for hotpaddle.service failed" in reload.stderr
    assert re.search(
        r"^mlp: refused v3: load: the parameter file ends", container.journal(), re.MULTILINE
    )
    wait_for(lambda: "refused mlp v3" in status_text(container), "the status")
    status = container.run("systemctl", "status", "--no-pager", "--full", UNIT).stdout
    print(status)
    assert 'Status: "serving mlp v2; refused mlp v3: load: the parameter file ends' in status
    assert "Active: active (running)" in status
    assert server.infer("mlp", mlp_request()).headers["X-Model-Version"] == "v2"


def test_sighup_is_a_reload_as_well(
    container: Container, published: Repository, models: Models
) -> None:
    published.publish("mlp", "v4", models.mlp(4))
    container.run("systemctl", "kill", "--signal=HUP", "--kill-who=main", UNIT)
    wait_for(lambda: status_text(container) == "serving mlp v4", "v4 serves")
    wait_for(lambda: container.show(UNIT, "ActiveState")["ActiveState"] == "active", "active")


def test_an_upgrade_in_place_under_load_loses_no_request_and_keeps_the_workers(
    container: Container, server: Server, models: Models
) -> None:
    before = container.show(UNIT, "MainPID", "NRestarts")
    workers = sorted(worker["pid"] for worker in server.admin()["workers"])
    with Load(server.port, {"v4": mlp_outputs(models.mlp(4))}) as load:
        load.wait_answers(100)
        command = (f"{VENV}/bin/hotpaddle", "upgrade", "--url", f"unix:{ADMIN_PATH}")
        print(container.run(*command).stdout)
        load.wait_answers(100)
        container.run("systemctl", "kill", "--signal=USR2", "--kill-who=main", UNIT)
        assert server.wait_upgraded(2)["phase"] == "done"
        load.wait_answers(100)
    load.seen.assert_clean()
    assert container.show(UNIT, "MainPID", "NRestarts") == before
    assert sorted(worker["pid"] for worker in server.admin()["workers"]) == workers
    wait_for(lambda: container.show(UNIT, "ActiveState")["ActiveState"] == "active", "active")
    assert status_text(container) == "serving mlp v4"
    container.run("systemctl", "reload", UNIT)
    assert operators_status(container).returncode == 0


def test_a_restart_under_load_loses_no_request(
    container: Container, server: Server, models: Models
) -> None:
    """Of clients that open a connection per request, and of those that keep theirs."""
    expected = {"v4": mlp_outputs(models.mlp(4))}
    pids = [container.show(UNIT, "MainPID")["MainPID"]]
    with ExitStack() as stack:
        loads = [
            stack.enter_context(Load(server.port, expected, concurrency=8, keep_alive=keep_alive))
            for keep_alive in (True, False)
        ]
        for _ in range(2):
            for load in loads:
                load.wait_answers(200)
            container.run("systemctl", "restart", UNIT)
            pids.append(container.show(UNIT, "MainPID")["MainPID"])
        for load in loads:
            load.wait_answers(200)
    for kind, load in zip(("kept connections", "a connection per request"), loads, strict=True):
        slowest = max(latency for _, latency in load.seen.latencies_ms)
        print(f"{kind}: {load.seen.answers} answers, {len(load.seen.errors)} failed, "
              f"the slowest waited {slowest:.0f} ms")  # fmt: skip
        assert (load.seen.errors, load.seen.wrong) == ([], [])
    assert len(set(pids)) == 3


def test_a_server_that_hangs_is_replaced_by_the_watchdog(
    container: Container, server: Server
) -> None:
    before = container.show(UNIT, "MainPID", "NRestarts")
    container.run("kill", f"-{signal.SIGSTOP:d}", before["MainPID"])
    wait_for(
        lambda: int(container.show(UNIT, "NRestarts")["NRestarts"]) > int(before["NRestarts"]),
        "systemd restarts it", 60,
    )  # fmt: skip
    assert server.infer("mlp", mlp_request()).status == 200  # it waited in the socket's queue
    assert "Watchdog timeout" in container.journal()


def test_a_worker_that_is_killed_ends_nothing(container: Container, server: Server) -> None:
    before = container.show(UNIT, "MainPID", "NRestarts")
    pid = server.serving_pids("mlp")[0]
    container.run("kill", "-KILL", str(pid))
    assert server.infer("mlp", mlp_request()).status == 200
    assert container.show(UNIT, "MainPID", "NRestarts") == before


def test_a_stop_of_the_socket_stops_all_and_leaves_nothing(
    container: Container, server: Server
) -> None:
    container.run("systemctl", "stop", SOCKET)
    state = container.show(UNIT, "ActiveState", "Result", "ExecMainStatus", "ExecMainCode")
    assert state == {
        "ActiveState": "inactive", "Result": "success", "ExecMainStatus": "0", "ExecMainCode": "1",
    }  # fmt: skip
    assert container.run("pgrep", "-u", "hotpaddle", check=False).stdout == ""
    with pytest.raises(ConnectionRefusedError):
        server.get("/v2")
    assert operators_status(container, check=False).returncode == 1
    for unit in (UNIT, SOCKET, ADMIN):  # no call has started anything
        assert container.show(unit, "ActiveState")["ActiveState"] == "inactive"


def test_settings_that_are_refused_are_not_tried_again(container: Container) -> None:
    path = container.root / "etc/hotpaddle/hotpaddle.toml"
    good = path.read_text()
    path.write_text(good + "prot = 1\n")
    start = container.run("systemctl", "start", UNIT, check=False)
    path.write_text(good)
    assert start.returncode != 0
    assert "unknown setting 'prot'" in container.journal()
    state = container.show(UNIT, "ActiveState", "ExecMainStatus", "NRestarts")
    assert (state["ActiveState"], state["ExecMainStatus"]) == ("failed", "2")


def test_a_start_with_a_refused_model_is_over_when_it_is_mended(
    container: Container, server: Server, published: Repository, models: Models
) -> None:
    """Longer than TimeoutStartSec= allows: the server asks for more time."""
    published.point("mlp", "v3")
    published.publish("other", "v1", models.mlp(1))
    container.write(
        f"/etc/systemd/system/{UNIT}.d/short.conf", f"[Service]\nTimeoutStartSec={SHORT_START_S}\n"
    )
    container.run("systemctl", "daemon-reload")
    container.run("systemctl", "reset-failed", UNIT)
    began = time.monotonic()
    container.run("systemctl", "start", "--no-block", UNIT)
    wait_for(
        lambda: "not ready mlp: version v3 was refused" in status_text(container), "v3 is refused"
    )
    assert server.infer("other", mlp_request()).status == 200
    wait_for(lambda: time.monotonic() > began + SHORT_START_S + 3, "the time-out would be over")
    assert container.show(UNIT, "ActiveState", "NRestarts") == {
        "ActiveState": "activating", "NRestarts": "0"
    }  # fmt: skip
    assert server.get("/v2/health/ready").status == 503
    published.publish("mlp", "v5", models.mlp(1))
    assert server.reload()["ok"]
    wait_for(lambda: container.show(UNIT, "ActiveState")["ActiveState"] == "active", "active")
    assert status_text(container) == "serving mlp v5, other v1"


def test_the_log_of_the_units_is_clean(container: Container) -> None:
    whole = container.run("journalctl", "--no-pager", "--output=cat", "--identifier=systemd").stdout
    complaints = [
        line for line in whole.splitlines()
        if "hotpaddle" in line and re.search(r"Unknown|ignoring|Failed to parse", line)
    ]  # fmt: skip
    assert complaints == []
