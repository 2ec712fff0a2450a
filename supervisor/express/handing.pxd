# cython: language_level=3

cdef object best_worker(object lane)
cdef bint reachable(object worker) except -1
cdef object submit(object worker, object request)
cdef int pump(object dispatcher, object lane) except -1
