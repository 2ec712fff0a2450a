"""Compare PaddlePredictor, which shares its input buffers, with Paddle's own copies, bit by bit.

Run as a process of its own: `python -m tests.unit.gpu_worker.predictor_check FOLDER SHAPES...`,
SHAPES a JSON list with one shape per input; the sets are run back and forth. Prints a JSON object.
"""

from __future__ import annotations

import json
import os
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

Arrays = list[npt.NDArray[Any]]
_RANDOM = np.random.default_rng(7)


def random_array(shape: list[int], dtype: np.dtype[Any]) -> npt.NDArray[Any]:
    if dtype.kind == "f":
        return _RANDOM.random(shape, dtype=np.float32).astype(dtype)
    return _RANDOM.integers(0, 2 if dtype.kind == "b" else 100, shape).astype(dtype)


def main(folder: Path, shape_sets: list[list[list[int]]]) -> dict[str, Any]:
    from gpu_worker.ipc.messages import PredictorSettings
    from gpu_worker.ipc.tensors import BY_NAME
    from gpu_worker.predictor import PaddlePredictor

    (program,) = [*folder.glob("*.json"), *folder.glob("*.pdmodel")]
    fds = [os.open(path, os.O_RDONLY) for path in (program, folder / "inference.pdiparams")]

    def load() -> PaddlePredictor:
        return PaddlePredictor(fds[0], fds[1], program.suffix, "cpu", PredictorSettings())

    tested, plain = load(), load()
    shares, plain.shares = tested.shares, False
    dtypes = [BY_NAME[spec.datatype].dtype for spec in tested.contract.inputs]
    different = changed = compared = 0
    for shapes in [*shape_sets, *shape_sets[::-1], *shape_sets]:
        arrays = [random_array(*pair) for pair in zip(shapes, dtypes, strict=True)]
        expected = [array.copy() for array in plain.run(arrays)]
        for _ in range(2):
            inputs = tested.buffers(tuple(tuple(shape) for shape in shapes))
            for buffer, array in zip(inputs.arrays, arrays, strict=True):
                buffer[...] = array
            found = tested.run_buffers(inputs)
            compared += len(found)
            different += count_different(found, expected)
            changed += count_different(inputs.arrays, arrays)
        different += count_different(tested.run(arrays), expected)
    return {"shares": shares, "compared": compared, "different": different, "changed": changed}


def count_different(found: Arrays, expected: Arrays) -> int:
    pairs = zip(found, expected, strict=True)
    return sum(one.shape != two.shape or one.tobytes() != two.tobytes() for one, two in pairs)


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    print(json.dumps(main(Path(sys.argv[1]), [json.loads(text) for text in sys.argv[2:]])))
