"""Minutes of full load with reloads: `python -m benchmarks.soak`.

Owns a run that looks for what grows: one line per minute with latency, errors and the memory of
every kind of process, and at the end the drift from the first third to the last. What of that is
the server's is told by turns that it takes with a fresh one then.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections import Counter
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.bare import run_bare
from benchmarks.bare_loop import TUNED, BareLoop
from benchmarks.deployment import Deployment, deploy
from benchmarks.drift import Minute, drift, minute_header, minute_line
from benchmarks.errors import BenchError
from benchmarks.exports import exports
from benchmarks.generator import Generator, Outcome
from benchmarks.interruption import INTERRUPTED, end_when_told
from benchmarks.machine import machine_facts
from benchmarks.models import MODELS
from benchmarks.options import add_server_options
from benchmarks.percentiles import Latencies, corrected
from benchmarks.records import good, read_records
from benchmarks.wear import Wear, load_turn, measure_wear, wear_table
from benchmarks.work_folder import work_folder

_BARE_S = 0.2  # a minute: too short to be seen in its p99


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.soak",
        description="Full load with a new version every few seconds; a line per minute.",
    )
    reloadable = [name for name, model in MODELS.items() if model.reloaded]
    parser.add_argument("--minutes", type=float, default=30.0, help="[30]")
    parser.add_argument("--model", choices=reloadable, default="mobilenet_v2")
    parser.add_argument("--concurrency", type=int, default=8, help="[8]")
    parser.add_argument("--interval", type=float, default=2.0, help="seconds per version [2]")
    parser.add_argument(
        "--rate", type=float, default=0.0, help="constant rate instead of full load, requests/s"
    )
    parser.add_argument(
        "--rounds", type=int, default=8,
        help="turns that the server takes with a fresh one at the end; 0: none [8]",
    )  # fmt: skip
    parser.add_argument("--turn-seconds", type=float, default=10.0, help="of each [10]")
    add_server_options(parser)
    return parser


def watch(
    deployment: Deployment, bare: BareLoop, options: argparse.Namespace
) -> tuple[list[Minute], Outcome]:
    """Load, publish and measure minute by minute.

    Raises:
        BenchError: the generator or the server ended.

    """
    publisher, server = deployment.publisher, deployment.server
    generator = Generator(
        server.port, deployment.request("binary"), deployment.folder,
        concurrency=options.concurrency, seconds=60 * options.minutes, rate=options.rate,
        expected=deployment.bare.outputs,
    )  # fmt: skip
    minutes: list[Minute] = []
    read = 0
    end = generator.started + 60 * options.minutes
    print(minute_header(list(server.tree.memory_mb())), flush=True)
    try:
        while (begin := generator.started + 60 * len(minutes)) < end - 1:
            until = min(begin + 60, end)
            before = publisher.count
            bare_cpu_ms = bare.turn(_BARE_S).cpu_ms_per_row
            publisher.publish_every(options.interval, until)
            time.sleep(0.2)  # the generator writes records ten times a second
            records = read_records(generator.records, read)
            read += len(records)
            answers = good(records)
            interval = 0.0
            if not options.rate:
                interval = 1000 * (until - begin) * options.concurrency / max(1, len(answers))
            minutes.append(Minute(
                len(minutes) + 1, len(answers) / (until - begin),
                Latencies.of(corrected(answers["ms"], interval)),
                len(records) - len(answers), publisher.count - before, server.tree.memory_mb(),
                bare_cpu_ms,
            ))  # fmt: skip
            print(minute_line(minutes[-1]), flush=True)
        return minutes, generator.outcome()
    finally:
        if generator.running():
            generator.stop()


def run(options: argparse.Namespace) -> dict[str, Any]:
    """Soak one model.

    Raises:
        BenchError: it cannot be done.

    """
    model = MODELS[options.model]
    folders = exports([model])[model.name]
    facts = machine_facts()
    print(f"{model.title}, {options.minutes:g} minutes, a version every {options.interval:g} s")
    bare = run_bare(model, folders, [1], 3.0)
    start = partial(
        deploy, model, bare, folders,
        server_options=dict(options.server_option), model_options=dict(options.model_option),
    )  # fmt: skip
    wear = Wear()
    problems: Counter[str] = Counter()
    with work_folder(options.work_dir) as work, start(work / "worn") as deployment:
        deployment.warm_up()
        with BareLoop(model, folders[0], TUNED) as loop:
            minutes, outcome = watch(deployment, loop, options)
        published = deployment.publisher.count
        if options.rounds:
            print(f"{options.rounds} rounds beside a fresh server, a version every "
                  f"{options.interval:g} s in both", flush=True)  # fmt: skip
            take = load_turn(
                options.turn_seconds, options.interval, options.concurrency, options.rate
            )
            try:
                with start(work / "fresh") as fresh:
                    fresh.warm_up()
                    wear = measure_wear(deployment, fresh, take, options.rounds)
            except BenchError as error:  # half an hour shall not be lost for that
                problems[f"no turns beside a fresh server: {error}"] += 1
    problems += Counter(outcome.problems) + wear.errors
    served = sum(version.startswith("v") for version in outcome.versions)
    print(f"{published} versions published, {served} seen in answers, "
          f"{outcome.checked} answers compared with the bare predictor's")  # fmt: skip
    for kind, count in problems.items():
        print(f"  {count} × {kind}")
    found = drift(minutes)
    for what, change in found.items():
        print(f"drift of {what}: {change:+.1f} %")
    if wear.worn:
        print(wear_table(wear))
    return {
        "machine": facts,
        "settings": {key: str(value) for key, value in vars(options).items()},
        "bare": asdict(bare.results[1]),
        "minutes": [asdict(minute) for minute in minutes],
        "published": published,
        "served": served,
        "errors": problems.total(),
        "error_kinds": problems,
        "drift_percent": found,
        "wear": asdict(wear),
    }


def main() -> int:
    """Soak, print and write; status 1 when something was no good answer."""
    options = _parser().parse_args()
    end_when_told()
    try:
        found = run(options)
    except BenchError as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(INTERRUPTED, file=sys.stderr)
        return 1
    if options.json:
        path: Path = options.json
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(found, indent=1), encoding="utf-8")
        print(f"figures: {path}")
    return 1 if found["errors"] else 0


if __name__ == "__main__":
    sys.exit(main())
