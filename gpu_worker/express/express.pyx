# cython: language_level=3, boundscheck=False, wraparound=False
"""Express: the worker's loop for plain requests.

Sleeps, takes what links have submitted, runs it in batches and answers, until something comes that
is not plain: a control message, a request that is late, alone, padded or wrong, a batch that had
better wait or has failed. What was taken and not served goes back to `loop`, which begins anew with
it. Runs in the worker.
"""

from cpython.exc cimport PyErr_CheckSignals
from cpython.ref cimport PyObject
from libc.errno cimport EINTR, errno
from libc.string cimport memcpy

from gpu_worker.express.kind cimport MOST_DIMS, Form, kind_of
from gpu_worker.ipc.compiled cimport (
    MOST,
    SENT_AT,
    SENT_DEADLINE,
    SENT_ID,
    SENT_LENGTH,
    SENT_LOAD,
    WORDS,
    address,
    now_ns,
)

from gpu_worker.ipc import tensors

cdef extern from "<sys/epoll.h>" nogil:
    ctypedef union epoll_data_t:
        int fd

    struct epoll_event:
        epoll_data_t data

    int epoll_wait(int epoll, epoll_event* events, int most, int timeout)

cdef enum:
    MOST_KINDS = 32
    MOST_EVENTS = 64  # those that are left come the next time

if tensors.MAX_RANK != MOST_DIMS:
    raise RuntimeError("the compiled code is of another version: install hotpaddle again")


cdef class Express:
    def __init__(self, links, answer):
        """`answer` answers a batch that has run, by its outputs or by what was raised."""
        self._links, self._answer, self._epoll = links, answer, links.epoll_fd
        self._known, self._batch, self._batch_links = {}, [], []
        self._outputs, self._pending, self.room = Outputs(), Pending(), ROOM

    def serve(self, version, list taken):
        """Sleep and serve; gives what was taken and is still to be served, as `taken` was.

        `taken` are pairs of a link and a submission that came by it, at most `room` of them.
        """
        cdef epoll_event events[MOST_EVENTS]
        cdef int found, number, timeout
        cdef bint others
        self._version, self._kinds = version, version.kinds
        by_fd = self._links.by_fd
        self._known = {
            fd: link for fd, link in self._known.items() if (<Link>link).attached is by_fd.get(fd)
        }
        self._pending.clear()
        for attached, submission in taken:
            self._pending.put(submission, self._link(attached.fd))
        try:
            while True:
                timeout = 0 if self._pending.count else -1
                with nogil:
                    found = epoll_wait(self._epoll, events, MOST_EVENTS, timeout)
                if found < 0:
                    if errno != EINTR:
                        raise OSError(errno, "epoll_wait failed")
                    PyErr_CheckSignals()
                    continue
                others = False
                for number in range(found):
                    if self._link(events[number].data.fd) is None:
                        others = True
                if others:
                    break
                for number in range(found):
                    self._pending.take(self._link(events[number].data.fd))
                if found and len(self._known) > 1:
                    self._pending.sort()
                if self._pending.count and not self._serve_one():
                    break
                if self._links.detached:
                    break
            return self._pending.first(self._pending.count)
        finally:
            self._version = self._kinds = None
            self._batch.clear()
            self._batch_links.clear()

    cdef Link _link(self, int fd):
        """Find the link whose doorbell a descriptor is; None where it is something else."""
        link = self._known.get(fd)
        if link is None:
            attached = self._links.by_fd.get(fd)
            if attached is None:
                return None
            link = self._known[fd] = Link(attached)
        return <Link>link

    cdef Kind _kind(self, Py_ssize_t number):
        """Find out what was taken, and where it lies; None where it is not plain."""
        cdef uint64_t* words = self._pending.words() + number * WORDS
        if words[SENT_LOAD] != <uint64_t>self._version.load_id:
            return None
        cdef uint64_t length = words[SENT_LENGTH]
        cdef const char* payload = (<Link>self._pending.owners()[number]).payload(words)
        if payload == NULL:
            return None
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
        cdef bint due = self._pending.words()[SENT_AT] + <uint64_t>batcher.delay_ns <= now
        if group is None or not group.batchable:
            batch.append(kind)
            self._rows = kind.rows
            return 1
        for number in range(min(self._pending.count, <Py_ssize_t>MOST)):
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
        cdef uint64_t* words = self._pending.words()
        cdef Link link
        for number in range(count):
            if words[number * WORDS + SENT_DEADLINE] <= started:
                return False  # its time is up
        if not count:
            return False
        predictor = self._version.predictor
        cdef Kind first = <Kind>self._batch[0]
        if count == 1 and not predictor.shares:
            return False  # it copies from wherever the bytes lie: straight from the slot
        self._name(count)
        served = False
        try:
            if count > 1:
                inputs = predictor.buffers(first.group.shapes(self._rows))
            else:
                inputs = predictor.buffers(first.layout.shapes)
            self._gather(inputs, count)
            arrays = predictor.run_buffers(inputs)
            inferred = now_ns()
            served = self._send(count, arrays, started, inferred)
        except Exception as error:
            for link in self._batch_links:
                if link.responses.published:
                    raise  # whoever waits for these answers cannot be told any more
            arrays, inferred = error.with_traceback(None), now_ns()
        if not served:
            self._answer(self._pending.first(count), arrays, started, inferred)
        for link in self._batch_links:
            link.rest()
        self._pending.drop(count)
        return True

    cdef int _name(self, Py_ssize_t count) except -1:
        """Say on each link which of its requests are being run."""
        cdef uint64_t* words = self._pending.words()
        cdef PyObject** owners = self._pending.owners()
        cdef Py_ssize_t number
        cdef Link link
        self._batch_links.clear()
        for number in range(count):
            link = <Link>owners[number]
            if link.name(words[number * WORDS + SENT_ID]):
                self._batch_links.append(link)
                link.responses.wanted, link.responses.published = 0, False
        for link in self._batch_links:
            link.run()
        return 0

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

    cdef bint _send(
        self, Py_ssize_t count, object arrays, uint64_t started, uint64_t inferred
    ) except -1:
        """Answer a batch; False, and nothing done, where that is Python code's affair."""
        cdef uint64_t* words = self._pending.words()
        cdef PyObject** owners = self._pending.owners()
        cdef Py_ssize_t number
        cdef Link link
        try:
            if not self._outputs.open(self._version, self._batch, words, self._rows, arrays):
                return False
            for number in range(count):
                link = <Link>owners[number]
                link.responses.wanted += (<Form>self._outputs.forms[number]).length
            for link in self._batch_links:
                if not link.responses.reserve():
                    return False
            for link in self._batch_links:
                link.responses.write(
                    self._outputs, self._batch, words, owners, <PyObject*>link, started, inferred
                )
            return True
        finally:
            self._outputs.close()
