"""Input buffers: one memory for all shapes, flat however many there are."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from gpu_worker.buffers import Buffers, Shapes
from gpu_worker.ipc.tensors import ALIGNMENT

DTYPES = [np.dtype("<f4"), np.dtype("?"), np.dtype("<f2")]
DIMS = st.lists(st.integers(0, 5), max_size=3).map(tuple)


@given(st.lists(st.tuples(DIMS, DIMS, DIMS), max_size=12))
def test_buffers_have_their_shape_and_their_bytes(sets: list[Shapes]) -> None:
    buffers = Buffers(DTYPES)
    for shapes in sets:
        inputs = buffers.get(shapes)
        for array, memory, shape, dtype in zip(
            inputs.arrays, inputs.memory, shapes, DTYPES, strict=True
        ):
            assert array.shape == shape
            assert array.dtype == dtype
            assert array.flags.c_contiguous
            assert not array.size or array.ctypes.data % ALIGNMENT == 0
            assert memory.nbytes == array.nbytes
            filled = bytes(np.arange(array.nbytes, dtype=np.uint8) % 2)
            memory[:] = filled
            assert array.tobytes() == filled


def test_a_shape_that_came_before_gets_the_same() -> None:
    handed: list[int] = []
    buffers = Buffers(DTYPES[:1], lambda arrays: handed.append(arrays[0].size) or [object()])  # type: ignore[func-returns-value]
    first = buffers.get(((4, 2),))
    assert buffers.get(((2, 2),)).handed is not first.handed
    assert buffers.get(((4, 2),)) is first
    assert handed == [8, 4]


def test_all_shapes_share_one_memory() -> None:
    buffers = Buffers(DTYPES[:1])
    large = buffers.get(((100,),))
    small = buffers.get(((3, 3),))
    assert np.shares_memory(large.arrays[0], small.arrays[0])
    larger = buffers.get(((200,),))
    assert buffers.get(((100,),)) is not large
    assert np.shares_memory(larger.arrays[0], buffers.get(((100,),)).arrays[0])


def test_many_shapes_keep_a_bounded_number_of_views() -> None:
    buffers = Buffers(DTYPES[:1])
    buffers.get(((5000,),))
    for width in range(5000):
        buffers.get(((1, width),))
    assert len(buffers._kept) <= 256  # noqa: SLF001 - there is no other way to see it
