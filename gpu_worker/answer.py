"""An answer: what goes into a response ring for one request.

Owns the layout of a response (table, then each tensor at a multiple of 64 bytes) and the cutting of
a batch's outputs into views, one request's rows each. Copies nothing. Runs in the worker.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from gpu_worker.buffers import Shapes
from gpu_worker.ipc.link import Status, Submission, outcome_of
from gpu_worker.ipc.response_ring import span_of
from gpu_worker.ipc.tensors import (
    BY_NAME,
    Contract,
    Tensor,
    align,
    encode_table,
    table_size,
)
from gpu_worker.request import Request

_MAX_KEPT: Final = 1024  # response layouts, about half a kilobyte each
_MAX_REASON: Final = 2000  # characters of a foreign error that are passed on


class Answer(NamedTuple):
    """One answer: `head` (a table or a text), then `pieces` of (start, end, bytes) behind it.

    `span` is what it takes of a response ring, for `length` bytes.
    """

    submission: Submission
    outcome: int
    length: int
    span: int
    head: bytes
    pieces: Sequence[tuple[int, int, memoryview]] = ()


class ResponseLayout(NamedTuple):
    """The table's bytes, (output, start, end) of each tensor asked for, and the whole length.

    The length is a multiple of 64, so that it is what the response takes of a ring.
    """

    table: bytes
    places: tuple[tuple[int, int, int], ...]
    length: int


class ResponseLayouts:
    """The response layouts of one model version."""

    def __init__(self, contract: Contract) -> None:
        self._datatypes = [BY_NAME[spec.datatype] for spec in contract.outputs]
        self._kept: dict[tuple[Shapes, int], ResponseLayout] = {}

    def get(self, shapes: Shapes, mask: int) -> ResponseLayout:
        """Give the layout of a response with outputs of these shapes, as far as `mask` asks."""
        layout = self._kept.get((shapes, mask))
        if layout is None:
            if len(self._kept) >= _MAX_KEPT:
                del self._kept[next(iter(self._kept))]
            layout = self._kept[shapes, mask] = self._make(shapes, mask)
        return layout

    def _make(self, shapes: Shapes, mask: int) -> ResponseLayout:
        wanted = [index for index in range(len(shapes)) if mask >> index & 1]
        at = table_size(len(wanted))
        tensors = []
        for index in wanted:
            datatype, shape = self._datatypes[index], shapes[index]
            nbytes = prod(shape) * datatype.itemsize
            tensors.append(Tensor(index, datatype, shape, at, nbytes))
            at += align(nbytes)
        places = tuple(
            (tensor.index, tensor.offset, tensor.offset + tensor.nbytes) for tensor in tensors
        )
        return ResponseLayout(encode_table(tensors), places, at)


def text_answer(
    submission: Submission, status: Status, text: str = "", rows: int = 0, *, leads: bool = False
) -> Answer:
    """Answer with a text; `rows` is 0 where nothing was executed."""
    data = text[-_MAX_REASON:].encode(errors="replace")
    return Answer(
        submission, outcome_of(status, rows, leads=leads), len(data), span_of(len(data)), data
    )


def failed_answer(submission: Submission, error: Exception, rows: int = 0) -> Answer:
    """Answer with what was raised."""
    text = f"{type(error).__name__}: {error}"
    return text_answer(submission, Status.FAILED, text, rows, leads=rows > 0)


def splits(outputs: Sequence[npt.NDArray[Any]], rows: int) -> bool:
    """Say whether every output has the batch's rows in its first dimension."""
    return all(array.shape[:1] == (rows,) for array in outputs)


def answers_to(
    layouts: ResponseLayouts,
    requests: Sequence[Request],
    outputs: Sequence[npt.NDArray[Any]],
    rows: int,
) -> list[Answer]:
    """Cut the outputs of one execution of `rows` into answers, views of the outputs' bytes.

    Several requests take their rows in order, so `splits` must be true of the outputs.
    """
    flat = [_bytes_of(array) for array in outputs]
    outcome = outcome_of(Status.OK, rows, leads=True)
    if len(requests) == 1:
        submission = requests[0].submission
        shapes = tuple([array.shape for array in outputs])
        table, places, length = layouts.get(shapes, submission.output_mask)
        pieces = [(start, end, flat[index]) for index, start, end in places]
        return [Answer(submission, outcome, length, length, table, pieces)]
    others = outcome_of(Status.OK, rows, leads=False)
    row_bytes = [len(data) // rows for data in flat]
    tails = [array.shape[1:] for array in outputs]
    known: dict[tuple[int, int], ResponseLayout] = {}
    first = 0
    answers = []
    for request in requests:
        submission, own = request.submission, request.rows
        key = own, submission.output_mask
        layout = known.get(key)
        if layout is None:
            shapes = tuple([(own, *tail) for tail in tails])
            layout = known[key] = layouts.get(shapes, submission.output_mask)
        last = first + own
        pieces = [
            (start, end, flat[index][first * row_bytes[index] : last * row_bytes[index]])
            for index, start, end in layout.places
        ]
        answers.append(
            Answer(submission, outcome, layout.length, layout.length, layout.table, pieces)
        )
        outcome = others
        first = last
    return answers


def _bytes_of(array: npt.NDArray[Any]) -> memoryview:
    """View an output's bytes in order; one that is not contiguous is copied."""
    try:
        return array.data.cast("B")
    except (TypeError, ValueError):  # not contiguous, empty, or FP16; this way takes a microsecond
        return np.ascontiguousarray(array).reshape(-1).view(np.uint8).data
