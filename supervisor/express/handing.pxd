# cython: language_level=3

cdef object best_worker(object lane)
cdef object submit(object worker, object request)
cdef int pump(object dispatcher, object lane) except -1
