"""Dynamic batching through real Paddle: who shares a batch, and that it changes no answer."""

from __future__ import annotations

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import numpy.typing as npt
import pytest

from tests.conftest import Models
from tests.harness import Repository, Server
from tests.integration.tensors import bare_answers

Share = Callable[..., Server]


@pytest.fixture(scope="module")
def server(share: Share, shared_repository: Repository, models: Models) -> Server:
    """A model that waits long enough for company that requests sent together share a batch."""
    shared_repository.settings(
        "mlp",
        "max_batch_size = 8\nmax_queue_delay_us = 100000\npreferred_batch_sizes = [8]\n",
    )
    shared_repository.publish("mlp", "v1", models.mlp(1))
    return share()


def ask(server: Server, rows: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    tensor = {
        "name": "x", "datatype": "FP32", "shape": list(rows.shape),
        "parameters": {"binary_data_size": rows.nbytes},
    }  # fmt: skip
    header = json.dumps({"inputs": [tensor], "parameters": {"binary_data_output": True}}).encode()
    answer = server.call(
        "POST", "/v2/models/mlp/infer", header + rows.tobytes(),
        {"Inference-Header-Content-Length": str(len(header))},
    )  # fmt: skip
    assert answer.status == 200, answer.body
    length = int(answer.headers["Inference-Header-Content-Length"])
    return np.frombuffer(answer.body[length:], "<f4").reshape(len(rows), -1)


def batches(server: Server) -> dict[int, int]:
    (stats,) = server.get("/v2/models/mlp/stats").json()["model_stats"]
    assert stats["execution_count"] == sum(
        one["compute_infer"]["count"] for one in stats["batch_stats"]
    )
    return {one["batch_size"]: one["compute_infer"]["count"] for one in stats["batch_stats"]}


def test_each_request_of_a_batch_gets_its_own_rows(server: Server, models: Models) -> None:
    generator = np.random.default_rng(7)
    requests = [
        generator.standard_normal((1 + number % 3, 16), dtype=np.float32) for number in range(48)
    ]
    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(lambda rows: ask(server, rows), requests))
    wanted = bare_answers(models.mlp(1), [{"x": rows} for rows in requests])
    for answer, outputs in zip(answers, wanted, strict=True):
        (expected,) = outputs.values()
        np.testing.assert_allclose(answer, expected, rtol=1e-4, atol=1e-5)
    sizes = batches(server)
    assert max(sizes) <= 8
    assert any(size > 3 for size in sizes), sizes


def test_requests_sent_together_fill_a_batch(server: Server) -> None:
    before = batches(server).get(8, 0)
    row = np.ones((1, 16), np.float32)
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda _: ask(server, row), range(64)))
    assert batches(server).get(8, 0) > before


def test_more_rows_than_a_batch_may_have_run_alone(server: Server, models: Models) -> None:
    rows = np.random.default_rng(1).standard_normal((20, 16), dtype=np.float32)
    (wanted,) = bare_answers(models.mlp(1), [{"x": rows}])
    (expected,) = wanted.values()
    np.testing.assert_allclose(ask(server, rows), expected, rtol=1e-4, atol=1e-5)
    assert batches(server)[20] >= 1


def test_the_configuration_tells_the_batch_size(server: Server) -> None:
    assert server.get("/v2/models/mlp/config").json()["max_batch_size"] == 8
