"""Warm-up: which runs are made, with which arrays, and what of an output is refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from gpu_worker.ipc.messages import BatchingSettings, Warmup
from gpu_worker.ipc.tensors import BY_NAME, Contract, TensorSpec
from gpu_worker.warmup import (
    batch_runs,
    make_inputs,
    mismatch,
    not_finite,
    plan,
    row_difference,
)


def contract(**inputs: tuple[int, ...]) -> Contract:
    specs = tuple(TensorSpec(name, "FP32", shape) for name, shape in inputs.items())
    return Contract(specs, (TensorSpec("y", "FP32", (-1, 4)),))


MLP = contract(x=(-1, 16))
IMAGE = contract(x=(-1, 3, -1, -1))
PAIR = contract(ids=(-1, -1), mask=(-1, 8))
FIXED = contract(x=(2, 16))
SCALAR = contract(x=())

FITS, WIDE = Warmup({"x": [4, 16]}), Warmup({"x": [4, 32]})
SEEN, SEEN_WIDE = Warmup({"x": [8, 16]}, "traffic"), Warmup({"x": [8, 32]}, "traffic")


@pytest.mark.parametrize(
    ("model", "declared", "runs"),
    [
        (MLP, [], [Warmup({"x": [1, 16]}, "declared")]),
        (FIXED, [], [Warmup({"x": [2, 16]}, "declared")]),
        (SCALAR, [], [Warmup({"x": []}, "declared")]),
        (contract(), [], [Warmup({}, "declared")]),
        (IMAGE, [], [Warmup({"x": [1, 3, 64, 64]}, "guessed")]),
        (PAIR, [], [Warmup({"ids": [1, 64], "mask": [1, 8]}, "guessed")]),
        (MLP, [FITS], [FITS]),
        (MLP, [FITS, SEEN], [FITS, SEEN]),
        (MLP, [WIDE], [WIDE]),
        (MLP, [SEEN], [SEEN]),
        (MLP, [SEEN_WIDE], [Warmup({"x": [1, 16]}, "declared")]),
        (MLP, [SEEN_WIDE, SEEN, WIDE], [SEEN, WIDE]),
        (MLP, [Warmup({"gone": [1]}, "traffic")], [Warmup({"x": [1, 16]}, "declared")]),
    ],
)
def test_the_runs_are_those_declared_those_seen_that_fit_or_a_guess(
    model: Contract, declared: list[Warmup], runs: list[Warmup]
) -> None:
    assert plan(model, declared) == runs


@pytest.mark.parametrize("model", [MLP, IMAGE, PAIR, FIXED, SCALAR, contract()])
def test_a_guess_suits_its_own_contract(model: Contract) -> None:
    (run,) = plan(model, [])
    assert mismatch(model, run) is None


@pytest.mark.parametrize(
    ("model", "shapes", "said"),
    [
        (MLP, {"x": [1, 16]}, None),
        (MLP, {"x": [1000, 16]}, None),
        (IMAGE, {"x": [2, 3, 48, 320]}, None),
        (SCALAR, {"x": []}, None),
        (MLP, {"x": [1, 17]}, "warmup of input 'x' is [1, 17], the model takes [-1, 16]"),
        (MLP, {"x": [16]}, "warmup of input 'x' is [16], the model takes [-1, 16]"),
        (MLP, {"x": [1, 1, 16]}, "warmup of input 'x' is [1, 1, 16], the model takes [-1, 16]"),
        (FIXED, {"x": [1, 16]}, "warmup of input 'x' is [1, 16], the model takes [2, 16]"),
        (SCALAR, {"x": [1]}, "warmup of input 'x' is [1], the model takes []"),
        (MLP, {}, "warmup names the inputs [], the model has ['x']"),
        (MLP, {"y": [1, 16]}, "warmup names the inputs ['y'], the model has ['x']"),
        (PAIR, {"ids": [1, 1]}, "warmup names the inputs ['ids'], the model has ['ids', 'mask']"),
        (PAIR, {"ids": [1, 1], "mask": [1, 9]},
         "warmup of input 'mask' is [1, 9], the model takes [-1, 8]"),
    ],
)  # fmt: skip
def test_shapes_that_do_not_suit_are_named(
    model: Contract, shapes: dict[str, list[int]], said: str | None
) -> None:
    assert mismatch(model, Warmup(shapes)) == said


@pytest.mark.parametrize("name", BY_NAME)
def test_every_data_type_has_an_input(name: str) -> None:
    model = Contract((TensorSpec("x", name, (-1, 5)),), ())
    (array,) = make_inputs(model, Warmup({"x": [3, 5]}))
    assert array.dtype == BY_NAME[name].dtype
    assert array.shape == (3, 5)
    assert array.flags.c_contiguous
    if array.dtype.kind == "f":
        assert ((array >= 0) & (array <= 1)).all()
        assert len(np.unique(array)) > 1
    else:
        assert (array == (array.dtype.kind == "b")).all()


def test_inputs_come_in_the_order_of_the_contract_and_are_the_same_each_time() -> None:
    run = Warmup({"mask": [2, 8], "ids": [2, 3]})
    first, again = make_inputs(PAIR, run), make_inputs(PAIR, run)
    assert [array.shape for array in first] == [(2, 3), (2, 8)]
    assert [array.tobytes() for array in first] == [array.tobytes() for array in again]


def test_a_scalar_and_an_empty_input_can_be_made() -> None:
    assert make_inputs(SCALAR, Warmup({"x": []}))[0].shape == ()
    assert make_inputs(MLP, Warmup({"x": [0, 16]}))[0].shape == (0, 16)


OUTPUTS = Contract((), (TensorSpec("a", "FP32", (-1,)), TensorSpec("b", "FP32", (-1,))))
NAN, INF = float("nan"), float("inf")


@pytest.mark.parametrize(
    ("first", "second", "said"),
    [
        ([1.0, 2.0], [3.0], None),
        ([], [], None),
        ([1.0, NAN], [3.0], "output 'a' holds 1 of 2 values that are not finite"),
        ([1.0], [INF, NAN, -INF, 1.0], "output 'b' holds 3 of 4 values that are not finite"),
        ([NAN], [NAN], "output 'a' holds 1 of 1 values that are not finite"),
    ],
)
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_an_output_that_is_not_finite_is_named(
    first: list[float], second: list[float], said: str | None, dtype: Any
) -> None:
    assert not_finite(OUTPUTS, [np.array(first, dtype), np.array(second, dtype)]) == said


@pytest.mark.parametrize("dtype", [np.int32, np.int64, np.uint8, np.bool_])
def test_whole_numbers_are_always_finite(dtype: Any) -> None:
    assert not_finite(OUTPUTS, [np.ones(3, dtype), np.ones(3, dtype)]) is None


def sizes(runs: list[Warmup]) -> list[int]:
    return [run.shapes["x"][0] for run in runs]


@pytest.mark.parametrize(
    ("limit", "preferred", "named", "small"),
    [
        (2, [], [2], []),
        (8, [], [8], [2, 3, 4, 5, 6, 7]),
        (32, [16, 4, 64, 0, 16], [4, 16, 32], [2, 3, 5, 6, 7, 8]),
        (64, list(range(40, 60)), [*range(52, 60), 64], list(range(2, 9))),
    ],
)
def test_batch_sizes_are_warmed(
    limit: int, preferred: list[int], named: list[int], small: list[int]
) -> None:
    runs = batch_runs(MLP, [Warmup({"x": [1, 16]})], BatchingSettings(limit, 0, preferred))
    assert [sizes(part) for part in runs] == [named, small]
    assert {run.origin for part in runs for run in part} == {"batch"}


def test_each_shape_is_warmed_in_each_size_but_none_twice() -> None:
    shapes = [[1, 3, 32, 32], [4, 3, 64, 32]]
    named, _ = batch_runs(IMAGE, [Warmup({"x": s}) for s in shapes], BatchingSettings(4))
    assert [run.shapes["x"] for run in named] == [[4, 3, 32, 32], [1, 3, 64, 32]]


def test_batches_that_are_too_large_or_too_many_are_left_out() -> None:
    wide = [Warmup({"x": [1, 3, 2048, 2048]})]  # 48 MB a row
    assert sizes(batch_runs(IMAGE, wide, BatchingSettings(8, 0, [4, 5, 6]))[0]) == [4, 5]
    many = [Warmup({"x": [1, 3, 32, width]}) for width in range(1, 500)]
    assert len(batch_runs(IMAGE, many, BatchingSettings(8))[0]) == 64


def test_runs_are_padded_as_requests_will_be() -> None:
    runs = [Warmup({"x": [1, 3, 30, width]}, "traffic") for width in (31, 32, 33)]
    padded = plan(IMAGE, runs, {"x": [0, 0, 0, 32]})
    assert [run.shapes["x"] for run in padded] == [[1, 3, 30, 32], [1, 3, 30, 64]]
    assert plan(MLP, [WIDE], {"x": [0, 8]}) == [WIDE]  # its mismatch shall be named


TWO = [np.array([[1.0, 2.0], [3.0, 4.0]], np.float32)]
Y2 = Contract((), (TensorSpec("y", "FP32", (-1, 2)),))


@pytest.mark.parametrize(
    ("first", "second", "same"),
    [
        ([[1.0, 2.0]], [[3.0, 4.0]], True),
        ([[1.001, 2.0]], [[3.0, 3.999]], True),
        ([[1.0, 2.0]], [[1.0, 2.0]], False),
        ([[1.0, 2.2]], [[3.0, 4.0]], False),
        ([[1.0]], [[3.0]], False),
        ([[1.0, NAN]], [[3.0, 4.0]], False),
    ],
)
def test_rows_that_differ_in_company_are_named(first: Any, second: Any, same: bool) -> None:
    alone = [[np.array(first, np.float32)], [np.array(second, np.float32)]]
    said = row_difference(Y2, TWO, alone)
    assert said == (None if same else "output 'y' of a row is not the same alone and in a batch")


def test_a_few_whole_numbers_may_differ() -> None:
    numbers = Contract((), (TensorSpec("y", "INT64", (-1, 40)),))
    together = [np.zeros((1, 40), np.int64)]
    for wrong, same in ((0, True), (2, True), (3, False)):
        alone = np.zeros((1, 40), np.int64)
        alone[0, :wrong] = 1
        assert (row_difference(numbers, together, [[alone]]) is None) is same
