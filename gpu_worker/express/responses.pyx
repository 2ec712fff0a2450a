# cython: language_level=3, boundscheck=False, wraparound=False
"""Responses: the outputs of one batch into a link's response ring, compiled.

Owns the one copy of each output, as `answer` and `responder` do it. What does not fit, or is not
laid out plainly, is left alone. Runs in the worker.
"""

from cpython.buffer cimport PyBUF_ND, PyBuffer_Release, PyObject_GetBuffer
from libc.string cimport memcpy

from gpu_worker.express.kind cimport MOST_TENSORS, Form, Kind, form_of
from gpu_worker.ipc.compiled cimport (
    HEAD,
    LEADS,
    ROWS_SHIFT,
    TAIL,
    WORDS,
    address,
    load_acquire,
    now_ns,
    publish_one,
    ring_bell,
    span_of,
    store_release,
)

cdef class Responses:
    def __init__(self, end):
        """Write the responses of a `WorkerEnd`."""
        _, self._completions, _ = end.memory()
        self._data, self._fields = end.responses.memory()
        self._ring, self._capacity = end.responses, end.responses.capacity
        self._bell = end.completion_bell.fd

    cdef bint send(
        self, object version, list batch, const uint64_t* words, Py_ssize_t rows, object outputs,
        uint64_t started, uint64_t inferred,
    ) except -1:
        """Answer a batch of `rows`; False, and nothing done, where the outputs are not plain.

        `batch` are the requests' kinds, `words` their submissions.
        """
        cdef Py_buffer views[MOST_TENSORS]
        cdef Py_ssize_t count = len(batch), number, opened = 0, own
        cdef uint64_t total = 0, mask
        cdef Form form
        cdef Kind kind
        cdef list forms = []
        plain = len(outputs) <= MOST_TENSORS
        try:
            try:
                for array in outputs if plain else ():
                    PyObject_GetBuffer(array, &views[opened], PyBUF_ND)
                    opened += 1
            except (BufferError, ValueError):
                plain = False  # not contiguous
            for number in range(opened if count > 1 else 0):
                if not views[number].ndim or views[number].shape[0] != rows:
                    plain = False
            for number in range(count if plain else 0):
                kind = <Kind>batch[number]
                own = kind.rows if count > 1 else -1
                mask = words[number * WORDS + 5]
                form = kind.form
                if form is None or not form.fits(mask, views, opened, own):
                    kind.form = form = form_of(version, mask, outputs, own)
                    if form is None:
                        plain = False
                        break
                forms.append(form)
                total += form.length
            return plain and self._write(
                batch, forms, words, rows, views, total, started, inferred
            )
        finally:
            for number in range(opened):
                PyBuffer_Release(&views[number])

    cdef bint _write(
        self, list batch, list forms, const uint64_t* words, Py_ssize_t rows, Py_buffer* views,
        uint64_t total, uint64_t started, uint64_t inferred,
    ) except -1:
        """Write answers into the ring and ring; False, and nothing done, where they do not fit."""
        cdef Form form
        cdef Py_ssize_t count = len(batch), number, place, index, row = 0, own, size
        cdef uint64_t position = 0, at = 0
        for number in range(count):  # a broken predictor may give anything
            form = <Form>forms[number]
            own = (<Kind>batch[number]).rows
            for place in range(form.places):
                size = views[form.indices[place]].len
                if count > 1:
                    size = size // rows * own
                if form.ends[place] - form.starts[place] != size:
                    return False
        cdef char* memory = self._reserve(total, &position)
        if memory == NULL:
            return False
        cdef uint64_t descriptor[WORDS]
        for number in range(count):
            form = <Form>forms[number]
            own = (<Kind>batch[number]).rows
            memcpy(memory + at, <const char*>form.table, len(form.table))
            for place in range(form.places):
                index = form.indices[place]
                size = views[index].len // rows * row if count > 1 else 0
                memcpy(
                    memory + at + form.starts[place], <char*>views[index].buf + size,
                    form.ends[place] - form.starts[place],
                )
            at += form.length
            row += own
        self.published = True
        store_release(<uint64_t*>address(self._fields) + HEAD, position + span_of(total))
        cdef uint64_t* ring = <uint64_t*>address(self._completions)
        descriptor[5], descriptor[6], descriptor[7] = started, inferred, now_ns()
        for number in range(count):
            form = <Form>forms[number]
            descriptor[0], descriptor[1] = words[number * WORDS], words[number * WORDS + 2]
            descriptor[2] = (<uint64_t>rows << ROWS_SHIFT) | (0 if number else LEADS)
            descriptor[3], descriptor[4] = position, form.length
            position += form.length
            publish_one(ring, descriptor)
        ring_bell(self._bell, count)
        return True

    cdef char* _reserve(self, uint64_t length, uint64_t* position) except? NULL:
        """As `ResponseRing.reserve`; NULL, too, where it can never fit."""
        cdef uint64_t needed = span_of(length), capacity = self._capacity
        cdef uint64_t* fields = <uint64_t*>address(self._fields)
        cdef uint64_t restart = self._ring.restart
        cdef uint64_t head = fields[HEAD], tail = load_acquire(fields + TAIL), at
        if needed > capacity:
            return NULL
        if tail < restart:
            tail, head = restart, max(head, restart)
        at = head % capacity
        if head == tail and at:
            head += capacity - at
            tail = self._ring.restart = head
            at = 0
        elif at + needed > capacity:
            head += capacity - at
            at = 0
        if head + needed - tail > capacity:
            return NULL
        position[0] = head
        return address(self._data) + at
