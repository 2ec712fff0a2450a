"""The bare predictor: Paddle alone, for tests to compare answers with. Run as a script.

`python tests/bare.py FOLDER ONEDNN [DEVICE]` reads a JSON list of runs from standard input, each
`{input: {"shape", "dtype", "data": base64}}`, and writes the outputs in the same form.
"""

from __future__ import annotations

import base64
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np


def main() -> None:
    from paddle import inference

    folder, onednn = Path(sys.argv[1]), sys.argv[2] == "1"
    params = next(folder.glob("*.pdiparams"))
    program = params.with_suffix(".json")
    if not program.exists():
        program = params.with_suffix(".pdmodel")
    config = inference.Config(str(program), str(params))
    config.disable_glog_info()
    device = sys.argv[3] if len(sys.argv) > 3 else "cpu"
    if device == "cpu":
        config.disable_gpu()
    else:
        config.enable_use_gpu(1000, int(device.removeprefix("gpu:")))
    config.set_cpu_math_library_num_threads(1)
    if onednn and device == "cpu":
        config.enable_mkldnn()
    predictor = inference.create_predictor(config)
    results: list[dict[str, Any]] = []
    for run in json.load(sys.stdin):
        for name, tensor in run.items():
            data = np.frombuffer(base64.b64decode(tensor["data"]), tensor["dtype"])
            predictor.get_input_handle(name).copy_from_cpu(data.reshape(tensor["shape"]))
        predictor.run()
        outputs = {}
        for name in predictor.get_output_names():
            array = np.ascontiguousarray(predictor.get_output_handle(name).copy_to_cpu())
            outputs[name] = {
                "shape": list(array.shape),
                "dtype": str(array.dtype),
                "data": base64.b64encode(array.tobytes()).decode(),
            }
        results.append(outputs)
    print(json.dumps(results))


if __name__ == "__main__":
    main()
