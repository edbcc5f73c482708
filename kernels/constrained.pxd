# A constrained layer bound: from the records of `linalign.plan.structures` to what the kernels hold of it.

from libc.string cimport memcpy
from types cimport LINE, TIED, BASIS, FIXED, BLOCKS, SPARSE, CONV
from layer cimport Layer, Structure, la_conv_layout, la_structured_of, has_matrix
from memory cimport take
from structured cimport PANEL
from handover cimport elements, whole, doubles
from engine cimport Engine
from workspace cimport Memory, array_of, matrix_of


cdef inline int bind_structure(Engine* e, Memory* memory, Layer* L, record, Py_ssize_t size) except -1:
    """What a layer that is not dense has besides its `size` parameters, which stand in `L.theta`.

    `record`: a `Structure` of that module; its arrays are of the right types, and stay alive as long as the engine.
    """
    cdef Structure* S = <Structure*>take(&memory.kept, sizeof(Structure))
    cdef char element = b"f" if e.itemsize == sizeof(float) else b"d"
    L.structure = S
    S.functions = la_structured_of(e.machine.level)
    S.size, S.threads = size, record.threads
    S.inverse_gram = doubles(record.inverse_gram)
    S.coordinates = array_of(e, &memory.room, S.threads * S.size)
    if has_matrix(L) and L.kind != FIXED:
        L.matrix = matrix_of(e, &memory.room, L.n_out, L.n_in)
        S.entry_gradient = matrix_of(e, &memory.room, L.n_out, L.n_in)
    parts = record.parts
    if L.kind == TIED:
        r = &S.runs
        S.toeplitz, r.count = parts.toeplitz, len(parts.row)
        S.offset = elements(parts.offset, element) if parts.offset is not None else NULL
        r.row, r.column, r.length = whole(parts.row), whole(parts.column), whole(parts.length)
        r.parameter, r.step, r.sign = whole(parts.parameter), whole(parts.step), whole(parts.sign)
    elif L.kind == BASIS:
        S.basis, S.dual = elements(parts.basis, element), elements(parts.dual, element)
        S.offset = elements(parts.offset, element) if parts.offset is not None else NULL
    elif L.kind == FIXED:
        bind_matrix(e, memory, L, <char*>elements(parts.matrix, element))
    elif L.kind == BLOCKS:
        S.blocks, S.sides = len(parts.sides) // 2, whole(parts.sides)
    elif L.kind == SPARSE:
        S.nonzeros = len(parts.row_col)
        S.row_ptr, S.row_col = whole(parts.row_ptr), whole(parts.row_col)
        S.col_ptr, S.col_row, S.col_at = whole(parts.col_ptr), whole(parts.col_row), whole(parts.col_at)
        S.parameter, S.sign = whole(parts.parameter), whole(parts.sign)
        S.room = max(L.n_in, L.n_out) * PANEL
        S.values = L.theta
        if S.parameter != NULL:
            S.values = array_of(e, &memory.room, S.nonzeros)
            S.entry_gradient = array_of(e, &memory.room, <Py_ssize_t>S.threads * S.nonzeros)
    elif L.kind == CONV:
        g = &S.conv
        g.c_in, g.h_in, g.w_in, g.c_out, g.h_out, g.w_out = parts.c_in, parts.h_in, parts.w_in, parts.c_out, parts.h_out, parts.w_out
        g.kh, g.kw, g.sh, g.sw = parts.kh, parts.kw, parts.stride_h, parts.stride_w
        g.top, g.left, g.circular = parts.top, parts.left, parts.circular
        S.room = la_conv_layout(g, LINE // e.itemsize)
    b = &S.border
    b.skip, b.column, b.carried, b.biases, b.places = record.border
    if S.room:
        S.work = array_of(e, &memory.room, S.threads * S.room)
    return 0


cdef inline int bind_matrix(Engine* e, Memory* memory, Layer* L, const char* rows) except -1:
    """A fixed matrix, kept in padded rows."""
    cdef Py_ssize_t i, line = <Py_ssize_t>L.n_in * e.itemsize
    L.matrix = matrix_of(e, &memory.kept, L.n_out, L.n_in)
    for i in range(L.n_out):
        memcpy(<char*>L.matrix + i * L.ld * e.itemsize, rows + i * line, line)
    return 0
