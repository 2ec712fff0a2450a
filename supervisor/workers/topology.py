"""The topology: which cores there are, and what is near to what.

Owns the reading of sysfs, and this process's own affinity. Which cores are chosen `placement`
decides. Runs in the supervisor, before it has started anything.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

from supervisor import nvml
from supervisor.settings import Settings
from supervisor.workers.placement import Cores, Cpus, parse_cpus, place_supervisor, place_workers

_SYSFS: Final = Path("/sys")


def read_cores(devices: Sequence[str], sysfs: Path = _SYSFS) -> Cores:
    """Read what this machine has, as far as `devices` (`cpu`, `gpu:N`) are concerned."""
    gpu_nodes = {}
    for device in devices:
        if device.startswith("gpu:"):
            number = int(device.removeprefix("gpu:"))
            address = nvml.pci_address(number)
            node = None if address is None else gpu_node(address, sysfs)
            if node is not None:
                gpu_nodes[number] = node
    return Cores(frozenset(os.sched_getaffinity(0)), _nodes(sysfs), gpu_nodes)


def _nodes(sysfs: Path) -> dict[int, Cpus]:
    nodes = {}
    for path in sysfs.glob("devices/system/node/node[0-9]*"):
        with suppress(OSError, ValueError):  # a node of memory alone has an empty list
            cpus = parse_cpus((path / "cpulist").read_text().strip())
            nodes[int(path.name.removeprefix("node"))] = cpus
    return nodes


def gpu_node(address: str, sysfs: Path = _SYSFS) -> int | None:
    """Give the NUMA node of a PCI device (`0000:3b:00.0`); None where the machine does not tell.

    One that tells of no node (-1) and has a single one is taken to mean that.
    """
    try:
        node = int((sysfs / "bus/pci/devices" / address / "numa_node").read_text())
    except (OSError, ValueError):
        return None
    if node >= 0:
        return node
    nodes = _nodes(sysfs)
    return next(iter(nodes)) if len(nodes) == 1 else None


def run_on(cpus: Cpus) -> None:
    """Have all threads of this process, and those and the children to come, run on `cpus`.

    Raises:
        OSError: the kernel does not allow it.

    """
    for thread in os.listdir("/proc/self/task"):  # noqa: PTH208 - names are all that is wanted
        with suppress(ProcessLookupError):  # it has just ended
            os.sched_setaffinity(int(thread), cpus)


def place(settings: Settings) -> list[Cpus]:
    """Put the supervisor onto its cores; give those of each device's workers.

    Raises:
        SettingsError: the settings name cores that are not there.

    """
    devices = settings.devices()
    cores = read_cores(devices)
    workers = place_workers(settings.worker_cpus, devices, cores)
    own = place_supervisor(settings.supervisor_cpus, cores)
    if own is not None:
        run_on(own)
    return workers
