# Batches: the rows of the data that a step sees, gathered into the place that the step reads.

from libc.string cimport memcpy
from types cimport real
from engine cimport Engine

cdef inline void gather(real* precision, Engine* e, long t) noexcept nogil:
    """The rows of step t of `e.batch`: of X, and of the targets in the layout of the outputs; the loss is the mean or sum over these."""
    cdef bint all_rows = e.batch.X == NULL
    cdef const Py_ssize_t* rows = NULL if all_rows else e.batch.rows + t * e.batch.most
    cdef Py_ssize_t r, c, count = e.batch.most if all_rows else e.batch.counts[t]
    cdef const real* X = <const real*>e.batch.X
    cdef const real* T = <const real*>e.batch.T
    cdef const real* line
    cdef const double* noise = NULL if e.batch.noise == NULL else e.batch.noise + t * e.batch.most * e.n_out
    cdef real* into = <real*>e.X
    cdef real* targets = <real*>e.loss.targets
    # from one target to the next, in a row and from row to row
    cdef Py_ssize_t along = e.ldo if e.loss.by_output else 1, down = 1 if e.loss.by_output else e.ldo
    if not all_rows:
        for r in range(count):
            memcpy(into + r * e.ldx, X + rows[r] * e.batch.ldx, e.n_in * sizeof(real))
    if e.loss.by_output:
        for r in range(count):
            line = T + (r if all_rows else rows[r]) * e.batch.ldt
            for c in range(e.n_out):
                targets[c * e.ldo + r] = line[c]
    else:
        for r in range(count):
            memcpy(targets + r * e.ldo, T + (r if all_rows else rows[r]) * e.batch.ldt, e.n_out * sizeof(real))
    if noise != NULL:
        for r in range(count):
            for c in range(e.n_out):
                targets[r * down + c * along] = targets[r * down + c * along] + <real>noise[r * e.n_out + c]
    if all_rows:
        return
    # from a pivot all steps have as many rows (linalign.engine.bind)
    e.samples = <int>count
    if not e.pivot and not e.data_last:
        e.rows = <int>count
    e.loss.factor = e.batch.factors[count]
