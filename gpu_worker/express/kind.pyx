# cython: language_level=3, boundscheck=False, wraparound=False
"""Kinds of requests and forms of answers, as compiled code recognises them.

Owns what `layout` and `answer` have found out about a table, and about outputs of one shape, in a
form that needs no objects. Runs in the worker.
"""

from libc.string cimport memcmp


cdef class Form:
    cdef bint fits(
        self, uint64_t mask, Py_buffer* outputs, Py_ssize_t count, Py_ssize_t rows
    ) noexcept:
        """Say whether outputs are laid out like this; `rows` are a request's own, -1: all."""
        cdef Py_ssize_t number, dim
        if mask != self.mask or count != self.outputs:
            return False
        for number in range(count):
            if outputs[number].ndim != self.ranks[number]:
                return False
            for dim in range(self.ranks[number]):
                if dim == 0 and rows >= 0:
                    if self.dims[number][0] != rows:
                        return False
                elif outputs[number].shape[dim] != self.dims[number][dim]:
                    return False
        return True


cdef Form form_of(object version, uint64_t mask, object outputs, Py_ssize_t rows):
    """Lay an answer out; None where that is Python code's affair."""
    shapes = tuple([
        array.shape if rows < 0 else (rows, *array.shape[1:]) for array in outputs
    ])
    table, places, length = version.responses.get(shapes, mask)
    if len(shapes) > MOST_TENSORS or max([len(shape) for shape in shapes]) > MOST_DIMS:
        return None
    form = Form()
    form.table, form.mask, form.length = table, mask, length
    form.outputs, form.places = len(shapes), len(places)
    for number, shape in enumerate(shapes):
        form.ranks[number] = len(shape)
        for dim, size in enumerate(shape):
            form.dims[number][dim] = size
    for number, (index, start, end) in enumerate(places):
        form.indices[number], form.starts[number], form.ends[number] = index, start, end
    return form


cdef class Kind:
    cdef bint matches(self, const char* payload, uint64_t length) noexcept:
        """Say whether a payload is of this kind."""
        return <Py_ssize_t>length >= self.end and not memcmp(
            payload, <const char*>self.table, len(self.table)
        )


cdef Kind kind_of(object version, const char* payload, uint64_t length):
    """Find out about a payload of at least a table's length.

    Raises:
        ValueError: it is not one that the model takes.

    """
    table = payload[: <Py_ssize_t>version.layouts.table_size]
    layout = version.layouts.read(memoryview(payload[: <Py_ssize_t>length]))
    kind = Kind()
    kind.table, kind.layout, kind.group = table, layout, layout.group
    kind.end, kind.rows = max(layout.end, len(table)), layout.rows
    kind.inputs = len(layout.spans)
    kind.fit = not layout.padded and kind.inputs <= MOST_TENSORS
    if kind.fit:
        for number, (start, end) in enumerate(layout.spans):
            kind.starts[number], kind.sizes[number] = start, end - start
    return kind
