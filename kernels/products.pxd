# Dense products: one door, behind it a register tile where it was measured to win and BLAS elsewhere (README.md).

from cython.parallel cimport prange
from types cimport real, LINE, AVX2, AVX512
from memory cimport padded
from blas cimport gemm

cdef enum:
    TURN_WORTH = 16384  # entries of a matrix that repay sharing out its transposition
    FEW = 12            # rows that meet a matrix where it lies
    FEW_TURNED = 15     # and its transpose
    QUICK = 1200        # entries of a product of many rows with a few, up to which BLAS has a quick way
    LONG = 64           # and the columns of one whose rows are read: of fewer, the last sums of a lane each are what takes time
    TALL = 2048         # and the rows of one whose columns are read: of more, each on a page of its own, packing is faster

cdef extern from "la_tile.h":
    ctypedef struct la_tile_float:
        void (*gemm)(int, int, int, float, const float*, Py_ssize_t, Py_ssize_t, const float*, Py_ssize_t,
                     float, float*, Py_ssize_t) noexcept nogil
        void (*dot_update)(int, int, float*, Py_ssize_t, const float*, float*, const float*, float, float) noexcept nogil
        void (*sum_update)(int, int, float*, Py_ssize_t, const float*, float*, const float*, float, float) noexcept nogil
        double (*residual)(Py_ssize_t, float*, const float*, float) noexcept nogil
        void (*transpose)(int, int, const float*, Py_ssize_t, float*, Py_ssize_t) noexcept nogil
        void (*axpby)(Py_ssize_t, float, const float*, float, float*) noexcept nogil
        void (*scale)(int, int, const float*, Py_ssize_t, const float*, float*, Py_ssize_t) noexcept nogil
        void (*stripes_fill)(int, int, int, const float*, Py_ssize_t, const float*, Py_ssize_t, float*, Py_ssize_t) noexcept nogil
        void (*panels)(int, int, int, int, int, float, const float*, Py_ssize_t, const float*, Py_ssize_t, float, float*, Py_ssize_t,
                       int, float*) noexcept nogil
        void (*few)(int, int, int, int, float, const float*, Py_ssize_t, const float*, Py_ssize_t, float, float*, Py_ssize_t) noexcept nogil
        void (*combined)(Py_ssize_t, int, const float*, const float**, const float*, float*) noexcept nogil
    ctypedef struct la_tile_double:
        void (*gemm)(int, int, int, double, const double*, Py_ssize_t, Py_ssize_t, const double*, Py_ssize_t,
                     double, double*, Py_ssize_t) noexcept nogil
        void (*dot_update)(int, int, double*, Py_ssize_t, const double*, double*, const double*, double, double) noexcept nogil
        void (*sum_update)(int, int, double*, Py_ssize_t, const double*, double*, const double*, double, double) noexcept nogil
        double (*residual)(Py_ssize_t, double*, const double*, double) noexcept nogil
        void (*transpose)(int, int, const double*, Py_ssize_t, double*, Py_ssize_t) noexcept nogil
        void (*axpby)(Py_ssize_t, double, const double*, double, double*) noexcept nogil
        void (*scale)(int, int, const double*, Py_ssize_t, const double*, double*, Py_ssize_t) noexcept nogil
        void (*stripes_fill)(int, int, int, const double*, Py_ssize_t, const double*, Py_ssize_t, double*, Py_ssize_t) noexcept nogil
        void (*panels)(int, int, int, int, int, double, const double*, Py_ssize_t, const double*, Py_ssize_t, double, double*, Py_ssize_t,
                       int, double*) noexcept nogil
        void (*few)(int, int, int, int, double, const double*, Py_ssize_t, const double*, Py_ssize_t, double, double*,
                    Py_ssize_t) noexcept nogil
        void (*combined)(Py_ssize_t, int, const double*, const double**, const double*, double*) noexcept nogil
    ctypedef struct la_tile:
        la_tile_float f
        la_tile_double d
    const la_tile* la_tile_of(int level) noexcept nogil
    const int BLOCK "LA_BLOCK"      # rows of the first factor that are packed at once
    const int TERMS "LA_TERMS"      # bytes of the terms of a line that are packed at once

cdef extern from "la_team.h":
    int la_team(int wanted) noexcept nogil

cdef extern from "la_share.h":
    int la_share(int lines, int part, int parts) noexcept nogil

cdef struct Machine:
    int level               # the instruction set, a Level
    const la_tile* tile     # its functions, NULL for the baseline: beside this engine others may run with another level
    int most                # a product goes to the tile if its columns and its inner size are no larger; a multiple of 16
    int threads             # that share a product; one where BLAS has threads of its own
    Py_ssize_t wake         # multiply-adds that repay a second thread: about as long as four handovers
    Py_ssize_t cache        # bytes of a layer that stay in the second-level cache beside the rows in flight
    void* scratch           # a thread: `room` elements of a transposed factor, whole vectors of rows too
    Py_ssize_t room
    int least               # a product goes by packed panels from so many rows, columns and terms on; 0 for never
    int panel               # columns of them that are packed at once
    void* panels            # a thread: BLOCK + panel lines of TERMS bytes; NULL where there is no such product

cdef enum Way:
    BY_BLAS = 0
    BY_TILE = 1
    BY_PANELS = 2
    BY_FEW = 3              # rows, with a factor that nobody packs


cdef inline Py_ssize_t lay_out_panels(Machine* machine, int least, int widest, size_t itemsize) noexcept nogil:
    """Bytes for the panels of all threads, if any product is as large: `widest` is the largest of its sides but one."""
    cdef int whole = 3 * LINE // <int>itemsize
    machine.least = least if machine.tile != NULL and widest >= least else 0
    if not machine.least:
        return 0
    machine.panel = max(1, min(<int>(machine.cache // TERMS), widest + whole - 1) // whole) * whole
    return <Py_ssize_t>machine.threads * (BLOCK + machine.panel) * TERMS


cdef inline int share(int lines, int part, int parts, int unit) noexcept nogil:
    """Where a part of the lines begins, in whole units; the last part ends with them."""
    return min(lines, la_share((lines + unit - 1) // unit, part, parts) * unit)


cdef inline void transpose_vectors(Machine* machine, int m, int n, const real* A, int lda, real* B, int ldb) noexcept nogil:
    """B (n, m) = A (m, n)^T by whole vectors of rows and columns: both have room for them; needs has_vectors."""
    if real is float:
        machine.tile.f.transpose(m, n, A, lda, B, ldb)
    else:
        machine.tile.d.transpose(m, n, A, lda, B, ldb)


cdef inline void transpose_strip(Machine* machine, int first, int last, int n, const real* A, int lda, real* B, int ldb) noexcept nogil:
    """Of rows first to last - 1 of A alone."""
    transpose_vectors(machine, last - first, n, A + <Py_ssize_t>first * lda, lda, B + first, ldb)


cdef inline void transpose(Machine* machine, int m, int n, const real* A, int lda, real* B, int ldb) noexcept nogil:
    """B (n, m) = A (m, n)^T, in whole vectors where the sides are, else in blocks that stay in the first cache."""
    cdef int i, j, i0, j0, i1, j1, lanes = <int>(LINE // sizeof(real)), threads = machine.threads
    if machine.level and m % lanes == 0 and n % lanes == 0:
        if threads == 1 or m * n < TURN_WORTH:
            transpose_vectors(machine, m, n, A, lda, B, ldb)
            return
        for i in prange(threads, num_threads=la_team(threads), schedule="static"):
            transpose_strip(machine, share(m, i, threads, lanes), share(m, i + 1, threads, lanes), n, A, lda, B, ldb)
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
    if lda - columns >= LINE // <int>sizeof(real):
        return
    for r in range(rows):
        for c in range(columns, lda):
            A[<Py_ssize_t>r * lda + c] = 0


cdef inline int grid_columns(int threads, int m, int n) noexcept nogil:
    """Of the grids of all threads, the columns of the one whose blocks of C (m, n) have the shortest sides: least is packed twice."""
    cdef int c, best = 1
    for c in range(1, threads + 1):
        if threads % c == 0 and <double>m * c / threads + <double>n / c < <double>m * best / threads + <double>n / best:
            best = c
    return best


cdef inline void product_by_threads(Machine* machine, Way way, bint ta, bint tb, int m, int n, int k, double alpha,
                                    const real* A, int lda, const real* B, int ldb, double beta, real* C, int ldc) noexcept nogil:
    """The product by all threads, each its block of C; the tile's blocks are of whole rows."""
    cdef int p, top, left, rows, columns, threads = machine.threads
    cdef int across = 1 if way == BY_TILE or way == BY_FEW and m > n else threads if way == BY_FEW else grid_columns(threads, m, n)
    cdef int lanes = LINE // <int>sizeof(real), down = threads // across, unit = 3 * lanes if way == BY_PANELS else lanes
    for p in prange(threads, num_threads=la_team(threads), schedule="static"):
        top, left = share(m, p // across, down, 8), share(n, p % across, across, unit)
        rows, columns = share(m, p // across + 1, down, 8) - top, share(n, p % across + 1, across, unit) - left
        if rows and columns:
            product_by_one(machine, p, way, ta, tb, rows, columns, k, alpha, A + (top if ta else <Py_ssize_t>top * lda), lda,
                           B + (<Py_ssize_t>left * ldb if tb else left), ldb, beta, C + <Py_ssize_t>top * ldc + left, ldc)


cdef inline void product_by_one(Machine* machine, int thread, Way way, bint ta, bint tb, int m, int n, int k, double alpha,
                                const real* A, int lda, const real* B, int ldb, double beta, real* C, int ldc) noexcept nogil:
    """By BLAS, the tile, packed panels or few rows; `thread` has room of its own."""
    cdef real* packed
    cdef int ldp
    if way == BY_BLAS:
        gemm(ta, tb, m, n, k, alpha, A, lda, B, ldb, beta, C, ldc)
        return
    if way == BY_PANELS:
        packed = <real*>(<char*>machine.panels + <Py_ssize_t>thread * (BLOCK + machine.panel) * TERMS)
        if real is float:
            machine.tile.f.panels(ta, tb, m, n, k, <float>alpha, A, lda, B, ldb, <float>beta, C, ldc, machine.panel, packed)
        else:
            machine.tile.d.panels(ta, tb, m, n, k, alpha, A, lda, B, ldb, beta, C, ldc, machine.panel, packed)
        return
    if way == BY_FEW:
        if real is float:
            machine.tile.f.few(tb, m, n, k, <float>alpha, A, lda, B, ldb, <float>beta, C, ldc)
        else:
            machine.tile.d.few(tb, m, n, k, alpha, A, lda, B, ldb, beta, C, ldc)
        return
    if tb:
        # by each thread for itself: what another has just written is slow to reach
        ldp = padded(n, <int>(LINE // sizeof(real)))
        packed = <real*>machine.scratch + <Py_ssize_t>thread * machine.room
        transpose_vectors(machine, n, k, B, ldb, packed, ldp)
        B = packed
        ldb = ldp
    tile_product(machine, m, n, k, alpha, A, 1 if ta else lda, lda if ta else 1, B, ldb, beta, C, ldc)


cdef inline void tile_product(Machine* machine, int m, int n, int k, double alpha, const real* A, Py_ssize_t a_row, Py_ssize_t a_col,
                              const real* B, int ldb, double beta, real* C, int ldc) noexcept nogil:
    """By the tile: A[i, p] stands at A[i * a_row + p * a_col]."""
    if real is float:
        machine.tile.f.gemm(m, n, k, <float>alpha, A, a_row, a_col, B, ldb, <float>beta, C, ldc)
    else:
        machine.tile.d.gemm(m, n, k, alpha, A, a_row, a_col, B, ldb, beta, C, ldc)


cdef inline Way way_of(Machine* machine, bint ta, bint tb, int m, int n, int k) noexcept nogil:
    """Who makes a product, by its sizes alone."""
    cdef bint small = n <= machine.most and k <= machine.most
    # few rows do not repay the transposition where BLAS has small products of its own (AVX-512)
    if machine.level and small and not (tb and machine.level == AVX512 and n > 16 and 3 * m < n):
        return BY_TILE
    if machine.level >= AVX2 and not ta and not tb and m <= FEW and k <= TALL:
        return BY_FEW
    if machine.level >= AVX2 and not ta and tb and k >= LONG and (m <= FEW_TURNED or 1 < n <= FEW_TURNED and <long>m * n > QUICK):
        return BY_FEW
    return BY_PANELS if machine.panels != NULL and min(m, n, k) >= machine.least else BY_BLAS


cdef inline void product(Machine* machine, bint ta, bint tb, int m, int n, int k, double alpha, const real* A, int lda,
                         const real* B, int ldb, double beta, real* C, int ldc) noexcept nogil:
    """C (m, n) = alpha * op(A) (m, k) @ op(B) (k, n) + beta * C. Short rows are padded with zeros to 64 bytes."""
    cdef long macs = <long>m * n * k
    cdef Way way = way_of(machine, ta, tb, m, n, k)
    if machine.threads > 1 and macs >= machine.wake:
        product_by_threads(machine, way, ta, tb, m, n, k, alpha, A, lda, B, ldb, beta, C, ldc)
    else:
        product_by_one(machine, 0, way, ta, tb, m, n, k, alpha, A, lda, B, ldb, beta, C, ldc)
    # the tile of AVX-512 writes whole lines, that of AVX2 whole vectors, which are half of one
    if way != BY_TILE or machine.level != AVX512:
        clear_margin(m, n, C, ldc)


cdef inline bint has_vectors(Machine* machine) noexcept nogil:
    """Whether there are functions of the tile."""
    return machine.level > 0


cdef inline void axpby(Machine* machine, Py_ssize_t count, double alpha, const real* G, double beta, real* C) noexcept nogil:
    """C = alpha * G + beta * C; needs has_vectors."""
    if real is float:
        machine.tile.f.axpby(count, <float>alpha, G, <float>beta, C)
    else:
        machine.tile.d.axpby(count, alpha, G, beta, C)


cdef inline double inner(Machine* machine, Py_ssize_t count, const double* x, const double* y) noexcept nogil:
    """x . y."""
    cdef double total = 0
    cdef Py_ssize_t k
    if machine.level:
        machine.tile.d.dot_update(1, <int>count, <double*>x, count, y, &total, <const double*>NULL, 0, 1)
        return total
    for k in range(count):
        total += x[k] * y[k]
    return total


cdef inline void combine(Machine* machine, Py_ssize_t count, int terms, const double* a, const double** X, const double* base,
                         double* out) noexcept nogil:
    """out = base + sum_j a[j] X[j]; base NULL is zero."""
    cdef Py_ssize_t k
    cdef int j
    if machine.level:
        machine.tile.d.combined(count, terms, a, X, base, out)
        return
    for k in range(count):
        out[k] = base[k] if base != NULL else 0
        for j in range(terms):
            out[k] = out[k] + a[j] * X[j][k]


cdef inline void scale_columns(Machine* machine, int rows, int columns, const real* A, int lda, const real* x,
                               real* out, int ldout) noexcept nogil:
    """out = A diag(x); needs has_vectors."""
    if real is float:
        machine.tile.f.scale(rows, columns, A, lda, x, out, ldout)
    else:
        machine.tile.d.scale(rows, columns, A, lda, x, out, ldout)


cdef inline void dot_update(Machine* machine, real* W, int m, int n, int ldw, const real* a, real* y, const real* c,
                            double scale, double beta) noexcept nogil:
    """y = W a (unless y is NULL), then W = beta * W + scale * c a^T (unless c is NULL), in one pass over W."""
    if real is float:
        machine.tile.f.dot_update(m, n, W, ldw, a, y, c, <float>scale, <float>beta)
    else:
        machine.tile.d.dot_update(m, n, W, ldw, a, y, c, scale, beta)


cdef inline void sum_update(Machine* machine, real* W, int m, int n, int ldw, const real* d, real* z, const real* a,
                            double scale, double beta) noexcept nogil:
    """z = d W, then W = beta * W + scale * d a^T (unless a is NULL), in one pass over W."""
    if real is float:
        machine.tile.f.sum_update(m, n, W, ldw, d, z, a, <float>scale, <float>beta)
    else:
        machine.tile.d.sum_update(m, n, W, ldw, d, z, a, scale, beta)
