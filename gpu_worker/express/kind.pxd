# cython: language_level=3
from libc.stdint cimport uint64_t

cdef enum:
    MOST_TENSORS = 16  # inputs, or outputs; a model with more is served by Python code
    MOST_DIMS = 9  # as `tensors.MAX_RANK`


cdef class Form:
    """How the answer of one request is laid out, for outputs of one shape."""

    cdef bytes table
    cdef uint64_t mask, length
    cdef Py_ssize_t outputs, places
    cdef int ranks[MOST_TENSORS]
    cdef Py_ssize_t dims[MOST_TENSORS][MOST_DIMS]
    cdef Py_ssize_t indices[MOST_TENSORS]
    cdef Py_ssize_t starts[MOST_TENSORS]
    cdef Py_ssize_t ends[MOST_TENSORS]

    cdef bint fits(self, uint64_t mask, Py_buffer* outputs, Py_ssize_t count, Py_ssize_t rows) noexcept


cdef class Kind:
    """Requests of one tensor table, to one version."""

    cdef bytes table
    cdef object layout, group
    cdef bint fit
    cdef Py_ssize_t end, rows, inputs
    cdef Py_ssize_t starts[MOST_TENSORS]
    cdef Py_ssize_t sizes[MOST_TENSORS]
    cdef Form form

    cdef bint matches(self, const char* payload, uint64_t length) noexcept


cdef Kind kind_of(object version, const char* payload, uint64_t length)
cdef Form form_of(object version, uint64_t mask, object outputs, Py_ssize_t rows)
