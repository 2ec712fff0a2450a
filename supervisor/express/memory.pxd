# cython: language_level=3
"""Memory: where the bytes of a view lie, and what time it is. Headers only, for compiled code."""

from cpython.buffer cimport PyBUF_WRITABLE, PyBuffer_Release, PyObject_GetBuffer
from libc.stdint cimport uint64_t
from posix.time cimport CLOCK_MONOTONIC, clock_gettime, timespec


cdef inline char* address(object view) except NULL:
    """Give where a writable view's bytes lie; they do for as long as nobody releases it.

    Raises:
        ValueError: it has been released.

    """
    cdef Py_buffer buffer
    PyObject_GetBuffer(view, &buffer, PyBUF_WRITABLE)
    cdef char* at = <char*>buffer.buf
    PyBuffer_Release(&buffer)
    return at


cdef inline uint64_t now_ns() noexcept:
    """Give CLOCK_MONOTONIC in nanoseconds, as `time.monotonic_ns` does."""
    cdef timespec now
    clock_gettime(CLOCK_MONOTONIC, &now)
    return <uint64_t>now.tv_sec * 1000000000 + <uint64_t>now.tv_nsec
