# cython: language_level=3, boundscheck=False, wraparound=False
"""Handing requests to workers, as `Dispatcher.pump` does, for those that nothing else concerns.

Owns nothing. Runs on the event loop of every front.
"""

from libc.stdint cimport uint64_t

from gpu_worker.ipc.compiled cimport (
    SENT_AT,
    SENT_DEADLINE,
    SENT_ID,
    SENT_LENGTH,
    SENT_LOAD,
    SENT_MASK,
    SENT_OFFSET,
    SENT_REUSE,
    WORDS,
    now_ns,
)

from supervisor.dispatch.request import RequestState

from supervisor.express.rings cimport Rings

cdef object IN_FLIGHT = RequestState.IN_FLIGHT


cdef object best_worker(object lane):
    """As `Lane.best_worker`."""
    cdef Py_ssize_t fewest = lane.settings.max_in_flight, held
    best = None
    for worker in <list>lane.workers:
        in_flight = worker.in_flight
        held = len(<dict>in_flight)
        if held < fewest:
            best, fewest = worker, held
    return best


cdef bint reachable(object worker) except -1:
    """Say whether compiled code can hand a request to a worker; else Python code sees to it."""
    rings = worker.rings
    return rings is not None and (<Rings>rings).has_room()


cdef object submit(object worker, object request):
    """Publish a request to a worker that has room; gives its rings if they are to be rung now."""
    cdef uint64_t descriptor[WORDS]
    cdef uint64_t number = request.id, now = now_ns()
    slot, in_flight, rings = request.slot, worker.in_flight, worker.rings
    request.state, request.submitted_ns = IN_FLIGHT, now
    if not <dict>in_flight:
        worker.last_progress = worker.time()
    (<dict>in_flight)[number] = request
    descriptor[SENT_ID], descriptor[SENT_AT] = number, now
    descriptor[SENT_OFFSET], descriptor[SENT_REUSE] = slot.offset, slot.reuse
    descriptor[SENT_LENGTH], descriptor[SENT_LOAD] = request.length, worker.load_id
    descriptor[SENT_MASK], descriptor[SENT_DEADLINE] = request.output_mask, request.deadline_ns
    return rings if (<Rings>rings).publish(descriptor) else None


cdef int pump(object dispatcher, object lane) except -1:
    """Hand what waits to workers with credit, and ring."""
    queue, contract = dispatcher.queue, lane.contract
    try:
        while queue:
            worker = best_worker(lane)
            if worker is None:
                break
            request = queue[0]
            if request.crashes or request.contract is not contract or not reachable(worker):
                dispatcher.pump()
                break
            queue.popleft()
            submit(worker, request)
    finally:
        for worker in list(lane.workers):
            rings = worker.rings
            if rings is not None:
                (<Rings>rings).ring()
    return 0
