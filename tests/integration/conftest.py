"""Servers that a whole file of tests shares, and the proof that none of its tests harmed them."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import pytest

from tests.conftest import Models
from tests.harness import Repository, Server, mlp_request, wait_for
from tests.integration.tensors import assert_same, bare_answers, outputs_of


@pytest.fixture(scope="module")
def shared_repository(tmp_path_factory: pytest.TempPathFactory) -> Repository:
    return Repository(tmp_path_factory.mktemp("repository"))


@pytest.fixture(scope="module")
def share(
    shared_repository: Repository, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[..., Server]]:
    """Start servers on the shared repository; they end with the file."""
    servers: list[Server] = []

    def start(*options: str) -> Server:
        folder = tmp_path_factory.mktemp("server")
        server = Server(shared_repository.root, folder, *options)
        servers.append(server)
        return server.wait_ready()

    yield start
    try:
        for server in servers:
            assert_unharmed(server)
    finally:
        for server in servers:
            try:
                server.stop()
            finally:
                server.kill()


@pytest.fixture(scope="session")
def assert_right(models: Models) -> Callable[[Server], None]:
    """See that a server answers the model `mlp`, version 1, as the bare predictor does."""
    row = np.array([mlp_request()["inputs"][0]["data"]], "float32")
    (wanted,) = bare_answers(models.mlp(1), [{"x": row}])

    def check(server: Server) -> None:
        assert_same(outputs_of(server.infer("mlp", mlp_request())), wanted)

    return check


def assert_unharmed(server: Server) -> None:
    """See that no slot is lost, no worker was replaced and no handler broke."""
    wait_for(lambda: server.admin()["arena"]["lent_slots"] == 0, "all slots are home")
    assert server.admin()["worker_restarts"] == 0
    assert server.logged("a handler broke") == []
    assert server.logged("broke off") == []
    assert "Traceback" not in server.log()
    assert server.process.poll() is None
