# cython: language_level=3
from libc.stdint cimport uint64_t


cdef class Rings:
    cdef object _submissions, _completions, _responses, _fields, _marks
    cdef int _submission_bell, _completion_bell
    cdef Py_ssize_t _capacity
    cdef uint64_t _unrung
    cdef bint _closed

    cdef bint has_room(self) except -1
    cdef bint publish(self, const uint64_t* descriptor) except -1
    cdef Py_ssize_t take(self, uint64_t* into) except -1
    cdef char* response(self, uint64_t position, uint64_t length) except NULL
    cdef int _note(self, uint64_t count, const uint64_t* taken) except -1
    cdef int release_to(self, uint64_t position, uint64_t length) except -1
    cpdef ring(self)
    cpdef close(self)
