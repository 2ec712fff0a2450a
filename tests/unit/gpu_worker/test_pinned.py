"""Pinned memory: what is asked of CUDA, and that the worker goes on without."""

from __future__ import annotations

import mmap
from collections.abc import Callable
from typing import Any

import pytest

from gpu_worker.ipc.segment import Segment
from gpu_worker.pinned import Pinned, cuda_runtime


class Runtime:
    """A CUDA runtime that answers with `code`."""

    def __init__(self, code: int = 0) -> None:
        self.code = code
        self.calls: list[tuple[Any, ...]] = []

    def cudaHostRegister(self, address: Any, size: Any, flags: int) -> int:  # noqa: N802 - CUDA's
        self.calls.append(("register", address.value, size.value, flags))
        return self.code

    def cudaHostUnregister(self, address: Any) -> int:  # noqa: N802 - CUDA's
        self.calls.append(("unregister", address.value))
        return 0

    def cudaGetLastError(self) -> int:  # noqa: N802 - CUDA's
        self.calls.append(("clear",))
        return self.code


@pytest.mark.parametrize(("writable", "flags"), [(True, 1), (False, 9)])
def test_memory_is_registered_until_it_is_released(
    writable: bool, flags: int, capsys: pytest.CaptureFixture[str]
) -> None:
    segment = Segment.create("test", 8192)
    memory = segment.memory if writable else segment.memory.toreadonly()
    runtime = Runtime()
    pinned = Pinned(memory, lambda: runtime)
    assert pinned.registered
    (_, address, size, used) = runtime.calls[0]
    assert (size, used) == (8192, flags)
    assert address % mmap.PAGESIZE == 0
    pinned.release()
    assert runtime.calls[1:] == [("unregister", address)]
    pinned.release()
    assert len(runtime.calls) == 2
    memory.release()
    segment.close()
    assert capsys.readouterr().err == ""


def broken() -> Any:
    raise OSError("no such library")


@pytest.mark.parametrize(
    ("runtime", "said"),
    [
        (lambda: None, "no CUDA runtime is loaded"),
        (lambda: object(), "cudaHostRegister"),  # noqa: PLW0108 - mypy wants a function
        (lambda: Runtime(801), "cudaHostRegister gave 801"),
        (broken, "no such library"),
    ],
)
def test_without_cuda_there_is_one_line_and_nothing_else(
    runtime: Callable[[], Any], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    memory = memoryview(bytearray(4096))
    pinned = Pinned(memory, runtime)
    assert not pinned.registered
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("memory is not pinned, copies to the device take longer: ")
    assert said in line
    pinned.release()
    memory.release()


def test_a_failure_leaves_no_error_for_paddle_to_find() -> None:
    runtime = Runtime(1)
    Pinned(memoryview(bytearray(4096)), lambda: runtime)
    assert runtime.calls[-1] == ("clear",)


def test_this_process_has_no_cuda_runtime_loaded() -> None:
    assert cuda_runtime() is None
