"""Topology: what is read of a machine; sysfs trees as the kernel lays them out."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from supervisor.nvml import visible_name
from supervisor.workers.topology import gpu_node, read_cores
from tests.harness import ROOT


def machine(root: Path, nodes: dict[int, str], gpus: dict[str, int]) -> Path:
    for node, cpus in nodes.items():
        folder = root / f"devices/system/node/node{node}"
        folder.mkdir(parents=True)
        (folder / "cpulist").write_text(f"{cpus}\n")
    for address, node in gpus.items():
        folder = root / "bus/pci/devices" / address
        folder.mkdir(parents=True)
        (folder / "numa_node").write_text(f"{node}\n")
    return root


def test_this_machine_has_the_cores_that_this_process_may_use() -> None:
    cores = read_cores(["cpu"])
    assert cores.allowed == os.sched_getaffinity(0)
    for cpus in cores.usable_nodes().values():
        assert cpus <= cores.allowed


def test_nodes_and_the_gpus_on_them(tmp_path: Path) -> None:
    # Node 2 has memory alone.
    root = machine(tmp_path, {0: "0-3,8", 1: "4-7", 2: ""}, {"0000:3b:00.0": 1, "0000:af:00.0": -1})
    assert read_cores(["cpu"], root).nodes == {0: {0, 1, 2, 3, 8}, 1: {4, 5, 6, 7}}
    assert gpu_node("0000:3b:00.0", root) == 1
    assert gpu_node("0000:af:00.0", root) is None  # it may be on either
    assert gpu_node("0000:00:00.0", root) is None


def test_a_gpu_that_tells_no_node_is_on_the_only_one(tmp_path: Path) -> None:
    root = machine(tmp_path, {0: "0-3"}, {"0000:3b:00.0": -1})
    assert gpu_node("0000:3b:00.0", root) == 0


@pytest.mark.parametrize(
    ("number", "visible", "name"),
    [
        (0, None, "0"),
        (3, None, "3"),
        (0, "2,3", "2"),
        (1, "2, GPU-5ef", "GPU-5ef"),
        (2, "2,3", ""),
        (0, "", ""),
    ],
)
def test_which_gpu_a_number_means(number: int, visible: str | None, name: str) -> None:
    environment = {} if visible is None else {"CUDA_VISIBLE_DEVICES": visible}
    assert visible_name(number, environment) == name


ASK = """
from supervisor import nvml
print(nvml.pci_address(0), nvml.gpu_memory(0), nvml.pci_address(1), nvml.gpu_memory(7))
"""


def test_a_gpu_is_asked_through_nvidias_own_binding(tmp_path: Path) -> None:
    """Against a library of ours that answers as NVIDIA's does."""
    source = ROOT / "tests/unit/supervisor/metrics/nvml.c"
    library = tmp_path / "libnvidia-ml.so.1"
    subprocess.run(["gcc", "-shared", "-fPIC", "-o", str(library), str(source)], check=True)
    environment = {**os.environ, "LD_LIBRARY_PATH": str(tmp_path)}
    environment.pop("CUDA_VISIBLE_DEVICES", None)
    done = subprocess.run(
        [sys.executable, "-c", ASK], cwd=ROOT, env=environment, capture_output=True, text=True,
        check=True,
    )  # fmt: skip
    memory = f"GpuMemory(used={3 << 30}, free={77 << 30})"
    assert done.stdout.split("\n")[-2] == f"0000:3b:00.0 {memory} None None"
