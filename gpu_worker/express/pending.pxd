# cython: language_level=3
from cpython.ref cimport PyObject
from libc.stdint cimport uint64_t

from gpu_worker.express.link cimport Link

cdef enum:
    ROOM = 1024  # descriptors; no more than 256 can be in flight on a link


cdef class Pending:
    cdef Py_ssize_t count
    cdef Py_ssize_t _first
    cdef uint64_t _words[ROOM * 8]
    cdef PyObject* _owners[ROOM]  # a `Link` of each, which others keep

    cdef uint64_t* words(self) noexcept
    cdef PyObject** owners(self) noexcept
    cdef int put(self, object submission, Link link) except -1
    cdef int take(self, Link link) except -1
    cdef int sort(self) except -1
    cdef void drop(self, Py_ssize_t count) noexcept
    cdef void clear(self) noexcept
    cdef list first(self, Py_ssize_t count)
