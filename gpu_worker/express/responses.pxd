# cython: language_level=3
from cpython.ref cimport PyObject
from libc.stdint cimport uint64_t

from gpu_worker.express.outputs cimport Outputs

cdef class Responses:
    cdef uint64_t wanted  # bytes, for all answers of the batch on this link
    cdef bint published  # any of the batch; whatever fails then, it has been answered
    cdef object _completions, _ring, _data, _fields
    cdef int _bell
    cdef uint64_t _capacity, _position

    cdef bint reserve(self) except -1
    cdef int write(
        self, Outputs outputs, list batch, const uint64_t* words, PyObject** owners,
        PyObject* owner, uint64_t started, uint64_t inferred,
    ) except -1
