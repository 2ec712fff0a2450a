"""The operators' socket of the service. Goes on in the container of `test_service`."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.conftest import Models
from tests.harness import Repository, Server, mlp_request, wait_for
from tests.systemd.container import VENV, Container
from tests.systemd.service import ADMIN, ADMIN_PATH, UNIT, operators_status, status_text


@pytest.fixture(scope="module", autouse=True)
def running(container: Container, server: Server, published: Repository, models: Models) -> None:
    published.publish("mlp", "v6", models.mlp(1))
    container.run("systemctl", "restart", UNIT)


def test_the_operators_socket_is_for_its_group_alone(container: Container) -> None:
    state = container.show(ADMIN, "SubState", "Triggers")
    assert state == {"SubState": "running", "Triggers": UNIT}
    folder = str(Path(ADMIN_PATH).parent)
    for path, owned in ((ADMIN_PATH, "660 root hotpaddle"), (folder, "755 root root")):
        found = container.run("stat", "--format=%a %U %G", path)
        assert found.stdout.strip() == owned
    container.run("useradd", "--groups=hotpaddle", "alice")
    container.run("useradd", "bob")
    for user, status in (("alice", 0), ("bob", 1)):
        asked = container.run(
            "setpriv", f"--reuid={user}", f"--regid={user}", "--init-groups",
            f"{VENV}/bin/hotpaddle", "status", "--url", f"unix:{ADMIN_PATH}", check=False,
        )  # fmt: skip
        assert (asked.returncode, "mlp" in asked.stdout) == (status, status == 0), asked


def test_operators_are_served_while_and_after_the_service_restarts(
    container: Container, published: Repository, models: Models
) -> None:
    """A call that comes while there is no server waits for the next one."""
    file = container.run("stat", "--format=%i", ADMIN_PATH).stdout
    before = container.show(UNIT, "MainPID")["MainPID"]
    container.run("systemctl", "restart", "--no-block", UNIT)
    calls = []

    def answered_by() -> str:
        shown = operators_status(container, check=False)  # 1 while models are brought up
        pid = re.match(r"hotpaddle \S+  pid (\d+)", shown.stdout)
        assert pid, shown
        calls.append(pid[1])
        return pid[1]

    wait_for(lambda: answered_by() != before, "the next server answers")
    print(f"{len(calls)} calls, all of them answered")
    wait_for(lambda: status_text(container).startswith("serving mlp v6"), "v6 serves")

    published.publish("mlp", "v7", models.mlp(2))
    container.run("systemctl", "restart", UNIT)
    assert "v7" in operators_status(container).stdout
    published.publish("mlp", "v8", models.mlp(4))
    container.run("systemctl", "reload", UNIT)
    wait_for(lambda: status_text(container).startswith("serving mlp v8"), "v8 serves")
    assert container.run("stat", "--format=%i", ADMIN_PATH).stdout == file


def test_a_stop_of_the_operators_socket_leaves_the_models_alone(
    container: Container, server: Server
) -> None:
    before = container.show(UNIT, "MainPID", "NRestarts")
    container.run("systemctl", "stop", ADMIN)
    assert container.show(UNIT, "MainPID", "NRestarts") == before
    assert server.infer("mlp", mlp_request()).status == 200
    container.run("systemctl", "restart", UNIT)
    assert container.show(ADMIN, "ActiveState")["ActiveState"] == "active"
    assert "mlp" in operators_status(container).stdout
