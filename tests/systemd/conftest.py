"""One container for all tests, and the service in it."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest

from tests.conftest import Models
from tests.harness import Repository, Server
from tests.systemd.container import VENV, Container, build_base, build_wheel
from tests.systemd.service import SOCKET, UNIT

OVERRIDE = "/etc/systemd/system/{unit}.d/test.conf"


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


@pytest.fixture(scope="session")
def published(tmp_path_factory: pytest.TempPathFactory, models: Models) -> Repository:
    """The model repository, as the host writes it and the container sees it."""
    folder = tmp_path_factory.mktemp("models")
    folder.chmod(0o755)
    repository = Repository(folder)
    repository.publish("mlp", "v1", models.mlp(1))
    return repository


@pytest.fixture(scope="session")
def container(
    tmp_path_factory: pytest.TempPathFactory, published: Repository
) -> Iterator[Container]:
    build_base()
    wheel = build_wheel(tmp_path_factory.mktemp("wheel"))
    one = Container(tmp_path_factory.mktemp("container"), published.root, wheel)
    try:
        one.install()
        yield one
    finally:
        one.stop()


@pytest.fixture(scope="session")
def server(container: Container) -> Server:
    """Calls to the service; its process is systemd's."""
    port = free_port()
    print(container.run(f"{VENV}/bin/hotpaddle", "install-systemd").stdout)
    container.run("systemd-sysusers")
    container.run("systemd-tmpfiles", "--create")
    container.write(
        OVERRIDE.format(unit=SOCKET), f"[Socket]\nListenStream=\nListenStream=127.0.0.1:{port}\n"
    )
    container.write(
        OVERRIDE.format(unit=UNIT),
        "[Service]\nEnvironment=HOTPADDLE_WATCH=off\nWatchdogSec=4\n",
    )
    container.run("systemctl", "daemon-reload")
    one = Server.__new__(Server)
    one.port = port
    return one
