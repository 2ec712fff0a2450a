"""The messages of a worker's control channel.

Owns their fields, plain JSON values only. Requests do not come this way; they travel over the
rings. Runs in both processes.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Final

from gpu_worker.ipc.tensors import Contract
from gpu_worker.ipc.vocabulary import Vocabulary


@dataclass(frozen=True, slots=True)
class PredictorSettings:
    """How a worker sets up Paddle's predictor for one model.

    `precision` is fp32, fp16 or int8 and counts on GPU with TensorRT, fp16 also without it;
    `tensorrt_cache_dir` keeps built engines between loads ("" for none).
    """

    cpu_threads: int = 1
    onednn: bool = True
    precision: str = "fp32"
    gpu_pool_mb: int = 1000
    tensorrt: bool = False
    tensorrt_cache_dir: str = ""
    tensorrt_workspace_mb: int = 1024


@dataclass(frozen=True, slots=True)
class BatchingSettings:
    """How a worker forms batches for one model; the defaults run requests one by one.

    `max_batch_size` counts rows (the first dimension, summed over a batch's requests);
    `max_queue_delay_us` is how long a request may wait for company, counted from its submission;
    `preferred_batch_sizes` are sizes at which waiting for more is not worth it; `pad` gives for an
    input, dimension by dimension, the multiple that a variable dimension is padded to with zeros
    (0: not padded), so that shapes that are nearly alike can share a batch.
    """

    max_batch_size: int = 1
    max_queue_delay_us: int = 0
    preferred_batch_sizes: list[int] = field(default_factory=list)
    pad: dict[str, list[int]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Warmup:
    """One warm-up run: a shape for each input, none of them variable.

    `origin` says where the shapes come from: `declared` by the model (must fit and succeed),
    `traffic` of the version that serves (must succeed if it fits), `guessed` (may fail).
    """

    shapes: dict[str, list[int]]
    origin: str = "declared"


# Supervisor to worker


@dataclass(frozen=True, slots=True)
class Load:
    """Load a version, whatever is held now. Two descriptors come along: program, parameters.

    `nice` is added to the worker's niceness while it loads and, later, unloads this version, so
    that it takes no time from those that serve; it is ignored where it could not be undone.
    `idle`: it loads on what everything else leaves over of the cores, until the supervisor, which
    watches how it gets on, takes that back. `urgent`, never both: requests wait for it, it
    loads as it is.
    """

    load_id: int
    program_suffix: str
    settings: dict[str, Any] = field(default_factory=dict)  # of `PredictorSettings`
    batching: dict[str, Any] = field(default_factory=dict)  # of `BatchingSettings`
    warmups: list[dict[str, Any]] = field(default_factory=list)
    check_finite: bool = True
    nice: int = 0
    idle: bool = False
    urgent: bool = False


@dataclass(frozen=True, slots=True)
class Unload:
    """Give up the version held; or, where there is none, the memory kept for the next one."""


@dataclass(frozen=True, slots=True)
class Attach:
    """Serve one more link. Four descriptors come along: rings, arena, and the two doorbells."""

    link: int


@dataclass(frozen=True, slots=True)
class Detach:
    """Give a link up, with what it still asks for: whoever was at its other end has ended."""

    link: int


@dataclass(frozen=True, slots=True)
class SpaceFreed:
    """All responses of a link have been released; the answer to `NeedSpace`."""

    link: int = 0


@dataclass(frozen=True, slots=True)
class Stop:
    """End with status 0."""


# Worker to supervisor


@dataclass(frozen=True, slots=True)
class Hello:
    """The device context is up; the worker waits for a load.

    `memory_bytes` is the memory of its own that it has without a version.
    """

    framework: str
    device: str
    memory_bytes: int = 0


@dataclass(frozen=True, slots=True)
class DeviceRefused:
    """The device cannot be used; `reason` says what is missing and how to see it."""

    reason: str


@dataclass(frozen=True, slots=True)
class Warming:
    """The program and its parameters are loaded; warm-up begins."""

    load_id: int
    load_ms: float


@dataclass(frozen=True, slots=True)
class Loaded:
    """The version is ready to serve. `contract` is `Contract.to_json()`.

    `memory_bytes` is the most memory of its own that the worker had since the load began.
    """

    load_id: int
    contract: dict[str, Any]
    load_ms: float
    warm_ms: float
    warnings: list[str] = field(default_factory=list)
    memory_bytes: int = 0

    def parsed_contract(self) -> Contract:
        """Give the contract as an object."""
        return Contract.from_json(self.contract)


@dataclass(frozen=True, slots=True)
class LoadFailed:
    """The version cannot be served; `phase` is load or warm, `kind` a word for metrics."""

    load_id: int
    phase: str
    kind: str
    reason: str


@dataclass(frozen=True, slots=True)
class Unloaded:
    """The worker holds no version, or, asked again, keeps no memory for the next one.

    `memory_bytes` is the memory of its own that was left when it last gave everything back, 0 if it
    never has.
    """

    memory_bytes: int = 0


@dataclass(frozen=True, slots=True)
class NeedSpace:
    """The response ring of a link is full; the worker sleeps until `SpaceFreed`."""

    link: int = 0


Message = (
    Load
    | Unload
    | Attach
    | Detach
    | SpaceFreed
    | Stop
    | Hello
    | DeviceRefused
    | Warming
    | Loaded
    | LoadFailed
    | Unloaded
    | NeedSpace
)

VOCABULARY: Final = Vocabulary[Message](
    Load,
    Unload,
    Attach,
    Detach,
    SpaceFreed,
    Stop,
    Hello,
    DeviceRefused,
    Warming,
    Loaded,
    LoadFailed,
    Unloaded,
    NeedSpace,
)
