# cython: language_level=3, boundscheck=False, wraparound=False
"""A route: what was found out about one kind of plain request, under its exact bytes.

Requests of one head and one JSON header differ in their binary data only: everything that Python
code made of the first one holds for the next. Owns what is the same for all of them, and for their
answers. Runs on the event loop of every front.
"""

from libc.string cimport memcmp


cdef class Route:
    """One kind of request, to the lane that serves."""

    def __init__(self, raw_head, head, dispatcher, lane, plan, Py_ssize_t start, json, home):
        """Learn from a request that Python code has queued.

        `json` are the bytes of its header, which begin at `start` of the payload, `home` is where
        slots of its size wait.
        """
        self.raw_head, self.head = raw_head, head
        self.dispatcher, self.generations, self.lane = dispatcher, dispatcher.generations, lane
        self.plan, self.json, self.home = plan, json, home
        self.table, self.contract, self.shapes = plan.layout.table, lane.contract, plan.shapes
        self.head_length, self.length = len(raw_head), head.length
        self.json_length, self.start, self.table_length = len(json), start, len(self.table)
        self.queue_limit = lane.settings.queue_limit
        self.payload_length, self.output_mask = plan.layout.length, plan.output_mask
        limit_s = lane.settings.timeout_ms / 1000
        self.timeout_ns = int(min(plan.timeout_s or limit_s, limit_s) * 1_000_000_000)
        self.answers = all([wish.binary for wish in plan.outputs])
        self.form_generation = None

    cdef bint fits(self, const char* data, Py_ssize_t nbytes) noexcept:
        """Say whether these bytes are one whole request of this kind, and nothing more."""
        if nbytes != self.head_length + self.length:
            return False
        if memcmp(data, <const char*>self.raw_head, self.head_length):
            return False
        return not memcmp(data + self.head_length, <const char*>self.json, self.json_length)

    cdef bint answers_like(self, object lane, const char* data, uint64_t length) except -1:
        """Say whether an answer of `lane` has the form of the last one."""
        if self.form_generation is None or self.form_generation != lane.generation:
            return False
        if <Py_ssize_t>length < self.form_end:
            return False
        return not memcmp(data, <const char*>self.form_table, len(<bytes>self.form_table))

    cdef bint learn_form(
        self, object lane, object form, const char* data, uint64_t length
    ) except -1:
        """Keep the form of an answer; says whether answers of it can be sent from here."""
        cdef Py_ssize_t number = 0, start, end
        cdef Py_ssize_t table = form.table_length
        if form.json_outputs or len(form.spans) > MOST_SPANS or <Py_ssize_t>length < table:
            return False
        self.form_generation = None
        self.form_head, self.form_json = form.fixed_head, form.fixed_json
        self.form_table, self.form_end = data[:table], table
        self.form_bytes = len(self.form_head) + len(self.form_json)
        for start, end in form.spans:
            if not 0 <= start <= end <= <Py_ssize_t>length:
                return False
            self.span_starts[number], self.span_ends[number] = start, end
            self.form_bytes += end - start
            self.form_end = max(self.form_end, end)
            number += 1
        self.span_count = number
        self.form_generation = lane.generation
        return True
