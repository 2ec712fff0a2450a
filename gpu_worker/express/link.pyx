# cython: language_level=3, boundscheck=False, wraparound=False
"""Link: one front's rings, arena and running words, compiled.

Owns nothing that `AttachedLink` does not; does what `WorkerEnd` and `ArenaReader` do, on the same
memory. Runs in the worker.
"""

from gpu_worker.ipc.compiled cimport (
    SENT_ID,
    SENT_LENGTH,
    SENT_OFFSET,
    SENT_REUSE,
    SLOT_HEADER,
    address,
    answer_bell,
    check_layout,
    readable,
    store_release,
    take_counted,
)

check_layout()


cdef class Link:
    def __init__(self, attached):
        """See an `AttachedLink`."""
        self.attached = attached
        self._submissions, _, self._running = attached.end.memory()
        self._arena, self._arena_size = attached.arena.memory, len(attached.arena.memory)
        self._bell, self.responses = attached.fd, Responses(attached.end)

    cdef Py_ssize_t take(self, uint64_t* into) except -1:
        """Take as many submissions as the doorbell counted, at most `MOST`; gives how many.

        Raises:
            ValueError: the ring holds fewer, or more than can be.

        """
        cdef uint64_t count = answer_bell(self._bell)
        if count:
            take_counted(<uint64_t*>address(self._submissions), count, into)
        return <Py_ssize_t>count

    cdef const char* payload(self, const uint64_t* words) except? NULL:
        """Find a submission's payload; NULL where its slot is not what it says."""
        cdef uint64_t offset = words[SENT_OFFSET], length = words[SENT_LENGTH]
        cdef uint64_t size = <uint64_t>self._arena_size
        if offset % 8 or length > size or offset > size or offset + SLOT_HEADER + length > size:
            return NULL
        cdef const char* slot = readable(self._arena) + offset
        cdef uint64_t* stamp = <uint64_t*>slot
        if stamp[0] != words[SENT_REUSE] or stamp[1] != words[SENT_ID]:
            return NULL
        return slot + SLOT_HEADER

    # The running words, as `WorkerEnd.run` writes them

    cdef bint name(self, uint64_t request_id) except -1:
        """Name one more request of the batch that will be run; says whether it is the first."""
        cdef uint64_t* running = <uint64_t*>address(self._running)
        if not self._named:
            running[0] = 0
        self._named += 1
        running[self._named] = request_id
        return self._named == 1

    cdef int run(self) except -1:
        """Say that those named are being run."""
        store_release(<uint64_t*>address(self._running), <uint64_t>self._named)
        return 0

    cdef int rest(self) except -1:
        """Say that nothing is."""
        self._named = 0
        store_release(<uint64_t*>address(self._running), 0)
        return 0
