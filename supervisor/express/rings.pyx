# cython: language_level=3, boundscheck=False, wraparound=False
"""The rings of one link, as compiled code reads and writes them.

Owns what is published and not rung for yet. The layout is that of `gpu_worker.ipc`: `ring`,
`response_ring`, `link`; whatever Python code does with the same link may be done in between. Runs
on the event loop of every front.
"""

from libc.errno cimport EAGAIN, EINTR, errno
from libc.string cimport memcpy
from posix.unistd cimport read, write

from supervisor.express.memory cimport address

cdef extern from *:
    """
    #define load_acquire(at) __atomic_load_n(at, __ATOMIC_ACQUIRE)
    #define store_release(at, value) __atomic_store_n(at, value, __ATOMIC_RELEASE)
    """
    uint64_t load_acquire(uint64_t* at) noexcept
    void store_release(uint64_t* at, uint64_t value) noexcept

cdef enum:
    LINE = 64  # bytes, as `ring.LINE`
    TAIL = 8  # the word behind the head's line
    FIRST = 16  # the word at which descriptors begin


cdef inline uint64_t span_of(uint64_t length) noexcept:
    """As `response_ring.span_of`."""
    return ((length if length else 1) + LINE - 1) & ~<uint64_t>(LINE - 1)


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
        cdef uint64_t* words = <uint64_t*>address(self._submissions)
        return words[0] - load_acquire(words + TAIL) < MOST

    cdef bint publish(self, const uint64_t* descriptor) except -1:
        """Publish one descriptor, for which there is room; says whether it is the first unrung."""
        cdef uint64_t* words = <uint64_t*>address(self._submissions)
        cdef uint64_t head = words[0]
        memcpy(words + FIRST + (head & (MOST - 1)) * WORDS, descriptor, LINE)
        store_release(words, head + 1)
        self._unrung += 1
        return self._unrung == 1

    cpdef ring(self):
        """Ring once for all that was published since the last time."""
        cdef uint64_t count = self._unrung
        self._unrung = 0
        if self._closed or not count:
            return
        cdef uint64_t* words = <uint64_t*>address(self._submissions)
        cdef uint64_t used = words[0] - load_acquire(words + TAIL)
        if used > <uint64_t>self._marks.submissions:
            self._marks.submissions = used
        while write(self._submission_bell, &count, sizeof(count)) < 0:
            if errno != EINTR:
                raise OSError(errno, "a doorbell cannot be rung")

    cdef Py_ssize_t take(self, uint64_t* into) except -1:
        """Take as many descriptors as the doorbell counted, which `into` has room for.

        Raises:
            ValueError: fewer are there, or more than can be; the worker is broken.

        """
        cdef uint64_t count = 0
        if self._closed:
            return 0
        while read(self._completion_bell, &count, sizeof(count)) < 0:
            if errno == EAGAIN:
                return 0
            if errno != EINTR:
                raise OSError(errno, "a doorbell cannot be answered")
        cdef uint64_t* words = <uint64_t*>address(self._completions)
        cdef uint64_t tail = words[TAIL]
        cdef uint64_t waiting = load_acquire(words) - tail
        if count > waiting or waiting > MOST:
            raise ValueError(f"the doorbell counted {count} descriptors, the ring says {waiting}")
        cdef uint64_t number
        for number in range(count):
            memcpy(into + number * WORDS, words + FIRST + ((tail + number) & (MOST - 1)) * WORDS, LINE)
        store_release(words + TAIL, tail + count)
        self._note(count, into)
        return <Py_ssize_t>count

    cdef int _note(self, uint64_t count, const uint64_t* taken) except -1:
        """As `RingMarks.note`."""
        if count > <uint64_t>self._marks.completions:
            self._marks.completions = count
        cdef const uint64_t* last = taken + (count - 1) * WORDS
        cdef uint64_t used = last[3] + span_of(last[4]) - taken[3]
        if used > <uint64_t>self._marks.response_bytes:
            self._marks.response_bytes = min(used, <uint64_t>self._capacity)
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
