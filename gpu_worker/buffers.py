"""Input buffers: the memory that batches are gathered in and that the predictor reads.

Owns one block of memory per input, which all shapes share because only one batch runs at a time,
and bounded views of it by shape: memory stays flat however many shapes a model sees. Knows nothing
of paddle. Runs in the worker.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import prod
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from gpu_worker.ipc.tensors import ALIGNMENT

Shapes = tuple[tuple[int, ...], ...]

_MAX_SHAPES: Final = 256  # views kept; each costs about a kilobyte and the predictor's own tensors


class Inputs:
    """One array per input, of one set of shapes, and the same memory as plain bytes.

    Whoever fills them fills all of them, each time: the bytes are those of the batch before, of
    whatever shape. `handed` is the predictor's own, made once per shape.
    """

    __slots__ = ("arrays", "handed", "memory")

    def __init__(
        self, arrays: list[npt.NDArray[Any]], memory: list[memoryview], handed: Sequence[Any] = ()
    ) -> None:
        self.arrays = arrays
        self.memory = memory
        self.handed = handed


class Buffers:
    """The input buffers of one predictor."""

    def __init__(
        self,
        dtypes: Sequence[np.dtype[Any]],
        hand: Callable[[list[npt.NDArray[Any]]], Sequence[Any]] = lambda _: (),
    ) -> None:
        """Keep buffers for inputs of these `dtypes`; `hand` makes `Inputs.handed`."""
        self._dtypes = dtypes
        self._hand = hand
        self._blocks = [_block(0) for _ in dtypes]
        self._kept: dict[Shapes, Inputs] = {}

    def get(self, shapes: Shapes) -> Inputs:
        """Give the buffers of these shapes, one per input, aligned to `ALIGNMENT`.

        They are valid until the next call with other shapes: all share one memory.
        """
        found = self._kept.get(shapes)
        if found is None:
            found = self._make(shapes)
            if len(self._kept) >= _MAX_SHAPES:
                del self._kept[next(iter(self._kept))]
            self._kept[shapes] = found
        return found

    def _make(self, shapes: Shapes) -> Inputs:
        sizes = [
            prod(shape) * dtype.itemsize for shape, dtype in zip(shapes, self._dtypes, strict=True)
        ]
        for index, size in enumerate(sizes):
            if size > self._blocks[index].nbytes:
                self._kept.clear()  # they are views of what goes
                self._blocks[index] = _block(size + size // 4)  # growing widths grow it rarely
        arrays, memory = [], []
        for block, size, shape, dtype in zip(
            self._blocks, sizes, shapes, self._dtypes, strict=True
        ):
            arrays.append(block[:size].view(dtype).reshape(shape))
            memory.append(block[:size].data)
        return Inputs(arrays, memory, self._hand(arrays))


def _block(size: int) -> npt.NDArray[np.uint8]:
    """Allocate `size` bytes, aligned; their pages are only taken when they are written."""
    raw = np.empty(size + ALIGNMENT, np.uint8)
    start = -raw.ctypes.data % ALIGNMENT
    return raw[start : start + size]
