# cython: language_level=3
from libc.stdint cimport uint64_t

from supervisor.express.route cimport Route


cdef class Express:
    cdef readonly object front, arena, scratch
    cdef object _slots, _dirty, _call_soon, _flush
    cdef dict _routes
    cdef object _last_lines
    cdef uint64_t _second
    cdef bint _due

    cdef Route route_of(
        self, object raw_head, object head, object dispatcher, object lane, object plan,
        object slot, Py_ssize_t start,
    )
    cdef Route current(self, Route route)
    cdef Route follow(self, Route old, object lane)
    cdef Route find(self, const char* data, Py_ssize_t nbytes)
    cdef object take(self, object home)
    cdef int give_back(self, object slot) except -1
    cdef int due(self, object rings) except -1
    cdef object last_lines(self)
