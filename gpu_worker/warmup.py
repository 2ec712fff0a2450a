"""Warm-up: which inputs a fresh model version is run with before it may serve.

Owns the choice of shapes and batch sizes, how shapes become arrays, and what is checked of outputs:
that they are finite, and that a row's result does not hang on the rows beside it. Pure: it runs
nothing itself. Runs in the worker.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from gpu_worker.ipc.messages import BatchingSettings, Warmup
from gpu_worker.ipc.tensors import BY_NAME, Contract
from gpu_worker.layout import nbytes_of, padded_shape

Arrays = list[npt.NDArray[Any]]

_GUESS: Final = 64  # a variable dimension behind the first; a multiple of 32 suits conv backbones
_MAX_PREFERRED: Final = 8  # batch sizes per shape, besides one row and the largest
_SMALL_SIZE: Final = 8  # sizes up to this one come up at any load, whatever is preferred
_MAX_BATCH_RUNS: Final = 64
_MAX_RUN_BYTES: Final = 256 << 20  # of inputs; a model's inside takes a multiple
_TOLERANCE: Final = 0.02  # of the largest value: other kernels round in another way


def plan(
    contract: Contract, declared: list[Warmup], pad: Mapping[str, Sequence[int]] | None = None
) -> list[Warmup]:
    """Give the runs to make: those declared that fit, else one guessed from the contract.

    Declared runs are kept even where they do not fit, so that a wrong declaration is an error;
    those from traffic of an older contract are dropped when they do not fit. Those that fit are
    padded as requests will be, and each is made once.
    """
    fitting = [
        run for run in declared if run.origin == "declared" or mismatch(contract, run) is None
    ]
    runs: list[Warmup] = []
    for run in fitting or [_guess(contract)]:
        padded = _padded(contract, run, pad or {}) if mismatch(contract, run) is None else run
        if all(padded.shapes != known.shapes for known in runs):
            runs.append(padded)
    return runs


def _guess(contract: Contract) -> Warmup:
    shapes = {
        spec.name: [
            dim if dim != -1 else (1 if axis == 0 else _GUESS)
            for axis, dim in enumerate(spec.shape)
        ]
        for spec in contract.inputs
    }
    variable = any(dim == -1 for spec in contract.inputs for dim in spec.shape[1:])
    return Warmup(shapes, "guessed" if variable else "declared")


def _padded(contract: Contract, run: Warmup, pad: Mapping[str, Sequence[int]]) -> Warmup:
    shapes = {
        spec.name: list(padded_shape(spec, run.shapes[spec.name], pad)) for spec in contract.inputs
    }
    return replace(run, shapes=shapes)


def with_rows(run: Warmup, rows: int) -> Warmup:
    """Give the run with another first dimension."""
    return replace(run, shapes={name: [rows, *dims[1:]] for name, dims in run.shapes.items()})


def batch_runs(
    contract: Contract, runs: list[Warmup], batching: BatchingSettings
) -> tuple[list[Warmup], list[Warmup]]:
    """Give the runs that make batch sizes warm, for a contract whose first dimensions are variable.

    Returns those to make whatever they cost (one row, the preferred sizes, the largest), and those
    of the other small sizes, worth it while they are quick. Both leave out what `runs` have, and
    inputs above `_MAX_RUN_BYTES`.
    """
    limit = batching.max_batch_size
    preferred = [size for size in batching.preferred_batch_sizes if 1 <= size <= limit]
    wanted = sorted({1, limit, *sorted(preferred)[-_MAX_PREFERRED:]})
    small = [size for size in range(2, min(limit, _SMALL_SIZE) + 1) if size not in wanted]
    known = [run.shapes for run in runs]

    def of(sizes: list[int]) -> list[Warmup]:
        found: list[Warmup] = []
        for run in runs:
            for size in sizes:
                batch = replace(with_rows(run, size), origin="batch")
                shapes = tuple(tuple(batch.shapes[spec.name]) for spec in contract.inputs)
                if batch.shapes not in known and nbytes_of(contract, shapes) <= _MAX_RUN_BYTES:
                    known.append(batch.shapes)
                    found.append(batch)
        return found[:_MAX_BATCH_RUNS]

    return of(wanted), of(small)


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


def make_inputs(contract: Contract, run: Warmup) -> Arrays:
    """Make one array per input, in the contract's order.

    Floats are the same small pseudo-random numbers at each load, so that a result can be compared;
    integers are 0, which is valid as an index whatever the table; booleans are true.
    """
    generator = np.random.default_rng(0)
    arrays: Arrays = []
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


def not_finite(contract: Contract, outputs: Arrays) -> str | None:
    """Name the first output that holds NaN or infinity, or None when all are finite."""
    for spec, array in zip(contract.outputs, outputs, strict=True):
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            bad = array.size - int(np.isfinite(array).sum())
            return f"output {spec.name!r} holds {bad} of {array.size} values that are not finite"
    return None


def row_difference(contract: Contract, together: Arrays, alone: Sequence[Arrays]) -> str | None:
    """Say which output differs for a row of a batch and the same row alone, None when none does.

    Args:
        contract: the model's.
        together: the outputs of a batch with a row for each of `alone`.
        alone: for each row, the outputs that it has alone.

    """
    for index, spec in enumerate(contract.outputs):
        for row, outputs in enumerate(alone):
            if not _alike(together[index][row : row + 1], outputs[index]):
                return f"output {spec.name!r} of a row is not the same alone and in a batch"
    return None


def _alike(one: npt.NDArray[Any], other: npt.NDArray[Any]) -> bool:
    if one.shape != other.shape:
        return False
    if one.dtype.kind != "f":
        # A place or a choice may turn on the last bit of a sum: a few are allowed to.
        return bool((one != other).sum() * 20 <= one.size)
    first, second = (np.nan_to_num(array.astype(np.float64)) for array in (one, other))
    largest = float(np.abs(second).max(initial=0.0))
    return bool((np.abs(first - second) <= _TOLERANCE * largest + 1e-6).all())
