"""Loading with batching: what is warmed, and when batching is switched off with a warning."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from gpu_worker import loading
from gpu_worker.heap import Heap
from gpu_worker.ipc import messages
from gpu_worker.ipc.tensors import Contract, TensorSpec
from gpu_worker.version import Version
from tests.unit.gpu_worker.loop_harness import Arrays, FakePredictor

Inputs = Sequence[npt.NDArray[Any]]
CONTRACT = Contract((TensorSpec("x", "FP32", (-1, -1)),), (TensorSpec("y", "FP32", (-1, -1)),))
SHAPE: list[dict[str, Any]] = [{"shapes": {"x": [1, 4]}, "origin": "declared"}]


def double(inputs: Inputs) -> Arrays:
    return [inputs[0] * 2]


def take_up(
    run: Callable[[Inputs], Arrays] = double,
    contract: Contract = CONTRACT,
    warmups: list[dict[str, Any]] = SHAPE,
    **batching: Any,
) -> tuple[Version | None, messages.Loaded | messages.LoadFailed, list[tuple[int, ...]]]:
    """Load; give the version, the answer and the shapes that were run."""
    predictor = FakePredictor(run, contract)
    told: list[messages.Message] = []
    load = messages.Load(3, ".json", batching=batching, warmups=warmups)
    file = os.open(os.devnull, os.O_RDONLY)
    try:
        version, answer = loading.take_up(
            load, (file, file), lambda *_: predictor, told.append, Heap()
        )
    finally:
        os.close(file)
    assert [type(message) for message in told] in ([], [messages.Warming])
    return version, answer, [shapes[0] for shapes in predictor.batches]


def warnings(answer: messages.Loaded | messages.LoadFailed) -> list[str]:
    assert isinstance(answer, messages.Loaded), answer
    return answer.warnings


def batches(version: Version | None) -> bool:
    assert version is not None
    return version.batcher.max_rows > 1


def test_without_batching_only_the_shapes_are_warmed() -> None:
    version, answer, ran = take_up()
    assert warnings(answer) == []
    assert not batches(version)
    assert ran == [(1, 4)]


def test_with_batching_rows_are_compared_and_the_sizes_warmed() -> None:
    version, answer, ran = take_up(max_batch_size=16, preferred_batch_sizes=[12])
    assert warnings(answer) == []
    assert batches(version)
    assert ran[:6] == [(1, 4), (2, 4), (1, 4), (1, 4), (12, 4), (16, 4)]
    assert ran[6:] == [(size, 4) for size in range(2, 9)]


def test_small_sizes_that_nobody_named_are_warmed_only_while_that_is_quick(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ticks = itertools.count()
    monkeypatch.setattr("time.perf_counter", lambda: next(ticks) * 0.2)
    _, _, ran = take_up(max_batch_size=16)
    assert ran[-3:] == [(16, 4), (2, 4), (3, 4)]


def only_one(inputs: Inputs) -> Arrays:
    if len(inputs[0]) > 1:
        raise RuntimeError("reshape of 8 elements to 4")
    return double(inputs)


def at_most_two(inputs: Inputs) -> Arrays:
    if len(inputs[0]) > 2:
        raise RuntimeError("out of memory")
    return double(inputs)


@pytest.mark.parametrize(
    ("run", "said"),
    [
        (lambda inputs: [inputs[0][:1] * 2], "the outputs of two rows have the shapes [[1, 4]]"),
        (only_one, "two rows at once failed: RuntimeError: reshape of 8 elements to 4"),
        (at_most_two, "warm-up with {'x': [16, 4]} failed: RuntimeError: out of memory"),
    ],
)
def test_a_model_that_takes_no_batches_is_served_one_by_one(
    run: Callable[[Inputs], Arrays], said: str
) -> None:
    version, answer, _ = take_up(run, max_batch_size=16)
    assert warnings(answer) == [f"batching is off: {said}"]
    assert not batches(version)


def test_a_contract_without_a_batch_dimension_is_served_one_by_one() -> None:
    contract = Contract((TensorSpec("x", "FP32", (2, -1)),), CONTRACT.outputs)
    version, answer, ran = take_up(contract=contract, warmups=[], max_batch_size=16)
    assert warnings(answer) == [
        "batching is off: not every input and output has a variable first dimension"
    ]
    assert not batches(version)
    assert ran == [(2, 64)]


def test_rows_that_hang_on_their_neighbours_are_a_warning() -> None:
    version, answer, _ = take_up(lambda inputs: [inputs[0] - inputs[0].mean(0)], max_batch_size=4)
    assert warnings(answer) == [
        "batching changes answers: output 'y' of a row is not the same alone and in a batch"
    ]
    assert batches(version)


def test_a_batch_that_is_not_finite_is_refused() -> None:
    def run(inputs: Inputs) -> Arrays:
        return [inputs[0] * (np.nan if len(inputs[0]) == 16 else 1)]

    version, answer, _ = take_up(run, max_batch_size=16)
    assert version is None
    assert isinstance(answer, messages.LoadFailed)
    assert (answer.phase, answer.kind) == ("warm", "not_finite")


def test_padding_is_warmed_and_padding_that_does_not_suit_is_refused() -> None:
    _, answer, ran = take_up(max_batch_size=2, pad={"x": [0, 32]})
    assert isinstance(answer, messages.Loaded)
    assert {shape[1] for shape in ran} == {32}
    version, answer, ran = take_up(max_batch_size=2, pad={"z": [0, 32]})
    assert version is None
    assert answer == messages.LoadFailed(
        3, "load", "settings", "pad names the input 'z', the model has ['x']"
    )
    assert ran == []
