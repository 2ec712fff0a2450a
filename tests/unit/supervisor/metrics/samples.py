"""A reading as a busy server would give it, without a server."""

from __future__ import annotations

from supervisor.access.refusals import Refusals
from supervisor.dispatch.latency import STAGES
from supervisor.dispatch.model_statistics import ModelStatistics
from supervisor.dispatch.statistics import VersionStatistics
from supervisor.fronts.statistics import ArenaUse, FrontStatistics
from supervisor.lifecycle.reload_statistics import ReloadStatistics
from supervisor.metrics.gpus import GpuReading
from supervisor.metrics.machine import MachineReading, ProcessName, ProcessReading
from supervisor.metrics.reading import ModelReading, Reading

MS = 1_000_000


def version(answers: int) -> VersionStatistics:
    statistics = VersionStatistics(answered=answers, success_count=answers, failures={500: 1})
    for stage in STAGES:
        statistics.calm.stage(stage).note(3 * MS, answers)
    return statistics


def reading(names: tuple[str, ...] = ("m",)) -> Reading:
    reloads = ReloadStatistics()
    reloads.live({"stage": 1.5, "load": 300.0, "switch": 0.1}, 301.6)
    reloads.refused("manifest")
    fronts = FrontStatistics(
        arena=ArenaUse(1000, 10, 1, 20), connections=3, unknown_models=2,
        refusals=Refusals(no_token=4, late_head=1),
    )  # fmt: skip
    for name in names:
        fronts.models[name] = ModelStatistics(
            {400: 2, 500: 1}, {"poison": 1}, version(5),
            {"v1": version(10), "v2": version(20), "v0": version(1)}, 4, 2, 6,
        )  # fmt: skip
    roles = {"serving": "v2", "retained": "v1", "desired": "v3"}
    return Reading(
        True, True, 7, fronts,
        tuple(ModelReading(name, True, 2, roles, True, False, 1e9, 2e9, 64, reloads)
              for name in names),
        {("gpu:0", "holding"): 2, ("gpu:0", "idle"): 1}, 1,
        MachineReading(
            {ProcessName("worker", "1", "gpu:0"): ProcessReading(1 << 30, 1.5, 9)},
            (GpuReading(0, "GPU-1", "Some GPU", 0.5, 1 << 30, 80 << 30, None),),
        ),
    )  # fmt: skip
