"""What a version has behind it when its first request comes."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.conftest import Models
from tests.harness import Repository, Server, mlp_request


@pytest.fixture(scope="module")
def server(share: Callable[..., Server], shared_repository: Repository, models: Models) -> Server:
    shared_repository.publish("mlp", "v1", models.mlp(1))
    return share("--device", "cpu")


def test_a_new_version_has_answered_before_it_serves(server: Server, models: Models) -> None:
    assert server.infer("mlp", mlp_request()).status == 200  # shows which requests there are
    server.repository.publish("mlp", "v2", models.mlp(2))
    serving = server.wait_serving("mlp", "v2")["serving"]
    assert serving["requests"] == serving["failures"] == 0
    assert [worker["answered"] > 0 for worker in serving["workers"]] == [True]
    assert server.infer("mlp", mlp_request()).headers["X-Model-Version"] == "v2"
    assert server.admin("mlp")["serving"]["requests"] == 1
