# cython: language_level=3, boundscheck=False, wraparound=False
"""The wire: plain requests from a socket to a worker's ring, and answers back, in compiled code.

What a plain request is, Python code decides: `Exchange` takes the first of each kind and has its
route learnt. From then on requests of the same bytes, but for their binary data, are taken here, as
long as nothing else concerns them; in any doubt it is left to Python code, which finds everything
as if it had done it itself. Owns which request of a connection came by a route. Runs on the event loop
of every front.
"""

from libc.errno cimport EAGAIN, EINTR, errno
from libc.string cimport memcpy
from posix.uio cimport writev

from gpu_worker.ipc.compiled cimport SLOT_HEADER, address, now_ns

import structlog

from supervisor.dispatch import request as requests
from supervisor.dispatch.request import InferRequest, RequestState

from supervisor.express.handing cimport best_worker, reachable, submit
from supervisor.express.route cimport MOST_SPANS

log = structlog.get_logger()

cdef object QUEUED = RequestState.QUEUED
cdef object new_request = InferRequest.__new__


cdef Py_ssize_t waiting(object generations) except -1:
    """Count the requests that wait for one version alone."""
    retained = generations.retained
    return len(generations.serving.waiting) + (0 if retained is None else len(retained.waiting))


cdef class ExchangeState:
    """What an exchange is in the middle of; `Exchange` gives the fields their meaning."""


cdef class Wire:
    """A connection, as far as plain requests are concerned."""

    def get_buffer(self, sizehint):
        """Say where the next bytes go: into the slot of a body, else into the shared buffer."""
        filling = self._exchange.filling
        return self._scratch if filling is None else filling

    def buffer_updated(self, Py_ssize_t nbytes):
        """Take the bytes that came."""
        if self._express is None or not self.admit(nbytes):
            self.take(nbytes)

    def learn(self, lane, Py_ssize_t start):
        """Learn the route of the exchange's request, just queued, if it is a plain one."""
        cdef Express express = self._express
        cdef ExchangeState exchange = self._exchange
        request = exchange._request
        if express is None:
            return
        try:
            route = express.route_of(
                self._raw_head, exchange._head, exchange._dispatcher, lane, exchange._plan,
                request.slot, start,
            )
        except Exception as error:  # the request is on its way, and has to be answered once
            log.error("a route cannot be learnt", model=lane.model, exc_info=error)
            return
        if route is not None:
            self._route, self._flying = route, request

    def use(self, express):
        """Have plain requests taken here, from now on."""
        self._express = express

    cdef bint admit(self, Py_ssize_t nbytes) except -1:
        """Take bytes that are one whole plain request; else leave everything as it is."""
        cdef Express express = self._express
        cdef Route route = self._route
        if self._elsewhere or self._choked or self._paused or self._leaving or self._reading:
            return False
        cdef ExchangeState exchange = self._exchange
        front = express.front
        if exchange.busy or exchange.filling is not None or self._held or front.holding:
            return False
        if self._detour.slow_path is not None or self._head_watch.watching:
            return False
        cdef const char* data = <const char*>address(express.scratch)
        cdef Route known
        if route is not None and route.fits(data, nbytes):
            known = express.current(route)
        else:
            route, known = None, express.find(data, nbytes)
        if known is None or (known is not route and not known.fits(data, nbytes)):
            return False
        route = known
        most = front.limits.requests
        if most and self._requests + 1 >= most:
            return False
        # To whom
        lane, dispatcher = route.generations.serving, route.dispatcher
        if lane is not route.lane:
            route = express.follow(route, lane)
            if route is None:
                return False
        if dispatcher.held or not <list>route.home:
            return False
        worker, queue = best_worker(lane), dispatcher.queue
        if worker is None:
            if len(queue) + waiting(route.generations) >= route.queue_limit:
                return False
        elif queue or lane.waiting or not reachable(worker):
            return False  # those are about to be handed on
        # The payload
        cdef uint64_t now = now_ns(), deadline = now + route.timeout_ns
        cdef char* memory = address(express.arena.memory)
        slot = express.take(route.home)
        cdef uint64_t offset = slot.offset, reuse = slot.reuse, number = next(requests.ids)
        cdef char* payload = memory + offset + SLOT_HEADER
        memcpy(payload + route.start, data + route.head_length, route.length)
        memcpy(payload, <const char*>route.table, route.table_length)
        cdef uint64_t* stamp = <uint64_t*>(memory + offset)
        stamp[0], stamp[1] = reuse, number
        # The request
        request = new_request(InferRequest)
        request.id = number
        request.slot = slot
        request.length = route.payload_length
        request.contract = route.contract
        request.output_mask = route.output_mask
        request.shapes = route.shapes
        request.reply = exchange.reply
        request.by_version = False
        request.deadline_ns = deadline
        request.enqueued_ns = now
        request.submitted_ns = 0
        request.state = QUEUED
        request.crashes = 0
        request.answered = False
        request.lane = request.completion = None
        exchange.busy, exchange._begun_ns = True, now
        exchange._head, exchange._dispatcher = route.head, dispatcher
        exchange._plan, exchange._request = route.plan, request
        self._route, self._flying = route, request
        self._raw_head = route.raw_head
        self._scratch = express.scratch
        self._seen_ns = self._active_ns = now
        self._requests += 1
        counts = dispatcher.counts
        counts["express"] += 1
        deadlines = dispatcher.deadlines
        if deadline < <uint64_t>deadlines.fires_at:
            deadlines.watch(request, deadline)
        else:
            (<dict>deadlines.watched)[request] = deadline
        if worker is None:
            queue.append(request)
        else:
            rings = submit(worker, request)
            if rings is not None:
                express.due(rings)
        return True

    cdef bint answer(self, object request, object lane, char* data, uint64_t length) except -1:
        """Answer a request that came by the route, if nothing else concerns the answer."""
        cdef Route route = self._route
        cdef Express express = self._express
        cdef ExchangeState exchange = self._exchange
        front, transport = express.front, self._transport
        if self._flying is not request or route.lane is not lane or not route.answers:
            return False
        if front.draining or front.access_log is not None or transport.is_closing():
            return False
        if not route.answers_like(lane, data, length):
            form = exchange.form_of(lane, data[:length])
            if not route.learn_form(lane, form, data, length):
                return False
        if transport.get_write_buffer_size():
            return False
        last = express.last_lines()
        cdef iovec parts[3 + MOST_SPANS]
        cdef Py_ssize_t number, count = 3, sent
        cdef Py_ssize_t total = route.form_bytes + len(<bytes>last)
        parts[0].iov_base, parts[0].iov_len = <char*>route.form_head, len(<bytes>route.form_head)
        parts[1].iov_base, parts[1].iov_len = <char*>last, len(<bytes>last)
        parts[2].iov_base, parts[2].iov_len = <char*>route.form_json, len(<bytes>route.form_json)
        for number in range(route.span_count):
            parts[count].iov_base = data + route.span_starts[number]
            parts[count].iov_len = route.span_ends[number] - route.span_starts[number]
            count += 1
        sent = writev(self._socket.fd, parts, <int>count)
        if sent < 0:
            if errno not in (EAGAIN, EINTR):
                transport.abort()  # the client has gone; the transport will say so
                return False
            sent = 0
        self._flying = None
        exchange.busy, exchange._request = False, None
        self._active_ns = now_ns()
        if sent < total:
            try:
                self._send_rest(parts, count, sent)
            except Exception as error:  # nothing can follow half an answer
                log.error("an answer was cut off", exc_info=error)
                transport.abort()
        return True

    cdef int _send_rest(self, iovec* parts, Py_ssize_t count, Py_ssize_t sent) except -1:
        """Leave to the transport what the socket did not take."""
        cdef Py_ssize_t number
        whole = b"".join(
            [(<char*>parts[number].iov_base)[: parts[number].iov_len] for number in range(count)]
        )
        self._transport.write(whole[sent:])
        return 0

    cdef int go_on(self) except -1:
        """Take up what was held behind the request that was answered."""
        if (self._held or self._paused) and not self._reading:
            self._go_on()
        return 0
