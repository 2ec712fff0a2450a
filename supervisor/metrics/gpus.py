"""The GPUs of this machine, as NVIDIA's management library sees them.

Owns what is asked of it for metrics. Without the package nvidia-ml-py, a driver or a GPU there are
no readings, and no errors. The library may block for milliseconds: read in a thread. Runs in the
supervisor.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from supervisor import nvml
from supervisor.nvml import ask


@dataclass(frozen=True, slots=True)
class GpuReading:
    """One GPU at one moment; None stands for what it does not tell.

    `index` is the management library's, as `nvidia-smi` shows it.
    """

    index: int
    uuid: str
    name: str
    utilisation: float | None  # share of the last moments in which a kernel ran, 0 to 1
    memory_used_bytes: int | None
    memory_total_bytes: int | None
    temperature_celsius: int | None


class Gpus:
    """Asks the library, if there is one."""

    def read(self) -> tuple[GpuReading, ...]:
        """Read all GPUs; those that do not answer are left out."""
        library = nvml.library()
        if library is None:
            return ()
        count = ask(library.nvmlDeviceGetCount) or 0
        readings = (_read(library, index) for index in range(count))
        return tuple(reading for reading in readings if reading is not None)


def _read(library: Any, index: int) -> GpuReading | None:
    device = ask(lambda: library.nvmlDeviceGetHandleByIndex(index))
    if device is None:
        return None
    rates = ask(lambda: library.nvmlDeviceGetUtilizationRates(device))
    memory = ask(lambda: library.nvmlDeviceGetMemoryInfo(device))
    return GpuReading(
        index,
        str(ask(lambda: library.nvmlDeviceGetUUID(device)) or ""),
        str(ask(lambda: library.nvmlDeviceGetName(device)) or ""),
        None if rates is None else rates.gpu / 100,
        None if memory is None else memory.used,
        None if memory is None else memory.total,
        ask(lambda: library.nvmlDeviceGetTemperature(device, library.NVML_TEMPERATURE_GPU)),
    )
