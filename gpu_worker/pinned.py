"""Pinned memory: host memory registered with CUDA, so that a copy to the device is one DMA.

Owns the calls into the CUDA runtime that this process has loaded already. Never needs to succeed:
without it copies go through a buffer of the driver's. Runs in the worker.
"""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import numpy as np

_PORTABLE: Final = 1  # cudaHostRegisterPortable: for every context of the process
_READ_ONLY: Final = 8  # cudaHostRegisterReadOnly: the worker's mapping of the arena is


def cuda_runtime() -> Any | None:
    """Open the CUDA runtime that is mapped into this process, None where there is none."""
    for line in Path("/proc/self/maps").read_text().splitlines():
        path = line.rpartition(" ")[2]
        if "/libcudart.so" in path:
            return ctypes.CDLL(path)
    return None


class Pinned:
    """One piece of memory, registered while this object is held."""

    def __init__(
        self, memory: memoryview, runtime: Callable[[], Any | None] = cuda_runtime
    ) -> None:
        """Register `memory`; where that fails, say so in one line on standard error."""
        self._view: Any = np.frombuffer(memory, np.uint8)  # keeps the mapping while registered
        self._runtime: Any | None = None
        try:
            library = runtime()
            reason = "no CUDA runtime is loaded" if library is None else self._register(library)
        except (OSError, AttributeError) as error:
            reason = str(error)
        if reason:
            self._view = None
            sys.stderr.write(f"memory is not pinned, copies to the device take longer: {reason}\n")

    @property
    def registered(self) -> bool:
        """Say whether it worked."""
        return self._runtime is not None

    def _register(self, library: Any) -> str:
        address = ctypes.c_void_p(self._view.ctypes.data)
        flags = _PORTABLE if self._view.flags.writeable else _PORTABLE | _READ_ONLY
        code = library.cudaHostRegister(address, ctypes.c_size_t(self._view.nbytes), flags)
        if code:
            library.cudaGetLastError()  # or Paddle's next check would find it
            return f"cudaHostRegister gave {code}"
        self._runtime = library
        return ""

    def release(self) -> None:
        """Undo it, before the memory is unmapped."""
        if self._runtime is not None:
            self._runtime.cudaHostUnregister(ctypes.c_void_p(self._view.ctypes.data))
        self._runtime = self._view = None
