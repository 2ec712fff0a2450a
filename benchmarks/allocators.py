"""The bare loop under different allocators: `python -m benchmarks.allocators`.

Owns the list of environments and the interleaved runs: every round measures each environment once,
so that what drifts on the machine drifts for all of them. Then the memory after many loads, which
an allocator that keeps what it was given may let grow. Starts processes, imports no paddle itself.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

from benchmarks.bare import BareResult, run_bare, run_process
from benchmarks.bare_loop import TUNED
from benchmarks.errors import BenchError
from benchmarks.exports import exports
from benchmarks.interruption import INTERRUPTED, end_when_told
from benchmarks.machine import machine_facts
from benchmarks.models import MODELS
from benchmarks.table import table

_LIBRARY_FOLDERS: Final = ("/usr/lib", "/usr/lib64", "/usr/local/lib", "/lib")
_THRESHOLDS: Final = {
    "MALLOC_MMAP_THRESHOLD_": str(1 << 30),
    "MALLOC_TRIM_THRESHOLD_": str(1 << 30),
}
_PAD: Final = {"MALLOC_TOP_PAD_": str(64 << 20)}
_HUGE: Final = {"GLIBC_TUNABLES": "glibc.malloc.hugetlb=1"}
_LOTS: Final = {name: TUNED[name] for name in ("FLAGS_eager_delete_tensor_gb",)}


@dataclass(slots=True)
class Environment:
    """One way to start the process, and what was measured that way."""

    name: str
    variables: dict[str, str]
    results: dict[tuple[str, int], list[BareResult]] = field(default_factory=dict)
    memory: dict[str, Any] = field(default_factory=dict)


def environments() -> list[Environment]:
    """List what this machine can run."""
    found = [
        Environment("glibc", {}),
        Environment("thresholds", _THRESHOLDS),
        Environment("thresholds+huge", {**_THRESHOLDS, **_HUGE}),
        Environment("thresholds+huge+pad", {**_THRESHOLDS, **_HUGE, **_PAD}),
        Environment("thresholds+huge+lots", {**_THRESHOLDS, **_HUGE, **_LOTS}),
    ]
    for name, pattern in (("tcmalloc", "libtcmalloc_minimal.so*"), ("jemalloc", "libjemalloc.so*")):
        path = _library(pattern)
        if path is None:
            print(f"{name} is not installed: left out")
        else:
            found.append(Environment(name, {"LD_PRELOAD": str(path)}))
    return found


def _library(pattern: str) -> Path | None:
    for folder in _LIBRARY_FOLDERS:
        for where in (pattern, f"*-linux-gnu/{pattern}"):
            for path in sorted(Path(folder).glob(where)):
                return path
    return None


def measure_speed(chosen: list[Environment], names: list[str], rounds: int, seconds: float) -> None:
    """Run every model in every environment, `rounds` times, interleaved."""
    folders = exports([MODELS[name] for name in names])
    for number in range(1, rounds + 1):
        for environment in chosen:
            for name in names:
                bare = run_bare(
                    MODELS[name], folders[name][:1], [1, 8], seconds, environment.variables,
                    keep_outputs=False,
                )  # fmt: skip
                for batch, result in bare.results.items():
                    environment.results.setdefault((name, batch), []).append(result)
            print(f"round {number}/{rounds}: {environment.name}", flush=True)


def measure_memory(chosen: list[Environment], names: list[str], loads: int, *, trim: bool) -> None:
    """Load alternating exports in one process, again and again, in every environment."""
    folders = exports([MODELS[name] for name in names])
    for environment in chosen:
        for name in names:
            work = {
                "model": name,
                "folders": [str(folder) for folder in folders[name]],
                "loads": loads,
                "trim": trim,
                "interval_s": 0.0,
            }
            environment.memory[name] = run_process(
                "benchmarks.loads_process", work, environment.variables
            )
        print(f"{loads} loads: {environment.name}", flush=True)


def speed_table(chosen: list[Environment]) -> str:
    """Show rows per second, their ratio to the first environment, CPU and page faults per row."""
    lines = [[
        "model", "batch", "environment", "rows/s", "best", "ratio", "CPU ms", "best", "sys %",
        "faults",
    ]]  # fmt: skip
    for name, batch in chosen[0].results:
        base = statistics.median(r.rows_s for r in chosen[0].results[name, batch])
        for environment in chosen:
            results = environment.results[name, batch]
            rate = statistics.median(r.rows_s for r in results)
            lines.append([
                name, str(batch), environment.name, f"{rate:.1f}",
                f"{max(r.rows_s for r in results):.1f}", f"{rate / base:.2f}",
                f"{statistics.median(r.cpu_ms_per_row for r in results):.2f}",
                f"{min(r.cpu_ms_per_row for r in results):.2f}",
                f"{100 * statistics.median(r.system_share for r in results):.0f}",
                f"{statistics.median(r.faults_per_row for r in results):.0f}",
            ])  # fmt: skip
    return table(lines)


def memory_table(chosen: list[Environment]) -> str:
    """Show resident memory after loads, and what the slowest load took."""
    marks = chosen[0].memory and next(iter(chosen[0].memory.values()))["marks"]
    lines = [
        ["model", "environment", *(f"MB after {mark}" for mark in marks), "peak MB", "load ms"]
    ]
    for name in chosen[0].memory:
        for environment in chosen:
            memory = environment.memory[name]
            lines.append([
                name, environment.name, *(f"{value:.0f}" for value in memory["resident_mb"]),
                f"{memory['peak_mb']:.0f}", f"{memory['load_ms']:.0f}",
            ])  # fmt: skip
    return table(lines)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.allocators", description=__doc__)
    parser.add_argument("--models", default="mobilenet_v2,resnet50", help="comma-separated")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=3.0, help="per batch size and round")
    parser.add_argument("--loads", type=int, default=30, help="0 leaves the memory part out")
    parser.add_argument(
        "--no-trim", action="store_true", help="do not call malloc_trim after each load"
    )
    parser.add_argument("--only", default="", help="environments, comma-separated")
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    return parser


def main() -> int:
    """Measure and print."""
    options = _parser().parse_args()
    end_when_told()
    names = options.models.split(",")
    chosen = [e for e in environments() if not options.only or e.name in options.only.split(",")]
    facts = machine_facts()
    print(f"transparent huge pages: {facts['transparent_huge_pages']}; {facts['cpu']}", flush=True)
    try:
        if options.rounds:
            measure_speed(chosen, names, options.rounds, options.seconds)
            print("\n" + speed_table(chosen), flush=True)
        if options.loads:
            measure_memory(chosen, names, options.loads, trim=not options.no_trim)
            print("\n" + memory_table(chosen))
    except BenchError as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(INTERRUPTED, file=sys.stderr)
        return 1
    if options.json:
        rows = [
            {"environment": e.name, "variables": e.variables, "memory": e.memory,
             "results": [{"model": name, "round": i, **asdict(r)}
                         for (name, _), rs in e.results.items() for i, r in enumerate(rs)]}
            for e in chosen
        ]  # fmt: skip
        options.json.write_text(json.dumps({"machine": facts, "environments": rows}, indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
