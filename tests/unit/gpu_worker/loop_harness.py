"""The worker's loop in a thread, with a made-up predictor, driven as the supervisor drives it."""

from __future__ import annotations

import os
import select
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import astuple, dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from gpu_worker.buffers import Buffers, Inputs, Shapes
from gpu_worker.ipc import messages
from gpu_worker.ipc.arena import RequestArena
from gpu_worker.ipc.control import ControlChannel
from gpu_worker.ipc.link import (
    Completion,
    LinkFds,
    Submission,
    SupervisorEnd,
    close_fds,
)
from gpu_worker.ipc.slots import Slot
from gpu_worker.ipc.tensors import (
    BY_DTYPE,
    BY_NAME,
    Contract,
    Tensor,
    TensorSpec,
    align,
    read_table,
    table_size,
    write_table,
)
from gpu_worker.loop import Loop
from gpu_worker.version import Loader

Arrays = list[npt.NDArray[Any]]

PATIENCE_S: Final = 20
NEVER: Final = (1 << 63) - 1
CONTRACT: Final = Contract(
    (TensorSpec("x", "FP32", (-1, 4)), TensorSpec("times", "INT64", (1,))),
    (TensorSpec("product", "FP32", (-1, 4)), TensorSpec("sum", "FP32", ())),
)


class FakePredictor:
    """Multiplies; `run_with` replaces that."""

    def __init__(
        self,
        run_with: Callable[[Sequence[npt.NDArray[Any]]], Arrays] | None = None,
        contract: Contract = CONTRACT,
        shares: bool = True,
    ) -> None:
        self.contract = contract
        self.batches: list[list[tuple[int, ...]]] = []
        self.shares = shares
        self._run_with = run_with or self.multiply
        self._buffers = Buffers([BY_NAME[spec.datatype].dtype for spec in contract.inputs])

    def buffers(self, shapes: Shapes) -> Inputs:
        return self._buffers.get(shapes)

    def run_buffers(self, inputs: Inputs) -> Arrays:
        return self.run(inputs.arrays)

    def run(self, inputs: Sequence[npt.NDArray[Any]]) -> Arrays:
        self.batches.append([array.shape for array in inputs])
        return self._run_with(inputs)

    @staticmethod
    def multiply(inputs: Sequence[npt.NDArray[Any]]) -> Arrays:
        product = np.asarray(inputs[0] * inputs[1][0], np.float32)
        return [product, np.asarray(product.sum(), np.float32)]


@dataclass
class Answer:
    """A completion and the bytes that came with it, which are released already."""

    completion: Completion
    data: bytes

    def arrays(self) -> dict[int, npt.NDArray[Any]]:
        memory = memoryview(self.data)
        return {tensor.index: tensor.view(memory) for tensor in read_table(memory)}


class Front:
    """The supervisor's side of one link: its rings, its arena, what it asks and is answered."""

    def __init__(self, response_bytes: int = 1 << 16) -> None:
        self.link = SupervisorEnd.create(response_bytes)
        self.arena = RequestArena.create(4 << 20, 1 << 16)
        self.requests = 0

    def fds(self) -> LinkFds:
        """Open the descriptors that a worker gets."""
        return LinkFds(
            rings=os.dup(self.link.rings_fd),
            arena=self.arena.segment.read_only_fd(),
            submissions=os.dup(self.link.submission_bell.fd),
            completions=os.dup(self.link.completion_bell.fd),
            control=-1,
        )

    def request(
        self, rows: int = 1, times: int = 2, load_id: int = 1, mask: int = 0b11,
        deadline_ns: int = NEVER, stale: int = 0,
    ) -> tuple[Submission, Slot]:  # fmt: skip
        """Write a request; `stale` is added to the slot's reuse counter that the worker is told."""
        arrays: Arrays = [
            np.arange(rows * 4, dtype=np.float32).reshape(rows, 4), np.array([times], np.int64)
        ]  # fmt: skip
        return self.submission(arrays, load_id, mask, deadline_ns, stale)

    def submission(
        self, arrays: Arrays, load_id: int = 1, mask: int = 0b11,
        deadline_ns: int = NEVER, stale: int = 0,
    ) -> tuple[Submission, Slot]:  # fmt: skip
        """Write a request of any arrays."""
        self.requests += 1
        offset, table = table_size(len(arrays)), []
        for index, array in enumerate(arrays):
            table.append(Tensor(index, BY_DTYPE[array.dtype], array.shape, offset, array.nbytes))
            offset += align(array.nbytes)
        slot = self.arena.slots.take(offset)
        assert slot is not None
        payload = self.arena.payload(slot)
        write_table(payload, table[::-1])  # the order of a table means nothing
        for tensor, array in zip(table, arrays, strict=True):
            tensor.view(payload)[...] = array
        self.arena.stamp(slot, self.requests)
        submission = Submission(
            self.requests, slot.offset, slot.reuse + stale, offset, load_id, mask,
            deadline_ns, time.monotonic_ns(),
        )  # fmt: skip
        return submission, slot

    def answers(self, count: int = 1) -> list[Answer]:
        """Wait for answers, read and release them."""
        found: list[Answer] = []
        while len(found) < count:
            ready, _, _ = select.select([self.link.completion_bell.fd], [], [], PATIENCE_S)
            assert ready, f"{len(found)} of {count} answers came"
            found += self.take()
        assert len(found) == count
        return found

    def take(self) -> list[Answer]:
        """Read and release what has come."""
        found = []
        for completion in self.link.completions():
            data = bytes(self.link.responses.view(completion.position, completion.length))
            self.link.responses.release_to(completion.position, completion.length)
            found.append(Answer(completion, data))
        return found

    def infer(self, **options: Any) -> Answer:
        """Have one request answered."""
        submission, slot = self.request(**options)
        self.link.submit([submission])
        (answer,) = self.answers()
        self.arena.slots.give_back(slot)
        assert answer.completion.request_id == submission.request_id
        assert answer.completion.slot_reuse == submission.slot_reuse
        return answer

    def close(self) -> None:
        self.link.close()
        self.arena.close()


class Harness(Front):
    """The supervisor's side of one worker; link 0 is its own.

    `express` says whether its plain requests may be served by compiled code.
    """

    express = True

    def __init__(self, load: Loader, response_bytes: int = 1 << 16) -> None:
        super().__init__(response_bytes)
        self.control, self._theirs = ControlChannel.pair()
        self._fds = self.fds()
        self.ended_with: BaseException | None = None
        self._thread = threading.Thread(target=self._run, args=[load])
        self._thread.start()

    def _run(self, load: Loader) -> None:
        try:
            Loop(self._theirs, self._fds, load, express=self.express).run()
        except BaseException as error:  # noqa: BLE001 - what ended the loop is what a test asks
            self.ended_with = error.with_traceback(None)

    def attach(self, number: int, response_bytes: int = 1 << 16) -> Front:
        """Attach one more link; the caller closes it."""
        front = Front(response_bytes)
        fds = front.fds()
        numbers = (fds.rings, fds.arena, fds.submissions, fds.completions)
        self.control.send(messages.Attach(number), numbers)
        close_fds(numbers)
        return front

    def attach_and_wait(self, number: int, first: Arrays, response_bytes: int = 1 << 16) -> Front:
        """Attach one more link, and wait until the worker has answered `first` on it."""
        front = self.attach(number, response_bytes)
        front.link.submit([front.submission(first)[0]])
        front.answers()
        return front

    # Control

    def message(self) -> messages.Message:
        """Wait for the worker's next message."""
        ready, _, _ = select.select([self.control.sock], [], [], PATIENCE_S)
        assert ready, "the worker says nothing"
        message, fds = self.control.receive()
        assert fds == []
        return message

    def silent(self) -> bool:
        """Say whether the worker has nothing to say at this moment."""
        return not select.select([self.control.sock], [], [], 0)[0]

    def ask(
        self,
        load_id: int = 1,
        shapes: dict[str, list[int]] | None = None,
        check_finite: bool = True,
        **batching: Any,
    ) -> None:
        """Ask for a load, with one declared warm-up if shapes are given."""
        warmups = [{"shapes": shapes, "origin": "declared"}] if shapes else []
        load = messages.Load(
            load_id, ".json", batching=batching, warmups=warmups, check_finite=check_finite
        )
        self.send_load(load)

    def send_load(self, load: messages.Load) -> None:
        program, params = os.memfd_create("program"), os.memfd_create("params")
        os.write(program, b"the program")
        os.write(params, b"the parameters")
        self.control.send(load, (program, params))
        close_fds([program, params])

    def load(self, load_id: int = 1, **batching: Any) -> messages.Loaded:
        """Load a version that is expected to be good."""
        self.ask(load_id, **batching)
        warming, loaded = self.message(), self.message()
        assert isinstance(warming, messages.Warming)
        assert isinstance(loaded, messages.Loaded), loaded
        return loaded

    def failure(self) -> messages.LoadFailed:
        """Wait for the refusal of a load."""
        message = self.message()
        if isinstance(message, messages.Warming):
            message = self.message()
        assert isinstance(message, messages.LoadFailed), message
        return message

    # The end

    def join(self) -> BaseException | None:
        """Wait for the loop's end; give what it raised."""
        self._thread.join(PATIENCE_S)
        assert not self._thread.is_alive(), "the loop does not end"
        return self.ended_with

    def close(self) -> None:
        self.control.close()
        self.join()
        self._theirs.close()
        close_fds([fd for fd in astuple(self._fds) if fd != -1])
        super().close()
