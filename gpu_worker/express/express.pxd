# cython: language_level=3
from libc.stdint cimport uint64_t

from gpu_worker.express.kind cimport Form, Kind

cdef enum:
    ROOM = 512  # descriptors; no more than 256 can be in flight on a link


cdef class Express:
    cdef object _links, _answer, _version, _link
    cdef object _submissions, _completions, _running, _responses, _data, _fields, _arena
    cdef list _kinds, _batch
    cdef int _epoll, _bell, _completion_bell
    cdef Py_ssize_t _first, _count, _rows, _arena_size
    cdef uint64_t _capacity
    cdef uint64_t _pending[ROOM * 8]
    cdef const char* _payloads[ROOM]

    cdef int _open(self, object link) except -1
    cdef int _append(self) except -1
    cdef object _submission(self, Py_ssize_t number)
    cdef Kind _kind(self, Py_ssize_t number)
    cdef Py_ssize_t _decide(self, uint64_t now) except -1
    cdef bint _serve_one(self) except -1
    cdef bint _gather(self, object inputs, Py_ssize_t count) except -1
    cdef bint _send(
        self, object outputs, Py_ssize_t count, uint64_t started, uint64_t inferred
    ) except -1
    cdef bint _write(
        self, list forms, Py_buffer* views, Py_ssize_t count, uint64_t total, uint64_t started,
        uint64_t inferred,
    ) except -1
    cdef char* _reserve(self, uint64_t length, uint64_t* position) except? NULL
