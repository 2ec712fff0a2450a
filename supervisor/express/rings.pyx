# cython: language_level=3, boundscheck=False, wraparound=False
"""The rings of one link, as compiled code reads and writes them.

Owns what is published and not rung for yet. The layout is that of `gpu_worker.ipc`: `ring`,
`response_ring`, `link`; whatever Python code does with the same link may be done in between. Runs
on the event loop of every front.
"""

from libc.stdint cimport int64_t

from gpu_worker.ipc.compiled cimport (
    MOST,
    TAIL,
    WORDS,
    address,
    answer_bell,
    check_layout,
    publish_one,
    ring_bell,
    span_of,
    store_release,
    take_counted,
    waiting_in,
)

check_layout()


cdef class Rings:
    """One link's rings."""

    def __init__(self, link):
        """Read and write the rings of a `SupervisorEnd`, until this is closed, before the link is."""
        self._submissions, self._completions = link.memory()
        self._responses, self._fields = link.responses.memory()
        self._capacity = link.responses.capacity
        self._marks = link.marks
        self._submission_bell = link.submission_bell.fd
        self._completion_bell = link.completion_bell.fd

    cdef bint has_room(self) except -1:
        """Say whether one more descriptor can be published."""
        if self._closed:
            return False
        return waiting_in(<uint64_t*>address(self._submissions)) < MOST

    cdef bint publish(self, const uint64_t* descriptor) except -1:
        """Publish one descriptor, for which there is room; says whether it is the first unrung."""
        publish_one(<uint64_t*>address(self._submissions), descriptor)
        self._unrung += 1
        return self._unrung == 1

    cpdef ring(self):
        """Ring once for all that was published since the last time."""
        cdef uint64_t used, count = self._unrung
        if self._closed or not count:
            return
        used = waiting_in(<uint64_t*>address(self._submissions))
        if <uint64_t>self._marks.submissions < used <= MOST:
            self._marks.submissions = used
        ring_bell(self._submission_bell, count)
        self._unrung -= count

    cdef Py_ssize_t take(self, uint64_t* into) except -1:
        """Take as many descriptors as the doorbell counted, which `into` has room for.

        Raises:
            ValueError: fewer are there, or more than can be; the worker is broken.

        """
        if self._closed:
            return 0
        cdef uint64_t count = answer_bell(self._completion_bell)
        if count:
            take_counted(<uint64_t*>address(self._completions), count, into)
            self._note(count, into)
        return <Py_ssize_t>count

    cdef int _note(self, uint64_t count, const uint64_t* taken) except -1:
        """As `RingMarks.note`."""
        if count > <uint64_t>self._marks.completions:
            self._marks.completions = count
        cdef const uint64_t* last = taken + (count - 1) * WORDS
        cdef int64_t used = <int64_t>(last[3] + span_of(last[4]) - taken[3])
        if used > <int64_t>self._marks.response_bytes:  # a broken worker says anything
            self._marks.response_bytes = min(used, <int64_t>self._capacity)
        return 0

    cdef char* response(self, uint64_t position, uint64_t length) except NULL:
        """Give where a response's bytes lie.

        Raises:
            ValueError: the figures point outside the ring; the worker is broken.

        """
        cdef uint64_t capacity = <uint64_t>self._capacity
        cdef uint64_t at = position % capacity
        if length > capacity or at + length > capacity:
            raise ValueError(f"a response of {length} bytes at {position} leaves the ring")
        return address(self._responses) + at

    cdef int release_to(self, uint64_t position, uint64_t length) except -1:
        """Give back everything up to the end of this response."""
        if not self._closed:
            store_release(<uint64_t*>address(self._fields) + TAIL, position + span_of(length))
        return 0

    cpdef close(self):
        """Touch nothing any more."""
        self._closed = True
