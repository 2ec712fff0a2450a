"""One batch: requests' tensors gathered into the predictor's input buffers, run, and cut apart.

Owns the copy from slots to buffers, one per tensor, the zeros of padding, and the judgement that a
batch has to be taken apart. Runs in the worker.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import numpy.typing as npt

from gpu_worker.answer import Answer, answers_to, failed_answer, splits
from gpu_worker.buffers import Inputs
from gpu_worker.request import Request
from gpu_worker.version import Arrays, Predictor, Version


def attempt(version: Version, requests: Sequence[Request]) -> tuple[list[Answer] | None, int]:
    """Run requests of one group, or a single one.

    Returns their answers in order, None where they have to be run one by one, and the time at which
    the predictor had ended.
    """
    rows = sum([request.rows for request in requests])
    outputs: Arrays | Exception
    try:
        outputs = _execute(version.predictor, requests, rows)
    except Exception as error:  # noqa: BLE001 - Paddle raises what it likes
        outputs = error.with_traceback(None)  # which would hold the requests' memory
    inferred_ns = time.monotonic_ns()
    return cut(version, requests, outputs), inferred_ns


def cut(
    version: Version, requests: Sequence[Request], outputs: Arrays | Exception
) -> list[Answer] | None:
    """Cut the outputs of a batch into answers; None where its members have to be run one by one.

    What was raised in their place is the answer of one that ran alone.
    """
    rows = sum([request.rows for request in requests])
    if isinstance(outputs, Exception):
        return _failed(requests, outputs, rows)
    try:
        if len(requests) == 1 or splits(outputs, rows):
            return answers_to(version.responses, requests, outputs, rows)
    except Exception as error:  # noqa: BLE001 - outputs may be anything
        return _failed(requests, error, rows)
    if (group := requests[0].group) is not None:
        group.batchable = False  # the model's outputs do not follow the batch
    return None


def _failed(requests: Sequence[Request], error: Exception, rows: int) -> list[Answer] | None:
    return [failed_answer(requests[0].submission, error, rows)] if len(requests) == 1 else None


def _execute(predictor: Predictor, requests: Sequence[Request], rows: int) -> Arrays:
    first = requests[0]
    layout = first.layout
    if len(requests) == 1:
        if not predictor.shares and not layout.padded:
            # It copies from wherever the bytes lie: straight from the slot.
            return predictor.run([tensor.view(first.payload) for tensor in layout.tensors])
        inputs = predictor.buffers(layout.shapes)
    else:
        assert first.group is not None
        inputs = predictor.buffers(first.group.shapes(rows))
    _gather(inputs, requests)
    return predictor.run_buffers(inputs)


def _gather(inputs: Inputs, requests: Sequence[Request]) -> None:
    """Fill the buffers, every byte of them, with the requests' rows in order."""
    for index, memory in enumerate(inputs.memory):
        at = 0
        for request in requests:
            layout = request.layout
            if layout.padded:
                at += _pad(inputs.arrays[index], index, request, at)
            else:
                start, end = layout.spans[index]
                upto = at + end - start
                memory[at:upto] = request.payload[start:end]
                at = upto


def _pad(array: npt.NDArray[Any], index: int, request: Request, at: int) -> int:
    """Write one request's tensor with zeros around, `at` bytes into the array; give its bytes."""
    shape = request.layout.shapes[index]
    if array.shape == shape:
        region = array
    else:
        first = at // (array.nbytes // len(array))
        region = array[first : first + shape[0]]
    tensor = request.layout.tensors[index]
    if shape != tensor.shape:
        region[...] = 0
    region[tuple([slice(dim) for dim in tensor.shape])] = tensor.view(request.payload)
    return int(region.nbytes)
