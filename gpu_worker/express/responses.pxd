# cython: language_level=3
from libc.stdint cimport uint64_t

cdef class Responses:
    cdef bint published  # of a batch; whatever fails then, it has been answered
    cdef object _completions, _ring, _data, _fields
    cdef int _bell
    cdef uint64_t _capacity

    cdef bint send(
        self, object version, list batch, const uint64_t* words, Py_ssize_t rows, object outputs,
        uint64_t started, uint64_t inferred,
    ) except -1
    cdef bint _write(
        self, list batch, list forms, const uint64_t* words, Py_ssize_t rows, Py_buffer* views,
        uint64_t total, uint64_t started, uint64_t inferred,
    ) except -1
    cdef char* _reserve(self, uint64_t length, uint64_t* position) except? NULL
