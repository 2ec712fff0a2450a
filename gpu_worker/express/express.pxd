# cython: language_level=3
from libc.stdint cimport uint64_t

from gpu_worker.express.kind cimport Kind
from gpu_worker.express.link cimport Link
from gpu_worker.express.outputs cimport Outputs
from gpu_worker.express.pending cimport ROOM, Pending


cdef class Express:
    cdef readonly Py_ssize_t room
    cdef object _links, _answer, _version
    cdef dict _known
    cdef list _kinds, _batch, _batch_links
    cdef Outputs _outputs
    cdef Pending _pending
    cdef int _epoll
    cdef Py_ssize_t _rows
    cdef const char* _payloads[ROOM]

    cdef Link _link(self, int fd)
    cdef Kind _kind(self, Py_ssize_t number)
    cdef Py_ssize_t _decide(self, uint64_t now) except -1
    cdef bint _serve_one(self) except -1
    cdef int _name(self, Py_ssize_t count) except -1
    cdef int _gather(self, object inputs, Py_ssize_t count) except -1
    cdef bint _send(
        self, Py_ssize_t count, object arrays, uint64_t started, uint64_t inferred
    ) except -1
