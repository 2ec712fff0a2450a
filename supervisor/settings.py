"""The server's settings: from TOML file, environment and command line into one frozen object.

Owns names, defaults, limits and precedence (command line over `HOTPADDLE_*` over file over
default). Nothing is read again later. Runs in the supervisor, before anything else starts.
"""

from __future__ import annotations

import dataclasses
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from supervisor.access.settings import AccessSettings
from supervisor.errors import SettingsError
from supervisor.fields import parse, setting

ENVIRONMENT_PREFIX: Final = "HOTPADDLE_"
_UNSET: Final = Path()
# Variables that commands read which are no settings of the server.
_COMMANDS: Final = {
    ENVIRONMENT_PREFIX + name for name in ("CONFIG", "URL", "TOKEN_FILE", "CA", "CERT")
}
_DEVICE: Final = re.compile(r"cpu|gpu:(?:0|[1-9][0-9]*)")  # one spelling per GPU


@dataclass(frozen=True, slots=True)
class Settings(AccessSettings):
    """Everything that `hotpaddle serve` can be told. Units stand in the names."""

    model_repository: Path = setting(_UNSET, "directory with one sub-directory per model")
    host: str = setting("127.0.0.1", "address to listen on")
    port: int = setting(8000, "TCP port to listen on; 0 takes a free one", low=0, high=65535)
    fronts: int = setting(
        1,
        "processes that take requests; more than one where a single core is too little for them",
        low=1,
        high=64,
    )
    device: str = setting("cpu", "devices, comma-separated: cpu, gpu:0, 'gpu:0,gpu:1'")
    spares: int = setting(
        -1,
        "spare workers per device; -1: what the largest model needs for a switch",
        low=-1,
        high=64,
    )
    watch: str = setting(
        "auto",
        "how changes of the repository are noticed; auto polls where inotify cannot see them",
        choices=("auto", "inotify", "poll", "off"),
    )
    poll_interval_ms: int = setting(2000, "time between two polls", low=50, high=3_600_000)
    settle_ms: int = setting(
        1000,
        "a version without pointer and manifest counts as complete after so long without a write",
        low=0,
        high=3_600_000,
    )
    max_request_mb: int = setting(32, "largest request body, decompressed", low=1, high=4096)
    arena_mb: int = setting(
        256, "shared memory for requests in flight, per front", low=1, high=1_048_576
    )
    response_ring_mb: int = setting(
        32, "shared memory for responses, per worker and front; bounds one", low=1, high=4096
    )
    json_inline_kb: int = setting(
        64, "larger JSON is parsed and written by the JSON worker", low=1, high=1_048_576
    )
    queue_limit: int = setting(
        1024,
        "requests that may wait per model and front before 503 is answered",
        low=1,
        high=1_000_000,
    )
    max_in_flight: int = setting(
        4, "requests that a front hands to one worker ahead of its answers", low=1, high=256
    )
    max_batch_size: int = setting(
        1,
        "rows of a batch, where a model does not say; 1: requests run one by one",
        low=1,
        high=256,
    )
    express: str = setting(
        "auto",
        "auto: plain requests go through compiled code, where it was built; off: through Python's",
        choices=("auto", "off"),
    )
    worker_malloc: str = setting(
        "tuned",
        "memory of workers; tuned: glibc keeps large buffers, in huge pages; system: as found",
        choices=("tuned", "system"),
    )
    worker_keep_s: int = setting(
        600,
        "seconds for which a worker that gives up a version keeps its memory for the model's next "
        "one, unless a load needs it; 0: not at all",
        low=0,
        high=1_000_000,
    )
    worker_growth_mb: int = setting(
        256,
        "a worker that Paddle has left with so much more memory than at first gives its place to a "
        "new one; 0: never",
        low=0,
        high=1_000_000,
    )
    worker_cpus: str = setting(
        "",
        "cores for workers: a list such as 0-7,16, or one per device separated by semicolons, or "
        "numa: those near each GPU; empty: all",
    )
    supervisor_cpus: str = setting(
        "", "cores for the supervisor and the fronts, a list such as 0,1; empty: all"
    )
    memory_reserve_mb: int = setting(
        512,
        "memory of the host, and of each GPU, that a load must leave free",
        low=0,
        high=16_777_216,
    )
    when_memory_is_short: str = setting(
        "refuse",
        "refuse: a version that does not fit beside the one that serves is refused; reclaim: give "
        "up the retained version, then load in place of the serving one while requests wait",
        choices=("refuse", "reclaim"),
    )
    load_nice: int = setting(
        10,
        "added to a worker's niceness while it loads, where it may be taken back",
        low=0,
        high=19,
    )
    load_leftover_percent: int = setting(
        25,
        "a worker loads on what all else leaves over of the cores, as long as that is so much of "
        "one; with less it takes its share, by load_nice; 0: always",
        low=0,
        high=100,
    )
    timeout_ms: int = setting(30_000, "deadline of a request", low=1, high=86_400_000)
    body_timeout_ms: int = setting(
        10_000, "time for a request's body to arrive", low=1, high=86_400_000
    )
    hang_timeout_ms: int = setting(
        60_000, "a worker that gives no answer for so long is ended", low=100, high=86_400_000
    )
    load_timeout_ms: int = setting(
        300_000, "a load and warm-up that takes longer has failed", low=100, high=86_400_000
    )
    start_timeout_ms: int = setting(
        120_000, "time for a worker to import Paddle and open its device", low=100, high=86_400_000
    )
    drain_ms: int = setting(
        0,
        "time at a stop in which readiness fails and all else goes on; set it to what a load "
        "balancer takes to notice",
        low=0,
        high=86_400_000,
    )
    stop_timeout_ms: int = setting(
        10_000, "time for requests in flight at a stop", low=0, high=86_400_000
    )
    trace_endpoint: str = setting(
        "",
        "URL that spans of sampled requests are sent to (OTLP over HTTP), such as "
        "http://host:4318/v1/traces; takes the extra otel; empty: none",
    )
    log_format: str = setting(
        "auto", "auto: text on a terminal, else json", choices=("auto", "text", "json")
    )
    log_level: str = setting(
        "info", "least severe line that is written", choices=("debug", "info", "warning", "error")
    )

    def devices(self) -> tuple[str, ...]:
        """Split `device`; a device that is named twice is two devices (a host without GPU)."""
        return tuple(part.strip() for part in self.device.split(","))

    def check(self) -> Settings:
        """Check what concerns several fields, or a field's form.

        Raises:
            SettingsError: names the setting, its value and what is allowed.

        """
        for device in self.devices():
            if not _DEVICE.fullmatch(device):
                raise SettingsError(
                    f"device = {self.device!r}: must be cpu, gpu:N, or several of them with commas"
                )
        gpus = [device for device in self.devices() if device != "cpu"]
        if len(gpus) != len(set(gpus)):
            raise SettingsError(f"device = {self.device!r}: names a GPU twice")
        if self.model_repository == _UNSET:
            raise SettingsError(
                "model_repository is not set: give --model-repository DIR, a directory with one "
                "sub-directory per model"
            )
        if self.max_request_mb * 3 > self.arena_mb:
            raise SettingsError(
                f"arena_mb = {self.arena_mb}: must be at least three times max_request_mb "
                f"({self.max_request_mb})"
            )
        if self.trace_endpoint and not self.trace_endpoint.startswith(("http://", "https://")):
            raise SettingsError(
                f"trace_endpoint = {self.trace_endpoint!r}: must start with http:// or https://"
            )
        self.check_access()
        return self


_INHERITED: Final = {field.name for field in dataclasses.fields(AccessSettings)}
FIELDS: Final = {  # what concerns access comes last
    field.name: field
    for field in sorted(dataclasses.fields(Settings), key=lambda one: one.name in _INHERITED)
}


def load_settings(
    command_line: Mapping[str, Any], environment: Mapping[str, str], file: Path | None
) -> Settings:
    """Merge the three sources, the later over the earlier: file, environment, command line.

    Raises:
        SettingsError: the file cannot be read, or a setting is unknown or not allowed.

    """
    values: dict[str, Any] = {}
    if file is not None:
        values.update(_from_file(file))
    found = _from_environment(environment)
    for name in found.keys() - FIELDS.keys():  # `parse` would not show the variable's whole name
        raise SettingsError(
            f"environment: unknown setting {ENVIRONMENT_PREFIX + name.upper()!r}; known are "
            f"{', '.join(sorted(FIELDS))}"
        )
    settings = Settings()
    for where, source in (
        (str(file), values),
        ("environment", found),
        ("command line", dict(command_line)),
    ):
        parsed = parse(Settings, source, where)
        settings = dataclasses.replace(settings, **{name: getattr(parsed, name) for name in source})
    return settings.check()


def _from_file(file: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise SettingsError(f"{file}: cannot be read: {error.strerror}") from error
    except (ValueError, RecursionError) as error:  # not UTF-8, not TOML, too deep, too large
        raise SettingsError(f"{file}: is not TOML: {error}") from error


def _from_environment(environment: Mapping[str, str]) -> dict[str, str]:
    skip = len(ENVIRONMENT_PREFIX)
    return {
        name[skip:].lower(): value
        for name, value in environment.items()
        if name.startswith(ENVIRONMENT_PREFIX) and name not in _COMMANDS
    }
