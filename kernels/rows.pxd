# Rows in flight: their products with a matrix, with a layer of any kind, and with the data.

from types cimport real
from layer cimport Layer, has_matrix
from products cimport product, transpose, scale_columns, dot_update, sum_update, has_vectors, clear_margin
from structured cimport structured_apply, structured_backward
from stripes cimport stripes_product
from engine cimport Engine


cdef inline void rows_by_transpose(Engine* e, int s, int n, int k, const real* A, int lda, real* B, int ldb,
                                   real* out, int ldout) noexcept nogil:
    """out (s, n) = A (s, k) @ B (n, k)^T."""
    if s == 1 and has_vectors(&e.machine):
        dot_update(&e.machine, B, n, k, ldb, A, out, <const real*>NULL, 0, 1)
        # n numbers are written, and before them the buffer may have held more
        clear_margin(1, n, out, ldout)
    else:
        product(&e.machine, False, True, s, n, k, 1, A, lda, B, ldb, 0, out, ldout)


cdef inline void rows_by_matrix(Engine* e, int s, int n, int k, const real* A, int lda, real* B, int ldb,
                                real* out, int ldout) noexcept nogil:
    """out (s, n) = A (s, k) @ B (k, n)."""
    if s == 1 and has_vectors(&e.machine):
        sum_update(&e.machine, B, k, n, ldb, A, out, <const real*>NULL, 0, 1)
        clear_margin(1, n, out, ldout)
    else:
        product(&e.machine, False, False, s, n, k, 1, A, lda, B, ldb, 0, out, ldout)


cdef inline void rows_by_diagonal(Engine* e, int rows, int cols, const real* A, int lda, const real* x,
                                  real* out, int ldout) noexcept nogil:
    """out = A diag(x)."""
    cdef Py_ssize_t r
    cdef int c
    if has_vectors(&e.machine):
        # short rows are padded with zeros: whole vectors
        scale_columns(&e.machine, rows, min(lda, ldout) if cols <= e.machine.most else cols, A, lda, x, out, ldout)
        return
    for r in range(rows):
        for c in range(cols):
            out[r * ldout + c] = A[r * lda + c] * x[c]


cdef inline void apply(Engine* e, Layer* L, int s, const real* A, int lda, real* out, int ldout) noexcept nogil:
    """out (s, n_out) = A W^T; A NULL is the identity."""
    if not has_matrix(L):
        structured_apply(L, s, A, lda, out, ldout)
    elif A == NULL:
        transpose(&e.machine, L.n_out, L.n_in, <real*>L.matrix, L.ld, out, ldout)
    else:
        rows_by_transpose(e, s, L.n_out, L.n_in, A, lda, <real*>L.matrix, L.ld, out, ldout)


cdef inline void adjoint(Engine* e, Layer* L, int s, const real* D, int ldd, real* out, int ldout) noexcept nogil:
    """out (s, n_in) = D W."""
    if not has_matrix(L):
        structured_backward(L, s, D, ldd, out, ldout, <real*>NULL, 0)
    else:
        rows_by_matrix(e, s, L.n_in, L.n_out, D, ldd, <real*>L.matrix, L.ld, out, ldout)


cdef inline void upper(real* precision, Engine* e, int i) noexcept nogil:
    """A_{i+1} = A_i W^T, W of layer i."""
    cdef Layer* L = &e.layers[i]
    if e.stripes_A[i + 1].rank > 0:
        stripes_product(&e.machine, e.rows, L.n_out, L.n_in, <real*>e.A[i], e.ld[i], &e.stripes_A[i], <real*>L.matrix, L.ld, True,
                        e.toeplitz, <real*>e.A[i + 1], e.ld[i + 1], &e.stripes_A[i + 1], <real*>e.stripes_work)
    else:
        apply(e, L, e.rows, <real*>e.A[i], e.ld[i], <real*>e.A[i + 1], e.ld[i + 1])


cdef inline void lower(real* precision, Engine* e, int i, int s) noexcept nogil:
    """Z_i (s, k_i) = Z_{i+1} W, W of layer i."""
    cdef Layer* L = &e.layers[i]
    if e.stripes_Z[i].rank > 0:
        stripes_product(&e.machine, s, L.n_in, L.n_out, <real*>e.Z[i + 1], e.ld[i + 1], &e.stripes_Z[i + 1], <real*>L.matrix, L.ld, False,
                        e.toeplitz, <real*>e.Z[i], e.ld[i], &e.stripes_Z[i], <real*>e.stripes_work)
    else:
        adjoint(e, L, s, <real*>e.Z[i + 1], e.ld[i + 1], <real*>e.Z[i], e.ld[i])
