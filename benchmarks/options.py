"""What a run of the benchmark can be told.

Owns the command line and what `--quick` stands for. Pure: parses, starts nothing.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from benchmarks.models import MODELS
from benchmarks.wire import ENCODINGS

PARTS: Final = ("generators", "bare", "rows", "peers", "turns", "idle", "reloads", "beside")
_QUICK_PARTS: Final = tuple(part for part in PARTS if part not in ("peers", "beside"))
PEERS: Final = ("mosec", "triton")

_EPILOG: Final = """\
parts, in the order in which they run:
  generators   the load generators against a responder that does nothing, to show that they are
               no bottleneck
  bare         the predictor loop without a server; every ratio is to its batch 1 (it always runs)
  rows         the server in a closed loop: JSON and binary, rising concurrency; for the MLP and
               MobileNetV2 also with batching (max_batch_size = 8)
  peers        other servers with the MLP and MobileNetV2, binary tensors, without and with
               batching: mosec, Triton with its Python backend; left out where not installed
  turns        Hotpaddle, the same servers and the bare loop by turns, eight requests at a time, in
               rounds of seconds: what drifts on the machine drifts for all of them
  idle         CPU of all processes without traffic
  reloads      a new version every --interval seconds against the same load without; in a closed
               loop (throughput) and at a constant rate (latency, no coordinated omission)
  beside       the bare loop alone and beside a process that loads as often at idle priority: what
               sharing the machine's memory costs, whoever serves

examples:
  python -m benchmarks --only rows --models mlp --concurrency 1,8 --seconds 3
  python -m benchmarks --server-option max-in-flight=8 --model-option cpu_threads=2
  python -m benchmarks --only reloads --models resnet50 --plot resnet50.svg
  python -m benchmarks.soak --help         minutes of full load with reloads; what wears
  python -m benchmarks.allocators --help   the bare loop under other allocators

All models are in FP32 on CPU, one worker with one math thread, unless options say otherwise. The
load generator runs on the same machine: a quiet one with two cores or more gives steady figures.
"""


@dataclass(frozen=True, slots=True)
class Options:
    """A parsed command line."""

    parts: tuple[str, ...]
    models: tuple[str, ...]
    encodings: tuple[str, ...]
    concurrencies: tuple[int, ...]
    seconds: float
    batch_size: int
    batch_concurrencies: tuple[int, ...]
    batch_encodings: tuple[str, ...]
    peers: tuple[str, ...]
    peer_models: tuple[str, ...]
    peer_concurrencies: tuple[int, ...]
    turn_rounds: int
    turn_seconds: float
    turn_batch_sizes: tuple[int, ...]
    idle_seconds: float
    reload_models: tuple[str, ...]
    reload_seconds: float
    interval: float
    open_share: float
    server_options: dict[str, str]
    model_options: dict[str, str]
    own_generator: bool
    json: Path | None
    plot: Path | None
    work_dir: Path | None


def _names(known: Sequence[str]) -> Any:
    def names(text: str) -> tuple[str, ...]:
        found = tuple(part.strip() for part in text.split(",") if part.strip())
        for name in found:
            if name not in known:
                raise argparse.ArgumentTypeError(f"{name!r} is none of {', '.join(known)}")
        return found

    return names


def _numbers(text: str) -> tuple[int, ...]:
    found = tuple(int(part) for part in text.split(","))
    if min(found) < 1:
        raise argparse.ArgumentTypeError("must be 1 or more")
    return found


def _batch_sizes(largest: int, *, quick: bool) -> tuple[int, ...]:
    """Give the batch sizes that are compared: without batching, where there is time, and with."""
    if largest <= 1:
        return (1,)
    return (largest,) if quick else (1, largest)


def pair(text: str) -> tuple[str, str]:
    """Split KEY=VALUE."""
    key, equals, value = text.partition("=")
    if not key or not equals:
        raise argparse.ArgumentTypeError(f"{text!r} is not KEY=VALUE")
    return key, value


def add_server_options(parser: argparse.ArgumentParser) -> None:
    """Add what every program that starts a server takes."""
    parser.add_argument(
        "--server-option", type=pair, action="append", default=[], metavar="KEY=VALUE",
        help="a setting of `hotpaddle serve`, such as max-in-flight=8; may be repeated",
    )  # fmt: skip
    parser.add_argument(
        "--model-option", type=pair, action="append", default=[], metavar="KEY=VALUE",
        help="a line of every model's model.toml, such as cpu_threads=2; may be repeated",
    )  # fmt: skip
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all figures to FILE")
    parser.add_argument(
        "--work-dir", type=Path, metavar="DIR",
        help="where repositories and records are written and removed again [a temporary one]",
    )  # fmt: skip


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description="Measure Hotpaddle against the bare Paddle predictor in one run.",
        epilog=_EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    add = parser.add_argument
    add("--quick", action="store_true", help="fewer and shorter rows: about two minutes")
    add("--only", type=_names(PARTS), metavar="PART,...",
        help="run these parts alone; quick: all but peers and beside")  # fmt: skip
    add("--models", type=_names(tuple(MODELS)), metavar="NAME,...", help=", ".join(MODELS))
    add("--encodings", type=_names(ENCODINGS), default=ENCODINGS, metavar="NAME,...",
        help="binary, json")  # fmt: skip
    add("--concurrency", type=_numbers, metavar="N,...", help="[1,8,32]; quick: [1,8]")
    add("--seconds", type=float, help="length of a row [5]; quick: [2]")
    add("--batch-size", type=int, default=8, metavar="N",
        help="max_batch_size of the rows with batching; 0 leaves them out [8]")  # fmt: skip
    add("--peers", type=_names(PEERS), metavar="NAME,...",
        help="servers to compare with [mosec,triton]; quick: [mosec], by turns")  # fmt: skip
    add("--rounds", type=int, metavar="N", help="rounds of turns [8]; quick: [4]")
    add("--reload-seconds", type=float, metavar="S",
        help="time with reloads, and as much without [60]; quick: [8]")  # fmt: skip
    add("--interval", type=float, default=2.0, help="seconds from a version to the next [2]")
    add("--open-share", type=float, default=0.4, metavar="SHARE",
        help="constant rate of the open loop, as a share of the closed loop's [0.4]")  # fmt: skip
    add("--own-generator", action="store_true", help="do not use wrk, also where it is installed")
    add("--plot", type=Path, metavar="FILE", help="latency over time as .svg or .png")
    add_server_options(parser)
    return parser


def parse_options(arguments: Sequence[str] | None = None) -> Options:
    """Parse a command line; ends the process with a message where it is wrong."""
    given = _parser().parse_args(arguments)
    quick = given.quick
    models = given.models or (("mlp", "mobilenet_v2") if quick else tuple(MODELS))
    reloadable = [name for name in models if MODELS[name].reloaded]
    if quick and not given.models:
        reloadable = ["mlp"]
    peer_models = [name for name in models if MODELS[name].batched]
    if quick and not given.models:
        peer_models = ["mlp"]
    concurrencies = given.concurrency or ((1, 8) if quick else (1, 8, 32))
    return Options(
        parts=given.only or (_QUICK_PARTS if quick else PARTS),
        models=models,
        encodings=given.encodings,
        concurrencies=concurrencies,
        seconds=given.seconds or (2.0 if quick else 5.0),
        batch_size=given.batch_size,
        batch_concurrencies=tuple(concurrencies[-1:]) if quick else concurrencies,
        batch_encodings=tuple(given.encodings[:1]) if quick else given.encodings,
        peers=given.peers or (PEERS[:1] if quick else PEERS),
        peer_models=tuple(peer_models),
        peer_concurrencies=tuple(concurrencies[-1:]) if quick else concurrencies,
        turn_rounds=given.rounds or (4 if quick else 8),
        turn_seconds=1.0 if quick else 2.0,
        turn_batch_sizes=_batch_sizes(given.batch_size, quick=quick),
        idle_seconds=3.0 if quick else 10.0,
        reload_models=tuple(reloadable),
        reload_seconds=given.reload_seconds or (8.0 if quick else 60.0),
        interval=given.interval,
        open_share=given.open_share,
        server_options=dict(given.server_option),
        model_options=dict(given.model_option),
        own_generator=given.own_generator,
        json=given.json,
        plot=given.plot,
        work_dir=given.work_dir,
    )
