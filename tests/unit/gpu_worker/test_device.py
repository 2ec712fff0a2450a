"""The explanation of a GPU that cannot be used: everything that is missing is named."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gpu_worker import device
from gpu_worker.device import explain_gpu

WHEEL = {"compiled_with_cuda": True, "cuda_version": "11.8", "devices": 2}
CPU_WHEEL = {"compiled_with_cuda": False, "cuda_version": "", "devices": 0}
LIBRARIES_11 = {"libcuda.so.1", "libcudart.so.11.0", "libcublas.so.11", "libcudnn.so.8"}
LIBRARIES_12 = {"libcuda.so.1", "libcudart.so.12", "libcublas.so.12", "libcudnn.so.9"}

Host = Callable[[set[str], bool], None]


@pytest.fixture
def host(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Host:
    """Make up a host: the libraries that can be loaded, and whether there are device nodes."""

    def make(libraries: set[str], nodes: bool) -> None:
        (tmp_path / "nvidiactl").touch()
        if nodes:
            (tmp_path / "nvidia0").touch()
        monkeypatch.setattr(device, "_loads", libraries.__contains__)
        monkeypatch.setattr(device, "Path", lambda _: tmp_path)

    return make


@pytest.mark.parametrize(
    ("facts", "libraries", "nodes", "index", "said"),
    [
        (CPU_WHEEL, LIBRARIES_11, True, 0, ["without CUDA", "hotpaddle[gpu]", "pip list"]),
        (WHEEL, set(), False, 0,
         ["driver is missing", "libcuda.so.1", "nvidia-smi", "Also: ", "/dev/nvidia0"]),
        (WHEEL, LIBRARIES_11 - {"libcuda.so.1"}, True, 0, ["driver is missing"]),
        (WHEEL, LIBRARIES_11, False, 0, ["/dev/nvidia0", "DeviceAllow", "PrivateDevices"]),
        (WHEEL, {"libcuda.so.1"}, False, 0, ["/dev/nvidia0"]),
        (WHEEL, {"libcuda.so.1"}, True, 0,
         ["libcudart.so.11.0, libcublas.so.11, libcudnn.so.8 or libcudnn.so.9 cannot be loaded",
          "CUDA 11.8", "nvidia-*-cu11", "LD_LIBRARY_PATH"]),
        (WHEEL, LIBRARIES_11 - {"libcudnn.so.8"}, True, 0,
         ["missing: libcudnn.so.8 or libcudnn.so.9 cannot"]),
        (WHEEL, LIBRARIES_11 - {"libcublas.so.11"}, True, 0, ["missing: libcublas.so.11 cannot"]),
        (WHEEL, LIBRARIES_12, True, 0, ["missing: libcudart.so.11.0, libcublas.so.11 cannot"]),
        (WHEEL | {"cuda_version": "12.6"}, LIBRARIES_11, True, 0,
         ["missing: libcudart.so.12, libcublas.so.12 cannot", "CUDA 12.6", "nvidia-*-cu12"]),
        (WHEEL, LIBRARIES_11, True, 2,
         ["sees 2 GPU(s), there is no number 2", "nvidia-smi -L", "CUDA_VISIBLE_DEVICES"]),
        (WHEEL, LIBRARIES_11, True, 1,
         ["CUDA 11.8", "architecture", "compute_cap", "Paddle said: no kernel image"]),
        (WHEEL | {"cuda_version": "12.6"}, LIBRARIES_12, True, 0, ["CUDA 12.6", "architecture"]),
    ],
)  # fmt: skip
def test_what_is_missing_is_named_with_the_way_to_see_it(
    host: Host, facts: dict[str, Any], libraries: set[str], nodes: bool, index: int, said: list[str]
) -> None:
    host(libraries, nodes)
    reason = explain_gpu(index, facts, " no kernel image\n")
    for part in said:
        assert part in reason
    assert "\n" not in reason


def test_paddle_that_said_nothing_is_quoted_so(host: Host) -> None:
    host(LIBRARIES_11, True)
    assert explain_gpu(0, WHEEL).endswith("Paddle said: nothing")


def test_a_library_is_tried_by_loading_it() -> None:
    def load(name: str) -> None:
        tried.append(name)
        if name == "libgone.so":
            raise OSError("cannot open shared object file")

    tried: list[str] = []
    assert device._loads("libhere.so", load)  # noqa: SLF001 - the one line that asks the system
    assert not device._loads("libgone.so", load)  # noqa: SLF001
    assert tried == ["libhere.so", "libgone.so"]
