"""Triton's clients, unchanged: every call that they have and that the server offers."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from tritonclient.utils import InferenceServerException

from tests.conftest import Models
from tests.harness import Repository, Server, wait_for
from tests.integration.tensors import Arrays, assert_same, bare_answers, multi_inputs
from tests.integration.triton import Triton, arrays_of

ROW = np.linspace(-1, 1, 16, dtype="float32").reshape(1, 16)


@pytest.fixture(scope="module")
def server(share: Callable[..., Server], shared_repository: Repository, models: Models) -> Server:
    """A server whose `mlp` serves v2 and retains v1, and whose `multi` stays as it is."""
    shared_repository.publish("mlp", "v1", models.mlp(1))
    shared_repository.publish("multi", "1", models("multi_pdmodel")[0])
    server = share()
    shared_repository.publish("mlp", "v2", models.mlp(2))
    server.wait_serving("mlp", "v2")
    wait_for(lambda: server.admin("mlp")["retained"], "v1 is retained")
    return server


@pytest.fixture(params=["http", "aio"])
def client(request: pytest.FixtureRequest, server: Server) -> Triton:
    return Triton(server, request.param)


@pytest.fixture(scope="module")
def multi(models: Models) -> tuple[Arrays, Arrays]:
    inputs = multi_inputs()
    return inputs, bare_answers(models("multi_pdmodel")[0], [inputs])[0]


@pytest.fixture(scope="module")
def mlp(models: Models) -> dict[str, Arrays]:
    return {f"v{n}": bare_answers(models.mlp(n), [{"x": ROW}])[0] for n in (1, 2)}


def test_liveness_and_readiness(client: Triton) -> None:
    assert client.call("is_server_live") is True
    assert client.call("is_server_ready") is True
    for model, version, ready in (
        ("mlp", "", True), ("mlp", "v1", True), ("mlp", "v2", True), ("multi", "1", True),
        ("mlp", "v3", False), ("nobody", "", False), ("nobody", "1", False),
    ):  # fmt: skip
        assert client.call("is_model_ready", model, version) is ready


def test_metadata(client: Triton) -> None:
    told = client.call("get_server_metadata")
    assert told["name"] == "hotpaddle"
    assert "binary_tensor_data" in told["extensions"]
    told = client.call("get_model_metadata", "mlp")
    assert told["versions"] == ["v2", "v1"]
    assert told["inputs"] == [{"name": "x", "datatype": "FP32", "shape": [-1, 16]}]
    assert client.call("get_model_metadata", "mlp", "v1")["versions"] == ["v1"]


def test_configuration(client: Triton) -> None:
    told = client.call("get_model_config", "multi")
    assert (told["name"], told["max_batch_size"]) == ("multi", 0)
    assert {"name": "in_fp16", "data_type": "TYPE_FP16", "dims": [-1, 4]} in told["input"]
    assert len(told["output"]) == 8
    assert told["instance_group"][0]["kind"] == "KIND_CPU"
    assert client.call("get_model_config", "multi", "1") == told


def test_repository_index(client: Triton) -> None:
    rows = client.call("get_model_repository_index")
    assert [(row["name"], row["version"], row["state"]) for row in rows] == [
        ("mlp", "v2", "READY"), ("mlp", "v1", "READY"), ("multi", "1", "READY"),
    ]  # fmt: skip


def test_statistics(client: Triton, multi: tuple[Arrays, Arrays]) -> None:
    def count() -> int:
        (row,) = client.call("get_inference_statistics", "multi")["model_stats"]
        assert (row["name"], row["version"]) == ("multi", "1")
        assert row["inference_stats"]["success"]["count"] == row["inference_count"]
        return int(row["inference_count"])

    before = count()
    client.infer("multi", multi[0])
    assert count() == before + 1
    everything = client.call("get_inference_statistics")["model_stats"]
    assert [row["version"] for row in everything] == ["v2", "v1", "1"]
    (row,) = client.call("get_inference_statistics", "mlp", "v1")["model_stats"]
    assert row["version"] == "v1"


def test_inference_by_version(client: Triton, mlp: dict[str, Arrays]) -> None:
    for version, wanted in (("", "v2"), ("v1", "v1"), ("v2", "v2")):
        result = client.infer("mlp", {"x": ROW}, model_version=version)
        assert result.get_response()["model_version"] == wanted
        assert_same(arrays_of(result), mlp[wanted])


def test_a_subset_of_outputs(client: Triton, multi: tuple[Arrays, Arrays]) -> None:
    inputs, wanted = multi
    names = list(wanted)[5:0:-2]
    result = client.infer("multi", inputs, names)
    assert [one["name"] for one in result.get_response()["outputs"]] == names
    assert_same(arrays_of(result), {name: wanted[name] for name in names})
    assert result.as_numpy(next(iter(wanted))) is None


def test_the_request_id_comes_back(client: Triton) -> None:
    assert client.infer("mlp", {"x": ROW}, request_id="r-7").get_response()["id"] == "r-7"
    assert "id" not in client.infer("mlp", {"x": ROW}).get_response()


@pytest.mark.parametrize("method", ["gzip", "deflate"])
@pytest.mark.parametrize("binary", [True, False])
def test_compression(method: str, binary: bool, client: Triton, mlp: dict[str, Arrays]) -> None:
    for more in (
        {"request_compression_algorithm": method},
        {"response_compression_algorithm": method},
        {"request_compression_algorithm": method, "response_compression_algorithm": method},
    ):
        result = client.infer(
            "mlp", {"x": ROW}, list(mlp["v2"]), binary_in=binary, binary_out=binary, **more
        )
        assert_same(arrays_of(result), mlp["v2"])


def test_parameters_that_the_server_has_no_use_for(client: Triton, mlp: dict[str, Arrays]) -> None:
    result = client.infer(
        "mlp", {"x": ROW}, priority=1, sequence_id=5, sequence_start=True,
        timeout=30_000_000, parameters={"mine": "x"}, headers={"X-Mine": "y"},
        query_params={"q": 1},
    )  # fmt: skip
    assert_same(arrays_of(result), mlp["v2"])


def test_errors_reach_the_caller(client: Triton) -> None:
    with pytest.raises(InferenceServerException, match=r"shape is \[2, 8\], the model") as found:
        client.infer("mlp", {"x": ROW.reshape(2, 8)})
    assert found.value.status() == "400"
    with pytest.raises(InferenceServerException, match="'nobody' is not in the repository"):
        client.infer("nobody", {"x": ROW})
    with pytest.raises(InferenceServerException, match="'nobody' is not in the repository"):
        client.call("load_model", "nobody")
    with pytest.raises(InferenceServerException, match="'parameters' must be empty"):
        client.call("load_model", "multi", config="{}")


def test_unload_and_load(client: Triton, multi: tuple[Arrays, Arrays]) -> None:
    inputs, wanted = multi
    client.call("unload_model", "multi")
    assert client.call("is_model_ready", "multi") is False
    assert client.call("is_server_ready") is True
    with pytest.raises(InferenceServerException, match="it was unloaded by request") as found:
        client.infer("multi", inputs)
    assert found.value.status() == "503"
    (row,) = (r for r in client.call("get_model_repository_index") if r["name"] == "multi")
    assert (row["state"], row["reason"]) == ("UNAVAILABLE", "it was unloaded by request")
    client.call("unload_model", "multi", unload_dependents=True)
    client.call("load_model", "multi")
    assert client.call("is_model_ready", "multi") is True
    assert_same(arrays_of(client.infer("multi", inputs)), wanted)
    client.call("load_model", "multi")
    assert_same(arrays_of(client.infer("multi", inputs)), wanted)
