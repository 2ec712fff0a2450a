"""The device check: can this process use the device that it was given, and if not, why not.

Owns the explanation, in the order in which an operator would look: wheel, driver, device nodes,
CUDA libraries, architecture. Never imports paddle itself. Runs in the worker, before it says hello.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from pathlib import Path
from typing import Any


def explain_gpu(index: int, facts: dict[str, Any], failure: str = "") -> str:
    """Say why `gpu:index` cannot be used: `facts` Paddle knows, `failure` is what it raised."""
    if not facts["compiled_with_cuda"]:
        return (
            "the installed Paddle is built without CUDA: install hotpaddle[gpu] (paddlepaddle-gpu) "
            "instead of paddlepaddle; see `pip list | grep paddle`"
        )
    found = (_driver(), _device_nodes(), _libraries(str(facts["cuda_version"])))
    missing = [what for what in found if what is not None]
    if missing:
        return ". Also: ".join(missing)
    if index >= facts["devices"]:
        return (
            f"Paddle sees {facts['devices']} GPU(s), there is no number {index}; "
            "see `nvidia-smi -L` and CUDA_VISIBLE_DEVICES"
        )
    return (
        f"Paddle (CUDA {facts['cuda_version']}) cannot run on it, most likely because the wheel "
        "holds no kernels for this architecture; compare `nvidia-smi --query-gpu=compute_cap "
        f"--format=csv` with the wheel's CUDA version. Paddle said: {failure.strip() or 'nothing'}"
    )


def _driver() -> str | None:
    if _loads("libcuda.so.1"):
        return None
    return (
        "the NVIDIA driver is missing: libcuda.so.1 cannot be loaded; install the driver, "
        "then see `nvidia-smi` and `ldconfig -p | grep libcuda`"
    )


def _device_nodes() -> str | None:
    if any(Path("/dev").glob("nvidia[0-9]*")):
        return None
    return (
        "there is no GPU device node: /dev/nvidia0 does not exist; see `ls -l /dev/nvidia*`, "
        "`lspci | grep -i nvidia` and, under systemd, DeviceAllow and PrivateDevices"
    )


def _libraries(cuda_version: str) -> str | None:
    major = cuda_version.split(".", maxsplit=1)[0]
    cudart = {"11": "libcudart.so.11.0"}.get(major, f"libcudart.so.{major}")
    cublas = f"libcublas.so.{major}"
    cudnn = ("libcudnn.so.8", "libcudnn.so.9")
    missing = [name for name in (cudart, cublas) if not _loads(name)]
    if not any(_loads(name) for name in cudnn):
        missing.append(" or ".join(cudnn))
    if not missing:
        return None
    return (
        f"CUDA libraries are missing: {', '.join(missing)} cannot be loaded; this wheel needs "
        f"CUDA {cuda_version}; install them (PyPI: nvidia-*-cu{major}) and set LD_LIBRARY_PATH, "
        "then see `ldconfig -p | grep -E 'cudart|cublas|cudnn'`"
    )


def _loads(name: str, load: Callable[[str], Any] = ctypes.CDLL) -> bool:
    try:
        load(name)
    except OSError:
        return False
    return True
