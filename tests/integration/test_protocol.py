"""The Open Inference Protocol as it goes over the wire, without a client library."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from tests.conftest import Models
from tests.harness import Repository, Server, mlp_request, wait_for
from tests.integration.tensors import (
    HEADER_LENGTH,
    Arrays,
    assert_same,
    bare_answers,
    binary_body,
    binary_tensor,
    json_tensor,
    multi_inputs,
    outputs_of,
)
from tests.integration.wire import Wire

ROW = np.array([mlp_request()["inputs"][0]["data"]], "float32")
INFER = "/v2/models/mlp/infer"
BINARY_OUT = {"parameters": {"binary_data_output": True}}


@pytest.fixture(scope="module")
def server(share: Callable[..., Server], shared_repository: Repository, models: Models) -> Server:
    """A server whose `mlp` serves v2 and retains v1."""
    shared_repository.publish("mlp", "v1", models.mlp(1))
    shared_repository.publish("multi", "1", models("multi_pdmodel")[0])
    server = share()
    shared_repository.publish("mlp", "v2", models.mlp(2))
    server.wait_serving("mlp", "v2")
    wait_for(lambda: server.admin("mlp")["retained"], "v1 is retained")
    return server


@pytest.fixture(scope="module")
def wanted(models: Models) -> dict[str, dict[str, npt.NDArray[Any]]]:
    """What the bare predictors of both versions answer."""
    return {f"v{n}": bare_answers(models.mlp(n), [{"x": ROW}])[0] for n in (1, 2)}


# What is told


@pytest.mark.parametrize("path", ["/v2", "/v2/", "/v2?x=1", "http://test/v2"])
def test_server_metadata(path: str, server: Server) -> None:
    told = server.get(path).json()
    assert told.keys() == {"name", "version", "extensions"}
    assert told["name"] == "hotpaddle"
    assert {"binary_tensor_data", "model_repository", "statistics"} <= set(told["extensions"])


def test_health(server: Server) -> None:
    assert server.get("/v2/health/live").json() == {"live": True}
    assert server.get("/v2/health/ready").json() == {"ready": True}


def test_model_metadata(server: Server) -> None:
    told = server.get("/v2/models/multi").json()
    assert (told["name"], told["versions"]) == ("multi", ["1"])
    assert told["platform"] == "paddle_inference"
    inputs = {one["name"]: (one["datatype"], one["shape"]) for one in told["inputs"]}
    assert inputs["in_fp16"] == ("FP16", [-1, 4])
    assert inputs["in_int64"] == ("INT64", [-1, -1])
    assert len(inputs) == len(told["outputs"]) == 8
    assert server.get("/v2/models/multi/versions/1").json() == told


def test_metadata_names_the_retained_version(server: Server) -> None:
    assert server.get("/v2/models/mlp").json()["versions"] == ["v2", "v1"]
    assert server.get("/v2/models/mlp/versions/v1").json()["versions"] == ["v1"]


def test_the_platform_names_the_format(server: Server, models: Models) -> None:
    newest = "paddle_pir" if models.paddle.startswith("3") else "paddle_inference"
    assert server.get("/v2/models/mlp").json()["platform"] == newest


def test_readiness_of_models(server: Server) -> None:
    for path in ("mlp", "mlp/versions/v1", "mlp/versions/v2", "multi"):
        answer = server.get(f"/v2/models/{path}/ready")
        assert (answer.status, answer.json()["ready"]) == (200, True)


def test_models_are_listed_as_kserve_does(server: Server) -> None:
    assert server.get("/v2/models").json() == {"models": ["mlp", "multi"]}


def test_statistics_of_all_models(server: Server) -> None:
    rows = server.get("/v2/models/stats").json()["model_stats"]
    assert [(row["name"], row["version"]) for row in rows] == [
        ("mlp", "v2"), ("mlp", "v1"), ("multi", "1"),
    ]  # fmt: skip


@pytest.mark.parametrize("path", ["/v2", "/v2/health/live", "/v2/models/mlp", "/admin/models"])
def test_head_is_get_without_a_body(path: str, server: Server) -> None:
    with Wire(server) as wire:
        answer = wire.request("HEAD", path).answer(bodyless=True)
        assert answer.status == 200
        assert int(answer.headers["Content-Length"]) > 0
        assert wire.request("GET", "/v2/health/live").answer().json() == {"live": True}


# Errors


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/"),
        ("GET", "/v1"),
        ("GET", "/v2/nothing"),
        ("GET", "/v2/models/nobody"),
        ("GET", "/v2/models/nobody/ready"),
        ("POST", "/v2/models/nobody/infer"),
        ("GET", "/v2/models/nobody/stats"),
        ("GET", "/v2/models/nobody/config"),
        ("GET", "/v2/models/mlp/versions/v9"),
        ("GET", "/v2/models/mlp/versions/v9/ready"),
        ("GET", "/v2/models/mlp/versions/v9/stats"),
        ("POST", "/v2/models/mlp/versions/v9/infer"),
        ("POST", "/v2/repository/models/nobody/load"),
        ("POST", "/v2/repository/models/nobody/unload"),
        ("GET", "/admin/models/nobody"),
        ("POST", "/admin/models/nobody/rollback"),
        ("GET", "/admin"),
        ("GET", "/v2//models/mlp"),
    ],
)
def test_what_is_not_there_is_404(method: str, path: str, server: Server) -> None:
    answer = server.call(method, path, json.dumps(mlp_request()).encode())
    assert answer.status == 404
    assert answer.headers["Content-Type"] == "application/json"
    assert answer.json().keys() == {"error"}


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("POST", "/v2", "GET"),
        ("PUT", "/v2/health/live", "GET"),
        ("DELETE", "/v2/models/mlp", "GET"),
        ("PATCH", "/v2/models/mlp", "GET"),
        ("OPTIONS", "/v2/models/mlp", "GET"),
        ("TRACE", "/v2", "GET"),
        ("GET", INFER, "POST"),
        ("HEAD", INFER, "POST"),
        ("PUT", INFER, "POST"),
        ("GET", "/v2/models/mlp/versions/v1/infer", "POST"),
        ("GET", "/v2/repository/index", "POST"),
        ("GET", "/v2/repository/models/mlp/load", "POST"),
        ("POST", "/v2/models/stats", "GET"),
        ("GET", "/admin/reload", "POST"),
        ("POST", "/admin/models", "GET"),
    ],
)
def test_other_methods_are_405(method: str, path: str, allowed: str, server: Server) -> None:
    answer = server.call(method, path)
    assert answer.status == 405
    assert answer.headers["Allow"] == allowed
    if method != "HEAD":
        assert f"use {allowed}" in answer.error
        assert answer.json().keys() == {"error"}


# Inference


def test_an_answer_names_model_version_and_generation(server: Server, wanted: Any) -> None:
    answer = server.infer("mlp", mlp_request())
    assert_same(outputs_of(answer), wanted["v2"])
    assert (answer.json()["model_name"], answer.json()["model_version"]) == ("mlp", "v2")
    assert answer.headers["X-Model-Version"] == "v2"
    assert answer.headers["X-Model-Generation"] == "2"
    assert answer.headers["Content-Type"] == "application/json"
    assert "id" not in answer.json()


def test_a_version_that_is_named_answers_itself(server: Server, wanted: Any) -> None:
    for version, generation in (("v1", "1"), ("v2", "2")):
        answer = server.infer("mlp", mlp_request(), version)
        assert_same(outputs_of(answer), wanted[version])
        assert answer.json()["model_version"] == answer.headers["X-Model-Version"] == version
        assert answer.headers["X-Model-Generation"] == generation
    assert not np.array_equal(*(next(iter(wanted[v].values())) for v in ("v1", "v2")))


@pytest.mark.parametrize("request_id", ["7", "a b", "ä€\U0001f600", '"\\\x01', "i" * 1024])
def test_the_id_comes_back(request_id: str, server: Server) -> None:
    assert server.infer("mlp", {**mlp_request(), "id": request_id}).json()["id"] == request_id


def test_flat_and_nested_data_are_the_same(server: Server, wanted: Any) -> None:
    for flat in (True, False):
        answer = server.infer("mlp", {"inputs": [json_tensor("x", ROW, flat=flat)]})
        assert_same(outputs_of(answer), wanted["v2"])


def test_a_raw_body_is_the_one_input(server: Server, wanted: Any) -> None:
    answer = server.call("POST", INFER, ROW.tobytes(), {HEADER_LENGTH: "0"})
    assert_same(outputs_of(answer), wanted["v2"])
    assert answer.headers["Content-Type"] == "application/octet-stream"
    assert b'"data"' not in answer.body[: int(answer.headers[HEADER_LENGTH])]


def test_whole_numbers_are_fractions_too(server: Server, models: Models) -> None:
    (wanted,) = bare_answers(models.mlp(2), [{"x": np.ones((1, 16), "float32")}])
    assert_same(outputs_of(server.infer("mlp", mlp_request([1] * 16))), wanted)


@pytest.fixture(scope="module")
def multi(server: Server, models: Models) -> tuple[Arrays, Arrays]:
    inputs = multi_inputs(rows=3, columns=5)
    return inputs, bare_answers(models("multi_pdmodel")[0], [inputs])[0]


@pytest.mark.parametrize("binary", ["all", "fp16", "every other", "reversed"])
def test_json_and_binary_inputs_mix(
    binary: str, server: Server, multi: tuple[Arrays, Arrays]
) -> None:
    inputs, wanted = multi
    names = list(inputs)
    chosen = {"all": names, "fp16": ["in_fp16"], "every other": names[::2], "reversed": names[4:]}
    order = names[::-1] if binary == "reversed" else names
    blobs = [name for name in order if name in chosen[binary]]
    tensors = [
        binary_tensor(name, inputs[name]) if name in blobs else json_tensor(name, inputs[name])
        for name in order
    ]
    header = {"inputs": tensors, **BINARY_OUT}
    body, headers = binary_body(header, *(inputs[name].tobytes() for name in blobs))
    assert_same(outputs_of(server.call("POST", "/v2/models/multi/infer", body, headers)), wanted)


def test_fp16_has_no_json_form(server: Server, multi: tuple[Arrays, Arrays]) -> None:
    inputs, _ = multi
    answer = server.infer("multi", {"inputs": [json_tensor(n, a) for n, a in inputs.items()]})
    assert answer.status == 400
    assert "'in_fp16': data: FP16 has no JSON form, send it as binary data" in answer.error
    body, headers = binary_body(
        {"inputs": [binary_tensor(n, a) for n, a in inputs.items()]},
        *(array.tobytes() for array in inputs.values()),
    )
    answer = server.call("POST", "/v2/models/multi/infer", body, headers)
    assert (answer.status, "ask for binary_data" in answer.error) == (400, True)


def test_outputs_are_chosen_one_by_one(server: Server, multi: tuple[Arrays, Arrays]) -> None:
    inputs, wanted = multi
    names = list(wanted)
    header = {
        "inputs": [binary_tensor(n, a) for n, a in inputs.items()],
        "outputs": [
            {"name": names[5], "parameters": {"binary_data": False}},
            {"name": names[0]},
            {"name": names[1], "parameters": {"binary_data": True}},
        ],
        **BINARY_OUT,
    }
    body, headers = binary_body(header, *(array.tobytes() for array in inputs.values()))
    answer = server.call("POST", "/v2/models/multi/infer", body, headers)
    told = json.loads(answer.body[: int(answer.headers[HEADER_LENGTH])])["outputs"]
    assert [one["name"] for one in told] == [names[5], names[0], names[1]]
    assert ["data" in one for one in told] == [True, False, False]
    assert_same(outputs_of(answer), {name: wanted[name] for name in (names[5], names[0], names[1])})
