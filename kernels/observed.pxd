# What a loss of some entries, or of some functionals, of the product was told, in the orientation of the outputs.

from types cimport ENTRIES
from memory cimport take
from handover cimport doubles, indices
from engine cimport Engine
from workspace cimport Memory


cdef inline int bind_observations(Engine* e, Memory* memory, seen) except -1:
    """`seen`: the record of such a loss (`engine.bind`), whose arrays stay alive as long as the engine."""
    cdef Py_ssize_t j
    cdef const Py_ssize_t* line
    cdef const Py_ssize_t* place
    cdef Py_ssize_t* where
    loss = &e.loss
    loss.count, loss.values = len(seen.values), doubles(seen.values)
    loss.residual = take(&memory.room, loss.count * sizeof(double))
    if loss.kind != ENTRIES:
        loss.matrices = doubles(seen.matrices)
        if not loss.by_output:
            loss.matrices = transposed(memory, loss.count, e.n_out, e.n_in, <double*>loss.matrices)
        return 0
    line, place = indices(seen.rows), indices(seen.columns)
    if not loss.by_output:
        line, place = place, line
    where = loss.where = <Py_ssize_t*>take(&memory.kept, loss.count * sizeof(Py_ssize_t))
    for j in range(loss.count):
        where[j] = line[j] * e.ldo + place[j]
    return 0


cdef inline double* transposed(Memory* memory, Py_ssize_t count, Py_ssize_t rows, Py_ssize_t columns, const double* matrices) except NULL:
    """`count` matrices, each transposed."""
    cdef double* found = <double*>take(&memory.kept, count * rows * columns * sizeof(double))
    cdef Py_ssize_t j, i, c, size = rows * columns
    for j in range(count):
        for i in range(rows):
            for c in range(columns):
                found[j * size + c * rows + i] = matrices[j * size + i * columns + c]
    return found
