# The gradient of a layer, computed and used at once: D^T A from what reached the layer from above and from below.

from libc.string cimport memset
from types cimport real, DENSE, FIXED
from layer cimport Layer, has_matrix
from products cimport product, transpose, axpby, dot_update, sum_update, has_vectors, clear_margin
from structured cimport structured_backward, gather_matrix
from engine cimport Engine
from rows cimport rows_by_transpose, apply, adjoint
from rule cimport Target, target, one_pass, settle, use_coordinates

cdef enum:
    FEW = 64            # rows in flight up to which a step is bound by memory


cdef inline void scale_add(int m, int n, double alpha, const real* G, int ldg, bint transposed, double beta,
                           real* C, int ldc) noexcept nogil:
    """C (m, n) = beta * C + alpha * G or G^T."""
    cdef int i, j, i0, i1
    cdef real al = <real>alpha
    cdef real be = <real>beta
    if beta == 0:
        for i in range(m):
            memset(&C[<Py_ssize_t>i * ldc], 0, n * sizeof(real))
    if not transposed:
        for i in range(m):
            for j in range(n):
                C[<Py_ssize_t>i * ldc + j] = be * C[<Py_ssize_t>i * ldc + j] + al * G[<Py_ssize_t>i * ldg + j]
        return
    for i0 in range(0, m, 16):
        i1 = min(i0 + 16, m)
        for j in range(n):
            for i in range(i0, i1):
                C[<Py_ssize_t>i * ldc + j] = be * C[<Py_ssize_t>i * ldc + j] + al * G[<Py_ssize_t>j * ldg + i]


cdef inline void descend_lines(Engine* e, Layer* L, int first, int lines, int s, const real* D, int ldd,
                               const real* A, int lda) noexcept nogil:
    """Lines of the gradient D^T A of a dense layer, D (s, out), A (s, in); NULL stands for the identity."""
    cdef Target to = target(e, L)
    cdef real* place = <real*>to.place + <Py_ssize_t>first * L.ld
    if A == NULL:
        scale_add(lines, L.n_in, to.alpha, D + first, ldd, True, to.beta, place, L.ld)
    elif D == NULL:
        A += <Py_ssize_t>first * lda
        if has_vectors(&e.machine) and lda == L.ld and to.beta != 0:
            axpby(&e.machine, <Py_ssize_t>lines * L.ld, to.alpha, A, to.beta, place)
        else:
            scale_add(lines, L.n_in, to.alpha, A, lda, False, to.beta, place, L.ld)
    elif s == 1 and has_vectors(&e.machine) and to.beta != 0:
        dot_update(&e.machine, place, lines, L.n_in, L.ld, A, <real*>NULL, D + first, to.alpha, to.beta)
    else:
        product(&e.machine, True, False, lines, L.n_in, s, to.alpha, D + first, ldd, A, lda, to.beta, place, L.ld)
    settle(<real*>NULL, e, L, first, lines)


cdef inline void descend_product(Engine* e, Layer* L, int n, const real* Q, int ldq, const real* X, int ldx) noexcept nogil:
    """The gradient Q (out, n) X (n, in) of a dense layer."""
    cdef Target to = target(e, L)
    product(&e.machine, False, False, L.n_out, L.n_in, n, to.alpha, Q, ldq, X, ldx, to.beta, <real*>to.place, L.ld)
    settle(<real*>NULL, e, L, 0, L.n_out)


cdef inline void descend_constrained(Engine* e, Layer* L, int s, const real* D, int ldd, const real* A, int lda) noexcept nogil:
    """The coordinates of the gradient D^T A of a layer that is not dense."""
    cdef real* G
    if L.kind == FIXED:
        return
    if not has_matrix(L):
        structured_backward(L, s, D, ldd, <real*>NULL, 0, A, lda)
    else:
        G = <real*>L.structure.entry_gradient
        if A == NULL:
            transpose(&e.machine, s, L.n_out, D, ldd, G, L.ld)
        elif D == NULL:
            scale_add(L.n_out, L.n_in, 1, A, lda, False, 0, G, L.ld)
        else:
            product(&e.machine, True, False, L.n_out, L.n_in, s, 1, D, ldd, A, lda, 0, G, L.ld)
        gather_matrix(<real*>NULL, L, e.gradients_only)
    use_coordinates(<real*>NULL, e, L)


cdef inline void descend(Engine* e, Layer* L, int s, const real* D, int ldd, const real* A, int lda) noexcept nogil:
    """The gradient D^T A of a layer."""
    if L.kind == DENSE:
        descend_lines(e, L, 0, L.n_out, s, D, ldd, A, lda)
    else:
        descend_constrained(e, L, s, D, ldd, A, lda)


cdef inline int lines_at_once(Engine* e, Layer* L, int s, size_t itemsize) noexcept nogil:
    """Lines of a layer that stay in the second-level cache between the product by the old W and its update.

    With many rows in flight the products are bound by arithmetic, and want to be large.
    """
    cdef Py_ssize_t fit = e.machine.cache // (L.ld * <Py_ssize_t>itemsize)
    if s == 1 or s > FEW or fit >= L.n_out:
        return L.n_out
    return <int>max(fit // 16 * 16, 64)


cdef inline void apply_descend(Engine* e, Layer* L, int s, const real* A, int lda, real* out, int ldout,
                               const real* D, int ldd) noexcept nogil:
    """out = A W^T with the old W, then the gradient D^T A: one pass over the layer."""
    cdef int j = 0, lines, step
    cdef Target to
    if one_pass(e, L, s):
        to = target(e, L)
        dot_update(&e.machine, <real*>to.place, L.n_out, L.n_in, L.ld, A, out, D, to.alpha, to.beta)
        clear_margin(1, L.n_out, out, ldout)
        return
    if L.kind != DENSE:
        apply(e, L, s, A, lda, out, ldout)
        descend(e, L, s, D, ldd, A, lda)
        return
    step = lines_at_once(e, L, s, sizeof(real))
    while j < L.n_out:
        lines = min(step, L.n_out - j)
        rows_by_transpose(e, s, lines, L.n_in, A, lda, <real*>L.matrix + <Py_ssize_t>j * L.ld, L.ld, out + j, ldout)
        descend_lines(e, L, j, lines, s, D, ldd, A, lda)
        j += step


cdef inline void adjoint_descend(Engine* e, Layer* L, int s, const real* D, int ldd, real* out, int ldout,
                                 const real* A, int lda) noexcept nogil:
    """out = D W with the old W, then the gradient D^T A: one pass over the layer."""
    cdef int j = 0, lines, step
    cdef Target to
    if one_pass(e, L, s):
        to = target(e, L)
        sum_update(&e.machine, <real*>to.place, L.n_out, L.n_in, L.ld, D, out, A, to.alpha, to.beta)
        clear_margin(1, L.n_in, out, ldout)
        return
    if not has_matrix(L):
        structured_backward(L, s, D, ldd, out, ldout, A, lda)
        use_coordinates(<real*>NULL, e, L)
        return
    step = lines_at_once(e, L, s, sizeof(real))
    if step == L.n_out or L.kind != DENSE:
        adjoint(e, L, s, D, ldd, out, ldout)
        descend(e, L, s, D, ldd, A, lda)
        return
    while j < L.n_out:
        lines = min(step, L.n_out - j)
        product(&e.machine, False, False, s, L.n_in, lines, 1, D + j, ldd, <real*>L.matrix + <Py_ssize_t>j * L.ld, L.ld,
                1 if j else 0, out, ldout)
        descend_lines(e, L, j, lines, s, D, ldd, A, lda)
        j += step
