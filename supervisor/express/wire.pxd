# cython: language_level=3
from libc.stdint cimport uint64_t
from posix.uio cimport iovec

from supervisor.express.express cimport Express
from supervisor.express.route cimport Route


cdef class ExchangeState:
    cdef public bint busy
    cdef public object filling, reply
    cdef public object _front, _client, _body, _head, _dispatcher, _plan, _request, _task
    cdef public uint64_t _begun_ns


cdef class Wire:
    cdef public object caller, _front, _detour, _head_watch, _transport, _socket
    cdef public ExchangeState _exchange
    cdef public object _scratch, _held, _raw_head
    cdef public bint _direct, _elsewhere, _reading, _paused, _choked, _leaving
    cdef public Py_ssize_t _requests
    cdef public uint64_t _seen_ns, _active_ns
    cdef Express _express
    cdef Route _route
    cdef object _flying  # the request that came by `_route` and waits for its answer

    cdef bint admit(self, Py_ssize_t nbytes) except -1
    cdef bint answer(self, object request, object lane, char* data, uint64_t length) except -1
    cdef int _send_rest(self, iovec* parts, Py_ssize_t count, Py_ssize_t sent) except -1
    cdef int go_on(self) except -1
