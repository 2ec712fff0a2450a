"""What is kept of a model: its lanes with their staged bytes, its past, and its requests.

Owns the fields. Pure. Written and read by the supervisor at an upgrade in place.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from supervisor.kept.slot import KeptSlot
from supervisor.lifecycle.memory_guard import Taken
from supervisor.lifecycle.states import VersionRecord


@dataclass(frozen=True, slots=True)
class KeptStaged:
    """The staged bytes of a version: two descriptors, and what is known of them."""

    program: int
    params: int
    suffix: str
    digest: str
    size: int
    settings_data: bytes


@dataclass(frozen=True, slots=True)
class KeptLane:
    """One loaded version. `contract` is `Contract.to_json()`, `workers` are their numbers."""

    record: VersionRecord
    contract: dict[str, Any]
    generation: int
    since: float
    staged: KeptStaged
    workers: list[int]


@dataclass(frozen=True, slots=True)
class KeptRequest:
    """One admitted request; times are CLOCK_MONOTONIC nanoseconds, which goes on.

    `worker` is the number of the one that holds it, 0 while it is queued. `contract` is the one
    that it was checked against, None where that is the one being served. `generation` is of the
    lane that it is bound to, 0 while any may answer.
    """

    id: int
    slot: KeptSlot
    length: int
    output_mask: int
    shapes: tuple[tuple[int, ...], ...]
    by_version: bool
    generation: int
    deadline_ns: int
    enqueued_ns: int
    submitted_ns: int
    crashes: int
    answered: bool
    worker: int
    contract: dict[str, Any] | None


@dataclass(frozen=True, slots=True)
class KeptReloads:
    """How the reloads of a model ended: counts, and a histogram by phase."""

    outcomes: dict[str, int]
    refusals: dict[str, int]
    phases: dict[str, dict[str, Any]]


@dataclass(frozen=True, slots=True)
class KeptModel:
    """One model. `statistics` is `ModelStatistics.to_dict()` of this process alone."""

    name: str
    generation: int
    why_not: str
    serving: KeptLane | None
    retained: KeptLane | None
    last_failure: VersionRecord | None
    refused: dict[str, tuple[str, bool]]
    unloaded: bool
    problem: str
    taken: list[Taken]
    reloads: KeptReloads
    history: list[dict[str, Any]]
    statistics: dict[str, Any]
    shapes: list[tuple[tuple[int, ...], ...]]
    requests: list[KeptRequest] = field(default_factory=list)  # in the order of their queues
