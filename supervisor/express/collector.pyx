# cython: language_level=3, boundscheck=False, wraparound=False
"""The collector: takes what a worker has answered, and answers plain requests at once.

Owns nothing. Whatever is not a plain request's result goes, in the form that it always has, to
whom the port tells of answers. Runs on the event loop of every front.
"""

from cpython.method cimport PyMethod_Check, PyMethod_GET_SELF
from libc.stdint cimport uint64_t

from gpu_worker.ipc.compiled cimport (
    DONE_AT,
    DONE_ID,
    DONE_INFERRED,
    DONE_LENGTH,
    DONE_OUTCOME,
    DONE_POSITION,
    DONE_REUSE,
    DONE_STARTED,
    LEADS,
    MOST,
    ROWS_SHIFT,
    STATUS_MASK,
    WORDS,
    now_ns,
)

import structlog

from gpu_worker.ipc.link import Completion
from supervisor.dispatch.lane import Lane
from supervisor.dispatch.latency import LOT
from supervisor.dispatch.request import RequestState
from supervisor.dispatch.result import InferResult

from supervisor.express.express cimport Express
from supervisor.express.handing cimport pump
from supervisor.express.rings cimport Rings
from supervisor.express.wire cimport ExchangeState, Wire

cdef Py_ssize_t A_LOT = LOT
cdef object ENDED = RequestState.ENDED

log = structlog.get_logger()


def collect(port):
    """Take all answers that the doorbell of a `WorkerPort` counted."""
    cdef uint64_t words[MOST * WORDS]
    cdef uint64_t* at = words
    cdef Rings rings = port.rings
    cdef Py_ssize_t count, number
    cdef list left = []
    cdef Py_ssize_t answered = 0
    cdef char* data
    try:
        count = rings.take(words)
    except ValueError as error:
        port.broken(error)
        return
    if not count:
        return
    lane, in_flight, dispatcher, broken = port.lane, port.in_flight, None, None
    for number in range(count):
        at = words + number * WORDS
        request_id = at[DONE_ID]
        request = (<dict>in_flight).get(request_id)
        if request is None or <uint64_t>request.slot.reuse != at[DONE_REUSE]:
            port.stale += 1
            continue
        try:
            data = rings.response(at[DONE_POSITION], at[DONE_LENGTH])
        except ValueError as error:
            broken = error
            break
        del (<dict>in_flight)[request_id]
        answered += 1
        told = _answer(port, request, lane, at, data)
        if told is None:
            left.append((request, _completion(at), port.view(at[DONE_POSITION], at[DONE_LENGTH])))
        else:
            dispatcher = told
    port.answered += answered
    if broken is not None:
        port.events.worker_answered(port, left)
        port.broken(broken)
        return
    port.last_progress = port.time()
    if left or dispatcher is None or lane.waiting or lane.awaited or dispatcher.held:
        port.events.worker_answered(port, left)
    elif dispatcher.queue:
        serving = dispatcher.generations.serving
        if serving is not None:
            pump(dispatcher, serving)
    rings.release_to(at[DONE_POSITION], at[DONE_LENGTH])


cdef object _completion(const uint64_t* words):
    return Completion(
        words[0], words[1], words[2], words[3], words[4], words[5], words[6], words[7]
    )


cdef object _answer(
    object port, object request, object lane, const uint64_t* words, char* data
):
    """Answer a connection's request that ended well; gives its dispatcher, None if it is none."""
    if words[DONE_OUTCOME] & STATUS_MASK or request.answered or not isinstance(lane, Lane):
        return None
    reply = request.reply
    if not PyMethod_Check(reply):
        return None
    found = <object>PyMethod_GET_SELF(reply)
    if not isinstance(found, ExchangeState) or not isinstance((<ExchangeState>found)._client, Wire):
        return None
    cdef ExchangeState exchange = <ExchangeState>found
    cdef Wire wire = <Wire>exchange._client
    express, dispatcher = wire._express, exchange._dispatcher
    if express is None or (<Express>express).front.spans is not None:
        return None
    sent = False
    try:
        sent = wire.answer(request, lane, data, words[DONE_LENGTH])
    except Exception as error:
        log.error("an answer is left to others", exc_info=error)
    try:
        _finish(<Express>express, dispatcher, request, lane, words)
        if sent:
            lane.statistics.answered += 1
            wire.go_on()
        else:
            reply(InferResult(lane, port.view(words[DONE_POSITION], words[DONE_LENGTH])))
    except Exception as error:
        log.error("an answer could not be given", model=lane.model, exc_info=error)
    return dispatcher


cdef inline uint64_t between(uint64_t begin, uint64_t end) noexcept:
    """Give how long it was; a broken worker may say anything."""
    return end - begin if end > begin else 0


cdef int _finish(
    Express express, object dispatcher, object request, object lane, const uint64_t* words
) except -1:
    """End a request that has been answered, and count it."""
    request.answered, request.state = True, ENDED
    express.give_back(request.slot)
    (<dict>dispatcher.deadlines.watched).pop(request, None)
    cdef uint64_t enqueued = request.enqueued_ns, submitted = request.submitted_ns, rows
    cdef uint64_t started = words[DONE_STARTED], inferred = words[DONE_INFERRED]
    cdef uint64_t infer = between(started, inferred), output = between(inferred, words[DONE_AT])
    statistics = lane.statistics
    statistics.success_count += 1
    statistics.output_ns += output
    calm = enqueued >= <uint64_t>dispatcher.ledger.calm_since_ns
    latency = statistics.calm if calm else statistics.reloading
    noted = latency.noted
    (<list>noted).append(
        (submitted - enqueued, between(submitted, started), infer, now_ns() - enqueued)
    )
    if len(<list>noted) >= A_LOT:
        latency.counted()
    if words[DONE_OUTCOME] & LEADS:
        rows = words[DONE_OUTCOME] >> ROWS_SHIFT
        statistics.executed(rows, infer, output)
    if request.shapes is not dispatcher.recent_shapes.latest:
        dispatcher.recent_shapes.note(request.shapes)
    return 0
