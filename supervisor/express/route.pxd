# cython: language_level=3
from libc.stdint cimport uint64_t

cdef enum:
    MOST_SPANS = 8  # binary outputs; a model with more is answered by Python code


cdef class Route:
    cdef readonly object raw_head, head, dispatcher, lane, plan
    cdef object generations, home, json, table, contract, shapes
    cdef Py_ssize_t head_length, length, json_length, start, table_length
    cdef Py_ssize_t queue_limit
    cdef uint64_t payload_length, output_mask, timeout_ns
    # The form of the last answer
    cdef bint answers
    cdef object form_head, form_json, form_table, form_generation
    cdef Py_ssize_t form_bytes, form_end, span_count
    cdef Py_ssize_t span_starts[MOST_SPANS]
    cdef Py_ssize_t span_ends[MOST_SPANS]

    cdef bint fits(self, const char* data, Py_ssize_t nbytes) noexcept
    cdef bint answers_like(self, object lane, const char* data, uint64_t length) except -1
    cdef bint learn_form(self, object lane, object form, const char* data, uint64_t length) except -1
