# A chain of dense and diagonal layers that sees one row a step: its loop is one function in C (include/la_row.inc.h).

from libc.math cimport isfinite
from types cimport real, DENSE, DIAGONAL, SQUARED, RUNNING, CONVERGED, DIVERGED
from layer cimport Layer
from memory cimport take
from score cimport score
from engine cimport Engine, la_row, la_row_layer, la_row_train_of
from workspace cimport Memory, matrix_of, widest


cdef inline int lay_out_one_row(Engine* e, Memory* memory, bint wanted) except -1:
    """Bind that loop, if it is wanted.

    Raises: ValueError unless all layers are dense or diagonal with nothing beside them and at most `most` wide, the pivot is 0, the loss
    is squared, and there is no momentum.
    """
    cdef int i, d = e.depth
    cdef bint fits = e.machine.level and not e.pivot and not e.cyclic and e.momentum == 0 and e.loss.kind == SQUARED
    cdef Layer* L
    if not wanted:
        return 0
    for i in range(d):
        L = &e.layers[i]
        fits = fits and (L.kind == DENSE or L.kind == DIAGONAL) and L.n_in <= e.machine.most
        if L.structure != NULL:
            fits = fits and not (L.structure.border.skip or L.structure.border.column) and L.structure.inverse_gram == NULL
    if not fits or e.n_out > e.machine.most:
        raise ValueError("layers, loss or pivot are not those of the loop of one row")
    c = e.one_row = <la_row*>take(&memory.kept, sizeof(la_row))
    c.depth = d
    c.layers = <la_row_layer*>take(&memory.kept, d * sizeof(la_row_layer))
    c.A = <void**>take(&memory.kept, (d + 1) * sizeof(void*))
    c.lr = <double*>take(&memory.kept, d * sizeof(double))
    c.decay = <double*>take(&memory.kept, d * sizeof(double))
    for i in range(d):
        L = &e.layers[i]
        c.layers[i].diagonal, c.layers[i].theta = L.kind == DIAGONAL, L.theta
        c.layers[i].n_in, c.layers[i].n_out, c.layers[i].ld = L.n_in, L.n_out, L.ld
        c.lr[i], c.decay[i] = L.lr, L.decay
        c.A[i + 1] = matrix_of(e, &memory.room, 1, L.n_out)
    c.D[0], c.D[1] = matrix_of(e, &memory.room, 1, widest(e)), matrix_of(e, &memory.room, 1, widest(e))
    e.train_row = la_row_train_of(e.machine.level, e.itemsize == sizeof(float))
    return 0


cdef inline bint sees_one_row(Engine* e) noexcept nogil:
    """Whether the next steps are by that loop."""
    return e.one_row != NULL and e.batch != NULL and e.batch.rows != NULL and e.batch.noise == NULL and e.optimiser == NULL


cdef inline int run_one_row(real* precision, Engine* e, long steps, double* values, long* done, double tol) noexcept nogil:
    """Up to `steps` steps; `values[t]` is the loss of its row before step t. Returns a Status."""
    cdef long t = 0, stop
    cdef la_row* c = e.one_row
    c.X, c.Y, c.ldx, c.ldy, c.factor = e.batch.X, e.batch.T, e.batch.ldx, e.batch.ldt, e.batch.factors[1]
    while t < steps:
        stop = steps
        if e.scores != NULL and e.scores.left:
            if e.scores.at[0] == t:
                score(precision, e.scores, e.layers)
            if e.scores.left:
                stop = e.scores.at[0]
        c.rows = e.batch.rows + t
        c.rates = NULL if e.rates == NULL else e.rates + t * e.depth
        t += e.train_row(c, stop - t, &values[t], e.loss.floor, tol)
        done[0] = t
        if t < stop:
            return CONVERGED if isfinite(values[t]) else DIVERGED
    return RUNNING
