"""NVIDIA's management library, asked about the GPUs that workers are given as `gpu:N`.

Owns the library's handle and the way from Paddle's number of a GPU to the library's. Without the
package nvidia-ml-py, a driver or a GPU there are no answers, and no errors. The library may block
for milliseconds: ask in a thread. Runs in the supervisor.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import structlog

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class GpuMemory:
    """A GPU's memory at one moment, in bytes."""

    used: int
    free: int


@lru_cache(maxsize=1)
def library() -> Any:
    """Give the library, opened; None where there is none. Tried once."""
    try:
        import pynvml  # noqa: PLC0415 - an extra that may be missing

        pynvml.nvmlInit()
    except Exception as error:  # noqa: BLE001 - no package, no driver, no GPU: all the same here
        log.debug("NVIDIA's management library is not to be had", reason=str(error))
        return None
    return pynvml


def ask(question: Callable[[], Any]) -> Any:
    """Give the answer, None where there is none: a GPU that is lost must not end the others'."""
    try:
        return question()
    except Exception:  # noqa: BLE001 - no library, NVMLError, or a driver too old for the function
        return None


def visible_name(number: int, environment: Mapping[str, str]) -> str:
    """Give what CUDA_VISIBLE_DEVICES calls GPU `number`: an index, or a UUID; "" for none such.

    CUDA counts GPUs in the order of this list. Without one it puts the fastest first; among equal
    ones, or with CUDA_DEVICE_ORDER=PCI_BUS_ID, its order is the management library's.
    """
    visible = environment.get("CUDA_VISIBLE_DEVICES")
    if visible is None:
        return str(number)
    names = [name.strip() for name in visible.split(",")]
    return names[number] if number < len(names) else ""


def _device(number: int) -> Any:
    """Give the library's handle of `gpu:number`. Raises whatever the library raises."""
    nvml, name = library(), visible_name(number, os.environ)
    if name.isdecimal():
        return nvml.nvmlDeviceGetHandleByIndex(int(name))
    return nvml.nvmlDeviceGetHandleByUUID(name.encode())


def gpu_memory(number: int) -> GpuMemory | None:
    """Read the memory of `gpu:number`; None where it is not told."""
    memory = ask(lambda: library().nvmlDeviceGetMemoryInfo(_device(number)))
    return None if memory is None else GpuMemory(memory.used, memory.free)


def pci_address(number: int) -> str | None:
    """Give the PCI address of `gpu:number` as sysfs writes it; None where it is not told."""
    found = ask(lambda: library().nvmlDeviceGetPciInfo(_device(number)).busId)
    if found is None:
        return None
    text = found.decode() if isinstance(found, bytes) else str(found)
    domain, rest = text.lower().split(":", maxsplit=1)
    return f"{domain[-4:]}:{rest}"  # the library writes the domain with eight digits
