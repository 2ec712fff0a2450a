"""The environment of workers: how their memory is managed.

Owns the variables that glibc and Paddle read at a process's start. Pure. Runs in the supervisor.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

# glibc hands large buffers back to the kernel at once and faults them in again at the next run.
# Kept instead, and in huge pages, MobileNetV2 runs a quarter to a half faster
# (docs/performance.md).
_TUNED: Final = {
    "MALLOC_MMAP_THRESHOLD_": str(1 << 30),
    "MALLOC_TRIM_THRESHOLD_": str(1 << 32),
    "GLIBC_TUNABLES": "glibc.malloc.hugetlb=1",  # madvise(MADV_HUGEPAGE); glibc 2.35 and later
    # A thread of Paddle 3 frees what a run needs no longer, and is woken for it, in a tiny model
    # once per run: a third of that run's time. In lots of 50 KB it hardly ever is, and none takes
    # so long that a core is missed meanwhile.
    "FLAGS_eager_delete_tensor_gb": "0.00005",
}


def worker_environment(malloc: str, ours: Mapping[str, str]) -> dict[str, str]:
    """Give a worker's environment; what the operator has set himself stays."""
    return {**_TUNED, **ours} if malloc == "tuned" else dict(ours)
