"""A model's own settings: `model.toml` in its directory, or in a version's for that version alone.

Owns names, defaults and limits. Staged and hashed with the version, so that what was checked is
what runs. Pure, but for nothing. Runs in the supervisor.
"""

from __future__ import annotations

import dataclasses
import tomllib
from dataclasses import dataclass
from typing import Any, Final

from gpu_worker.ipc.messages import BatchingSettings, PredictorSettings, Warmup
from supervisor.errors import SettingsError, VersionRejected
from supervisor.fields import parse, setting
from supervisor.settings import Settings

_MOST_WARMUPS: Final = 64
_MOST_BYTES: Final = 1 << 20
_MOST_IN_FLIGHT: Final = 256  # what a ring holds


def _shapes(value: Any) -> tuple[Warmup, ...]:
    """Read `[[warmup]]` tables, each input name = [its shape]."""
    if not isinstance(value, list) or not all(isinstance(run, dict) for run in value):
        raise ValueError("must be tables [[warmup]] with lines like x = [1, 3, 48, 320]")
    if len(value) > _MOST_WARMUPS:
        raise ValueError(f"lists {len(value)} runs, at most {_MOST_WARMUPS} are made")
    runs = []
    for run in value:
        for name, shape in run.items():
            if not isinstance(shape, list) or not all(
                isinstance(dim, int) and not isinstance(dim, bool) and dim > 0 for dim in shape
            ):
                raise ValueError(f"{name} = {shape!r} must be a list of positive whole numbers")
        runs.append(Warmup({str(name): list(shape) for name, shape in run.items()}))
    return tuple(runs)


def _devices(value: Any) -> tuple[str, ...]:
    """Read a list of device names."""
    if not isinstance(value, list) or not all(isinstance(name, str) for name in value):
        raise ValueError('must be a list such as ["gpu:0"]')
    return tuple(value)


def _sizes(value: Any) -> tuple[int, ...]:
    """Read a list of batch sizes."""
    if not isinstance(value, list) or not all(_is_count(size, 1) for size in value):
        raise ValueError("must be a list of whole numbers from 1, such as [4, 8]")
    return tuple(sorted(set(value)))


def _pad(value: Any) -> tuple[tuple[str, tuple[int, ...]], ...]:
    """Read the table `[pad]`, input name = multiples by dimension."""
    if not isinstance(value, dict):
        raise TypeError("must be a table [pad] with lines like x = [0, 0, 0, 32]")
    for name, multiples in value.items():
        if not isinstance(multiples, list) or not all(_is_count(one, 0) for one in multiples):
            raise ValueError(f"{name} = {multiples!r} must be a list of whole numbers from 0")
    return tuple((str(name), tuple(multiples)) for name, multiples in value.items())


def _is_count(value: Any, low: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and low <= value <= 1 << 16


@dataclass(frozen=True, slots=True)
class ModelSettings:
    """What a model may ask for. 0 for a limit means: as the server's settings say."""

    instances: int = setting(1, "workers per device", low=1, high=64)
    devices: tuple[str, ...] = dataclasses.field(
        default=(), metadata={"help": "devices to serve on; empty: all", "convert": _devices}
    )
    max_batch_size: int = setting(0, "rows that a batch may have", low=0, high=256)
    max_queue_delay_us: int = setting(
        0, "how long a request may wait for company in its batch", low=0, high=10_000_000
    )
    preferred_batch_sizes: tuple[int, ...] = dataclasses.field(
        default=(), metadata={"help": "sizes at which a batch waits no longer", "convert": _sizes}
    )
    pad: tuple[tuple[str, tuple[int, ...]], ...] = dataclasses.field(
        default=(), metadata={"help": "multiples that inputs are padded to", "convert": _pad}
    )
    max_in_flight: int = setting(0, "requests handed to one worker ahead", low=0, high=256)
    queue_limit: int = setting(0, "requests that may wait", low=0, high=1_000_000)
    timeout_ms: int = setting(0, "deadline of a request", low=0, high=86_400_000)
    load_timeout_ms: int = setting(0, "a longer load has failed", low=0, high=86_400_000)
    precision: str = setting("fp32", "of the predictor", choices=("fp32", "fp16", "int8"))
    cpu_threads: int = setting(1, "math threads on CPU", low=1, high=1024)
    onednn: bool = setting(default=True, text="use oneDNN on CPU")
    gpu_pool_mb: int = setting(1000, "initial GPU memory pool", low=0, high=1_000_000)
    tensorrt: bool = setting(default=False, text="run through TensorRT")
    tensorrt_cache_dir: str = setting("", "where built engines are kept")
    tensorrt_workspace_mb: int = setting(1024, "TensorRT's workspace", low=1, high=1_000_000)
    check_finite: bool = setting(default=True, text="refuse a version whose warm-up gives NaN")
    allow_contract_change: bool = setting(
        default=False, text="let this version change inputs or outputs"
    )
    warmup: tuple[Warmup, ...] = dataclasses.field(
        default=(), metadata={"help": "shapes to warm up with", "convert": _shapes}
    )

    def predictor(self) -> PredictorSettings:
        """Give the part that the worker's predictor needs."""
        return PredictorSettings(
            self.cpu_threads,
            self.onednn,
            self.precision,
            self.gpu_pool_mb,
            self.tensorrt,
            self.tensorrt_cache_dir,
            self.tensorrt_workspace_mb,
        )

    def batching(self) -> BatchingSettings:
        """Give the part that the worker's batching needs."""
        return BatchingSettings(
            self.max_batch_size,
            self.max_queue_delay_us,
            list(self.preferred_batch_sizes),
            {name: list(multiples) for name, multiples in self.pad},
        )

    def with_defaults(self, server: Settings) -> ModelSettings:
        """Fill limits that are left to the server; a batch needs enough requests to be made of."""
        batch = self.max_batch_size or server.max_batch_size
        ahead = max(server.max_in_flight, min(2 * batch, _MOST_IN_FLIGHT) if batch > 1 else 0)
        return dataclasses.replace(
            self,
            max_batch_size=batch,
            max_in_flight=self.max_in_flight or ahead,
            queue_limit=self.queue_limit or server.queue_limit,
            timeout_ms=self.timeout_ms or server.timeout_ms,
            load_timeout_ms=self.load_timeout_ms or server.load_timeout_ms,
        )


def parse_model_settings(data: bytes, server: Settings) -> ModelSettings:
    """Read the bytes of a `model.toml` (empty: all defaults).

    Raises:
        VersionRejected: it is not TOML, or a setting is unknown or not allowed.

    """
    if len(data) > _MOST_BYTES:
        raise VersionRejected("settings", f"model.toml is larger than {_MOST_BYTES} bytes")
    try:
        values = tomllib.loads(data.decode("utf-8"))
        settings = parse(ModelSettings, values, "model.toml").with_defaults(server)
    except (ValueError, RecursionError) as error:  # not UTF-8, not TOML, too deep, too large
        raise VersionRejected("settings", f"model.toml is not TOML: {error}") from error
    except SettingsError as error:
        raise VersionRejected("settings", str(error)) from error
    unknown = set(settings.devices) - set(server.devices())
    if unknown:
        raise VersionRejected(
            "settings",
            f"model.toml: devices names {', '.join(sorted(unknown))}, the server has "
            f"{', '.join(server.devices())}",
        )
    return settings
