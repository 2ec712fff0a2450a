"""The layout of a request: what its tensor table says, read once and recognised by its bytes.

Owns the check of a table against the contract, the padded shapes, and which layouts can share a
batch. Clients send the same few shapes again and again, so a layout is kept by the bytes of its
table. Never touches tensor data. Runs in the worker.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import prod
from typing import Final, NamedTuple

from gpu_worker.buffers import Shapes
from gpu_worker.ipc.messages import BatchingSettings
from gpu_worker.ipc.tensors import BY_NAME, Contract, Tensor, TensorSpec, read_table, table_size

_MAX_KEPT: Final = 1024  # layouts, about a kilobyte each


class Group:
    """Requests that can share a batch: their shapes behind the first dimension, padded.

    `batchable` is taken away when the model's outputs turn out not to follow the batch.
    """

    __slots__ = ("_shapes", "_tails", "batchable")

    def __init__(self, tails: Shapes) -> None:
        self._tails = tails
        self._shapes: dict[int, Shapes] = {}  # by rows, at most the largest batch's
        self.batchable = True

    def shapes(self, rows: int) -> Shapes:
        """Give the inputs' shapes for a batch of `rows`."""
        found = self._shapes.get(rows)
        if found is None:
            found = self._shapes[rows] = tuple((rows, *tail) for tail in self._tails)
        return found


class Layout(NamedTuple):
    """Where a request's tensors lie in its payload, in the contract's order.

    `shapes` are what the model is given: padded where the settings say so, and `padded` then.
    `rows` is the first dimension that all inputs share, 1 where there is none; `group` is None for
    a request that runs alone whatever else waits. `end` is the length that its payload has at
    least.
    """

    tensors: tuple[Tensor, ...]
    spans: tuple[tuple[int, int], ...]  # of each tensor's bytes: start and end
    shapes: Shapes
    padded: bool
    rows: int
    group: Group | None
    end: int


def can_batch(contract: Contract) -> bool:
    """Say whether every input and output has a variable first dimension."""
    specs = (*contract.inputs, *contract.outputs)
    return all(spec.shape[:1] == (-1,) for spec in specs) and bool(contract.inputs)


def wrong_padding(contract: Contract, pad: Mapping[str, Sequence[int]]) -> str | None:
    """Say why a `pad` setting does not suit the contract, or None when it does."""
    ranks = {spec.name: len(spec.shape) for spec in contract.inputs}
    for name, multiples in pad.items():
        if name not in ranks:
            return f"pad names the input {name!r}, the model has {sorted(ranks)}"
        if len(multiples) > ranks[name] or min(multiples, default=0) < 0:
            return f"pad of input {name!r} is {list(multiples)}, it has {ranks[name]} dimensions"
        if multiples and multiples[0] > 1:
            return f"pad of input {name!r} pads its first dimension, which counts the batch's rows"
    return None


def padded_shape(
    spec: TensorSpec, shape: Sequence[int], pad: Mapping[str, Sequence[int]]
) -> tuple[int, ...]:
    """Round an input's variable dimensions up to the multiples that `pad` has for it."""
    multiples = pad.get(spec.name)
    if not multiples:
        return tuple(shape)
    return tuple(
        -(-dim // multiple) * multiple if multiple and fixed == -1 else dim
        for dim, fixed, multiple in zip(
            shape, spec.shape, [*multiples, *[0] * (len(shape) - len(multiples))], strict=True
        )
    )


class Layouts:
    """The layouts of one model version, and the groups that they belong to."""

    def __init__(self, contract: Contract, settings: BatchingSettings) -> None:
        self.table_size = table_size(len(contract.inputs))
        self._specs = contract.inputs
        self._pad = settings.pad
        self._batches = settings.max_batch_size > 1 and can_batch(contract)
        self._limit = settings.max_batch_size
        self._kept: dict[bytes, Layout] = {}
        self._groups: dict[Shapes, Group] = {}

    def read(self, payload: memoryview) -> Layout:
        """Give the layout of a request by the table at the start of its payload.

        Raises:
            ValueError: it is no table, or not one of tensors that the model takes.

        """
        table = bytes(payload[: self.table_size])
        layout = self._kept.get(table)
        if layout is None or layout.end > len(payload):
            layout = self._parse(read_table(payload))
            if len(self._kept) >= _MAX_KEPT:
                del self._kept[next(iter(self._kept))]
            self._kept[table] = layout
        return layout

    def _parse(self, found: list[Tensor]) -> Layout:
        tensors = tuple(sorted(found, key=lambda tensor: tensor.index))
        if [tensor.index for tensor in tensors] != list(range(len(self._specs))):
            raise ValueError(f"a request of {len(tensors)} tensors, not {len(self._specs)} inputs")
        for spec, tensor in zip(self._specs, tensors, strict=True):
            _check(spec, tensor)
        shapes = tuple(
            padded_shape(spec, tensor.shape, self._pad)
            for spec, tensor in zip(self._specs, tensors, strict=True)
        )
        firsts = {shape[0] if shape else -1 for shape in shapes}
        rows = firsts.pop() if len(firsts) == 1 else -1
        batches = self._batches and 0 < rows <= self._limit
        return Layout(
            tensors,
            tuple((tensor.offset, tensor.offset + tensor.nbytes) for tensor in tensors),
            shapes,
            any(shape != tensor.shape for shape, tensor in zip(shapes, tensors, strict=True)),
            max(rows, 1),
            self._group(tuple(shape[1:] for shape in shapes)) if batches else None,
            max((tensor.offset + tensor.nbytes for tensor in tensors), default=0),
        )

    def _group(self, tails: Shapes) -> Group:
        group = self._groups.get(tails)
        if group is None:
            if len(self._groups) >= _MAX_KEPT:
                del self._groups[next(iter(self._groups))]
            group = self._groups[tails] = Group(tails)
        return group


def _check(spec: TensorSpec, tensor: Tensor) -> None:
    """Compare with the contract: a shared buffer of another type would be read as if it fitted."""
    fits = len(tensor.shape) == len(spec.shape) and all(
        wanted in (-1, dim) for dim, wanted in zip(tensor.shape, spec.shape, strict=True)
    )
    if tensor.datatype is not BY_NAME[spec.datatype] or not fits:
        raise ValueError(
            f"input {spec.name!r} is {tensor.datatype.name}{list(tensor.shape)}, "
            f"the model takes {spec.datatype}{list(spec.shape)}"
        )


def nbytes_of(contract: Contract, shapes: Shapes) -> int:
    """Give the bytes that inputs of these shapes take together."""
    return sum(
        prod(shape) * BY_NAME[spec.datatype].itemsize
        for spec, shape in zip(contract.inputs, shapes, strict=True)
    )
