# Products with layers that are constrained: apply, adjoint, coordinates of the gradient, update.

from cython.parallel cimport prange
from libc.stddef cimport ptrdiff_t
from libc.string cimport memset
from types cimport real, Layer, Structure, la_conv, la_runs, DENSE, TIED, BASIS, FIXED, DIAGONAL, BLOCKS, SPARSE, CONV
from blas cimport gemm
from small cimport Small, clear_margin, product, share

cdef extern from "la_structured.h":
    const int PANEL "LA_PANEL"
    ctypedef struct la_structured_float:
        void (*sparse_product)(int, int, const int*, const int*, const int*, const float*, int, const float*, ptrdiff_t,
                               float*, ptrdiff_t, float*) noexcept nogil
        void (*sparse_grad)(int, int, const int*, const int*, int, const float*, ptrdiff_t, const float*, ptrdiff_t,
                            float*, float*) noexcept nogil
        void (*tied_gather)(const la_runs*, const float*, ptrdiff_t, float*, ptrdiff_t) noexcept nogil
        void (*tied_spread)(const la_runs*, int, int, const float*, float*, ptrdiff_t) noexcept nogil
        void (*stripes_fill)(int, int, int, const float*, ptrdiff_t, const float*, ptrdiff_t, float*, ptrdiff_t) noexcept nogil
    ctypedef struct la_structured_double:
        void (*sparse_product)(int, int, const int*, const int*, const int*, const double*, int, const double*, ptrdiff_t,
                               double*, ptrdiff_t, double*) noexcept nogil
        void (*sparse_grad)(int, int, const int*, const int*, int, const double*, ptrdiff_t, const double*, ptrdiff_t,
                            double*, double*) noexcept nogil
        void (*tied_gather)(const la_runs*, const double*, ptrdiff_t, double*, ptrdiff_t) noexcept nogil
        void (*tied_spread)(const la_runs*, int, int, const double*, double*, ptrdiff_t) noexcept nogil
        void (*stripes_fill)(int, int, int, const double*, ptrdiff_t, const double*, ptrdiff_t, double*, ptrdiff_t) noexcept nogil
    la_structured_float la_structured_f
    la_structured_double la_structured_d
    void la_structured_select(int level) noexcept nogil
    void la_conv_f_apply(const la_conv*, int, int, const float*, const float*, ptrdiff_t, float*, ptrdiff_t, float*,
                         ptrdiff_t) noexcept nogil
    void la_conv_d_apply(const la_conv*, int, int, const double*, const double*, ptrdiff_t, double*, ptrdiff_t, double*,
                         ptrdiff_t) noexcept nogil
    void la_conv_f_backward(const la_conv*, int, int, const float*, const float*, ptrdiff_t, float*, ptrdiff_t, const float*,
                            ptrdiff_t, float*, ptrdiff_t, float*, ptrdiff_t) noexcept nogil
    void la_conv_d_backward(const la_conv*, int, int, const double*, const double*, ptrdiff_t, double*, ptrdiff_t, const double*,
                            ptrdiff_t, double*, ptrdiff_t, double*, ptrdiff_t) noexcept nogil


cdef inline bint has_matrix(Layer* L) noexcept nogil:
    """Whether the dense products serve the layer."""
    return L.kind <= FIXED


cdef inline int first_row(Structure* S, int s, int part, size_t itemsize) noexcept nogil:
    """Where a thread's share of s rows begins: in whole panels of the largest vectors where that leaves no thread idle."""
    return share(s, part, S.threads, PANEL if s >= S.threads * PANEL else 64 // <int>itemsize)


cdef inline void sparse_rows(int p, int m, int n, int* ptr, int* column, int* at, Structure* S, int s, const real* A, int lda,
                             real* out, int ldout) noexcept nogil:
    """A thread's share."""
    cdef Py_ssize_t first = first_row(S, s, p, sizeof(real))
    cdef int rows = first_row(S, s, p + 1, sizeof(real)) - <int>first
    if rows == 0:
        return
    if real is float:
        la_structured_f.sparse_product(m, n, ptr, column, at, <float*>S.values, rows, A + first * lda, lda,
                                       out + first * ldout, ldout, <float*>S.work + p * S.room)
    else:
        la_structured_d.sparse_product(m, n, ptr, column, at, <double*>S.values, rows, A + first * lda, lda,
                                       out + first * ldout, ldout, <double*>S.work + p * S.room)


cdef inline void sparse_product(int m, int n, int* ptr, int* column, int* at, Structure* S, int s, const real* A, int lda,
                                real* out, int ldout) noexcept nogil:
    cdef int p, threads = S.threads
    if threads == 1:  # a team of one still wakes the others, a system call
        sparse_rows(0, m, n, ptr, column, at, S, s, A, lda, out, ldout)
        return
    for p in prange(threads, num_threads=threads, schedule="static"):
        sparse_rows(p, m, n, ptr, column, at, S, s, A, lda, out, ldout)


cdef inline void structured_apply(Layer* L, int s, const real* A, int lda, real* out, int ldout) noexcept nogil:
    """out (s, n_out) = A (s, n_in) W^T."""
    cdef Structure* S = L.more
    cdef real* w = <real*>L.coeff
    cdef Py_ssize_t r
    cdef int c, b, i = 0, o = 0
    if L.kind == DIAGONAL:
        for r in range(s):
            for c in range(L.n_out):
                out[r * ldout + c] = A[r * lda + c] * w[c]
    elif L.kind == BLOCKS:
        for b in range(S.blocks):
            gemm(False, True, s, S.sides[2 * b + 1], S.sides[2 * b], 1, A + i, lda, w, S.sides[2 * b], 0, out + o, ldout)
            w += <Py_ssize_t>S.sides[2 * b] * S.sides[2 * b + 1]
            i += S.sides[2 * b]
            o += S.sides[2 * b + 1]
    elif L.kind == SPARSE:
        sparse_product(L.n_out, L.n_in, S.row_ptr, S.row_col, NULL, S, s, A, lda, out, ldout)
    elif real is float:
        la_conv_f_apply(&S.conv, min(S.threads, s), s, w, A, lda, out, ldout, <float*>S.work, S.room)
    else:
        la_conv_d_apply(&S.conv, min(S.threads, s), s, w, A, lda, out, ldout, <double*>S.work, S.room)
    clear_margin(s, L.n_out, out, ldout)


cdef inline void structured_backward(Layer* L, int s, const real* D, int ldd, real* out, int ldout, const real* A, int lda) noexcept nogil:
    """out (s, n_in) = D (s, n_out) W unless out is NULL; and the coordinates of D^T A unless A is NULL."""
    cdef Structure* S = L.more
    cdef real* w = <real*>L.coeff
    cdef real* g = <real*>S.raw
    cdef Py_ssize_t r
    cdef int c, b, i = 0, o = 0
    if L.kind == DIAGONAL:
        if A != NULL:
            memset(g, 0, S.size * sizeof(real))
        for r in range(s):
            if A != NULL:
                for c in range(L.n_out):
                    g[c] += D[r * ldd + c] * A[r * lda + c]
            if out != NULL:
                for c in range(L.n_out):
                    out[r * ldout + c] = D[r * ldd + c] * w[c]
    elif L.kind == BLOCKS:
        for b in range(S.blocks):
            if out != NULL:
                gemm(False, False, s, S.sides[2 * b], S.sides[2 * b + 1], 1, D + o, ldd, w, S.sides[2 * b], 0, out + i, ldout)
            if A != NULL:
                gemm(True, False, S.sides[2 * b + 1], S.sides[2 * b], s, 1, D + o, ldd, A + i, lda, 0, g, S.sides[2 * b])
            w += <Py_ssize_t>S.sides[2 * b] * S.sides[2 * b + 1]
            g += <Py_ssize_t>S.sides[2 * b] * S.sides[2 * b + 1]
            i += S.sides[2 * b]
            o += S.sides[2 * b + 1]
    elif L.kind == SPARSE:
        if out != NULL:
            sparse_product(L.n_in, L.n_out, S.col_ptr, S.col_row, S.col_at, S, s, D, ldd, out, ldout)
        if A != NULL:
            sparse_coordinates(L, s, D, ldd, A, lda)
    elif real is float:
        la_conv_f_backward(&S.conv, min(S.threads, s), s, w, D, ldd, out, ldout, A, lda, g if A != NULL else NULL, S.size,
                           <float*>S.work, S.room)
    else:
        la_conv_d_backward(&S.conv, min(S.threads, s), s, w, D, ldd, out, ldout, A, lda, g if A != NULL else NULL, S.size,
                           <double*>S.work, S.room)
    if out != NULL:
        clear_margin(s, L.n_in, out, ldout)


cdef inline void sparse_gradient(int p, Layer* L, int s, const real* D, int ldd, const real* A, int lda, real* each) noexcept nogil:
    """The gradient of every nonzero, by a thread over its share of the rows."""
    cdef Structure* S = L.more
    cdef Py_ssize_t first = first_row(S, s, p, sizeof(real))
    cdef int rows = first_row(S, s, p + 1, sizeof(real)) - <int>first
    if real is float:
        la_structured_f.sparse_grad(L.n_out, L.n_in, S.row_ptr, S.row_col, rows, D + first * ldd, ldd, A + first * lda, lda,
                                    each + <Py_ssize_t>p * S.nonzeros, <float*>S.work + p * S.room)
    else:
        la_structured_d.sparse_grad(L.n_out, L.n_in, S.row_ptr, S.row_col, rows, D + first * ldd, ldd, A + first * lda, lda,
                                    each + <Py_ssize_t>p * S.nonzeros, <double*>S.work + p * S.room)


cdef inline void sparse_coordinates(Layer* L, int s, const real* D, int ldd, const real* A, int lda) noexcept nogil:
    """The gradient of every nonzero; then its sum over the nonzeros of a parameter."""
    cdef Structure* S = L.more
    cdef real* raw = <real*>S.raw
    cdef real* each = raw if S.index == NULL else <real*>S.full
    cdef int k, p, threads = S.threads
    if threads == 1:
        sparse_gradient(0, L, s, D, ldd, A, lda, each)
    else:
        for p in prange(threads, num_threads=threads, schedule="static"):
            sparse_gradient(p, L, s, D, ldd, A, lda, each)
    for p in range(1, threads):
        for k in range(S.nonzeros):
            each[k] += each[<Py_ssize_t>p * S.nonzeros + k]
    if S.index == NULL:
        return
    memset(raw, 0, S.size * sizeof(real))
    for k in range(S.nonzeros):
        raw[S.index[k]] += each[k] if S.sign == NULL else S.sign[k] * each[k]


cdef inline void gather_matrix(real* tag, Layer* L, bint plain) noexcept nogil:
    """The coordinates of the matrix gradient in `full`; `plain`: not those of the metric."""
    cdef Structure* S = L.more
    cdef real* G = <real*>S.full
    cdef real* raw = <real*>S.raw
    cdef real* g
    cdef real* line
    cdef Py_ssize_t k
    cdef int j, i
    cdef real total
    if L.kind == TIED:
        memset(raw, 0, S.size * sizeof(real))
        if real is float:
            la_structured_f.tied_gather(&S.runs, G, L.ld, raw, S.size)
        else:
            la_structured_d.tied_gather(&S.runs, G, L.ld, raw, S.size)
    elif L.kind == BASIS:
        for k in range(S.size):
            total = 0
            for i in range(L.n_out):
                line = G + <Py_ssize_t>i * L.ld
                g = <real*>(S.basis if plain else S.dual) + (k * L.n_out + i) * L.n_in
                for j in range(L.n_in):
                    total += g[j] * line[j]
            raw[k] = total


cdef inline void spread_runs(real* tag, Layer* L, int first, int last) noexcept nogil:
    if real is float:
        la_structured_f.tied_spread(&L.more.runs, first, last, <float*>L.coeff, <float*>L.theta, L.ld)
    else:
        la_structured_d.tied_spread(&L.more.runs, first, last, <double*>L.coeff, <double*>L.theta, L.ld)


cdef inline void spread(real* tag, Layer* L) noexcept nogil:
    """The matrix of tied parameters, by all threads: most of its lines are in the cache of the one that read them last."""
    cdef int p, threads = L.more.threads, count = L.more.runs.count
    if threads == 1:
        spread_runs(tag, L, 0, count)
        return
    for p in prange(threads, num_threads=threads, schedule="static"):
        spread_runs(tag, L, share(count, p, threads, 1), share(count, p + 1, threads, 1))


cdef inline void refresh(real* tag, Layer* L) noexcept nogil:
    """The matrix, or the nonzeros, of the parameters."""
    cdef Structure* S = L.more
    cdef real* w = <real*>L.coeff
    cdef real* W = <real*>L.theta
    cdef real* b
    cdef real* line
    cdef Py_ssize_t k
    cdef int j, i
    if L.kind == TIED:
        spread(tag, L)
    elif L.kind == BASIS:
        memset(W, 0, <Py_ssize_t>L.n_out * L.ld * sizeof(real))
        for k in range(S.size):
            for i in range(L.n_out):
                line = W + <Py_ssize_t>i * L.ld
                b = <real*>S.basis + (k * L.n_out + i) * L.n_in
                for j in range(L.n_in):
                    line[j] += w[k] * b[j]
    elif L.kind == SPARSE and S.index != NULL:
        for k in range(S.nonzeros):
            (<real*>S.values)[k] = w[S.index[k]] if S.sign == NULL else S.sign[k] * w[S.index[k]]


cdef inline void use_coordinates(real* tag, Layer* L, bint keep, double momentum) noexcept nogil:
    """Update the parameters along the coordinates of the gradient, in the metric of `scale`; `keep`: store them, update nothing."""
    cdef Structure* S = L.more
    cdef real* g = <real*>S.raw
    cdef real* w = <real*>L.coeff
    cdef real* v = <real*>L.velocity
    cdef real lr = <real>L.lr, decay = <real>L.decay, m = <real>momentum
    cdef Py_ssize_t k
    if keep:
        for k in range(S.size):
            (<real*>L.gradient)[k] = g[k]
        return
    if S.scale != NULL:
        for k in range(S.size):
            g[k] = g[k] * <real>S.scale[k]
    if v != NULL:
        for k in range(S.size):
            v[k] = m * v[k] + g[k] + decay * w[k]
            w[k] = w[k] - lr * v[k]
    else:
        for k in range(S.size):
            w[k] = w[k] - lr * (g[k] + decay * w[k])
    refresh(tag, L)
