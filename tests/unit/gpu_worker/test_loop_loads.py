"""The worker's loop: loads, their failures, and its end."""

from __future__ import annotations

import os
import weakref
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from gpu_worker.ipc import messages
from gpu_worker.ipc.channel import PeerGone
from gpu_worker.ipc.link import Status
from gpu_worker.ipc.tensors import Contract, TensorSpec
from gpu_worker.ipc.vocabulary import ProtocolError
from gpu_worker.params import ParamsError
from gpu_worker.program import ProgramError
from gpu_worker.version import Loader, Predictor
from tests.unit.gpu_worker.descriptors import open_descriptors
from tests.unit.gpu_worker.loop_harness import CONTRACT, Arrays, FakePredictor, Harness

Start = Callable[[Loader], Harness]


@pytest.fixture
def start() -> Iterator[Start]:
    """Start loops that end with the test."""
    harnesses: list[Harness] = []

    def begin(load: Loader) -> Harness:
        harnesses.append(Harness(load))
        return harnesses[-1]

    yield begin
    for harness in harnesses:
        harness.close()


def giving(*predictors: Predictor | Exception) -> Loader:
    """Load these, one after the other."""
    left = list(predictors)

    def load(*_: object) -> Predictor:
        found = left.pop(0)
        if isinstance(found, Exception):
            raise found
        return found

    return load


def test_a_load_warms_and_then_says_what_it_loaded(start: Start) -> None:
    predictor = FakePredictor()
    worker = start(giving(predictor))
    worker.ask(7, {"x": [3, 4], "times": [1]})
    warming, loaded = worker.message(), worker.message()
    assert isinstance(warming, messages.Warming)
    assert isinstance(loaded, messages.Loaded)
    assert warming.load_id == loaded.load_id == 7
    assert warming.load_ms == loaded.load_ms >= 0
    assert loaded.warm_ms >= 0
    assert loaded.parsed_contract() == CONTRACT
    assert loaded.warnings == []
    assert predictor.batches == [[(3, 4), (1,)]]


def test_the_loader_gets_the_message_the_files_and_the_warmups(start: Start) -> None:
    seen: list[object] = []

    def load(
        message: messages.Load, program: int, params: int, warmups: list[messages.Warmup]
    ) -> Predictor:
        seen.extend([message, os.pread(program, 99, 0), os.pread(params, 99, 0), warmups])
        return FakePredictor()

    worker = start(load)
    runs = [
        messages.Warmup({"x": [2, 4], "times": [1]}),
        messages.Warmup({"x": [5, 4], "times": [1]}, "traffic"),
    ]
    fields = [{"shapes": run.shapes, "origin": run.origin} for run in runs]
    sent = messages.Load(3, ".pdmodel", {"cpu_threads": 2}, warmups=fields)
    worker.send_load(sent)
    worker.message()
    worker.message()
    assert seen == [sent, b"the program", b"the parameters", runs]
    worker.control.send(messages.Unload())
    worker.message()  # by now it has closed the files of the load
    left = [target for target in open_descriptors().values() if "memfd:p" in target]
    assert left == []


@pytest.mark.parametrize(
    ("error", "kind", "said"),
    [
        (ProgramError("not a program"), "corrupt", "not a program"),
        (ParamsError("truncated"), "corrupt", "truncated"),
        (RuntimeError("  (NotFound) op\n"), "load", "RuntimeError:   (NotFound) op"),
        (MemoryError(), "load", "MemoryError:"),
        (ValueError("a" * 5000 + "end"), "load", "a" * 1997 + "end"),
    ],
)
def test_a_load_that_fails_says_why_and_the_worker_goes_on(
    start: Start, error: Exception, kind: str, said: str
) -> None:
    worker = start(giving(error, FakePredictor()))
    worker.ask(1)
    assert worker.message() == messages.LoadFailed(1, "load", kind, said)
    worker.load(2)
    assert worker.infer(load_id=2).completion.status == Status.OK


def raising(_: Sequence[npt.NDArray[Any]]) -> Arrays:
    raise RuntimeError("no kernel for this")


def with_nan(inputs: Sequence[npt.NDArray[Any]]) -> Arrays:
    product, total = FakePredictor.multiply(inputs)
    product[0, 1] = np.nan
    return [product, total]


@pytest.mark.parametrize(
    ("predictor", "shapes", "kind", "said"),
    [
        (FakePredictor(with_nan), {}, "not_finite",
         "output 'product' holds 1 of 4 values that are not finite"),
        (FakePredictor(raising), {}, "warmup", "RuntimeError: no kernel for this"),
        (FakePredictor(), {"x": [1, 5], "times": [1]}, "warmup",
         "warmup of input 'x' is [1, 5], the model takes [-1, 4]"),
        (FakePredictor(), {"y": [1, 4]}, "warmup",
         "warmup names the inputs ['y'], the model has ['times', 'x']"),
        (FakePredictor(), {"x": [-1, 4], "times": [1]}, "warmup", "negative dimensions"),
    ],
)  # fmt: skip
def test_a_warm_up_that_fails_says_why_and_the_worker_goes_on(
    start: Start, predictor: FakePredictor, shapes: dict[str, list[int]], kind: str, said: str
) -> None:
    worker = start(giving(predictor, FakePredictor()))
    worker.ask(1, shapes)
    failed = worker.failure()
    assert (failed.load_id, failed.phase, failed.kind) == (1, "warm", kind)
    assert said in failed.reason
    assert worker.infer(load_id=1).completion.status == Status.STALE
    worker.load(2)
    assert worker.infer(load_id=2).completion.status == Status.OK


def test_outputs_that_are_not_finite_are_allowed_where_asked_for(start: Start) -> None:
    worker = start(giving(FakePredictor(with_nan)))
    worker.ask(1, check_finite=False)
    assert isinstance(worker.message(), messages.Warming)
    assert isinstance(worker.message(), messages.Loaded)


VARIABLE = Contract((TensorSpec("x", "FP32", (-1, -1)),), (TensorSpec("y", "FP32", (-1,)),))


def test_a_guessed_warm_up_that_fails_is_only_a_warning(start: Start) -> None:
    predictor = FakePredictor(raising, VARIABLE)
    loaded = start(giving(predictor)).load()
    assert predictor.batches == [[(1, 64)]]
    (warning,) = loaded.warnings
    assert "{'x': [1, 64]} failed: RuntimeError: no kernel for this" in warning


def test_a_version_that_failed_is_gone_before_its_failure_is_told(start: Start) -> None:
    predictor = FakePredictor(with_nan)
    predictor.__dict__["cycle"] = predictor  # only the collector can free it
    gone = weakref.ref(predictor)
    worker = start(giving(predictor))
    del predictor
    worker.ask(1)
    assert worker.failure().kind == "not_finite"
    assert gone() is None


@pytest.mark.parametrize("fails", [False, True])
def test_a_load_gives_up_the_version_held_before_it_begins(start: Start, fails: bool) -> None:
    first = FakePredictor()
    gone = weakref.ref(first)
    held: list[object] = []
    first_load = giving(first)
    del first

    def load(
        message: messages.Load, program: int, params: int, warmups: list[messages.Warmup]
    ) -> Predictor:
        if message.load_id == 1:
            return first_load(message, program, params, warmups)
        held.append(gone())
        if fails:
            raise RuntimeError("no")
        return FakePredictor()

    worker = start(load)
    worker.load(1)
    worker.ask(2)
    worker.message()
    assert held == [None]
    assert worker.infer(load_id=1).completion.status == Status.STALE


def test_an_unload_gives_the_version_up(start: Start) -> None:
    predictor = FakePredictor()
    gone = weakref.ref(predictor)
    worker = start(giving(predictor, FakePredictor()))
    del predictor
    worker.load(1)
    worker.control.send(messages.Unload())
    assert worker.message() == messages.Unloaded()
    assert gone() is None
    assert worker.infer(load_id=1).completion.status == Status.STALE
    worker.load(2)
    assert worker.infer(load_id=2).completion.status == Status.OK


def test_an_unload_of_no_version_gives_memory_back_and_says_what_is_left(start: Start) -> None:
    worker = start(giving(FakePredictor(), FakePredictor()))
    worker.load(1)
    worker.control.send(messages.Unload())
    worker.control.send(messages.Unload())
    assert worker.message() == messages.Unloaded(), "what it leaves is kept"
    unloaded = worker.message()
    assert isinstance(unloaded, messages.Unloaded)
    assert unloaded.memory_bytes > 1 << 20
    worker.load(2)
    worker.control.send(messages.Unload())
    assert worker.message() == unloaded, "what it was then"


def test_what_a_failed_load_has_taken_is_given_back(start: Start) -> None:
    worker = start(giving(RuntimeError("no"), FakePredictor()))
    worker.ask(1)
    worker.failure()
    worker.load(2)
    worker.control.send(messages.Unload())
    unloaded = worker.message()
    assert isinstance(unloaded, messages.Unloaded)
    assert unloaded.memory_bytes > 1 << 20, "what was left then"


def test_the_loop_ends_when_the_channel_closes(start: Start) -> None:
    worker = start(giving(FakePredictor()))
    worker.load()
    worker.control.close()
    assert worker.join() is None


def test_the_loop_ends_when_it_is_told_to_stop(start: Start) -> None:
    worker = start(giving())
    worker.control.send(messages.Stop())
    assert worker.join() is None


def test_the_loop_ends_when_nobody_waits_for_its_load(start: Start) -> None:
    def load(*_: object) -> Predictor:
        harness[0].control.close()
        return FakePredictor()

    harness = [start(load)]
    harness[0].ask(1)
    assert isinstance(harness[0].join(), PeerGone)


def test_a_message_that_is_not_for_a_worker_ends_it(start: Start) -> None:
    worker = start(giving())
    worker.control.send(messages.Hello("paddle", "cpu"))
    assert isinstance(worker.join(), ProtocolError)
