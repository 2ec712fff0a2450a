# cython: language_level=3, boundscheck=False, wraparound=False
"""Express: what the wires of one front share.

Owns the routes, and the doorbells that are still to be rung. Its slots are the arena's. Runs on the
event loop of every front.
"""

from libc.time cimport time

from gpu_worker.ipc.compiled cimport SLOT_HEADER, address

import structlog

from gpu_worker.ipc import slots as arena_slots

from supervisor.express.rings cimport Rings

cdef extern from "<string.h>":
    void* memmem(const void*, size_t, const void*, size_t)

cdef enum:
    MOST_ROUTES = 512
    LONGEST_HEAD = 2048
    LONGEST_JSON = 4096

log = structlog.get_logger()

cdef Py_ssize_t KEPT = arena_slots.KEPT


cdef class Express:
    """What the wires of one front share."""

    def __init__(self, front, loop):
        self.front = front
        self.arena, self._slots = front.arena.segment, front.arena.slots
        self.scratch = front.scratch
        self._routes = {}
        self._dirty = []
        self._call_soon, self._flush = loop.call_soon, self.flush

    def forget(self):
        """Forget all routes: others may be admitted from now on."""
        self._routes.clear()

    cdef Route route_of(
        self, object raw_head, object head, object dispatcher, object lane, object plan,
        object slot, Py_ssize_t start,
    ):
        """Give the route of a request that has just been queued; None where it is not plain."""
        if self.front.heads.read(raw_head) is not head:
            return None  # others are admitted by now, or this request is its connection's last
        cdef Route route = <Route>self._routes.get(raw_head)
        if route is not None and route.plan is plan and route.lane is lane:
            return route
        if head.json_length is None or head.version is not None or head.trace:
            return None
        if plan.layout.places or plan.request_id:  # numbers in JSON, or an answer of its own
            return None
        if not (head.keep_alive and head.admitted) or len(raw_head) > LONGEST_HEAD:
            return None
        if <Py_ssize_t>head.json_length > LONGEST_JSON:
            return None
        cdef char* payload = address(self.arena.memory) + <size_t>slot.offset + SLOT_HEADER
        json = payload[start : start + <Py_ssize_t>head.json_length]
        route = Route(raw_head, head, dispatcher, lane, plan, start, json, slot.home)
        if len(self._routes) >= MOST_ROUTES:  # heads may differ with each request
            del self._routes[next(iter(self._routes))]
        self._routes[raw_head] = route
        return route

    cdef Route current(self, Route route):
        """Give the route that requests like a route's have now; None if it was forgotten."""
        return <Route>self._routes.get(route.raw_head)

    cdef Route follow(self, Route old, object lane):
        """Give a route on to the lane that serves by now; None where it is to be learnt anew.

        Plans belong to a contract: an equal one has the same.
        """
        if lane is None or lane.contract != old.lane.contract:
            return None
        route = Route(
            old.raw_head, old.head, old.dispatcher, lane, old.plan, old.start, old.json, old.home
        )
        self._routes[old.raw_head] = route
        # Behind the doorbell, while a worker runs the first request: its answer needs a form
        self._call_soon(self._call_soon, self.front.codecs.of, lane)
        return route

    cdef Route find(self, const char* data, Py_ssize_t nbytes):
        """Find the route of bytes by their head."""
        cdef const char* end = <const char*>memmem(
            data, min(nbytes, <Py_ssize_t>LONGEST_HEAD), b"\r\n\r\n", 4
        )
        if end == NULL:
            return None
        return <Route>self._routes.get(data[: end + 4 - data])

    # Slots, as `SlotAllocator` has them

    cdef object take(self, object home):
        """Take a slot that has just come back; there is one."""
        slots = self._slots
        slot = (<list>home).pop()
        lends = slots.lends + 1
        lent = slots.lent_bytes + slot.size
        slots.lends = slot.reuse = lends
        slot.lent = True
        slots.lent_bytes = lent
        slots.lent_slots += 1
        if lent > slots.high_water_bytes:
            slots.high_water_bytes = lent
        return slot

    cdef int give_back(self, object slot) except -1:
        slots, home = self._slots, slot.home
        if not slot.lent or len(<list>home) >= KEPT:
            slots.give_back(slot)
            return 0
        slot.lent = False
        (<list>home).append(slot)
        slots.lent_bytes -= slot.size
        slots.lent_slots -= 1
        return 0

    # Doorbells

    cdef int due(self, object rings) except -1:
        """Have it rung for what was published, once for all that one turn of the loop brings."""
        (<list>self._dirty).append(rings)
        if not self._due:
            self._due = True
            self._call_soon(self._flush)
        return 0

    def flush(self):
        """Ring."""
        dirty, self._dirty, self._due = self._dirty, [], False
        for rings in dirty:
            try:
                (<Rings>rings).ring()
            except OSError as error:
                log.error("a worker cannot be told of its requests", exc_info=error)

    cdef object last_lines(self):
        """As `Front.last_lines`, of an answer after which the connection stays open."""
        cdef uint64_t second = <uint64_t>time(NULL)
        if second != self._second:
            self._last_lines = self.front.last_lines(closes=False)
            self._second = second
        return self._last_lines
