"""Loading: from a `Load` message to a version that may serve, or to the reason why not.

Owns the order: load, check the settings, warm the shapes, check that rows do not meet, warm the
batch sizes, gather the memory. Whatever Python-level error there is becomes the answer. Runs in the
worker.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Final

import numpy as np

from gpu_worker import warmup
from gpu_worker.answer import splits
from gpu_worker.heap import Heap
from gpu_worker.ipc import messages
from gpu_worker.layout import can_batch, wrong_padding
from gpu_worker.memory import Peak
from gpu_worker.params import ParamsError
from gpu_worker.program import ProgramError
from gpu_worker.version import Loader, Predictor, Version

Outcome = messages.Loaded | messages.LoadFailed

_MAX_REASON: Final = 2000  # characters of a foreign error that are passed on
_SMALL_SIZES_S: Final = 0.5  # spent on batch sizes that nobody named


class _RefusedError(Exception):
    """The version cannot be served."""

    def __init__(self, phase: str, kind: str, reason: object) -> None:
        super().__init__(reason)
        self.phase = phase
        self.kind = kind
        self.reason = str(reason).strip()[-_MAX_REASON:]


def take_up(
    load: messages.Load,
    fds: tuple[int, int],
    loader: Loader,
    tell: Callable[[messages.Message], None],
    heap: Heap,
) -> tuple[Version | None, Outcome]:
    """Load and warm up; `fds` are the program's and the parameters', `tell` takes `Warming`."""
    heap.expect(sum(os.fstat(fd).st_size for fd in fds))
    try:
        return _take_up(load, fds, loader, tell, heap)
    except _RefusedError as refused:
        return None, messages.LoadFailed(load.load_id, refused.phase, refused.kind, refused.reason)


def _take_up(
    load: messages.Load,
    fds: tuple[int, int],
    loader: Loader,
    tell: Callable[[messages.Message], None],
    heap: Heap,
) -> tuple[Version, messages.Loaded]:
    declared = [messages.Warmup(**run) for run in load.warmups]
    batching = messages.BatchingSettings(**load.batching)
    peak = Peak()
    started = time.perf_counter()
    try:
        predictor = loader(load, *fds, declared)
    except (ProgramError, ParamsError) as error:
        raise _RefusedError("load", "corrupt", error) from None
    except Exception as error:  # noqa: BLE001 - Paddle raises what it likes
        raise _RefusedError("load", "load", f"{type(error).__name__}: {error}") from None
    wrong = wrong_padding(predictor.contract, batching.pad)
    if wrong:
        raise _RefusedError("load", "settings", wrong)
    load_ms = (time.perf_counter() - started) * 1000
    tell(messages.Warming(load.load_id, load_ms))
    warmer = _Warmer(predictor, batching, check_finite=load.check_finite)
    warmer.warm(declared)
    if not load.urgent:  # nobody shall wait for that
        heap.gather()
    if not warmer.batches:
        batching = replace(batching, max_batch_size=1)
    version = Version(load.load_id, predictor, batching)
    warm_ms = (time.perf_counter() - started) * 1000 - load_ms
    contract = predictor.contract.to_json()
    return version, messages.Loaded(
        load.load_id, contract, load_ms, warm_ms, warmer.warnings, peak.bytes()
    )


class _Warmer:
    """One version's warm-up; `batches` says in the end whether requests may share a run."""

    def __init__(
        self, predictor: Predictor, batching: messages.BatchingSettings, *, check_finite: bool
    ) -> None:
        self._predictor = predictor
        self._contract = predictor.contract
        self._batching = batching
        self._check_finite = check_finite
        self.batches = batching.max_batch_size > 1
        self.warnings: list[str] = []

    def warm(self, declared: list[messages.Warmup]) -> None:
        runs = []
        for run in warmup.plan(self._contract, declared, self._batching.pad):
            wrong = warmup.mismatch(self._contract, run)
            if wrong:
                raise _RefusedError("warm", "warmup", wrong)
            error = self._run(run)
            if error is None:
                runs.append(run)
            elif run.origin == "guessed":
                self.warnings.append(error[-_MAX_REASON:])
            else:
                raise _RefusedError("warm", "warmup", error)
        if not self.batches:
            return
        if not can_batch(self._contract):
            self._stop_batching("not every input and output has a variable first dimension")
        elif runs:
            self._check_rows(runs[0])
            self._warm_batches(runs)

    def _run(self, run: messages.Warmup) -> str | None:
        """Run once; give what went wrong, None when nothing did."""
        try:
            outputs = self._predictor.run(warmup.make_inputs(self._contract, run))
        except Exception as error:  # noqa: BLE001 - Paddle raises what it likes
            return f"warm-up with {run.shapes} failed: {type(error).__name__}: {error}"
        wrong = warmup.not_finite(self._contract, outputs) if self._check_finite else None
        if wrong:
            raise _RefusedError("warm", "not_finite", f"warm-up with {run.shapes}: {wrong}")
        return None

    def _check_rows(self, run: messages.Warmup) -> None:
        """Run two rows together and alone, and compare."""
        pair = warmup.make_inputs(self._contract, warmup.with_rows(run, 2))
        try:
            together = [np.array(array) for array in self._predictor.run(pair)]
            if not splits(together, 2):
                shapes = [list(array.shape) for array in together]
                self._stop_batching(f"the outputs of two rows have the shapes {shapes}")
                return
            alone = [
                [np.array(a) for a in self._predictor.run([both[row : row + 1] for both in pair])]
                for row in range(2)
            ]
        except Exception as error:  # noqa: BLE001 - Paddle raises what it likes
            self._stop_batching(f"two rows at once failed: {type(error).__name__}: {error}")
            return
        differs = warmup.row_difference(self._contract, together, alone)
        if differs:
            self.warnings.append(f"batching changes answers: {differs}")

    def _warm_batches(self, runs: list[messages.Warmup]) -> None:
        named, small = warmup.batch_runs(self._contract, runs, self._batching)
        for run in named:
            if not self.batches:
                return
            error = self._run(run)
            if error is not None:
                self._stop_batching(error)
        enough = time.perf_counter() + _SMALL_SIZES_S
        for run in small:
            if time.perf_counter() > enough or self._run(run) is not None:
                return

    def _stop_batching(self, reason: str) -> None:
        self.batches = False
        self.warnings.append(f"batching is off: {reason}"[:_MAX_REASON])
