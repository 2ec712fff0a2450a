"""Metrics of what requests run on: shared memory, workers, processes, GPUs.

Owns their table. Pure. Runs in the supervisor.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from supervisor.metrics.family import Family, Read, Rows, one
from supervisor.metrics.gpus import GpuReading
from supervisor.metrics.machine import ProcessReading
from supervisor.metrics.reading import Reading

_PROCESS: Final = ("kind", "worker", "device")
_GPU: Final = ("gpu", "uuid")


def _ring_marks(reading: Reading) -> Rows:
    yield ("submission",), reading.fronts.rings.submissions
    yield ("completion",), reading.fronts.rings.completions


def _workers(reading: Reading) -> Rows:
    yield from sorted(reading.workers.items())


def _per_process(value: Callable[[ProcessReading], float]) -> Read:
    def read(reading: Reading) -> Rows:
        for name, process in sorted(reading.machine.processes.items()):
            yield (name.kind, name.worker, name.device), value(process)

    return read


def _per_gpu(value: Callable[[GpuReading], float | None]) -> Read:
    def read(reading: Reading) -> Rows:
        for gpu in reading.machine.gpus:
            figure = value(gpu)
            if figure is not None:
                yield (str(gpu.index), gpu.uuid), figure

    return read


def _gpu_info(reading: Reading) -> Rows:
    for gpu in reading.machine.gpus:
        yield (str(gpu.index), gpu.uuid, gpu.name), 1


MACHINE: Final = (
    Family(
        "hotpaddle_arena_capacity_bytes", "gauge", (), "Size of the request arena.",
        one(lambda reading: reading.fronts.arena.total_bytes),
    ),
    Family(
        "hotpaddle_arena_lent_bytes", "gauge", (), "Bytes of the arena that requests hold.",
        one(lambda reading: reading.fronts.arena.lent_bytes),
    ),
    Family(
        "hotpaddle_arena_lent_slots", "gauge", (), "Slots of the arena that requests hold.",
        one(lambda reading: reading.fronts.arena.lent_slots),
    ),
    Family(
        "hotpaddle_arena_high_water_bytes", "gauge", (),
        "Most bytes of the arena that requests held at once since the start.",
        one(lambda reading: reading.fronts.arena.high_water_bytes),
    ),
    Family(
        "hotpaddle_ring_capacity_descriptors", "gauge", (), "Descriptors that a ring holds.",
        one(lambda reading: reading.fronts.rings.descriptors),
    ),
    Family(
        "hotpaddle_ring_high_water_descriptors", "gauge", ("ring",),
        "Most descriptors that lay in a ring of a worker that lives.",
        _ring_marks,
    ),
    Family(
        "hotpaddle_response_ring_capacity_bytes", "gauge", (), "Size of a worker's response ring.",
        one(lambda reading: reading.fronts.rings.response_capacity),
    ),
    Family(
        "hotpaddle_response_ring_high_water_bytes", "gauge", (),
        "Most bytes of answers that lay in the response ring of a worker that lives.",
        one(lambda reading: reading.fronts.rings.response_bytes),
    ),
    Family(
        "hotpaddle_workers", "gauge", ("device", "state"),
        "Workers by state; idle ones are spares.",
        _workers,
    ),
    Family(
        "hotpaddle_worker_restarts_total", "counter", (), "Workers that ended unasked.",
        one(lambda reading: reading.restarts),
    ),
    Family(
        "hotpaddle_process_resident_memory_bytes", "gauge", _PROCESS,
        "Resident memory, shared memory included.",
        _per_process(lambda process: process.resident_bytes),
    ),
    Family(
        "hotpaddle_process_cpu_seconds_total", "counter", _PROCESS, "CPU time, user and system.",
        _per_process(lambda process: process.cpu_seconds),
    ),
    Family(
        "hotpaddle_process_open_fds", "gauge", _PROCESS, "Open file descriptors.",
        _per_process(lambda process: process.open_fds),
    ),
    Family(
        "hotpaddle_gpu_info", "gauge", (*_GPU, "name"),
        "Always 1; the GPUs as nvidia-smi numbers them.", _gpu_info,
    ),
    Family(
        "hotpaddle_gpu_utilization_ratio", "gauge", _GPU,
        "Share of the last moments in which a kernel ran, 0 to 1.",
        _per_gpu(lambda gpu: gpu.utilisation),
    ),
    Family(
        "hotpaddle_gpu_memory_used_bytes", "gauge", _GPU, "Memory in use, by whomever.",
        _per_gpu(lambda gpu: gpu.memory_used_bytes),
    ),
    Family(
        "hotpaddle_gpu_memory_capacity_bytes", "gauge", _GPU, "Memory of the GPU.",
        _per_gpu(lambda gpu: gpu.memory_total_bytes),
    ),
    Family(
        "hotpaddle_gpu_temperature_celsius", "gauge", _GPU, "Temperature of the GPU.",
        _per_gpu(lambda gpu: gpu.temperature_celsius),
    ),
)  # fmt: skip
