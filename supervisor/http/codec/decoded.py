"""What a decoded request is: inputs, wanted outputs, parameters.

Owns the values that decoding gives and payload and encoding take. Runs in the supervisor.
"""

from __future__ import annotations

import reprlib
from dataclasses import dataclass, field
from typing import Any, Final

import numpy.typing as npt

from gpu_worker.ipc.tensors import MAX_RANK, DataType

HEADER_LENGTH: Final = "Inference-Header-Content-Length"
_SHORT: Final = reprlib.Repr()
_SHORT.maxlevel, _SHORT.maxlist, _SHORT.maxstring = 3, MAX_RANK, 80


@dataclass(frozen=True, slots=True)
class OutputWish:
    """One output that a request wants, and in which form."""

    index: int
    binary: bool


@dataclass(slots=True)
class DecodedInput:
    """One input: where its bytes are, or the array that its JSON data gave."""

    index: int
    datatype: DataType
    shape: tuple[int, ...]
    nbytes: int
    offset: int = -1  # in the body, for binary data
    array: npt.NDArray[Any] | None = None


@dataclass(slots=True)
class DecodedRequest:
    """What a body said: inputs in the contract's order, wanted outputs in the request's."""

    request_id: str
    inputs: list[DecodedInput]
    outputs: list[OutputWish]
    timeout_s: float | None = None
    shapes: tuple[tuple[int, ...], ...] = field(default=())

    @property
    def output_mask(self) -> int:
        """One bit per wanted output."""
        mask = 0
        for wish in self.outputs:
            mask |= 1 << wish.index
        return mask


def short(value: Any) -> str:
    """Show a value of a request in an error, however large it is."""
    text = _SHORT.repr(value)  # bounded: neither the depth nor the size of a value costs anything
    return text if len(text) <= 80 else text[:77] + "..."
