# cython: language_level=3
from libc.stdint cimport uint64_t

from gpu_worker.express.kind cimport MOST_TENSORS

cdef class Outputs:
    cdef Py_buffer views[MOST_TENSORS]
    cdef Py_ssize_t rows
    cdef list forms
    cdef Py_ssize_t _opened

    cdef bint open(
        self, object version, list batch, const uint64_t* words, Py_ssize_t rows, object arrays
    ) except -1
    cdef bint _lay_out(
        self, object version, list batch, const uint64_t* words, object arrays
    ) except -1
    cdef int close(self) except -1
