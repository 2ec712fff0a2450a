"""A worker that a test can keep busy until all that it wants to see together has arrived."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from gpu_worker.ipc import messages
from gpu_worker.ipc.link import Status, Submission
from gpu_worker.ipc.tensors import Contract, TensorSpec
from tests.unit.gpu_worker.loop_harness import (
    PATIENCE_S,
    Answer,
    Arrays,
    FakePredictor,
    Front,
    Harness,
)

Inputs = Sequence[npt.NDArray[Any]]

# Two inputs of different types and tails; the second output is the first input turned round.
ROWS = Contract(
    (TensorSpec("x", "FP32", (-1, 4)), TensorSpec("n", "INT64", (-1,))),
    (TensorSpec("product", "FP32", (-1, 4)), TensorSpec("turned", "FP16", (-1, 2, 2))),
)
PLAIN = Contract(
    (TensorSpec("x", "FP32", (-1, -1)), TensorSpec("n", "INT64", (-1,))),
    (TensorSpec("sum", "FP32", (-1,)), TensorSpec("x", "FP32", (-1, -1))),
)
WIDE = Contract((TensorSpec("x", "FP32", (-1, -1)),), (TensorSpec("y", "FP32", (-1, -1)),))


def by_rows(inputs: Inputs) -> Arrays:
    product = inputs[0] * inputs[1].astype(np.float32)[:, None]
    turned = inputs[0][:, ::-1].reshape(-1, 2, 2).transpose(0, 2, 1)  # not contiguous
    return [product, turned.astype(np.float16)]


def plain(inputs: Inputs) -> Arrays:
    return [inputs[0].sum(axis=1) * inputs[1].astype(np.float32), inputs[0] * np.float32(2)]


class Batches:
    """A worker that has stopped in its first run until all that a test wants has arrived."""

    def __init__(
        self, run: Callable[[Inputs], Arrays], contract: Contract, shares: bool,
        harness: type[Harness] = Harness, **batching: Any,
    ) -> None:  # fmt: skip
        self._run = run
        self._inside, self._go_on = threading.Event(), threading.Event()
        self._hold = False
        self.predictor = FakePredictor(self._held, contract, shares)
        self.worker = harness(lambda *_: self.predictor)
        self.loaded = self.worker.load(1, **batching)
        self.predictor.batches.clear()
        self._contract = contract

    def _held(self, inputs: Inputs) -> Arrays:
        if self._hold:
            self._hold = False
            self._inside.set()
            assert self._go_on.wait(PATIENCE_S)
        return self._run(inputs)

    def serve(
        self, submissions: list[Submission], first: Arrays,
        others: Sequence[tuple[Front, list[Submission]]] = (), message: bool = False,
    ) -> list[Answer]:  # fmt: skip
        """Have these arrive together; `first` is a request that keeps the worker busy before.

        `others` are what other fronts submit at the same time; they take their answers themselves.
        With a `message`, the control channel rings, too.
        """
        self._hold = True
        self._inside.clear()
        self._go_on.clear()
        self.worker.link.submit([self.worker.submission(first)[0]])
        assert self._inside.wait(PATIENCE_S)
        self.predictor.batches.clear()
        for front, theirs in [(self.worker, submissions), *others]:
            if theirs:
                front.link.submit(theirs)
        if message:
            self.worker.control.send(messages.SpaceFreed(99))  # of a link that has gone
        self._go_on.set()
        return self.worker.answers(1 + len(submissions))[1:]

    def sizes(self) -> list[int]:
        """Give the rows of each run since."""
        return [shapes[0][0] for shapes in self.predictor.batches]


def rows_of(number: int, rows: int) -> Arrays:
    x = np.arange(rows * 4, dtype=np.float32).reshape(rows, 4) + number * 100
    return [x, np.arange(rows, dtype=np.int64) + number]


ONE = rows_of(0, 1)


def check(answer: Answer, arrays: Arrays) -> None:
    assert answer.completion.status == Status.OK, answer.data
    expected = by_rows(arrays)
    found = answer.arrays()
    assert len(found) == 2
    for index, array in enumerate(expected):
        assert found[index].dtype == array.dtype
        assert np.array_equal(found[index], array)


StartBatches = Callable[..., Batches]
