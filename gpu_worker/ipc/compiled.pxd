# cython: language_level=3
"""What compiled code knows of shared memory: the rings' layout, the clock, where a view lies.

The layout is that of `ring`, `response_ring` and `doorbell`, whose docstrings say why it is so.
Headers only, for both processes.
"""

from cpython.buffer cimport PyBUF_SIMPLE, PyBUF_WRITABLE, PyBuffer_Release, PyObject_GetBuffer
from libc.errno cimport EAGAIN, EINTR, errno
from libc.stdint cimport uint64_t
from libc.string cimport memcpy
from posix.time cimport CLOCK_MONOTONIC, clock_gettime, timespec
from posix.unistd cimport read, write

cdef extern from *:
    """
    #define load_acquire(at) __atomic_load_n(at, __ATOMIC_ACQUIRE)
    #define store_release(at, value) __atomic_store_n(at, value, __ATOMIC_RELEASE)
    """
    uint64_t load_acquire(uint64_t* at) noexcept
    void store_release(uint64_t* at, uint64_t value) noexcept

cdef enum:
    LINE = 64  # bytes, as `ring.LINE`
    WORDS = 8  # of a descriptor
    MOST = 256  # descriptors in a ring of a link, as `link.RING_CAPACITY`
    HEAD = 0  # words, as in `ring` and `response_ring`
    TAIL = 8
    FIRST = 16
    SLOT_HEADER = 64  # bytes, as `slots.SLOT_HEADER`
    STATUS_MASK = 0xFF  # of an outcome, as in `link`; 0 is `Status.OK`
    LEADS = 0x100
    ROWS_SHIFT = 16

cdef enum:  # words of `link.Submission`, in its order
    SENT_ID
    SENT_OFFSET
    SENT_REUSE
    SENT_LENGTH
    SENT_LOAD
    SENT_MASK
    SENT_DEADLINE
    SENT_AT

cdef enum:  # words of `link.Completion`, in its order
    DONE_ID
    DONE_REUSE
    DONE_OUTCOME
    DONE_POSITION
    DONE_LENGTH
    DONE_STARTED
    DONE_INFERRED
    DONE_AT


cdef inline int check_layout() except -1:
    """Compare with what Python code says: a module may have been built for another version.

    Raises:
        RuntimeError: it was.

    """
    from gpu_worker.ipc import link, ring, slots

    ours = MOST, WORDS, LINE, SLOT_HEADER, STATUS_MASK, 3 << ROWS_SHIFT | LEADS
    sent = link.Submission(
        request_id=SENT_ID, slot_offset=SENT_OFFSET, slot_reuse=SENT_REUSE, length=SENT_LENGTH,
        load_id=SENT_LOAD, output_mask=SENT_MASK, deadline_ns=SENT_DEADLINE, submitted_ns=SENT_AT,
    )
    done = link.Completion(
        request_id=DONE_ID, slot_reuse=DONE_REUSE, outcome=DONE_OUTCOME, position=DONE_POSITION,
        length=DONE_LENGTH, started_ns=DONE_STARTED, inferred_ns=DONE_INFERRED, finished_ns=DONE_AT,
    )
    if not tuple(sent) == tuple(done) == tuple(range(WORDS)) or ours != (
        link.RING_CAPACITY, ring.WORDS, ring.LINE, slots.SLOT_HEADER, link.STATUS_MASK,
        link.outcome_of(link.Status.OK, 3, leads=True),
    ):
        raise RuntimeError("the compiled code is of another version: install hotpaddle again")
    return 0


cdef inline char* address(object view) except NULL:
    """Give where a writable view's bytes lie; they do for as long as nobody releases it.

    Raises:
        ValueError: it has been released.

    """
    cdef Py_buffer buffer
    PyObject_GetBuffer(view, &buffer, PyBUF_WRITABLE)
    cdef char* at = <char*>buffer.buf
    PyBuffer_Release(&buffer)
    return at


cdef inline const char* readable(object view) except NULL:
    """The same, of a view that need not be writable."""
    cdef Py_buffer buffer
    PyObject_GetBuffer(view, &buffer, PyBUF_SIMPLE)
    cdef const char* at = <const char*>buffer.buf
    PyBuffer_Release(&buffer)
    return at


cdef inline uint64_t now_ns() noexcept:
    """Give CLOCK_MONOTONIC in nanoseconds, as `time.monotonic_ns` does."""
    cdef timespec now
    clock_gettime(CLOCK_MONOTONIC, &now)
    return <uint64_t>now.tv_sec * 1000000000 + <uint64_t>now.tv_nsec


cdef inline uint64_t span_of(uint64_t length) noexcept:
    """As `response_ring.span_of`."""
    return ((length if length else 1) + LINE - 1) & ~<uint64_t>(LINE - 1)


cdef inline uint64_t waiting_in(uint64_t* ring) noexcept:
    """Count the descriptors published and not taken."""
    return load_acquire(ring + HEAD) - load_acquire(ring + TAIL)


cdef inline void publish_one(uint64_t* ring, const uint64_t* descriptor) noexcept:
    """Publish a descriptor, for which there is room, and ring for it later."""
    cdef uint64_t head = ring[HEAD]
    memcpy(ring + FIRST + (head & (MOST - 1)) * WORDS, descriptor, LINE)
    store_release(ring + HEAD, head + 1)


cdef inline int take_counted(uint64_t* ring, uint64_t count, uint64_t* into) except -1:
    """Take as many descriptors as a doorbell counted, which `into` has room for.

    Raises:
        ValueError: fewer are there, or more than can be; the peer is broken.

    """
    cdef uint64_t tail = ring[TAIL], number
    cdef uint64_t waiting = load_acquire(ring + HEAD) - tail
    if count > waiting or waiting > MOST:
        raise ValueError(f"the doorbell counted {count} descriptors, the ring says {waiting}")
    for number in range(count):
        memcpy(
            into + number * WORDS, ring + FIRST + ((tail + number) & (MOST - 1)) * WORDS, LINE
        )
    store_release(ring + TAIL, tail + count)
    return 0


cdef inline int ring_bell(int fd, uint64_t count) except -1:
    """Say that `count` more descriptors are published."""
    while write(fd, &count, sizeof(count)) < 0:
        if errno != EINTR:
            raise OSError(errno, "a doorbell cannot be rung")
    return 0


cdef inline uint64_t answer_bell(int fd) except? 0xFFFFFFFFFFFFFFFF:
    """Read and clear a doorbell's count; 0 when it did not ring."""
    cdef uint64_t count = 0
    while read(fd, &count, sizeof(count)) < 0:
        if errno == EAGAIN:
            return 0
        if errno != EINTR:
            raise OSError(errno, "a doorbell cannot be answered")
    return count
