# The step from the pivots 1..d: k_p rows in flight, and the outputs transposed.

from libc.string cimport memcpy
from types cimport real, DENSE, RUNNING
from products cimport product
from engine cimport Engine
from rows cimport rows_by_transpose, rows_by_matrix, rows_by_diagonal, upper, lower
from outputs cimport evaluate
from blocks cimport enter, add_rows_by_data
from descend cimport descend, descend_product, apply_descend, adjoint_descend


cdef inline void chains_from_pivot(real* precision, Engine* e) noexcept nogil:
    """A_i and Z_i."""
    cdef int i, p = e.pivot
    for i in range(p, e.depth):
        upper(precision, e, i)
    # where W_p is a matrix, Z_{p-1} is W_p itself (bound so)
    for i in range(p - 1 if e.Z[p] != NULL else p - 2, -1, -1):
        lower(precision, e, i, e.rows)


cdef inline void outputs_at_pivot(real* precision, Engine* e) noexcept nogil:
    """The outputs, by the chains."""
    cdef int i, p = e.pivot, s = e.rows, d = e.depth
    cdef real* H
    cdef int ldh
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


cdef inline void outputs_from_pivot(real* precision, Engine* e) noexcept nogil:
    """The outputs."""
    chains_from_pivot(precision, e)
    outputs_at_pivot(precision, e)


cdef inline real* gradient_above(real* precision, Engine* e, double beta) noexcept nogil:
    """Q = A_d E, where there are layers above the pivot, and D_d = H E^T + beta * D_d (s, k_d) in e.ping. Returns Q."""
    cdef int s = e.rows, d = e.depth
    cdef real* E = <real*>e.O
    cdef real* H = <real*>(e.H if e.X != NULL else e.Z[0])
    if e.pivot == d:
        return E
    product(&e.machine, False, False, s, e.samples, e.n_out, 1, <real*>e.A[d], e.ld[d], E, e.ldo, 0, <real*>e.Q, e.ldo)
    product(&e.machine, False, True, s, e.n_out, e.samples, 1, H, e.ldo if e.X != NULL else e.ld[0], E, e.ldo, beta,
            <real*>e.ping, e.ld[d])
    return <real*>e.Q


cdef inline int forward_from_pivot(real* precision, Engine* e, double* value) noexcept nogil:
    """The loss and the gradient in the outputs, or what both parts see of it where the data come in blocks. Returns a Status."""
    cdef Py_ssize_t first = 0
    cdef double part
    cdef int status = RUNNING
    if e.blocks == NULL:
        outputs_from_pivot(precision, e)
        return evaluate(precision, e, value)
    chains_from_pivot(precision, e)
    value[0] = 0
    while status == RUNNING and first < e.blocks.rows:
        enter(precision, e, first)
        outputs_at_pivot(precision, e)
        status = evaluate(precision, e, &part)
        value[0] += part
        add_rows_by_data(precision, e, gradient_above(precision, e, 1 if first else 0), first == 0)
        first += e.samples
    return status


cdef inline void backward_to_pivot(real* precision, Engine* e) noexcept nogil:
    """The gradients of all layers: from the last down to the pivot, then from the first up to it."""
    cdef int i, p = e.pivot, s = e.rows, d = e.depth
    cdef real* Q = NULL
    cdef real* here = <real*>e.ping
    cdef real* there = <real*>e.pong
    cdef real* spare
    cdef int ldq = e.ldo
    if e.blocks == NULL:
        # both parts need the old upper one: Q before the updates
        Q = gradient_above(precision, e, 0)
    if p < d:
        for i in range(d - 1, p, -1):
            adjoint_descend(e, &e.layers[i], s, here, e.ld[i + 1], there, e.ld[i], <real*>e.A[i], e.ld[i])
            spare = here
            here = there
            there = spare
        descend(e, &e.layers[p], s, here, e.ld[p + 1], <real*>e.A[p], e.ld[p])
    here = Q
    if p == 1 and e.blocks == NULL and e.X != NULL and not e.diagonal and e.layers[0].kind == DENSE and s > 1:
        # Z_1 is the identity: the gradient is Q X itself, and is never written down
        descend_product(e, &e.layers[0], e.samples, Q, ldq, <real*>e.X, e.ldx)
        return
    there = <real*>e.ping
    if e.blocks != NULL:
        here = <real*>e.blocks.below
        ldq = e.ld[0]
    elif e.X != NULL:
        if e.diagonal:
            rows_by_diagonal(e, s, e.samples, Q, ldq, <real*>e.X, there, e.ld[0])
        else:
            rows_by_matrix(e, s, e.n_in, e.samples, Q, ldq, <real*>e.X, e.ldx, there, e.ld[0])
        here = there
        ldq = e.ld[0]
        there = <real*>e.pong
    for i in range(p - 1):
        apply_descend(e, &e.layers[i], s, here, ldq, there, e.ld[i + 1], <real*>e.Z[i + 1], e.ld[i + 1])
        here = there
        ldq = e.ld[i + 1]
        there = <real*>(e.pong if here == <real*>e.ping else e.ping)
    descend(e, &e.layers[p - 1], s, <real*>e.Z[p], e.ld[p], here, ldq)
