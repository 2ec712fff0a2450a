"""The bare predictor by turns: `python -m benchmarks.bare_loop_process JSON`.

Owns one predictor, measured as often as it is told. The first line of its output says that it is
ready; then each line of standard input is a number of seconds, and each line of output what a loop
of so long came to (`bare_process.measure`). Ends with its input.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from benchmarks.bare_process import Predictor, measure
from benchmarks.models import MODELS


def main() -> None:
    """Measure whenever standard input asks."""
    work = json.loads(sys.argv[1])
    predictor = Predictor(Path(work["folder"]))
    sample = MODELS[work["model"]].sample()
    predictor.infer(sample)
    print("ready", flush=True)
    for line in sys.stdin:
        print(json.dumps(measure(predictor, sample, float(line))), flush=True)


if __name__ == "__main__":
    main()
