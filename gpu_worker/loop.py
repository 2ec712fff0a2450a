"""The worker's loop: sleep in the kernel, take what has arrived, run it, answer.

Owns the one version that this process holds. One thread does everything, in this order: control
messages (load, unload, stop) and requests, each to its end; a process that serves is never asked to
load, the supervisor sees to that. The loop knows nothing of paddle: it is given a way to load.
Runs in the worker.
"""

from __future__ import annotations

import ctypes
import gc
import os
import select
import time
from collections.abc import Callable, Sequence
from typing import Any, Final, Protocol

import numpy.typing as npt

from gpu_worker import warmup
from gpu_worker.ipc import messages
from gpu_worker.ipc.arena import ArenaReader
from gpu_worker.ipc.control import ControlChannel, PeerGone
from gpu_worker.ipc.link import Completion, Status, Submission, WorkerEnd
from gpu_worker.ipc.response_ring import ResponseTooLarge
from gpu_worker.ipc.tensors import (
    BY_DTYPE,
    Contract,
    Tensor,
    align,
    read_table,
    table_size,
    write_table,
)
from gpu_worker.params import ParamsError
from gpu_worker.program import ProgramError


class Predictor(Protocol):
    """What the loop needs of a model version."""

    contract: Contract

    def run(self, inputs: Sequence[npt.NDArray[Any]]) -> list[npt.NDArray[Any]]:
        """Run one batch: inputs and outputs in the contract's order."""


Loader = Callable[[messages.Load, int, int, list[messages.Warmup]], Predictor]

_MAX_REASON: Final = 2000  # characters of a foreign error that are passed on


class Loop:
    """Serves one link until the control channel ends."""

    def __init__(
        self, control: ControlChannel, link: WorkerEnd, arena: ArenaReader, load: Loader
    ) -> None:
        self._control = control
        self._link = link
        self._arena = arena
        self._load = load
        self._predictor: Predictor | None = None
        self._load_id = 0
        self._stopped = False

    def run(self) -> None:
        """Serve until told to stop or until the supervisor is gone."""
        poll = select.poll()
        poll.register(self._control.sock, select.POLLIN)
        poll.register(self._link.submission_bell.fd, select.POLLIN)
        control_fd = self._control.sock.fileno()
        while not self._stopped:
            for fd, _ in poll.poll():
                if fd == control_fd:
                    self._obey()
                else:
                    for submission in self._link.submissions():
                        self._serve(submission)

    # Control

    def _obey(self) -> None:
        try:
            message, fds = self._control.receive()
        except PeerGone:
            self._stopped = True
            return
        try:
            match message:
                case messages.Load():
                    answer = self._take_up(message, *fds)
                    if isinstance(answer, messages.LoadFailed):
                        self._give_up()  # only now: `_take_up` itself held the predictor
                    self._control.send(answer)
                case messages.Unload():
                    self._give_up()
                    self._control.send(messages.Unloaded())
                case messages.Stop():
                    self._stopped = True
                case _:
                    raise messages.ProtocolError(f"a worker does not take {message}")
        finally:
            for fd in fds:
                os.close(fd)

    def _take_up(
        self, load: messages.Load, program_fd: int, params_fd: int
    ) -> messages.Loaded | messages.LoadFailed:
        """Load and warm up; whatever Python-level error there is becomes the answer."""
        self._give_up()

        def failed(phase: str, kind: str, reason: object) -> messages.LoadFailed:
            text = str(reason).strip()[-_MAX_REASON:]
            return messages.LoadFailed(load.load_id, phase, kind, text)

        declared = [messages.Warmup(**run) for run in load.warmups]
        started = time.perf_counter()
        try:
            predictor = self._load(load, program_fd, params_fd, declared)
        except (ProgramError, ParamsError) as error:
            return failed("load", "corrupt", error)
        except Exception as error:  # noqa: BLE001 - Paddle raises what it likes
            return failed("load", "load", f"{type(error).__name__}: {error}")
        load_ms = (time.perf_counter() - started) * 1000
        self._control.send(messages.Warming(load.load_id, load_ms))

        warnings = []
        contract = predictor.contract
        for run in warmup.plan(contract, declared):
            wrong = warmup.mismatch(contract, run)
            if wrong:
                return failed("warm", "warmup", wrong)
            try:
                outputs = predictor.run(warmup.make_inputs(contract, run))
            except Exception as error:  # noqa: BLE001 - Paddle raises what it likes
                reason = f"warm-up with {run.shapes} failed: {type(error).__name__}: {error}"
                if run.origin != "guessed":
                    return failed("warm", "warmup", reason)
                warnings.append(reason[-_MAX_REASON:])
                continue
            wrong = warmup.not_finite(contract, outputs) if load.check_finite else None
            if wrong:
                return failed("warm", "not_finite", f"warm-up with {run.shapes}: {wrong}")
        self._predictor, self._load_id = predictor, load.load_id
        gc.collect()
        gc.freeze()
        warm_ms = (time.perf_counter() - started) * 1000 - load_ms
        return messages.Loaded(load.load_id, contract.to_json(), load_ms, warm_ms, warnings)

    def _give_up(self) -> None:
        """Drop the version held and give its memory back to the system."""
        self._load_id = 0
        self._predictor = None
        gc.unfreeze()
        gc.collect()
        ctypes.CDLL(None).malloc_trim(0)

    # Requests

    def _serve(self, submission: Submission) -> None:
        started = time.monotonic_ns()
        self._link.run(submission.request_id)
        payload = self._arena.payload(
            submission.slot_offset,
            submission.length,
            submission.slot_reuse,
            submission.request_id,
        )
        if payload is None or self._predictor is None or submission.load_id != self._load_id:
            self._finish(submission, Status.STALE, b"", started)
        elif submission.deadline_ns <= started:
            self._finish(submission, Status.EXPIRED, b"", started)
        else:
            self._infer(submission, self._predictor, payload, started)
        self._link.run(0)

    def _infer(
        self, submission: Submission, predictor: Predictor, payload: memoryview, started: int
    ) -> None:
        try:
            tensors = sorted(read_table(payload), key=lambda tensor: tensor.index)
            outputs = predictor.run([tensor.view(payload) for tensor in tensors])
        except Exception as error:  # noqa: BLE001 - one bad request fails alone
            text = f"{type(error).__name__}: {error}"[-_MAX_REASON:]
            self._finish(submission, Status.FAILED, text.encode(errors="replace"), started)
            return
        inferred = time.monotonic_ns()
        table: list[Tensor] = []
        wanted = [i for i in range(len(outputs)) if submission.output_mask >> i & 1]
        offset = table_size(len(wanted))
        for index in wanted:
            array = outputs[index]
            tensor = Tensor(index, BY_DTYPE[array.dtype], array.shape, offset, array.nbytes)
            table.append(tensor)
            offset += align(array.nbytes)
        try:
            position, memory = self._link.reserve(self._control, offset)
        except ResponseTooLarge:
            text = (
                f"the outputs take {offset} bytes, more than the response ring of "
                f"{self._link.responses.capacity}: raise response_ring_mb"
            )
            self._finish(submission, Status.TOO_LARGE, text.encode(), started)
            return
        write_table(memory, table)
        for tensor in table:
            tensor.view(memory)[...] = outputs[tensor.index]
        self._publish(submission, Status.OK, position, offset, started, inferred)

    def _finish(self, submission: Submission, status: Status, text: bytes, started: int) -> None:
        """Answer with a text instead of tensors."""
        position, memory = self._link.reserve(self._control, len(text))
        memory[:] = text
        self._publish(submission, status, position, len(text), started, time.monotonic_ns())

    def _publish(
        self,
        submission: Submission,
        status: Status,
        position: int,
        length: int,
        started: int,
        inferred: int,
    ) -> None:
        self._link.responses.commit(position, length)
        self._link.complete(
            Completion(
                submission.request_id,
                submission.slot_reuse,
                status,
                position,
                length,
                started,
                inferred,
                time.monotonic_ns(),
            )
        )
