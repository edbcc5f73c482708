# The step of cyclic updates: layer 1 to d, each from the newest of the others.

from libc.math cimport isfinite
from types cimport real, RUNNING, CONVERGED, DIVERGED
from layer cimport Layer
from products cimport transpose
from stripes cimport stripes_product
from engine cimport Engine
from rows cimport rows_by_transpose, rows_by_matrix, upper, lower
from outputs cimport outputs_of, gradient_of_product, evaluate
from descend cimport descend


cdef inline int sweep(real* precision, Engine* e, double* value, double tol, bint loss_only) noexcept nogil:
    """One sweep. A_i are prefixes (rows of data), Z_i = W_d ... W_{i+1} suffixes (k_d rows). Returns a Status.

    Before layer i+1 has its turn, the outputs are A_i Z_i^T: newest below, old above.
    """
    cdef int i, d = e.depth, status
    cdef double newer
    cdef real* D
    cdef int ldd
    cdef Layer* L
    for i in range(d - 1 if e.Z[d] != NULL else d - 2, -1, -1):
        lower(precision, e, i, e.n_out)
    for i in range(d):
        L = &e.layers[i]
        D = <real*>(e.ping if e.data_last else e.O)
        ldd = e.ld[d] if e.data_last else e.ldo
        if e.A[i] == NULL:
            transpose(&e.machine, e.n_out, L.n_in, <real*>e.Z[0], e.ld[0], D, ldd)
        elif e.stripes_O[i].rank > 0:
            stripes_product(&e.machine, e.rows, e.n_out, L.n_in, <real*>e.A[i], e.ld[i], &e.stripes_A[i], <real*>e.Z[i], e.ld[i], True,
                            &e.stripes_Z[i], D, ldd, &e.stripes_O[i], <real*>e.stripes_work)
        else:
            rows_by_transpose(e, e.rows, e.n_out, L.n_in, <real*>e.A[i], e.ld[i], <real*>e.Z[i], e.ld[i], D, ldd)
        if e.data_last:
            outputs_of(precision, e, D, ldd)
        status = evaluate(precision, e, value if i == 0 else &newer)
        if status != RUNNING:
            return status
        if i == 0:
            if not isfinite(value[0]):
                return DIVERGED
            if value[0] + e.loss.floor <= tol:
                return CONVERGED
            if loss_only:
                return RUNNING
        if e.data_last:
            D = gradient_of_product(precision, e, 0, <real*>e.ping, e.ld[d])
        if i == d - 1:
            descend(e, L, e.rows, D, ldd, <real*>e.A[i], e.ld[i])
            break
        rows_by_matrix(e, e.rows, L.n_out, e.n_out, D, ldd, <real*>e.Z[i + 1], e.ld[i + 1], <real*>e.pong, e.ld[i + 1])
        descend(e, L, e.rows, <real*>e.pong, e.ld[i + 1], <real*>e.A[i], e.ld[i])
        upper(precision, e, i)
    return RUNNING
