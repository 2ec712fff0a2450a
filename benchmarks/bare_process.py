"""The bare predictor: Paddle alone in a closed loop. `python -m benchmarks.bare_process JSON`.

Owns one predictor, set up as the server's workers set up theirs (one math thread, oneDNN), and the
clock around copy_from_cpu, run, copy_to_cpu. Takes a `BareWork` as JSON, writes a list of results
as the last line of its output. A process of its own, so that nothing else uses its interpreter.
"""

from __future__ import annotations

import json
import resource
import sys
import time
from pathlib import Path
from typing import Any, Final

import numpy as np
from paddle import inference

from benchmarks.exports import program_and_params
from benchmarks.models import MODELS, Floats
from benchmarks.percentiles import Latencies

_WARM_UP_RUNS: Final = 6  # until the allocator has grown to what a run needs


class Predictor:
    """One loaded export."""

    def __init__(self, folder: Path, threads: int = 1) -> None:
        program, params = program_and_params(folder)
        config = inference.Config(str(program), str(params))
        config.disable_glog_info()
        config.disable_gpu()
        config.set_cpu_math_library_num_threads(threads)
        config.enable_mkldnn()
        if program.suffix == ".pdmodel":
            config.enable_memory_optim()  # raises on Paddle 3's own format
        predictor = inference.create_predictor(config)
        self._run = predictor.run
        self._input = predictor.get_input_handle(predictor.get_input_names()[0])
        self._outputs = [predictor.get_output_handle(name) for name in predictor.get_output_names()]

    def infer(self, array: Floats) -> list[Floats]:
        """Run one batch."""
        self._input.copy_from_cpu(array)
        self._run()
        return [output.copy_to_cpu() for output in self._outputs]


def measure(predictor: Predictor, array: Floats, seconds: float) -> dict[str, float]:
    """Run one input in a closed loop for so long; before the clock starts, a third of it."""
    clock = time.perf_counter
    end, runs = clock() + max(seconds / 3, 0.3), 0
    while clock() < end or runs < _WARM_UP_RUNS:
        predictor.infer(array)
        runs += 1
    times: list[float] = []
    before = resource.getrusage(resource.RUSAGE_SELF)
    started = last = clock()
    while last - started < seconds:
        predictor.infer(array)
        now = clock()
        times.append(now - last)
        last = now
    after = resource.getrusage(resource.RUSAGE_SELF)
    rows = len(times) * len(array)
    cpu_s = (after.ru_utime + after.ru_stime) - (before.ru_utime + before.ru_stime)
    latencies = Latencies.of(np.array(times) * 1000)
    return {
        "batch": len(array),
        "runs": len(times),
        "rows_s": rows / (last - started),
        "p50_ms": latencies.p50_ms,
        "p99_ms": latencies.p99_ms,
        "max_ms": latencies.max_ms,
        "cpu_ms_per_row": 1000 * cpu_s / rows,
        "system_share": (after.ru_stime - before.ru_stime) / max(cpu_s, 1e-9),
        "faults_per_row": (after.ru_minflt - before.ru_minflt) / rows,
    }


def main() -> None:
    """Measure what standard input asks for."""
    work: dict[str, Any] = json.loads(sys.argv[1])
    model = MODELS[work["model"]]
    folders = [Path(folder) for folder in work["folders"]]
    outputs: list[list[float]] = []
    results = []
    for index, folder in enumerate(folders):
        predictor = Predictor(folder)
        answer = predictor.infer(model.sample())
        outputs.append(np.concatenate([output.ravel() for output in answer]).tolist())
        if index == 0:
            results = [
                measure(predictor, model.sample(batch), work["seconds"])
                for batch in work["batches"]
            ]
        del predictor
    print(json.dumps({"results": results, "outputs": outputs if work["keep_outputs"] else []}))


if __name__ == "__main__":
    main()
