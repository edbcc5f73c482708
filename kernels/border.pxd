# What stands beside the products of a constrained layer: a skip connection, and the constant coordinate of a chain with biases.
#
#     out = A W^T + A            where the layer has a skip connection
#     (a, o) -> (W a + o b, o)   with a constant coordinate, a column of the rows; b has one number for `places` outputs
#
# Its work is that of a few passes over the rows, which are shared out as those of the layer are.

from cython.parallel cimport prange
from types cimport real
from layer cimport Border, Layer
from products cimport la_team, share

cdef enum:
    AT_ONCE = 8         # terms of a sum that wait for no other


cdef inline real sum_of(int n, const real* d) noexcept nogil:
    """The sum of n numbers, in several sums at a time."""
    cdef real part[AT_ONCE]
    cdef real total = 0
    cdef int j = 0, q
    for q in range(AT_ONCE):
        part[q] = 0
    while j + AT_ONCE <= n:
        for q in range(AT_ONCE):
            part[q] += d[j + q]
        j += AT_ONCE
    while j < n:
        total += d[j]
        j += 1
    for q in range(AT_ONCE):
        total += part[q]
    return total


cdef inline void border_apply_rows(Layer* L, int first, int last, const real* A, int lda, real* out, int ldout) noexcept nogil:
    """A thread's share."""
    cdef Border* B = &L.structure.border
    cdef int m = L.n_out - B.carried, n = L.n_in - B.column, r, j, k
    cdef const real* b = <real*>L.theta + L.structure.size - B.biases
    cdef const real* a
    cdef real* y
    cdef real o, c
    for r in range(first, last):
        a, y = A + <Py_ssize_t>r * lda, out + <Py_ssize_t>r * ldout
        if B.skip:
            for j in range(n):
                y[j] += a[j]
        if not B.column:
            continue
        o = a[n]
        if B.carried:
            y[m] = o
        if B.places == 1:
            for k in range(B.biases):
                y[k] += o * b[k]
            continue
        for k in range(B.biases):
            c = o * b[k]
            for j in range(B.places):
                y[j] += c
            y += B.places


cdef inline void border_apply(Layer* L, int s, const real* A, int lda, real* out, int ldout) noexcept nogil:
    """out (s, n_out) holds the products of the layer; what stands beside them is added."""
    cdef int p, threads = min(L.structure.threads, s)
    if threads == 1:
        border_apply_rows(L, 0, s, A, lda, out, ldout)
        return
    for p in prange(threads, num_threads=la_team(threads), schedule="static"):
        border_apply_rows(L, share(s, p, threads, 1), share(s, p + 1, threads, 1), A, lda, out, ldout)


cdef inline void border_backward_rows(Layer* L, int p, int first, int last, const real* D, int ldd, real* out, int ldout, const real* A,
                                      int lda) noexcept nogil:
    """A thread's share, its part of the gradient of the biases in the coordinates that are its own."""
    cdef Border* B = &L.structure.border
    cdef int m = L.n_out - B.carried, n = L.n_in - B.column, r, j, k
    cdef const real* b = <real*>L.theta + L.structure.size - B.biases
    cdef real* g = <real*>L.structure.coordinates + (p + 1) * L.structure.size - B.biases
    cdef const real* d
    cdef real* z
    cdef real t, o, back
    if A != NULL:
        for k in range(B.biases):
            g[k] = 0
    for r in range(first, last):
        d = D + <Py_ssize_t>r * ldd
        if B.skip and out != NULL:
            z = out + <Py_ssize_t>r * ldout
            for j in range(n):
                z[j] += d[j]
        if not B.column:
            continue
        back = d[m] if B.carried else 0
        o = A[<Py_ssize_t>r * lda + n] if A != NULL else 0
        for k in range(B.biases):
            t = d[k] if B.places == 1 else sum_of(B.places, d + <Py_ssize_t>k * B.places)
            back += t * b[k]
            if A != NULL:
                g[k] += o * t
        if out != NULL:
            out[<Py_ssize_t>r * ldout + n] = back


cdef inline void border_backward(Layer* L, int s, const real* D, int ldd, real* out, int ldout, const real* A, int lda) noexcept nogil:
    """The same for out (s, n_in) unless it is NULL, and the gradient of the biases unless A is."""
    cdef Border* B = &L.structure.border
    cdef Py_ssize_t size = L.structure.size
    cdef real* g = <real*>L.structure.coordinates
    cdef int p, threads = min(L.structure.threads, s)
    cdef Py_ssize_t k
    if threads == 1:
        border_backward_rows(L, 0, 0, s, D, ldd, out, ldout, A, lda)
        return
    for p in prange(threads, num_threads=la_team(threads), schedule="static"):
        border_backward_rows(L, p, share(s, p, threads, 1), share(s, p + 1, threads, 1), D, ldd, out, ldout, A, lda)
    if A == NULL:
        return
    for p in range(1, threads):
        for k in range(size - B.biases, size):
            g[k] += g[p * size + k]
