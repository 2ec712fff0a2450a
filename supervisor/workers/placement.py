"""Placement: which cores the workers of each device run on, and which the supervisor.

Owns the form of the settings `worker_cpus` and `supervisor_cpus`, and the choice. Pure: what cores
there are is told (`topology`), and the workers set their affinity themselves. Runs in the
supervisor.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from supervisor.errors import SettingsError

NUMA: Final = "numa"
_PART: Final = re.compile(r"([0-9]{1,5})(?:-([0-9]{1,5}))?")

Cpus = frozenset[int]


@dataclass(frozen=True, slots=True)
class Cores:
    """The cores of this machine that this process may use.

    `nodes` are the cores of each NUMA node, `gpu_nodes` gives the node that a GPU is attached to
    by the number in its device's name; a GPU of which that is not known is left out.
    """

    allowed: Cpus
    nodes: Mapping[int, Cpus]
    gpu_nodes: Mapping[int, int]

    def usable_nodes(self) -> dict[int, Cpus]:
        """Give the nodes that have cores which may be used."""
        found = {node: cpus & self.allowed for node, cpus in sorted(self.nodes.items())}
        return {node: cpus for node, cpus in found.items() if cpus}


def parse_cpus(text: str) -> Cpus:
    """Read a list of cores as the kernel writes it: `0-7,16,18-19`.

    Raises:
        ValueError: it is none.

    """
    cpus: set[int] = set()
    for part in text.split(","):
        found = _PART.fullmatch(part.strip())
        if found is None:
            raise ValueError(f"{part.strip()!r} is no core and no range of cores")
        first, last = int(found[1]), int(found[2] or found[1])
        if first > last:
            raise ValueError(f"{part.strip()!r} ends before it begins")
        cpus.update(range(first, last + 1))
    return frozenset(cpus)


def write_cpus(cpus: Iterable[int]) -> str:
    """Write cores in the form that `parse_cpus` reads."""
    runs: list[list[int]] = []
    for cpu in sorted(cpus):
        if runs and runs[-1][1] == cpu - 1:
            runs[-1][1] = cpu
        else:
            runs.append([cpu, cpu])
    return ",".join(str(low) if low == high else f"{low}-{high}" for low, high in runs)


def place_workers(text: str, devices: Sequence[str], cores: Cores) -> list[Cpus]:
    """Choose the cores of each device's workers; not pinned means all that may be used.

    Raises:
        SettingsError: the setting names cores or nodes that are not there.

    """
    if not text.strip():
        return [cores.allowed for _ in devices]
    if text.strip() == NUMA:
        return _by_node(text, devices, cores)
    sets = [_checked("worker_cpus", text, part, cores) for part in text.split(";")]
    if len(sets) not in (1, len(devices)):
        raise SettingsError(
            f"worker_cpus = {text!r}: has {len(sets)} sets of cores for {len(devices)} device(s); "
            "give one for each, separated by semicolons, or one for all"
        )
    return sets if len(sets) == len(devices) else sets * len(devices)


def place_supervisor(text: str, cores: Cores) -> Cpus | None:
    """Choose the cores of the supervisor and of the fronts; None leaves them as they are.

    Raises:
        SettingsError: the setting names cores that are not there.

    """
    return _checked("supervisor_cpus", text, text, cores) if text.strip() else None


def _by_node(text: str, devices: Sequence[str], cores: Cores) -> list[Cpus]:
    """Take the node of each GPU; devices `cpu` take the nodes in turn."""
    nodes = cores.usable_nodes()
    turn = list(nodes.values())
    chosen: list[Cpus] = []
    on_cpu = 0
    for device in devices:
        if device == "cpu":
            if not turn:
                raise SettingsError(f"worker_cpus = {text!r}: this machine tells of no NUMA node")
            chosen.append(turn[on_cpu % len(turn)])
            on_cpu += 1
            continue
        node = cores.gpu_nodes.get(int(device.removeprefix("gpu:")))
        if node is None or node not in nodes:
            known = "; ".join(f"node {one}: {write_cpus(cpus)}" for one, cpus in nodes.items())
            what = "is not known" if node is None else f"({node}) has no core that may be used"
            raise SettingsError(
                f"worker_cpus = {text!r}: the NUMA node of {device} {what}; give its cores instead "
                f"({known or 'cores ' + write_cpus(cores.allowed)})"
            )
        chosen.append(nodes[node])
    return chosen


def _checked(name: str, text: str, part: str, cores: Cores) -> Cpus:
    there = f"this process may use the cores {write_cpus(cores.allowed)}"
    try:
        cpus = parse_cpus(part)
    except ValueError as error:
        form = "a list such as 0-7,16"
        if name == "worker_cpus":
            form += f", several of them separated by semicolons, or {NUMA}"
        raise SettingsError(f"{name} = {text!r}: {error}; must be {form}; {there}") from None
    missing = cpus - cores.allowed
    if missing:
        raise SettingsError(
            f"{name} = {text!r}: the cores {write_cpus(missing)} are not to be had; {there}"
        )
    return cpus
