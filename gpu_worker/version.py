"""A model version in this process: its predictor and all that is kept for its requests.

Owns what goes with a version when it is given up: layouts of requests and responses, the batching
decision, the input buffers inside the predictor. Runs in the worker.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import numpy.typing as npt

from gpu_worker.answer import ResponseLayouts
from gpu_worker.batching import Batcher
from gpu_worker.buffers import Inputs, Shapes
from gpu_worker.ipc import messages
from gpu_worker.ipc.tensors import Contract
from gpu_worker.layout import Layouts

Arrays = list[npt.NDArray[Any]]


class Predictor(Protocol):
    """What the worker needs of a predictor: inputs and outputs in the contract's order.

    Outputs are valid until the next run. `shares` says that it reads the buffers where they are;
    else it copies, and `run` with arrays that lie elsewhere costs no more.
    """

    contract: Contract
    shares: bool

    def buffers(self, shapes: Shapes) -> Inputs:
        """Give the buffers for inputs of these shapes, to be filled before `run_buffers`."""

    def run_buffers(self, inputs: Inputs) -> Arrays:
        """Run with what stands in the buffers."""

    def run(self, inputs: Sequence[npt.NDArray[Any]]) -> Arrays:
        """Run with arrays that lie anywhere."""


Loader = Callable[[messages.Load, int, int, list[messages.Warmup]], Predictor]


class Version:
    """One loaded version, ready to serve."""

    def __init__(
        self, load_id: int, predictor: Predictor, batching: messages.BatchingSettings
    ) -> None:
        self.load_id = load_id
        self.predictor = predictor
        self.layouts = Layouts(predictor.contract, batching)
        self.responses = ResponseLayouts(predictor.contract)
        self.batcher = Batcher(batching)
        self.kinds: list[Any] = []  # of requests, as compiled code knows them
