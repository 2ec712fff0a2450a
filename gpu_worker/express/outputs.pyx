# cython: language_level=3, boundscheck=False, wraparound=False
"""Outputs: what one batch's run gave, and how each request's answer is laid out of it, compiled.

Owns the judgement that outputs are plain, as `answer` makes it. Runs in the worker.
"""

from cpython.buffer cimport PyBUF_ND, PyBuffer_Release, PyObject_GetBuffer

from gpu_worker.express.kind cimport Form, Kind, form_of
from gpu_worker.ipc.compiled cimport SENT_MASK, WORDS


cdef class Outputs:
    cdef bint open(
        self, object version, list batch, const uint64_t* words, Py_ssize_t rows, object arrays
    ) except -1:
        """View the outputs of a batch of `rows`; False where they are not plain. Close in any case.

        `batch` are the requests' kinds, `words` their submissions.
        """
        cdef Py_ssize_t number
        self.rows, self.forms = rows, []
        if len(arrays) > MOST_TENSORS:
            return False
        try:
            for array in arrays:
                PyObject_GetBuffer(array, &self.views[self._opened], PyBUF_ND)
                self._opened += 1
        except (BufferError, ValueError):
            return False  # not contiguous
        if len(batch) > 1:
            for number in range(self._opened):
                if not self.views[number].ndim or self.views[number].shape[0] != rows:
                    return False
        return self._lay_out(version, batch, words, arrays)

    cdef bint _lay_out(
        self, object version, list batch, const uint64_t* words, object arrays
    ) except -1:
        cdef Py_ssize_t count = len(batch), number, place, own, size
        cdef uint64_t mask
        cdef Form form
        cdef Kind kind
        for number in range(count):
            kind = <Kind>batch[number]
            own = kind.rows if count > 1 else -1
            mask = words[number * WORDS + SENT_MASK]
            form = kind.form
            if form is None or not form.fits(mask, self.views, self._opened, own):
                kind.form = form = form_of(version, mask, arrays, own)
                if form is None:
                    return False
            for place in range(form.places):  # a broken predictor may give anything
                size = self.views[form.indices[place]].len
                if count > 1:
                    size = size // self.rows * own
                if form.ends[place] - form.starts[place] != size:
                    return False
            self.forms.append(form)
        return True

    cdef int close(self) except -1:
        """Let go of the arrays."""
        cdef Py_ssize_t number
        for number in range(self._opened):
            PyBuffer_Release(&self.views[number])
        self._opened = 0
        self.forms = None
        return 0
