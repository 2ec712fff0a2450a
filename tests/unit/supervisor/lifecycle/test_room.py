"""Room on a GPU: what the driver says is free decides, per device.

Against a library of ours that answers as NVIDIA's does: 77 GiB are free on gpu:0, gpu:1 is lost.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.harness import ROOT

ASK = """
import asyncio, sys
from pathlib import Path

from gpu_worker.ipc.arena import RequestArena
from supervisor.dispatch.dispatcher import Dispatcher
from supervisor.errors import VersionFailed
from supervisor.fronts.fronts import Fronts
from supervisor.lifecycle.lanes import Lanes
from supervisor.lifecycle.memory_guard import Taken
from supervisor.lifecycle.model import Model
from supervisor.lifecycle.room import Claim, Room
from supervisor.repository.model_settings import parse_model_settings
from supervisor.settings import Settings
from supervisor.workers.pool import WorkerPool
from supervisor.workers.renewal import Renewal
from supervisor.workers.spare_memory import SpareMemory

GB = 1 << 30

async def never(*_):
    raise AssertionError("nothing is to be started here")

async def main(policy, devices, taken_gb):
    settings = Settings(
        model_repository=Path("/"), device=devices, memory_reserve_mb=1024,
        when_memory_is_short=policy,
    )
    pool = WorkerPool(settings.devices(), never, 60.0, 60.0, Renewal(0), SpareMemory(0))
    model = Model("m", Dispatcher("m", RequestArena.create(1 << 20, 1 << 18)))
    model.footprint.taken.append(Taken(1, 0, int(taken_gb) * GB))
    lanes = Lanes({"m": model}, settings, pool, Fronts(settings, pool), lambda: None)
    room = Room(settings, lanes, pool)
    try:
        await room.make(Claim(model, "v@1", parse_model_settings(b"", settings), 1))
    except VersionFailed as error:
        print(error.kind, error.reason, sep=": ")
    else:
        print("fits")
    await pool.stop(0)

asyncio.run(main(*sys.argv[1:]))
"""

FULL = (
    "memory: too little memory on gpu:0: the load needs about {} MB, 78848 MB are available, of "
    "which 1024 MB are kept in reserve (memory_reserve_mb)"
)


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("nvml")
    source = ROOT / "tests/unit/supervisor/metrics/nvml.c"
    target = folder / "libnvidia-ml.so.1"
    subprocess.run(["gcc", "-shared", "-fPIC", "-o", str(target), str(source)], check=True)
    return folder


@pytest.mark.parametrize(
    ("policy", "devices", "taken_gb", "said"),
    [
        ("refuse", "gpu:0", 76, "fits"),  # with the reserve it is 77
        (
            "refuse",
            "gpu:0",
            77,
            FULL.format(78848),
        ),
        (
            "reclaim",  # there is nothing to give up
            "gpu:0",
            90,
            FULL.format(92160),
        ),
        ("refuse", "gpu:1", 500, "fits"),  # nobody knows: the load will tell
        ("refuse", "cpu", 500, "fits"),
    ],
)
def test_a_gpu_that_is_full_is_noticed_before_the_load(
    library: Path, policy: str, devices: str, taken_gb: int, said: str
) -> None:
    environment = {**os.environ, "LD_LIBRARY_PATH": str(library)}
    environment.pop("CUDA_VISIBLE_DEVICES", None)
    done = subprocess.run(
        [sys.executable, "-c", ASK, policy, devices, str(taken_gb)], cwd=ROOT, env=environment,
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.stdout.strip() == said, done.stderr
