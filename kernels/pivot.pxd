# The step from the pivots 1..d: k_p rows in flight, and the outputs transposed.

from libc.string cimport memcpy
from types cimport real
from products cimport product
from engine cimport Engine
from rows cimport rows_by_transpose, rows_by_matrix, rows_by_diagonal, upper, lower
from outputs cimport evaluate
from descend cimport descend, apply_descend, adjoint_descend


cdef inline void outputs_from_pivot(real* precision, Engine* e) noexcept nogil:
    """The outputs."""
    cdef int i, p = e.pivot, s = e.rows, d = e.depth
    cdef real* H
    cdef int ldh
    for i in range(p, d):
        upper(precision, e, i)
    # where W_p is a matrix, Z_{p-1} is W_p itself (bound so)
    for i in range(p - 1 if e.Z[p] != NULL else p - 2, -1, -1):
        lower(precision, e, i, s)
    H = <real*>(e.O if p == d else e.H)
    ldh = e.ldo
    if e.diagonal:
        rows_by_diagonal(e, s, e.samples, <real*>e.Z[0], e.ld[0], <real*>e.X, H, ldh)
    elif e.X != NULL:
        rows_by_transpose(e, s, e.samples, e.n_in, <real*>e.Z[0], e.ld[0], <real*>e.X, e.ldx, H, ldh)
    elif p == d:
        for i in range(s):
            memcpy(&H[<Py_ssize_t>i * ldh], &(<real*>e.Z[0])[<Py_ssize_t>i * e.ld[0]], e.n_in * sizeof(real))
    else:
        H = <real*>e.Z[0]
        ldh = e.ld[0]
    if p < d:
        product(&e.machine, True, False, e.n_out, e.samples, s, 1, <real*>e.A[d], e.ld[d], H, ldh, 0, <real*>e.O, e.ldo)


cdef inline int forward_from_pivot(real* precision, Engine* e, double* value) noexcept nogil:
    """The loss and the gradient in the outputs. Returns a Status."""
    outputs_from_pivot(precision, e)
    return evaluate(precision, e, value)


cdef inline void backward_to_pivot(real* precision, Engine* e) noexcept nogil:
    """The gradients of all layers: from the last down to the pivot, then from the first up to it."""
    cdef int i, p = e.pivot, s = e.rows, d = e.depth
    cdef real* E = <real*>e.O
    cdef real* H = <real*>(e.H if e.X != NULL else e.Z[0])
    cdef int ldh = e.ldo if e.X != NULL else e.ld[0]
    cdef real* Q = E
    cdef real* here
    cdef real* there = <real*>e.ping
    cdef real* spare = <real*>e.pong
    cdef int ldq = e.ldo
    if p < d:
        # both need the old upper part: Q before the updates
        Q = <real*>e.Q
        product(&e.machine, False, False, s, e.samples, e.n_out, 1, <real*>e.A[d], e.ld[d], E, e.ldo, 0, Q, ldq)
        here = there
        product(&e.machine, False, True, s, e.n_out, e.samples, 1, H, ldh, E, e.ldo, 0, here, e.ld[d])
        there = spare
        for i in range(d - 1, p, -1):
            adjoint_descend(e, &e.layers[i], s, here, e.ld[i + 1], there, e.ld[i], <real*>e.A[i], e.ld[i])
            spare = here
            here = there
            there = spare
        descend(e, &e.layers[p], s, here, e.ld[p + 1], <real*>e.A[p], e.ld[p])
    here = Q
    there = <real*>e.ping
    spare = <real*>e.pong
    if e.X != NULL:
        if e.diagonal:
            rows_by_diagonal(e, s, e.samples, Q, ldq, <real*>e.X, there, e.ld[0])
        else:
            rows_by_matrix(e, s, e.n_in, e.samples, Q, ldq, <real*>e.X, e.ldx, there, e.ld[0])
        here = there
        ldq = e.ld[0]
        there = spare
    for i in range(p - 1):
        apply_descend(e, &e.layers[i], s, here, ldq, there, e.ld[i + 1], <real*>e.Z[i + 1], e.ld[i + 1])
        here = there
        ldq = e.ld[i + 1]
        there = <real*>(e.pong if here == <real*>e.ping else e.ping)
    descend(e, &e.layers[p - 1], s, <real*>e.Z[p], e.ld[p], here, ldq)
