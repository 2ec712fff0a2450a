# cython: language_level=3, boundscheck=False, wraparound=False
"""Responses: the answers of one batch into a link's response ring, compiled.

Owns the one copy of each output, as `responder` makes it. What does not fit is left alone. Runs in
the worker.
"""

from libc.string cimport memcpy

from gpu_worker.express.kind cimport Form, Kind
from gpu_worker.ipc.compiled cimport (
    DONE_AT,
    DONE_ID,
    DONE_INFERRED,
    DONE_LENGTH,
    DONE_OUTCOME,
    DONE_POSITION,
    DONE_REUSE,
    DONE_STARTED,
    HEAD,
    LEADS,
    ROWS_SHIFT,
    SENT_ID,
    SENT_REUSE,
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

    cdef bint reserve(self) except -1:
        """As `ResponseRing.reserve`, of what is wanted; False, too, where it can never fit."""
        cdef uint64_t needed = span_of(self.wanted), capacity = self._capacity
        cdef uint64_t* fields = <uint64_t*>address(self._fields)
        cdef uint64_t restart = self._ring.restart
        cdef uint64_t head = fields[HEAD], tail = load_acquire(fields + TAIL), at
        if needed > capacity:
            return False
        if tail < restart:
            tail, head = restart, max(head, restart)
        at = head % capacity
        if head == tail and at:
            head += capacity - at
            tail = self._ring.restart = head
            at = 0
        elif at + needed > capacity:
            head += capacity - at
        if head + needed - tail > capacity:
            return False
        self._position = head
        return True

    cdef int write(
        self, Outputs outputs, list batch, const uint64_t* words, PyObject** owners,
        PyObject* owner, uint64_t started, uint64_t inferred,
    ) except -1:
        """Write the answers to those requests that are the `owner`'s where it is reserved; ring."""
        cdef Form form
        cdef Py_ssize_t count = len(batch), number, place, index, row = 0, own, first
        cdef uint64_t position = self._position, rung = 0
        cdef char* memory = address(self._data) + position % self._capacity
        cdef uint64_t descriptor[WORDS]
        for number in range(count):
            own = (<Kind>batch[number]).rows
            if owners[number] == owner:
                form = <Form>outputs.forms[number]
                memcpy(memory, <const char*>form.table, len(form.table))
                for place in range(form.places):
                    index = form.indices[place]
                    first = outputs.views[index].len // outputs.rows * row if count > 1 else 0
                    memcpy(
                        memory + form.starts[place], <char*>outputs.views[index].buf + first,
                        form.ends[place] - form.starts[place],
                    )
                memory += form.length
            row += own
        self.published = True
        store_release(
            <uint64_t*>address(self._fields) + HEAD, position + span_of(self.wanted)
        )
        cdef uint64_t* ring = <uint64_t*>address(self._completions)
        descriptor[DONE_STARTED], descriptor[DONE_INFERRED] = started, inferred
        descriptor[DONE_AT] = now_ns()
        for number in range(count):
            if owners[number] != owner:
                continue
            form = <Form>outputs.forms[number]
            descriptor[DONE_ID] = words[number * WORDS + SENT_ID]
            descriptor[DONE_REUSE] = words[number * WORDS + SENT_REUSE]
            descriptor[DONE_OUTCOME] = <uint64_t>outputs.rows << ROWS_SHIFT
            if number == 0:
                descriptor[DONE_OUTCOME] |= LEADS
            descriptor[DONE_POSITION], descriptor[DONE_LENGTH] = position, form.length
            position += form.length
            publish_one(ring, descriptor)
            rung += 1
        ring_bell(self._bell, rung)
        return 0
