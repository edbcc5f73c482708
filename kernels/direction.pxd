# The derivative of a gradient along a direction: the Hessian times a vector, and Gauss-Newton's part of it (docs/theory, T13.1).
#
# With the direction V_i in layer i, and A_i, Z_i, D_i, R_i as engine.pxd has them, a stroke for the derivative along V:
#
#     upper  A'_i = A_{i-1} V_i^T + A'_{i-1} W_i^T     lower  Z'_{i-1} = Z_i V_i + Z'_i W_i
#     meet   O' from both, E' = l''[O']
#     upper  D'_{i-1} = D_i V_i + D'_i W_i             lower  R'_i = R_{i-1} V_i^T + R'_{i-1} W_i^T
#     (H V)_i = D'_i^T A_{i-1} + D_i^T A'_{i-1}        (H V)_i = Z'_i^T R_{i-1} + Z_i^T R'_{i-1}
#
# Gauss-Newton's part leaves out what has a D, an E or an R without a stroke. What does not depend on V is kept by `stand`.
# The layers of a direction are those of the engine, with V for theta and without what no parameter moves: offsets, skip connections,
# the constant coordinate that is carried.

from libc.math cimport isfinite
from libc.string cimport memcpy, memset
from types cimport real, DENSE, FIXED, RUNNING, DIVERGED
from layer cimport Layer, has_matrix
from products cimport product, transpose, axpby, has_vectors
from structured cimport structured_backward, gather_matrix
from engine cimport Engine
from rows cimport apply, adjoint, rows_by_transpose, rows_by_matrix, rows_by_diagonal
from outputs cimport evaluate
from second cimport has_weights, second, weigh
from descend cimport scale_add
from samples cimport outputs_from_samples
from pivot cimport outputs_from_pivot

cdef struct Direction:
    bint part               # Gauss-Newton's part alone
    Layer* layers           # V
    # of the point: what E is behind each layer, from above and from below
    void** D                # D_i (s, k_i), i = p + 1..d
    void** R                # R_i (s, k_i), i = 0..p - 1
    void* weights           # of second.pxd, laid out as the outputs
    # along the direction
    void** A                # A'_i, i = p + 1..d
    void** Z                # Z'_i, i = 0..p - 1
    void* O
    void* H
    void* Q
    void* ping
    void* pong
    void* spare
    void** found            # (H V)_i, as theta is kept


cdef inline void add_rows(Engine* e, Py_ssize_t count, const real* more, real* out) noexcept nogil:
    """out += more."""
    cdef Py_ssize_t i
    if has_vectors(&e.machine):
        axpby(&e.machine, count, 1, more, 1, out)
        return
    for i in range(count):
        out[i] = out[i] + more[i]


cdef inline void apply_both(Engine* e, Direction* t, int i, const real* A, const real* dA, real* out) noexcept nogil:
    """out (s, k_{i+1}) = A V^T + dA W^T; A NULL is the identity, dA NULL is zero, and so is what is no parameter."""
    cdef Layer* L = &e.layers[i]
    cdef Layer* V = &t.layers[i]
    cdef int s = e.rows, lda = e.ld[i], ldout = e.ld[i + 1], r
    if L.kind == FIXED:
        if dA == NULL:
            memset(out, 0, <size_t>s * ldout * sizeof(real))
        else:
            apply(e, L, s, dA, lda, out, ldout)
        return
    apply(e, V, s, A, lda, out, ldout)
    if V.n_out < L.n_out:
        for r in range(s):
            out[<Py_ssize_t>r * ldout + V.n_out] = 0
    if dA == NULL:
        return
    if has_matrix(L) and s > 1:
        product(&e.machine, False, True, s, L.n_out, L.n_in, 1, dA, lda, <real*>L.matrix, L.ld, 1, out, ldout)
    else:
        apply(e, L, s, dA, lda, <real*>t.spare, ldout)
        add_rows(e, <Py_ssize_t>s * ldout, <real*>t.spare, out)


cdef inline void adjoint_both(Engine* e, Direction* t, int i, const real* D, const real* dD, real* out) noexcept nogil:
    """out (s, k_i) = D V + dD W; D or dD NULL is zero."""
    cdef Layer* L = &e.layers[i]
    cdef Layer* V = &t.layers[i]
    cdef int s = e.rows, ldd = e.ld[i + 1], ldout = e.ld[i]
    if L.kind == FIXED or D == NULL:
        if dD == NULL:
            memset(out, 0, <size_t>s * ldout * sizeof(real))
        else:
            adjoint(e, L, s, dD, ldd, out, ldout)
        return
    adjoint(e, V, s, D, ldd, out, ldout)
    if dD == NULL:
        return
    if has_matrix(L) and s > 1:
        product(&e.machine, False, False, s, L.n_in, L.n_out, 1, dD, ldd, <real*>L.matrix, L.ld, 1, out, ldout)
    else:
        adjoint(e, L, s, dD, ldd, <real*>t.spare, ldout)
        add_rows(e, <Py_ssize_t>s * ldout, <real*>t.spare, out)


cdef inline void gradient(Engine* e, Direction* t, int i, const real* D, const real* A, bint more) noexcept nogil:
    """found_i = <A_k, D^T A>, D (s, k_{i+1}), A (s, k_i), NULL for the identity; beside a layer with a matrix, of the matrix.

    `more`: added to what is there.
    """
    cdef Layer* L = &e.layers[i]
    cdef real* G = <real*>t.found[i]
    cdef Py_ssize_t k
    if L.kind == FIXED:
        return
    if not has_matrix(L):
        structured_backward(L, e.rows, D, e.ld[i + 1], <real*>NULL, 0, A, e.ld[i])
        for k in range(L.structure.size):
            G[k] = (G[k] if more else 0) + (<real*>L.structure.coordinates)[k]
        return
    if L.kind != DENSE:
        G = <real*>L.structure.entry_gradient
    if A == NULL:
        scale_add(L.n_out, L.n_in, 1, D, e.ld[i + 1], True, more, G, L.ld)
    elif D == NULL:
        scale_add(L.n_out, L.n_in, 1, A, e.ld[i], False, more, G, L.ld)
    else:
        product(&e.machine, True, False, L.n_out, L.n_in, e.rows, 1, D, e.ld[i + 1], A, e.ld[i], more, G, L.ld)


cdef inline void gather(real* precision, Engine* e, Direction* t, int i) noexcept nogil:
    """What is left of found_i, after the gradients that it is made of."""
    cdef Layer* L = &e.layers[i]
    if L.kind != DENSE and L.kind != FIXED and has_matrix(L):
        gather_matrix(precision, L, True)
        memcpy(t.found[i], L.structure.coordinates, L.structure.size * sizeof(real))


cdef inline void by_data(real* precision, Engine* e, const real* Q, real* out) noexcept nogil:
    """out (s, k_0) = Q (s, n) X, where there are data."""
    if e.diagonal:
        rows_by_diagonal(e, e.rows, e.samples, Q, e.ldo, <real*>e.X, out, e.ld[0])
    else:
        rows_by_matrix(e, e.rows, e.n_in, e.samples, Q, e.ldo, <real*>e.X, e.ldx, out, e.ld[0])


# ---- the point -------------------------------------------------------------------------------------------------------------


cdef inline int stand(real* precision, Engine* e, Direction* t, double* value) noexcept nogil:
    """The loss where the engine stands, and what all directions share. Returns a Status."""
    cdef int i, d = e.depth, p = e.pivot, s = e.rows, status
    cdef int rows = e.n_out if e.loss.by_output else e.samples, cols = e.samples if e.loss.by_output else e.n_out
    cdef real* H
    if p:
        outputs_from_pivot(precision, e)
    else:
        outputs_from_samples(precision, e)
    if has_weights(&e.loss):
        weigh(&e.loss, rows, cols, e.ldo, <real*>e.O, <real*>t.weights)
    status = evaluate(precision, e, value)
    if status != RUNNING:
        return status
    if not isfinite(value[0]):
        return DIVERGED
    if t.part:
        return RUNNING
    if p == 0:
        if e.data_last:
            product(&e.machine, True, False, e.n_in, e.n_out, e.samples, 1, <real*>e.X, e.ldx, <real*>e.O, e.ldo, 0, <real*>t.D[d], e.ld[d])
    elif p < d:
        H = <real*>(e.H if e.X != NULL else e.Z[0])
        product(&e.machine, False, False, s, e.samples, e.n_out, 1, <real*>e.A[d], e.ld[d], <real*>e.O, e.ldo, 0, <real*>e.Q, e.ldo)
        product(&e.machine, False, True, s, e.n_out, e.samples, 1, H, e.ldo if e.X != NULL else e.ld[0], <real*>e.O, e.ldo, 0,
                <real*>t.D[d], e.ld[d])
    for i in range(d - 1, p, -1):
        adjoint(e, &e.layers[i], s, <real*>t.D[i + 1], e.ld[i + 1], <real*>t.D[i], e.ld[i])
    if p:
        if e.X != NULL:
            by_data(precision, e, <real*>(e.O if p == d else e.Q), <real*>t.R[0])
        for i in range(p - 1):
            apply(e, &e.layers[i], s, <real*>t.R[i], e.ld[i], <real*>t.R[i + 1], e.ld[i + 1])
    return RUNNING


# ---- the product -----------------------------------------------------------------------------------------------------------


cdef inline void differentiate_from_samples(real* precision, Engine* e, Direction* t) noexcept nogil:
    """found = H V, rows of data in flight, or the identity."""
    cdef int i, d = e.depth
    cdef real* dD
    cdef real* below = <real*>t.ping
    cdef real* D
    for i in range(d):
        apply_both(e, t, i, <real*>e.A[i], <real*>(t.A[i] if i else NULL), <real*>t.A[i + 1])
    if e.data_last:
        product(&e.machine, False, False, e.samples, e.n_out, e.n_in, 1, <real*>e.X, e.ldx, <real*>t.A[d], e.ld[d], 0, <real*>t.O, e.ldo)
    second(&e.loss, e.samples, e.n_out, e.ldo, <real*>t.weights, <real*>t.O)
    dD = <real*>t.O
    if e.data_last:
        dD = <real*>t.pong
        product(&e.machine, True, False, e.n_in, e.n_out, e.samples, 1, <real*>e.X, e.ldx, <real*>t.O, e.ldo, 0, dD, e.ld[d])
    for i in range(d - 1, -1, -1):
        D = <real*>(NULL if t.part else t.D[i + 1])
        gradient(e, t, i, dD, <real*>e.A[i], False)
        if i and D != NULL:
            gradient(e, t, i, D, <real*>t.A[i], True)
        gather(precision, e, t, i)
        if i:
            adjoint_both(e, t, i, D, dD, below)
            dD = below
            below = <real*>(t.pong if dD == <real*>t.ping else t.ping)


cdef inline void differentiate_from_pivot(real* precision, Engine* e, Direction* t) noexcept nogil:
    """The same from the pivots 1..d."""
    cdef int i, d = e.depth, p = e.pivot, s = e.rows, ldh = e.ldo
    cdef real* dH
    cdef real* H
    cdef real* dQ
    cdef real* dD
    cdef real* below
    cdef real* D
    cdef real* dR
    for i in range(p, d):
        apply_both(e, t, i, <real*>e.A[i], <real*>(t.A[i] if i > p else NULL), <real*>t.A[i + 1])
    # where W_p is a matrix, Z'_{p-1} is V_p itself (bound so)
    for i in range(p - 1 if e.Z[p] != NULL else p - 2, -1, -1):
        adjoint_both(e, t, i, <real*>e.Z[i + 1], <real*>(t.Z[i + 1] if i + 1 < p else NULL), <real*>t.Z[i])
    dH = <real*>(t.O if p == d else t.H)
    if e.diagonal:
        rows_by_diagonal(e, s, e.samples, <real*>t.Z[0], e.ld[0], <real*>e.X, dH, ldh)
    elif e.X != NULL:
        rows_by_transpose(e, s, e.samples, e.n_in, <real*>t.Z[0], e.ld[0], <real*>e.X, e.ldx, dH, ldh)
    elif p == d:
        for i in range(s):
            memcpy(&dH[<Py_ssize_t>i * ldh], &(<real*>t.Z[0])[<Py_ssize_t>i * e.ld[0]], e.n_in * sizeof(real))
    else:
        dH, ldh = <real*>t.Z[0], e.ld[0]
    H = <real*>(e.H if e.X != NULL else e.Z[0])
    if p < d:
        product(&e.machine, True, False, e.n_out, e.samples, s, 1, <real*>e.A[d], e.ld[d], dH, ldh, 0, <real*>t.O, e.ldo)
        product(&e.machine, True, False, e.n_out, e.samples, s, 1, <real*>t.A[d], e.ld[d], H, ldh, 1, <real*>t.O, e.ldo)
    second(&e.loss, e.n_out, e.samples, e.ldo, <real*>t.weights, <real*>t.O)
    dQ = <real*>t.O
    if p < d:
        dQ, dD, below = <real*>t.Q, <real*>t.ping, <real*>t.pong
        product(&e.machine, False, False, s, e.samples, e.n_out, 1, <real*>e.A[d], e.ld[d], <real*>t.O, e.ldo, 0, dQ, e.ldo)
        product(&e.machine, False, True, s, e.n_out, e.samples, 1, H, ldh, <real*>t.O, e.ldo, 0, dD, e.ld[d])
        if not t.part:
            product(&e.machine, False, False, s, e.samples, e.n_out, 1, <real*>t.A[d], e.ld[d], <real*>e.O, e.ldo, 1, dQ, e.ldo)
            product(&e.machine, False, True, s, e.n_out, e.samples, 1, dH, ldh, <real*>e.O, e.ldo, 1, dD, e.ld[d])
        for i in range(d - 1, p - 1, -1):
            D = <real*>(NULL if t.part else t.D[i + 1])
            gradient(e, t, i, dD, <real*>e.A[i], False)
            if i > p and D != NULL:
                gradient(e, t, i, D, <real*>t.A[i], True)
            gather(precision, e, t, i)
            if i > p:
                adjoint_both(e, t, i, D, dD, below)
                dD, below = below, dD
    dR, below = dQ, <real*>t.ping
    if e.X != NULL:
        by_data(precision, e, dQ, <real*>t.pong)
        dR = <real*>t.pong
    for i in range(p):
        gradient(e, t, i, <real*>e.Z[i + 1], dR, False)
        if not t.part and i + 1 < p:
            gradient(e, t, i, <real*>t.Z[i + 1], <real*>t.R[i], True)
        gather(precision, e, t, i)
        if i + 1 < p:
            if t.part:
                apply(e, &e.layers[i], s, dR, e.ld[i], below, e.ld[i + 1])
            else:
                apply_both(e, t, i, <real*>t.R[i], dR, below)
            dR = below
            below = <real*>(t.pong if dR == <real*>t.ping else t.ping)


cdef inline void differentiate(real* precision, Engine* e, Direction* t) noexcept nogil:
    """found = H V, or Gauss-Newton's part of it; V is in t.layers, refreshed, and the engine stands."""
    if e.pivot:
        differentiate_from_pivot(precision, e, t)
    else:
        differentiate_from_samples(precision, e, t)
