"""Warm-up: which inputs a fresh model version is run with before it may serve.

Owns how shapes become arrays, and the check that outputs are finite. Pure: it runs nothing itself.
Runs in the worker.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import numpy.typing as npt

from gpu_worker.ipc.messages import Warmup
from gpu_worker.ipc.tensors import BY_NAME, Contract

_GUESS: Final = 64  # a variable dimension behind the first; a multiple of 32 suits conv backbones


def plan(contract: Contract, declared: list[Warmup]) -> list[Warmup]:
    """Give the runs to make: those declared that fit, else one guessed from the contract.

    Declared runs are kept even where they do not fit, so that a wrong declaration is an error;
    those from traffic of an older contract are dropped when they do not fit.
    """
    runs = [run for run in declared if run.origin == "declared" or mismatch(contract, run) is None]
    if runs:
        return runs
    shapes = {
        spec.name: [
            dim if dim != -1 else (1 if axis == 0 else _GUESS)
            for axis, dim in enumerate(spec.shape)
        ]
        for spec in contract.inputs
    }
    variable = any(dim == -1 for spec in contract.inputs for dim in spec.shape[1:])
    return [Warmup(shapes, "guessed" if variable else "declared")]


def mismatch(contract: Contract, run: Warmup) -> str | None:
    """Say why a run's shapes do not suit the contract, or None when they do."""
    names = {spec.name for spec in contract.inputs}
    if set(run.shapes) != names:
        return f"warmup names the inputs {sorted(run.shapes)}, the model has {sorted(names)}"
    for spec in contract.inputs:
        shape = run.shapes[spec.name]
        fits = len(shape) == len(spec.shape) and all(
            dim in (wanted, dim if wanted == -1 else wanted)
            for dim, wanted in zip(shape, spec.shape, strict=True)
        )
        if not fits:
            return f"warmup of input {spec.name!r} is {shape}, the model takes {list(spec.shape)}"
    return None


def make_inputs(contract: Contract, run: Warmup) -> list[npt.NDArray[Any]]:
    """Make one array per input, in the contract's order.

    Floats are the same small pseudo-random numbers at each load, so that a result can be compared;
    integers are 0, which is valid as an index whatever the table; booleans are true.
    """
    generator = np.random.default_rng(0)
    arrays: list[npt.NDArray[Any]] = []
    for spec in contract.inputs:
        dtype = BY_NAME[spec.datatype].dtype
        shape = run.shapes[spec.name]
        if dtype.kind == "f":
            arrays.append(generator.random(shape, dtype=np.float32).astype(dtype, copy=False))
        elif dtype.kind == "b":
            arrays.append(np.ones(shape, dtype))
        else:
            arrays.append(np.zeros(shape, dtype))
    return arrays


def not_finite(contract: Contract, outputs: list[npt.NDArray[Any]]) -> str | None:
    """Name the first output that holds NaN or infinity, or None when all are finite."""
    for spec, array in zip(contract.outputs, outputs, strict=True):
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            bad = array.size - int(np.isfinite(array).sum())
            return f"output {spec.name!r} holds {bad} of {array.size} values that are not finite"
    return None
