# Products of Toeplitz matrices in O(m n): each entry from its neighbour up the diagonal.
#
# Along its diagonals a Toeplitz matrix does not change, and a product of Toeplitz matrices changes by a matrix of low rank:
#
#     M(i, j) - M(i - 1, j - 1) = sum_r G(r, i) H(r, j)     (i, j >= 1)
#
# If M (m, k) and N (k, n) have such stripes, so has C = M N: from C(i, j) = sum_t M(i, t) N(t, j), taking apart the first term and
# shifting the others,
#
#     C(i, j) - C(i - 1, j - 1) = M(i, 0) N(0, j) - M(i - 1, k - 1) N(k - 1, j - 1)
#                               + sum_r [sum_{t >= 1} M(i - 1, t - 1) G_N(r, t)] H_N(r, j)
#                               + sum_r G_M(r, i) [sum_{t >= 1} H_M(r, t) N(t, j)]
#
# so its rank is that of M, that of N, and 2: a product of d Toeplitz matrices has 2 (d - 1). Cost: rank * m * n multiply-adds and
# rank + 2 products of a matrix and a vector, in place of k * m * n. (Displacement rank: Kailath, Kung, Morf 1979.)
# Errors: an entry has had at most k + (rank + 1) min(m, n) roundings, each of something no larger than the sum of what was added and
# taken off again along its diagonal. So they are small beside ||M|| ||N||, as for products by FFT, and not beside each entry: one
# much smaller than others of its diagonal has their errors. Nothing drifts: every product begins from the parameters.
# Header only.

from libc.string cimport memcpy
from types cimport real
from products cimport Machine, dot_update, sum_update, clear_margin

cdef enum:
    NONE = -1           # the rank of a matrix without stripes

cdef struct Stripes:
    int rank            # 0 for a Toeplitz matrix
    int ldg, ldh
    void* G             # (rank, ldg), by rows of the matrix; the entry 0 is 0
    void* H             # (rank, ldh), by its columns; the same


cdef inline int longer(int a, int b) noexcept nogil:
    """The rank of a product of two."""
    return NONE if a == NONE or b == NONE else a + b + 2


cdef inline Stripes turned(Stripes* a) noexcept nogil:
    """Of the transpose."""
    return Stripes(rank=a.rank, ldg=a.ldh, ldh=a.ldg, G=a.H, H=a.G)


cdef inline void by_vector(Machine* machine, int m, int k, const real* M, int ldm, const real* x, real* out) noexcept nogil:
    """out (m) = M x."""
    dot_update(machine, <real*>M, m, k, ldm, x, out, <real*>NULL, 0, 1)


cdef inline void of_vector(Machine* machine, int k, int n, const real* N, int ldn, bint transposed, const real* x,
                           real* out) noexcept nogil:
    """out (n) = x N; N is kept as N^T if `transposed`."""
    if transposed:
        by_vector(machine, n, k, N, ldn, x, out)
    else:
        sum_update(machine, <real*>N, k, n, ldn, x, out, <real*>NULL, 0, 1)


cdef inline void stripes_product(Machine* machine, int m, int n, int k, const real* M, int ldm, Stripes* a, const real* N, int ldn,
                                 bint transposed, Stripes* b, real* C, int ldc, Stripes* c, real* work) noexcept nogil:
    """C (m, n) = M (m, k) N (k, n) and its stripes; N is kept as N^T (n, k) if `transposed`, as are its stripes.

    `work`: m + k elements. Needs has_vectors.
    """
    cdef Stripes of_n = turned(b) if transposed else b[0]
    cdef Py_ssize_t down = 1 if transposed else ldn, along = ldn if transposed else 1, i
    cdef int r
    cdef real* g = <real*>c.G
    cdef real* h = <real*>c.H
    for i in range(1, m):
        g[i] = M[i * ldm]
        g[c.ldg + i] = -M[(i - 1) * ldm + k - 1]
    for i in range(1, n):
        h[i] = N[i * along]
        h[c.ldh + i] = N[(k - 1) * down + (i - 1) * along]
    for r in range(of_n.rank):
        g += c.ldg
        h += c.ldh
        by_vector(machine, m - 1, k - 1, M, ldm, <real*>of_n.G + r * of_n.ldg + 1, g + c.ldg + 1)
        memcpy(h + c.ldh, <real*>of_n.H + r * of_n.ldh, n * sizeof(real))
    for r in range(a.rank):
        g += c.ldg
        h += c.ldh
        memcpy(g + c.ldg, <real*>a.G + r * a.ldg, m * sizeof(real))
        of_vector(machine, k, n, N, ldn, transposed, <real*>a.H + r * a.ldh, h + c.ldh)
        h[c.ldh] = 0
    # the first row and the first column
    of_vector(machine, k, n, N, ldn, transposed, M, C)
    for i in range(k):
        work[i] = N[i * down]
    by_vector(machine, m - 1, k, M + ldm, ldm, work, work + k)
    for i in range(1, m):
        C[i * ldc] = work[k + i - 1]
    if real is float:
        machine.tile.f.stripes_fill(m, n, c.rank, <float*>c.G, c.ldg, <float*>c.H, c.ldh, C, ldc)
    else:
        machine.tile.d.stripes_fill(m, n, c.rank, <double*>c.G, c.ldg, <double*>c.H, c.ldh, C, ldc)
    clear_margin(m, n, C, ldc)
