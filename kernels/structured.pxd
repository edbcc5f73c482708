# Products with layers that are constrained: apply, adjoint, coordinates of the gradient, and the matrix of the parameters.

from cython.parallel cimport prange
from libc.stddef cimport ptrdiff_t
from libc.string cimport memset
from types cimport real, LINE, TIED, BASIS, DIAGONAL, BLOCKS, SPARSE
from layer cimport Layer, Structure, la_conv, la_structured, has_matrix
from blas cimport gemm
from products cimport clear_margin, la_team, share
from border cimport border_apply, border_backward

cdef extern from "la_structured.h":
    const int PANEL "LA_PANEL"
    void la_conv_f_apply(const la_structured*, const la_conv*, int, int, const float*, const float*, ptrdiff_t, float*, ptrdiff_t,
                         float*, ptrdiff_t) noexcept nogil
    void la_conv_d_apply(const la_structured*, const la_conv*, int, int, const double*, const double*, ptrdiff_t, double*, ptrdiff_t,
                         double*, ptrdiff_t) noexcept nogil
    void la_conv_f_backward(const la_structured*, const la_conv*, int, int, const float*, const float*, ptrdiff_t, float*, ptrdiff_t,
                            const float*, ptrdiff_t, float*, ptrdiff_t, float*, ptrdiff_t) noexcept nogil
    void la_conv_d_backward(const la_structured*, const la_conv*, int, int, const double*, const double*, ptrdiff_t, double*, ptrdiff_t,
                            const double*, ptrdiff_t, double*, ptrdiff_t, double*, ptrdiff_t) noexcept nogil


cdef inline int first_row(Structure* S, int s, int part, size_t itemsize) noexcept nogil:
    """Where a thread's share of s rows begins: in whole panels of the largest vectors where that leaves no thread idle."""
    return share(s, part, S.threads, PANEL if s >= S.threads * PANEL else LINE // <int>itemsize)


cdef inline void sparse_rows(int p, int m, int n, const int* ptr, const int* column, const int* at, Structure* S, int s,
                             const real* A, int lda, real* out, int ldout) noexcept nogil:
    """A thread's share."""
    cdef Py_ssize_t first = first_row(S, s, p, sizeof(real))
    cdef int rows = first_row(S, s, p + 1, sizeof(real)) - <int>first
    if rows == 0:
        return
    if real is float:
        S.functions.f.sparse_product(m, n, ptr, column, at, <float*>S.values, rows, A + first * lda, lda,
                                     out + first * ldout, ldout, <float*>S.work + p * S.room)
    else:
        S.functions.d.sparse_product(m, n, ptr, column, at, <double*>S.values, rows, A + first * lda, lda,
                                     out + first * ldout, ldout, <double*>S.work + p * S.room)


cdef inline void sparse_product(int m, int n, const int* ptr, const int* column, const int* at, Structure* S, int s, const real* A, int lda,
                                real* out, int ldout) noexcept nogil:
    """out (s, m) = A (s, n) by the nonzeros of m rows."""
    cdef int p, threads = S.threads
    if threads == 1:  # a team of one still wakes the others, a system call
        sparse_rows(0, m, n, ptr, column, at, S, s, A, lda, out, ldout)
        return
    for p in prange(threads, num_threads=la_team(threads), schedule="static"):
        sparse_rows(p, m, n, ptr, column, at, S, s, A, lda, out, ldout)


cdef inline void structured_apply(Layer* L, int s, const real* A, int lda, real* out, int ldout) noexcept nogil:
    """out (s, n_out) = A (s, n_in) W^T."""
    cdef Structure* S = L.structure
    cdef real* theta = <real*>L.theta
    cdef Py_ssize_t r
    cdef int c, b, i = 0, o = 0, m = L.n_out - S.border.carried, n = L.n_in - S.border.column
    if L.kind == DIAGONAL:
        for r in range(s):
            for c in range(m):
                out[r * ldout + c] = A[r * lda + c] * theta[c]
    elif L.kind == BLOCKS:
        for b in range(S.blocks):
            gemm(False, True, s, S.sides[2 * b + 1], S.sides[2 * b], 1, A + i, lda, theta, S.sides[2 * b], 0, out + o, ldout)
            theta += <Py_ssize_t>S.sides[2 * b] * S.sides[2 * b + 1]
            i += S.sides[2 * b]
            o += S.sides[2 * b + 1]
    elif L.kind == SPARSE:
        sparse_product(m, n, S.row_ptr, S.row_col, NULL, S, s, A, lda, out, ldout)
    elif real is float:
        la_conv_f_apply(S.functions, &S.conv, min(S.threads, s), s, theta, A, lda, out, ldout, <float*>S.work, S.room)
    else:
        la_conv_d_apply(S.functions, &S.conv, min(S.threads, s), s, theta, A, lda, out, ldout, <double*>S.work, S.room)
    if S.border.column or S.border.skip:
        border_apply(L, s, A, lda, out, ldout)
    clear_margin(s, L.n_out, out, ldout)


cdef inline void structured_backward(Layer* L, int s, const real* D, int ldd, real* out, int ldout, const real* A, int lda) noexcept nogil:
    """out (s, n_in) = D (s, n_out) W unless out is NULL; and the coordinates of D^T A unless A is NULL."""
    cdef Structure* S = L.structure
    cdef real* theta = <real*>L.theta
    cdef real* g = <real*>S.coordinates
    cdef Py_ssize_t r
    cdef int c, b, i = 0, o = 0, m = L.n_out - S.border.carried, n = L.n_in - S.border.column
    if L.kind == DIAGONAL:
        if A != NULL:
            memset(g, 0, S.size * sizeof(real))
        for r in range(s):
            if A != NULL:
                for c in range(m):
                    g[c] += D[r * ldd + c] * A[r * lda + c]
            if out != NULL:
                for c in range(m):
                    out[r * ldout + c] = D[r * ldd + c] * theta[c]
    elif L.kind == BLOCKS:
        for b in range(S.blocks):
            if out != NULL:
                gemm(False, False, s, S.sides[2 * b], S.sides[2 * b + 1], 1, D + o, ldd, theta, S.sides[2 * b], 0, out + i, ldout)
            if A != NULL:
                gemm(True, False, S.sides[2 * b + 1], S.sides[2 * b], s, 1, D + o, ldd, A + i, lda, 0, g, S.sides[2 * b])
            theta += <Py_ssize_t>S.sides[2 * b] * S.sides[2 * b + 1]
            g += <Py_ssize_t>S.sides[2 * b] * S.sides[2 * b + 1]
            i += S.sides[2 * b]
            o += S.sides[2 * b + 1]
    elif L.kind == SPARSE:
        if out != NULL:
            sparse_product(n, m, S.col_ptr, S.col_row, S.col_at, S, s, D, ldd, out, ldout)
        if A != NULL:
            sparse_coordinates(L, s, D, ldd, A, lda)
    elif real is float:
        la_conv_f_backward(S.functions, &S.conv, min(S.threads, s), s, theta, D, ldd, out, ldout, A, lda, g if A != NULL else NULL,
                           S.size, <float*>S.work, S.room)
    else:
        la_conv_d_backward(S.functions, &S.conv, min(S.threads, s), s, theta, D, ldd, out, ldout, A, lda, g if A != NULL else NULL,
                           S.size, <double*>S.work, S.room)
    if S.border.column or S.border.skip:
        border_backward(L, s, D, ldd, out, ldout, A, lda)
    if out != NULL:
        clear_margin(s, L.n_in, out, ldout)


cdef inline void sparse_gradient(int p, Layer* L, int s, const real* D, int ldd, const real* A, int lda, real* each) noexcept nogil:
    """The gradient of every nonzero, by a thread over its share of the rows."""
    cdef Structure* S = L.structure
    cdef int m = L.n_out - S.border.carried, n = L.n_in - S.border.column
    cdef Py_ssize_t first = first_row(S, s, p, sizeof(real))
    cdef int rows = first_row(S, s, p + 1, sizeof(real)) - <int>first
    if real is float:
        S.functions.f.sparse_grad(m, n, S.row_ptr, S.row_col, rows, D + first * ldd, ldd, A + first * lda, lda,
                                  each + <Py_ssize_t>p * S.nonzeros, <float*>S.work + p * S.room)
    else:
        S.functions.d.sparse_grad(m, n, S.row_ptr, S.row_col, rows, D + first * ldd, ldd, A + first * lda, lda,
                                  each + <Py_ssize_t>p * S.nonzeros, <double*>S.work + p * S.room)


cdef inline void sparse_coordinates(Layer* L, int s, const real* D, int ldd, const real* A, int lda) noexcept nogil:
    """The gradient of every nonzero; then its sum over the nonzeros of a parameter."""
    cdef Structure* S = L.structure
    cdef real* found = <real*>S.coordinates
    cdef real* each = found if S.parameter == NULL else <real*>S.entry_gradient
    cdef int k, p, threads = S.threads
    if threads == 1:
        sparse_gradient(0, L, s, D, ldd, A, lda, each)
    else:
        for p in prange(threads, num_threads=la_team(threads), schedule="static"):
            sparse_gradient(p, L, s, D, ldd, A, lda, each)
    for p in range(1, threads):
        for k in range(S.nonzeros):
            each[k] += each[<Py_ssize_t>p * S.nonzeros + k]
    if S.parameter == NULL:
        return
    memset(found, 0, S.size * sizeof(real))
    for k in range(S.nonzeros):
        found[S.parameter[k]] += each[k] if S.sign == NULL else S.sign[k] * each[k]


cdef inline void gather_matrix(real* precision, Layer* L, bint plain) noexcept nogil:
    """The coordinates of the matrix gradient in `entry_gradient`; `plain`: not those of the metric."""
    cdef Structure* S = L.structure
    cdef real* G = <real*>S.entry_gradient
    cdef real* found = <real*>S.coordinates
    cdef real* g
    cdef real* line
    cdef Py_ssize_t k
    cdef int j, i
    cdef real total
    if L.kind == TIED:
        memset(found, 0, S.size * sizeof(real))
        if real is float:
            S.functions.f.tied_gather(&S.runs, G, L.ld, found, S.size)
        else:
            S.functions.d.tied_gather(&S.runs, G, L.ld, found, S.size)
    elif L.kind == BASIS:
        for k in range(S.size):
            total = 0
            for i in range(L.n_out):
                line = G + <Py_ssize_t>i * L.ld
                g = <real*>(S.basis if plain else S.dual) + (k * L.n_out + i) * L.n_in
                for j in range(L.n_in):
                    total += g[j] * line[j]
            found[k] = total


cdef inline void spread_runs(real* precision, Layer* L, int first, int last) noexcept nogil:
    """The entries of the matrix in runs first to last - 1."""
    cdef Structure* S = L.structure
    if real is float:
        S.functions.f.tied_spread(&S.runs, first, last, <float*>L.theta, <float*>L.matrix, L.ld)
    else:
        S.functions.d.tied_spread(&S.runs, first, last, <double*>L.theta, <double*>L.matrix, L.ld)


cdef inline void spread(real* precision, Layer* L) noexcept nogil:
    """The matrix of tied parameters, by all threads: most of its lines are in the cache of the one that read them last."""
    cdef int p, threads = L.structure.threads, count = L.structure.runs.count
    if threads == 1:
        spread_runs(precision, L, 0, count)
        return
    for p in prange(threads, num_threads=la_team(threads), schedule="static"):
        spread_runs(precision, L, share(count, p, threads, 1), share(count, p + 1, threads, 1))


cdef inline void refresh(real* precision, Layer* L) noexcept nogil:
    """The matrix, or the nonzeros, of the parameters."""
    cdef Structure* S = L.structure
    cdef real* theta = <real*>L.theta
    cdef real* W = <real*>L.matrix
    cdef real* b
    cdef real* line
    cdef Py_ssize_t k
    cdef int j, i
    if L.kind == TIED:
        if S.offset != NULL:  # entries without a parameter hold the last sum
            memset(W, 0, <Py_ssize_t>L.n_out * L.ld * sizeof(real))
        spread(precision, L)
    elif L.kind == BASIS:
        memset(W, 0, <Py_ssize_t>L.n_out * L.ld * sizeof(real))
        for k in range(S.size):
            for i in range(L.n_out):
                line = W + <Py_ssize_t>i * L.ld
                b = <real*>S.basis + (k * L.n_out + i) * L.n_in
                for j in range(L.n_in):
                    line[j] += theta[k] * b[j]
    elif L.kind == SPARSE and S.parameter != NULL:
        for k in range(S.nonzeros):
            (<real*>S.values)[k] = theta[S.parameter[k]] if S.sign == NULL else S.sign[k] * theta[S.parameter[k]]
    if has_matrix(L) and S.offset != NULL:
        for i in range(L.n_out):
            line, b = W + <Py_ssize_t>i * L.ld, <real*>S.offset + <Py_ssize_t>i * L.n_in
            for j in range(L.n_in):
                line[j] += b[j]
