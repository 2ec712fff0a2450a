# cython: language_level=3, boundscheck=False, wraparound=False
"""Pending: the submissions that links' rings gave and that are still to be served, compiled.

Owns their order: that in which they came, and where several links rang at once, that in which they
were submitted. Runs in the worker.
"""

from libc.string cimport memcpy, memmove

from gpu_worker.ipc.compiled cimport MOST, SENT_AT, WORDS

from gpu_worker.ipc.link import Submission


cdef class Pending:
    cdef uint64_t* words(self) noexcept:
        """Give the submissions, `count` of them."""
        return self._words + self._first * WORDS

    cdef PyObject** owners(self) noexcept:
        """Give the link of each."""
        return self._owners + self._first

    cdef int put(self, object submission, Link link) except -1:
        """Add one that was taken elsewhere.

        Raises:
            ValueError: there is no room for it.

        """
        if self.count == ROOM:
            raise ValueError(f"{ROOM} submissions are as many as can wait")
        cdef Py_ssize_t word
        cdef uint64_t* words = self.words() + self.count * WORDS
        for word in range(WORDS):
            words[word] = submission[word]
        self.owners()[self.count] = <PyObject*>link
        self.count += 1
        return 0

    cdef int take(self, Link link) except -1:
        """Take what a link has submitted; where there is no room, its doorbell goes on ringing.

        Raises:
            ValueError: its ring is broken.

        """
        cdef Py_ssize_t count, number
        if self._first:
            if self.count:
                memmove(self._words, self.words(), self.count * WORDS * sizeof(uint64_t))
                memmove(self._owners, self.owners(), self.count * sizeof(PyObject*))
            self._first = 0
        if self.count > ROOM - MOST:
            return 0
        count = link.take(self._words + self.count * WORDS)
        for number in range(count):
            self._owners[self.count + number] = <PyObject*>link
        self.count += count
        return 0

    cdef int sort(self) except -1:
        """Put the earliest submitted first, by insertion: each link's lie in order already."""
        cdef uint64_t moved[WORDS]
        cdef uint64_t* words = self.words()
        cdef PyObject** owners = self.owners()
        cdef PyObject* owner
        cdef Py_ssize_t number, at
        for number in range(1, self.count):
            at = number
            while at and words[(at - 1) * WORDS + SENT_AT] > words[number * WORDS + SENT_AT]:
                at -= 1
            if at == number:
                continue
            memcpy(moved, words + number * WORDS, sizeof(moved))
            memmove(words + (at + 1) * WORDS, words + at * WORDS, (number - at) * sizeof(moved))
            memcpy(words + at * WORDS, moved, sizeof(moved))
            owner = owners[number]
            memmove(owners + at + 1, owners + at, (number - at) * sizeof(PyObject*))
            owners[at] = owner
        return 0

    cdef void drop(self, Py_ssize_t count) noexcept:
        """Drop the first ones: they are served."""
        self._first += count
        self.count -= count

    cdef void clear(self) noexcept:
        """Drop all."""
        self._first = self.count = 0

    cdef list first(self, Py_ssize_t count):
        """Give the first ones as Python code has them: pairs of link and submission."""
        cdef uint64_t* words = self.words()
        cdef Py_ssize_t number
        return [
            (
                (<Link>self.owners()[number]).attached,
                Submission(*[words[number * WORDS + word] for word in range(WORDS)]),
            )
            for number in range(count)
        ]
