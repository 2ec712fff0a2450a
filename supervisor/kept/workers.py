"""What is kept of a worker: its process, its descriptors, and what it has told.

Owns the fields. Pure. Written and read by the supervisor at an upgrade in place.
"""

from __future__ import annotations

from dataclasses import dataclass

from gpu_worker.ipc.link import RingMarks


@dataclass(frozen=True, slots=True)
class KeptWorker:
    """One worker; the last four are descriptors. `state` is a `WorkerState`'s value."""

    number: int
    pid: int
    device_index: int
    device: str
    device_name: str
    framework: str
    state: str
    load_id: int
    idle_bytes: int
    emptied_bytes: int
    grown_bytes: int
    version_bytes: int
    device_bytes: int
    unloading: int
    answered: int
    stale: int
    marks: RingMarks
    rings: int
    submissions: int
    completions: int
    control: int
