# One door to every dense product: a register tile where it was measured to win, BLAS elsewhere (kernels/README.md).

from cython.parallel cimport prange
from types cimport real
from blas cimport gemm

cdef enum:
    WAKE = 150000       # multiply-adds that repay a second thread: about as long as four handovers

cdef extern from "la_tile.h":
    ctypedef struct la_table_float:
        void (*gemm)(int, int, int, float, const float*, Py_ssize_t, Py_ssize_t, const float*, Py_ssize_t,
                     float, float*, Py_ssize_t) noexcept nogil
        void (*dot_update)(int, int, float*, Py_ssize_t, const float*, float*, const float*, float, float) noexcept nogil
        void (*sum_update)(int, int, float*, Py_ssize_t, const float*, float*, const float*, float, float) noexcept nogil
        double (*residual)(Py_ssize_t, float*, const float*, float) noexcept nogil
        void (*transpose)(int, int, const float*, Py_ssize_t, float*, Py_ssize_t) noexcept nogil
        void (*axpby)(Py_ssize_t, float, const float*, float, float*) noexcept nogil
        void (*scale)(int, int, const float*, Py_ssize_t, const float*, float*, Py_ssize_t) noexcept nogil
    ctypedef struct la_table_double:
        void (*gemm)(int, int, int, double, const double*, Py_ssize_t, Py_ssize_t, const double*, Py_ssize_t,
                     double, double*, Py_ssize_t) noexcept nogil
        void (*dot_update)(int, int, double*, Py_ssize_t, const double*, double*, const double*, double, double) noexcept nogil
        void (*sum_update)(int, int, double*, Py_ssize_t, const double*, double*, const double*, double, double) noexcept nogil
        double (*residual)(Py_ssize_t, double*, const double*, double) noexcept nogil
        void (*transpose)(int, int, const double*, Py_ssize_t, double*, Py_ssize_t) noexcept nogil
        void (*axpby)(Py_ssize_t, double, const double*, double, double*) noexcept nogil
        void (*scale)(int, int, const double*, Py_ssize_t, const double*, double*, Py_ssize_t) noexcept nogil
    la_table_float la_float
    la_table_double la_double
    int la_detect() noexcept nogil
    void la_select(int level) noexcept nogil

cdef extern from "la_structured.h":
    int la_share(int lines, int part, int parts) noexcept nogil

cdef struct Small:
    int level         # 0: BLAS only
    int most          # a product goes to the tile if its columns and its inner size are no larger; a multiple of 16
    int threads       # that share a product; one where BLAS has threads of its own
    void* scratch     # a thread: `room` elements of a transposed factor, whole vectors of rows too
    Py_ssize_t room


# entries of a matrix that repay sharing out its transposition
cdef enum:
    TURN_WORTH = 16384


cdef inline int share(int lines, int part, int parts, int unit) noexcept nogil:
    """Where a part of the lines begins, in whole units; the last part ends with them."""
    return min(lines, la_share((lines + unit - 1) // unit, part, parts) * unit)


cdef inline void transpose_vectors(int m, int n, const real* A, int lda, real* B, int ldb) noexcept nogil:
    """B (n, m) = A (m, n)^T by whole vectors of rows and columns: both have room for them; needs has_vectors."""
    if real is float:
        la_float.transpose(m, n, A, lda, B, ldb)
    else:
        la_double.transpose(m, n, A, lda, B, ldb)


cdef inline void transpose_strip(int first, int last, int n, const real* A, int lda, real* B, int ldb) noexcept nogil:
    """Of rows first to last - 1 of A alone."""
    transpose_vectors(last - first, n, A + <Py_ssize_t>first * lda, lda, B + first, ldb)


cdef inline void transpose(Small* small, int m, int n, const real* A, int lda, real* B, int ldb) noexcept nogil:
    """B (n, m) = A (m, n)^T, in whole vectors where the sides are, else in blocks that stay in the first cache."""
    cdef int i, j, i0, j0, i1, j1, lanes = <int>(64 // sizeof(real)), threads = small.threads
    if small.level and m % lanes == 0 and n % lanes == 0:
        if threads == 1 or m * n < TURN_WORTH:
            transpose_vectors(m, n, A, lda, B, ldb)
            return
        for i in prange(threads, num_threads=threads, schedule="static"):
            transpose_strip(share(m, i, threads, lanes), share(m, i + 1, threads, lanes), n, A, lda, B, ldb)
        return
    for i0 in range(0, m, 16):
        i1 = min(i0 + 16, m)
        for j0 in range(0, n, 16):
            j1 = min(j0 + 16, n)
            for j in range(j0, j1):
                for i in range(i0, i1):
                    B[<Py_ssize_t>j * ldb + i] = A[<Py_ssize_t>i * lda + j]


cdef inline void clear_margin(int rows, int columns, real* A, int lda) noexcept nogil:
    """The padding of short rows must not look like data to the tile: buffers are reused with other shapes."""
    cdef int r, c
    if lda - columns >= 64 // <int>sizeof(real):
        return
    for r in range(rows):
        for c in range(columns, lda):
            A[<Py_ssize_t>r * lda + c] = 0


cdef inline int padded(int n, int lanes) noexcept nogil:
    return (n + lanes - 1) // lanes * lanes


cdef inline int columns_of(int threads, int m, int n) noexcept nogil:
    """Of the grids of all threads, the columns of the one whose blocks of C (m, n) have the shortest sides: least is packed twice."""
    cdef int c, best = 1
    for c in range(1, threads + 1):
        if threads % c == 0 and <double>m * c / threads + <double>n / c < <double>m * best / threads + <double>n / best:
            best = c
    return best


cdef inline void shares(Small* small, bint tile, bint ta, bint tb, int m, int n, int k, double alpha, const real* A, int lda,
                        const real* B, int ldb, double beta, real* C, int ldc) noexcept nogil:
    """The product by all threads, each its block of C; the tile's blocks are of whole rows."""
    cdef int p, top, left, rows, columns, threads = small.threads, across = 1 if tile else columns_of(threads, m, n)
    cdef int down = threads // across
    for p in prange(threads, num_threads=threads, schedule="static"):
        top, left = share(m, p // across, down, 8), share(n, p % across, across, 8)
        rows, columns = share(m, p // across + 1, down, 8) - top, share(n, p % across + 1, across, 8) - left
        if rows and columns:
            part(small, p, tile, ta, tb, rows, columns, k, alpha, A + (top if ta else <Py_ssize_t>top * lda), lda,
                 B + (<Py_ssize_t>left * ldb if tb else left), ldb, beta, C + <Py_ssize_t>top * ldc + left, ldc)


cdef inline void part(Small* small, int thread, bint tile, bint ta, bint tb, int m, int n, int k, double alpha, const real* A, int lda,
                      const real* B, int ldb, double beta, real* C, int ldc) noexcept nogil:
    cdef real* packed
    cdef int ldp
    if not tile:
        gemm(ta, tb, m, n, k, alpha, A, lda, B, ldb, beta, C, ldc)
        return
    if tb:
        # by each thread for itself: what another has just written is slow to reach
        ldp = padded(n, <int>(64 // sizeof(real)))
        packed = <real*>small.scratch + <Py_ssize_t>thread * small.room
        transpose_vectors(n, k, B, ldb, packed, ldp)
        B = packed
        ldb = ldp
    tiles(m, n, k, alpha, A, 1 if ta else lda, lda if ta else 1, B, ldb, beta, C, ldc)


cdef inline void tiles(int m, int n, int k, double alpha, const real* A, Py_ssize_t a_row, Py_ssize_t a_col,
                       const real* B, int ldb, double beta, real* C, int ldc) noexcept nogil:
    if real is float:
        la_float.gemm(m, n, k, <float>alpha, A, a_row, a_col, B, ldb, <float>beta, C, ldc)
    else:
        la_double.gemm(m, n, k, alpha, A, a_row, a_col, B, ldb, beta, C, ldc)


cdef inline void product(Small* small, bint ta, bint tb, int m, int n, int k, double alpha, const real* A, int lda,
                         const real* B, int ldb, double beta, real* C, int ldc) noexcept nogil:
    """C (m, n) = alpha * op(A) (m, k) @ op(B) (k, n) + beta * C. Short rows are padded with zeros to 64 bytes."""
    cdef long macs = <long>m * n * k
    # few rows do not repay the transposition where BLAS has small products of its own (AVX-512)
    cdef bint tile = (small.level and n <= small.most and k <= small.most
                      and not (tb and small.level == 4 and n > 16 and 3 * m < n))
    if small.threads > 1 and macs >= WAKE:
        shares(small, tile, ta, tb, m, n, k, alpha, A, lda, B, ldb, beta, C, ldc)
    else:
        part(small, 0, tile, ta, tb, m, n, k, alpha, A, lda, B, ldb, beta, C, ldc)
    if not tile:
        clear_margin(m, n, C, ldc)


cdef inline bint has_vectors(Small* small) noexcept nogil:
    return small.level > 0


cdef inline void axpby(Py_ssize_t count, double alpha, const real* G, double beta, real* C) noexcept nogil:
    """C = alpha * G + beta * C; needs has_vectors."""
    if real is float:
        la_float.axpby(count, <float>alpha, G, <float>beta, C)
    else:
        la_double.axpby(count, alpha, G, beta, C)


cdef inline void scale_columns(int rows, int columns, const real* A, int lda, const real* x, real* out, int ldout) noexcept nogil:
    """out = A diag(x); needs has_vectors."""
    if real is float:
        la_float.scale(rows, columns, A, lda, x, out, ldout)
    else:
        la_double.scale(rows, columns, A, lda, x, out, ldout)


cdef inline void dot_update(real* W, int m, int n, int ldw, const real* a, real* y, const real* c,
                            double scale, double beta) noexcept nogil:
    """y = W a (unless y is NULL), then W = beta * W + scale * c a^T (unless c is NULL), in one pass over W."""
    if real is float:
        la_float.dot_update(m, n, W, ldw, a, y, c, <float>scale, <float>beta)
    else:
        la_double.dot_update(m, n, W, ldw, a, y, c, scale, beta)


cdef inline void sum_update(real* W, int m, int n, int ldw, const real* d, real* z, const real* a,
                            double scale, double beta) noexcept nogil:
    """z = d W, then W = beta * W + scale * d a^T (unless a is NULL), in one pass over W."""
    if real is float:
        la_float.sum_update(m, n, W, ldw, d, z, a, <float>scale, <float>beta)
    else:
        la_double.sum_update(m, n, W, ldw, d, z, a, scale, beta)
