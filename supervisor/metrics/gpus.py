"""The GPUs of this machine, as NVIDIA's management library sees them.

Owns the library's handle. Without the package nvidia-ml-py, a driver or a GPU there are no
readings, and no errors. The library may block for milliseconds: read in a thread. Runs in the
supervisor.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import structlog

log = structlog.get_logger()


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

    def __init__(self) -> None:
        self._library: Any = None
        self._tried = False

    def _open(self) -> Any:
        """Give the library, opened; None where there is none. Tried once."""
        if self._tried:
            return self._library
        self._tried = True
        try:
            import pynvml  # noqa: PLC0415 - an extra that may be missing

            pynvml.nvmlInit()
        except ImportError:
            log.debug("no metrics of GPUs: the package nvidia-ml-py is not installed")
        except Exception as error:  # noqa: BLE001 - no driver, no GPU: whatever it is, there is none
            log.debug("no metrics of GPUs", reason=str(error))
        else:
            self._library = pynvml
        return self._library

    def read(self) -> tuple[GpuReading, ...]:
        """Read all GPUs; those that do not answer are left out."""
        library = self._open()
        if library is None:
            return ()
        count = _ask(library.nvmlDeviceGetCount) or 0
        readings = (_read(library, index) for index in range(count))
        return tuple(reading for reading in readings if reading is not None)


def _read(library: Any, index: int) -> GpuReading | None:
    device = _ask(lambda: library.nvmlDeviceGetHandleByIndex(index))
    if device is None:
        return None
    rates = _ask(lambda: library.nvmlDeviceGetUtilizationRates(device))
    memory = _ask(lambda: library.nvmlDeviceGetMemoryInfo(device))
    return GpuReading(
        index,
        str(_ask(lambda: library.nvmlDeviceGetUUID(device)) or ""),
        str(_ask(lambda: library.nvmlDeviceGetName(device)) or ""),
        None if rates is None else rates.gpu / 100,
        None if memory is None else memory.used,
        None if memory is None else memory.total,
        _ask(lambda: library.nvmlDeviceGetTemperature(device, library.NVML_TEMPERATURE_GPU)),
    )


def _ask(question: Callable[[], Any]) -> Any:
    """Give the answer, None where there is none: a GPU that is lost must not end the others'."""
    try:
        return question()
    except Exception:  # noqa: BLE001 - NVMLError, or a driver too old for the function
        return None
