# Parameters that somebody else holds: where each layer's begin, and their way into the padded rows of a chain and back.

from libc.string cimport memcpy
from handover cimport exactly
from layer cimport Layer


cdef inline int places(arrays, list params, bint single, void** found, bint writable) except -1:
    """Where the parameters of each layer begin, in one flat array, or in a sequence of arrays shaped as `params`."""
    cdef int i, d = len(params)
    cdef char code = b"f" if single else b"d"
    cdef size_t itemsize = sizeof(float) if single else sizeof(double)
    cdef char* at
    cdef Py_ssize_t whole = 0
    # asking a list for what it has not takes as long as a small layer
    if not isinstance(arrays, (list, tuple)) and hasattr(arrays, "strides"):
        for i in range(d):
            whole += params[i].size
        at = <char*>exactly(arrays, code, whole, None, writable)
        for i in range(d):
            found[i] = at
            at += <size_t>params[i].size * itemsize
        return 0
    if len(arrays) != d:
        raise ValueError(f"{len(arrays)} arrays for {d} layers")
    for i in range(d):
        found[i] = exactly(arrays[i], code, params[i].size, params[i].shape, writable)
    return 0


cdef inline void copy_rows(Layer* L, size_t itemsize, void* own, void* other, bint into) noexcept nogil:
    """Between the padded rows of a layer and an array without padding: `into` the layer, or out of it."""
    cdef size_t row = <size_t>L.n_in * itemsize
    cdef size_t padded = <size_t>L.ld * itemsize
    cdef Py_ssize_t r
    if L.structure != NULL:
        row = <size_t>L.structure.size * itemsize
        memcpy(own if into else other, other if into else own, row)
        return
    for r in range(L.n_out):
        if into:
            memcpy(<char*>own + r * padded, <char*>other + r * row, row)
        else:
            memcpy(<char*>other + r * row, <char*>own + r * padded, row)
