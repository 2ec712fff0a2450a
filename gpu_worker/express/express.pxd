# cython: language_level=3
from libc.stdint cimport uint64_t

from gpu_worker.express.kind cimport Kind
from gpu_worker.express.responses cimport Responses

cdef enum:
    ROOM = 512  # descriptors; no more than 256 can be in flight on a link


cdef class Express:
    cdef object _links, _answer, _version, _link, _submissions, _running, _arena
    cdef Responses _responses
    cdef list _kinds, _batch
    cdef int _epoll, _bell
    cdef Py_ssize_t _first, _count, _rows, _arena_size
    cdef uint64_t _pending[ROOM * 8]
    cdef const char* _payloads[ROOM]

    cdef int _open(self, object link) except -1
    cdef int _append(self) except -1
    cdef int _take_over(self, object submissions) except -1
    cdef object _submission(self, Py_ssize_t number)
    cdef Kind _kind(self, Py_ssize_t number)
    cdef Py_ssize_t _decide(self, uint64_t now) except -1
    cdef bint _serve_one(self) except -1
    cdef int _gather(self, object inputs, Py_ssize_t count) except -1
