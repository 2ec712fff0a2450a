# cython: language_level=3, boundscheck=False, wraparound=False
"""Handing requests to workers, as `Dispatcher.pump` does, for those that nothing else concerns.

Owns nothing. Runs on the event loop of every front.
"""

from libc.stdint cimport uint64_t

from gpu_worker.ipc.compiled cimport WORDS, now_ns

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
    descriptor[0], descriptor[1], descriptor[2] = number, slot.offset, slot.reuse
    descriptor[3], descriptor[4] = request.length, worker.load_id
    descriptor[5], descriptor[6] = request.output_mask, request.deadline_ns
    descriptor[7] = now
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
