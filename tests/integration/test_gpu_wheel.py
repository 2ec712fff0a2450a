"""The GPU wheel: serves on the CPU of a host without a GPU, and says there why not on `gpu:0`."""

from __future__ import annotations

import ctypes
import subprocess
import sys
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import pytest

from tests.conftest import Models
from tests.expected import mlp_outputs
from tests.harness import ROOT, Repository, Server
from tests.load import Load

Serve = Callable[..., Server]


def _has_gpu() -> bool:
    try:
        ctypes.CDLL("libcuda.so.1")
    except OSError:
        return False
    return Path("/dev/nvidia0").exists()


def _gpu_wheel() -> bool:
    try:
        version("paddlepaddle-gpu")
    except PackageNotFoundError:
        return False
    return True


def refused(repository: Repository, device: str) -> str:
    """Start a server that must refuse its device; give what it says last."""
    done = subprocess.run(
        [
            sys.executable, "-m", "supervisor", "serve", "--port", "0",
            "--model-repository", str(repository.root), "--device", device,
        ],
        capture_output=True, text=True, cwd=ROOT, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 1, done.stderr
    return done.stderr.splitlines()[-1]


@pytest.mark.skipif(_gpu_wheel(), reason="the CPU wheel is what this is about")
def test_the_cpu_wheel_refuses_a_gpu_and_names_the_package(
    repository: Repository, models: Models
) -> None:
    repository.publish("mlp", "v1", models.mlp(1))
    said = refused(repository, "gpu:0")
    assert said.startswith("hotpaddle: gpu:0: ")
    assert "without CUDA" in said
    assert "hotpaddle[gpu]" in said


@pytest.mark.gpu_wheel
@pytest.mark.skipif(not _gpu_wheel(), reason="needs paddlepaddle-gpu: make test-gpu-wheel")
@pytest.mark.skipif(_has_gpu(), reason="there is a GPU")
def test_without_a_gpu_the_gpu_wheel_refuses_it_and_says_what_is_missing(
    repository: Repository, models: Models
) -> None:
    repository.publish("mlp", "v1", models.mlp(1))
    said = refused(repository, "gpu:0")
    assert said.startswith("hotpaddle: gpu:0: ")
    for part in ("libcuda.so.1", "nvidia-smi", "/dev/nvidia", "libcublas"):
        assert part in said


@pytest.mark.gpu_wheel
@pytest.mark.skipif(not _gpu_wheel(), reason="needs paddlepaddle-gpu: make test-gpu-wheel")
@pytest.mark.parametrize(
    "device",
    ["cpu", pytest.param("gpu:0", marks=pytest.mark.skipif(not _has_gpu(), reason="no GPU"))],
)
def test_the_gpu_wheel_serves_and_replaces(
    serve: Serve, repository: Repository, models: Models, device: str
) -> None:
    folders = [models.mlp(1), models.mlp(2)]
    expected = {f"v{number}": mlp_outputs(folders[number % 2], device) for number in range(6)}
    repository.publish("mlp", "v0", folders[0])
    server = serve(repository, "--device", device).wait_ready()
    with Load(server.port, expected) as load:
        for number in range(1, 6):
            repository.publish("mlp", f"v{number}", folders[number % 2])
            server.wait_serving("mlp", f"v{number}")
            load.wait_answers(20)
    load.seen.assert_clean()
