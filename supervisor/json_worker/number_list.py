"""A number list: the text of one `data`, flat or nested, to an array without a Python number each.

Owns the proof that a text is what a shape and a data type ask for. It takes only what it proves and
never says what is wrong: `NotProven` sends the whole request to the parser that does. Pure, but for
buffers kept between lists. Runs in the JSON worker.

The text is read in parts of a fixed size, so that memory does not grow with it, each cut at any
comma. A part becomes a JSON list of rows: of the brackets only the innermost stay, a row that the
cut goes through is closed, and opened again in the next part. simdjson says whether that is JSON
and holds nothing but numbers. What remains is seen to here: each row's length, the order of all
brackets, and that a bracket which was taken out stood right next to one that stayed.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import prod
from typing import Any, Final, Literal

import numpy as np
import numpy.typing as npt
import simdjson

from gpu_worker.ipc.tensors import DataType

PART_BYTES: Final = 256 << 10  # with all that is made of them, within the second-level cache
_AT: Final = 2  # where a part's text starts, behind the brackets that are put before it
_EXACT: Final = 2**53  # from here on integers are rounded, and differently by way of a double
_OPEN, _CLOSE, _SPACE = b"[] "
_WHITE: Final = b" \t\r\n"

Bytes = npt.NDArray[np.uint8]


class NotProven(Exception):  # noqa: N818 - no error: the text goes to another parser
    """The text may be wrong, or right in a way that is not looked for here."""


class NumberListReader:
    """Reads one number list after another; keeps the parser's memory."""

    def __init__(self, part_bytes: int = PART_BYTES) -> None:
        self._part_bytes = part_bytes
        self._parser = simdjson.Parser()
        self._part = bytearray(_AT + part_bytes + 2)
        self._view = memoryview(self._part)
        self._bytes: Bytes = np.frombuffer(self._part, np.uint8)

    def read(
        self, text: memoryview, datatype: DataType, shape: tuple[int, ...]
    ) -> npt.NDArray[Any]:
        """Give the array of `shape` and `datatype` that `text`, from `[` to `]`, holds.

        Dimensions are from 1. Nested lists have exactly this shape; else the list is flat.

        Raises:
            NotProven: anything else, whatever it may be.

        """
        try:
            return self._read(text, datatype, shape)
        except Exception as error:
            self._parser = simdjson.Parser()  # the trace may hold the old one in use
            raise NotProven from error

    def _read(
        self, text: memoryview, datatype: DataType, shape: tuple[int, ...]
    ) -> npt.NDArray[Any]:
        kind, count = datatype.dtype.kind, prod(shape)
        nested = len(shape) > 1 and bytes(text[1:64]).lstrip(_WHITE).startswith(b"[")
        lists = shape if nested else (count,)
        brackets = 2 * sum(prod(lists[:depth]) for depth in range(len(lists)))
        if kind not in "iuf" or datatype.name == "FP16" or len(text) < 2 * count - 1 + brackets:
            raise NotProven
        array = np.empty(count, datatype.dtype)  # no larger than the text allows
        at, seen = 0, []
        for values, order in self._parts(text, lists[-1], "d" if kind == "f" else "i"):
            if not _holds(datatype, values.min(), values.max()) or at + values.size > count:
                raise NotProven
            array[at : at + values.size] = values
            at += values.size
            seen.append(order)
        if at != count or b"".join(seen) != _order(lists):
            raise NotProven
        return array.reshape(shape)

    def _parts(
        self, text: memoryview, row: int, kind: Literal["d", "i"]
    ) -> Iterator[tuple[npt.NDArray[Any], bytes]]:
        """Give each part's numbers, as float64 or int64, and its brackets in their order."""
        part, view = self._part, self._view
        at, begun = 0, 0  # elements of a row that earlier parts hold
        while at < len(text):
            end = _AT + min(self._part_bytes, len(text) - at)
            view[_AT:end] = text[at : at + end - _AT]
            if at + end - _AT < len(text):
                end = part.rfind(b",", _AT, end)
                if end < 0:
                    raise NotProven
            at += end - _AT + 1  # behind the comma
            order = _keep_innermost(self._bytes[_AT:end], begun=bool(begun))
            open_row = order.endswith(b"[") or not order
            part[:_AT] = b"[[" if begun else b"[ "
            part[end : end + 2] = b"]]" if open_row else b"] "
            rows = self._parser.parse(view[: end + 2])
            if not isinstance(rows, simdjson.Array):
                raise NotProven
            lengths: list[int] = list(map(len, rows))  # type: ignore[arg-type]  # else TypeError
            if 0 in lengths:
                raise NotProven
            lengths[0] += begun
            begun = lengths.pop() if open_row else 0
            if lengths.count(row) != len(lengths):
                raise NotProven
            values = np.frombuffer(rows.as_buffer(of_type=kind), "<f8" if kind == "d" else "<i8")
            del rows  # the parser refuses the next part while this is there
            yield values, order
        if begun:
            raise NotProven


def _keep_innermost(part: Bytes, *, begun: bool) -> bytes:
    """Blank the outer brackets of a part of a list; give all brackets in their order.

    `begun` says that the part starts within a row.
    """
    if begun and part.size and part.max() < _OPEN:
        return b""  # a piece of a long row: the most there is, so the shortest look
    places = np.flatnonzero(part >= _OPEN)  # few: brackets, and the e of exponents
    found = part[places]
    is_bracket = (found == _OPEN) | (found == _CLOSE)
    places, found = places[is_bracket], found[is_bracket]
    opens = found == _OPEN
    if not opens.size and begun:
        return b""
    if not opens.size or opens[0] == begun:
        raise NotProven  # numbers outside a row
    same = opens[1:] == opens[:-1]  # two that open, or two that close
    if same.any():
        if (np.diff(places)[same] != 1).any():
            raise NotProven
        part[places[:-1][same & opens[1:]]] = _SPACE
        part[places[1:][same & ~opens[1:]]] = _SPACE
    order: bytes = found.tobytes()
    return order


def _order(shape: tuple[int, ...]) -> bytes:
    """Give the brackets of nested lists of a shape."""
    order = b"[]"
    for dim in reversed(shape[:-1]):
        order = b"[" + order * dim + b"]"
    return order


def _holds(datatype: DataType, least: Any, most: Any) -> bool:
    """Say whether numbers from `least` to `most` surely become the data type as numpy has it."""
    if datatype.dtype.kind == "f":
        return bool(least > -_EXACT and most < _EXACT)
    limits = np.iinfo(datatype.dtype)
    return bool(limits.min <= int(least) and int(most) <= limits.max)
