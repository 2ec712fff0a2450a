"""GPUs: none is no error; those that are there are read through NVIDIA's own binding."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from supervisor.metrics.gpus import Gpus
from tests.harness import ROOT

READ = "from supervisor.metrics.gpus import Gpus; one = Gpus(); one.read(); print(*one.read())"


def run(program: str, library: Path | None = None) -> str:
    environment = dict(os.environ)
    if library is not None:
        environment["LD_LIBRARY_PATH"] = str(library)
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, env=environment, capture_output=True, text=True,
        check=True,
    )  # fmt: skip
    return done.stdout.strip().splitlines()[-1] if done.stdout.strip() else ""


def test_gpus_of_this_machine_are_read_or_there_are_none() -> None:
    gpus = Gpus()
    readings = gpus.read()
    assert [reading.index for reading in readings] == sorted({one.index for one in readings})
    assert len(gpus.read()) == len(readings)
    for reading in readings:
        assert reading.uuid.startswith("GPU-")


def test_without_the_package_there_are_none() -> None:
    without = "import sys; sys.modules['pynvml'] = None; "
    assert run(f"{without}{READ.replace('print(*one.read())', 'print(len(one.read()))')}") == "0"


def test_what_a_gpu_does_not_tell_is_left_out_and_so_is_one_that_is_lost(tmp_path: Path) -> None:
    """Against a library of ours that answers as NVIDIA's does."""
    source = Path(__file__).parent / "nvml.c"
    library = tmp_path / "libnvidia-ml.so.1"
    subprocess.run(["gcc", "-shared", "-fPIC", "-o", str(library), str(source)], check=True)
    assert run(READ, tmp_path) == (
        "GpuReading(index=0, uuid='GPU-1', name='Some GPU', utilisation=0.37, "
        f"memory_used_bytes={3 << 30}, memory_total_bytes={80 << 30}, temperature_celsius=None)"
    )
