"""A worker that serves several links, which a test can stop in the middle of a run."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from gpu_worker.ipc import messages
from gpu_worker.ipc.link import Status
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
CONTRACT = Contract((TensorSpec("x", "FP32", (-1, 4)),), (TensorSpec("y", "FP32", (-1, 4)),))


class Worker(Harness):
    """A worker with batching, which a test can stop in the middle of a run."""

    def __init__(self, response_bytes: int = 1 << 16, max_batch_size: int = 64) -> None:
        self.predictor = FakePredictor(self._double, CONTRACT)
        self._inside, self._go_on, self._hold = threading.Event(), threading.Event(), False
        self.fronts: list[Front] = []
        super().__init__(lambda *_: self.predictor, response_bytes)
        self.load(1, max_batch_size=max_batch_size)

    def _double(self, inputs: Inputs) -> Arrays:
        if self._hold:
            self._hold = False
            self._inside.set()
            assert self._go_on.wait(PATIENCE_S)
        return [inputs[0] * 2]

    def front(self, number: int, response_bytes: int = 1 << 16) -> Front:
        first: Arrays = [np.zeros((1, 4), np.float32)]
        self.fronts.append(self.attach_and_wait(number, first, response_bytes))
        return self.fronts[-1]

    def hold(self, submit: Callable[[], object] | None = None) -> None:
        """Have the worker stop in a run; what comes meanwhile will be seen together.

        `submit` submits what it runs first, a request of its own link if not given.
        """
        self._hold = True
        self._inside.clear()
        self._go_on.clear()
        if submit is None:
            ask(self, 0)
        else:
            submit()
        assert self._inside.wait(PATIENCE_S)
        self.predictor.batches.clear()

    def go_on(self) -> None:
        self._go_on.set()

    def sizes(self) -> list[int]:
        return [shapes[0][0] for shapes in self.predictor.batches]

    def close(self) -> None:
        self.go_on()
        super().close()
        for front in self.fronts:
            front.close()


def ask(front: Front, number: int, rows: int = 1) -> int:
    """Submit a request whose answer tells its number; give its id."""
    submission, _ = front.submission([np.full((rows, 4), number, np.float32)])
    front.link.submit([submission])
    return submission.request_id


def check(front: Front, numbers: list[int], rows: int = 1) -> None:
    for answer, number in zip(front.answers(len(numbers)), numbers, strict=True):
        assert answer.completion.status == Status.OK
        assert (answer.arrays()[0] == 2 * number).all()
        assert answer.arrays()[0].shape == (rows, 4)


def check_with_waits(worker: Harness, link: int, front: Front, numbers: list[int]) -> None:
    """Check answers, and free the ring whenever the worker asks for it."""
    found: list[Answer] = []
    while len(found) < len(numbers):
        found += front.take()
        if not worker.silent():
            assert worker.message() == messages.NeedSpace(link)
            found += front.take()
            worker.control.send(messages.SpaceFreed(link))
    for answer, number in zip(found, numbers, strict=True):
        assert answer.completion.status == Status.OK
        assert (answer.arrays()[0] == 2 * number).all()


def free_and_check(worker: Harness, link: int, front: Front, numbers: list[int]) -> None:
    """Free the ring that the worker waits for, and check what of the answers was not in it."""
    came = len(front.take())
    worker.control.send(messages.SpaceFreed(link))
    check_with_waits(worker, link, front, numbers[came:])


StartWorker = Callable[..., Worker]
