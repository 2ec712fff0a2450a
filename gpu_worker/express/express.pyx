# cython: language_level=3, boundscheck=False, wraparound=False
"""Express: the worker's loop for plain requests.

Sleeps, takes what one link has submitted, runs it in batches and answers, until something comes
that is not plain: a control message, another link, a request that is late, alone, padded or wrong,
a batch that had better wait or has failed. What was taken and not served goes back to `loop`, which
begins anew with it. Owns what is taken and not served. Runs in the worker.
"""

from cpython.exc cimport PyErr_CheckSignals
from libc.errno cimport EINTR, errno
from libc.string cimport memcpy, memmove

from gpu_worker.express.kind cimport MOST_DIMS, kind_of
from gpu_worker.express.responses cimport Responses
from gpu_worker.ipc.compiled cimport (
    MOST,
    SLOT_HEADER,
    WORDS,
    address,
    answer_bell,
    check_layout,
    now_ns,
    readable,
    store_release,
    take_counted,
)

from gpu_worker.ipc import tensors
from gpu_worker.ipc.link import Submission

cdef extern from "<sys/epoll.h>" nogil:
    ctypedef union epoll_data_t:
        int fd

    struct epoll_event:
        epoll_data_t data

    int epoll_wait(int epoll, epoll_event* events, int most, int timeout)

cdef enum:
    MOST_KINDS = 32

check_layout()
if tensors.MAX_RANK != MOST_DIMS:
    raise RuntimeError("the compiled code is of another version: install hotpaddle again")


cdef class Express:
    def __init__(self, links, answer):
        """`answer` answers a batch that has run, by its outputs or by what was raised."""
        self._links, self._answer, self._epoll = links, answer, links.epoll_fd
        self._batch = []

    def serve(self, version, link, submissions):
        """Sleep and serve; gives the link and what was taken from it and is still to be served.

        `submissions` were taken from `link` already.
        """
        cdef epoll_event events[2]
        cdef int found, timeout
        self._version, self._kinds = version, version.kinds
        self._first = self._count = 0
        if submissions:
            if link is not self._link:
                self._open(link)
            self._take_over(submissions)
        try:
            while True:
                timeout = 0 if self._count else -1
                with nogil:
                    found = epoll_wait(self._epoll, events, 2, timeout)
                if found < 0:
                    if errno != EINTR:
                        raise OSError(errno, "epoll_wait failed")
                    PyErr_CheckSignals()
                    continue
                if found:
                    link = self._links.by_fd.get(events[0].data.fd)
                    if found > 1 or link is None:
                        break
                    if link is not self._link:
                        if self._count:
                            break
                        self._open(link)
                    self._append()
                if self._count and not self._serve_one():
                    break
                if self._links.detached:
                    break
            return self._link, [self._submission(number) for number in range(self._count)]
        finally:
            self._version = self._kinds = None
            self._batch.clear()

    cdef int _open(self, object link) except -1:
        self._link = link
        self._submissions, _, self._running = link.end.memory()
        self._arena, self._arena_size = link.arena.memory, len(link.arena.memory)
        self._bell, self._responses = link.fd, Responses(link.end)
        return 0

    # What is taken

    cdef int _append(self) except -1:
        cdef uint64_t count = answer_bell(self._bell)
        if self._first and self._count:
            memmove(
                self._pending, self._pending + self._first * WORDS, self._count * WORDS * 8
            )
        self._first = 0
        if count > <uint64_t>(ROOM - self._count):
            raise ValueError(f"{count} more requests than a link can hold")
        if count:
            take_counted(
                <uint64_t*>address(self._submissions), count, self._pending + self._count * WORDS
            )
            self._count += <Py_ssize_t>count
        return 0

    cdef int _take_over(self, object submissions) except -1:
        cdef Py_ssize_t number, word
        if len(submissions) > ROOM:
            raise ValueError(f"{len(submissions)} requests are more than a link can hold")
        for number, submission in enumerate(submissions):
            for word in range(WORDS):
                self._pending[number * WORDS + word] = submission[word]
        self._count = len(submissions)
        return 0

    cdef object _submission(self, Py_ssize_t number):
        cdef uint64_t* words = self._pending + (self._first + number) * WORDS
        return Submission(
            words[0], words[1], words[2], words[3], words[4], words[5], words[6], words[7]
        )

    cdef Kind _kind(self, Py_ssize_t number):
        """Find out what was taken, and where it lies; None where it is not plain."""
        cdef uint64_t* words = self._pending + (self._first + number) * WORDS
        cdef uint64_t offset = words[1], length = words[3], size = <uint64_t>self._arena_size
        if words[4] != <uint64_t>self._version.load_id:
            return None
        if offset % 8 or length > size or offset > size or offset + SLOT_HEADER + length > size:
            return None
        cdef const char* slot = readable(self._arena) + offset
        if (<uint64_t*>slot)[0] != words[2] or (<uint64_t*>slot)[1] != words[0]:
            return None
        cdef const char* payload = slot + SLOT_HEADER
        cdef Kind kind
        self._payloads[number] = payload
        for found in self._kinds:
            kind = <Kind>found
            if kind.matches(payload, length):
                return kind if kind.fit else None
        if length < <uint64_t>self._version.layouts.table_size:
            return None
        try:
            kind = kind_of(self._version, payload, length)
        except ValueError:
            return None  # Python code answers it
        if len(self._kinds) >= MOST_KINDS:
            self._kinds.clear()
        self._kinds.append(kind)
        return kind if kind.fit else None

    # A batch

    cdef Py_ssize_t _decide(self, uint64_t now) except -1:
        """As `Batcher.decide`, where all that waits is of one group; gives how many run, or 0."""
        cdef Kind kind = self._kind(0)
        cdef list batch = self._batch
        batch.clear()
        if kind is None:
            return 0
        group = kind.group
        batcher = self._version.batcher
        cdef Py_ssize_t limit = batcher.max_rows, rows = 0, stop = 0, stop_rows = 0, number
        cdef bint due = self._pending[self._first * WORDS + 7] + <uint64_t>batcher.delay_ns <= now
        if group is None or not group.batchable:
            batch.append(kind)
            self._rows = kind.rows
            return 1
        for number in range(min(self._count, <Py_ssize_t>MOST)):
            if number:
                kind = self._kind(number)
            if kind is None or kind.group is not group:
                return 0
            rows += kind.rows
            if rows > limit:
                due = True
                break
            batch.append(kind)
            self._rows = rows
            if rows in batcher.stops:
                stop, stop_rows = len(batch), rows
                if rows == limit:
                    break
        if stop:
            del batch[stop:]
            self._rows = stop_rows
        elif not due:
            return 0
        return len(batch)

    cdef bint _serve_one(self) except -1:
        """Run one batch of what was taken; False where Python code has to see to it."""
        cdef uint64_t started = now_ns(), inferred
        cdef Py_ssize_t count = self._decide(started), number
        cdef uint64_t* words = self._pending + self._first * WORDS
        for number in range(count):
            if words[number * WORDS + 6] <= started:
                return False  # its time is up
        if not count:
            return False
        predictor = self._version.predictor
        cdef Kind first = <Kind>self._batch[0]
        if count == 1 and not predictor.shares:
            return False  # it copies from wherever the bytes lie: straight from the slot
        cdef uint64_t* running = <uint64_t*>address(self._running)
        running[0] = 0
        for number in range(count):
            running[1 + number] = words[number * WORDS]
        store_release(running, count)
        served = self._responses.published = False
        try:
            if count > 1:
                inputs = predictor.buffers(first.group.shapes(self._rows))
            else:
                inputs = predictor.buffers(first.layout.shapes)
            self._gather(inputs, count)
            outputs = predictor.run_buffers(inputs)
            inferred = now_ns()
            served = self._responses.send(
                self._version, self._batch, words, self._rows, outputs, started, inferred
            )
        except Exception as error:
            if self._responses.published:
                raise  # whoever waits for these answers cannot be told any more
            outputs, inferred = error.with_traceback(None), now_ns()
        if not served:
            submissions = [self._submission(number) for number in range(count)]
            self._answer(self._link, submissions, outputs, started, inferred)
        store_release(<uint64_t*>address(self._running), 0)
        self._first += count
        self._count -= count
        return True

    cdef int _gather(self, object inputs, Py_ssize_t count) except -1:
        """Fill the buffers with the requests' rows in order.

        Raises:
            ValueError: they are not of that size.

        """
        cdef Py_ssize_t index, number, at, room, size
        cdef Kind kind
        cdef char* into
        for index in range((<Kind>self._batch[0]).inputs):
            memory = inputs.memory[index]
            into, room, at = address(memory), len(memory), 0
            for number in range(count):
                kind = <Kind>self._batch[number]
                size = kind.sizes[index]
                if at + size > room:
                    break
                memcpy(into + at, self._payloads[number] + kind.starts[index], size)
                at += size
            if at != room:
                raise ValueError(f"input {index} has {room} bytes, not those of its requests")
        return 0
