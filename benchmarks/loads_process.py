"""Loads alternating exports in one process: `python -m benchmarks.loads_process JSON`.

Owns the order of a worker's life: create the predictor, run it, drop it, collect, give free memory
back. Says on its output when the first load has ended, and writes the resident memory after each
load as the last line. Runs as a process of its own, in the environment that is to be judged.
"""

from __future__ import annotations

import ctypes
import gc
import json
import resource
import sys
import time
from pathlib import Path

import psutil

from benchmarks.bare_process import Predictor
from benchmarks.models import MODELS

_MARKS = (1, 2, 5, 10, 20, 30, 60, 100)


def main() -> None:
    """Load as often as standard input asks."""
    work = json.loads(sys.argv[1])
    model = MODELS[work["model"]]
    folders = [Path(folder) for folder in work["folders"]]
    inputs = [model.sample(1), model.sample(8)]
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None) if work["trim"] else None
    process = psutil.Process()
    resident: list[float] = []
    times: list[float] = []
    started = time.perf_counter() - work["interval_s"]
    for number in range(work["loads"]):
        time.sleep(max(0.0, started + work["interval_s"] - time.perf_counter()))
        started = time.perf_counter()
        predictor = Predictor(folders[number % len(folders)])
        for array in inputs:
            for _ in range(3):
                predictor.infer(array)
        times.append(1000 * (time.perf_counter() - started))
        del predictor
        gc.collect()
        if trim is not None:
            trim(0)
        resident.append(process.memory_info().rss / 1e6)
        if not number:
            print("loaded", flush=True)
    marks = [mark for mark in _MARKS if mark <= len(resident)]
    print(json.dumps({
        "marks": marks,
        "resident_mb": [resident[mark - 1] for mark in marks],
        "all_mb": resident,
        "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000,
        "load_ms": sorted(times)[len(times) // 2],
    }))  # fmt: skip


if __name__ == "__main__":
    main()
