# cython: language_level=3
from libc.stdint cimport uint64_t

from gpu_worker.express.responses cimport Responses

cdef class Link:
    cdef readonly object attached
    cdef Responses responses
    cdef object _submissions, _running, _arena
    cdef int _bell
    cdef Py_ssize_t _arena_size, _named

    cdef Py_ssize_t take(self, uint64_t* into) except -1
    cdef const char* payload(self, const uint64_t* words) except? NULL
    cdef bint name(self, uint64_t request_id) except -1
    cdef int run(self) except -1
    cdef int rest(self) except -1
