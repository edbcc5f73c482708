# The score of alignment inside the loop: sine and cosine of every interface, in float64.
#
# For networks so small that going back to Python to record would take longer than the steps between. The same formulas
# as linalign.alignment: Z = V W, K = A B with A = W W^T and B = V^T V; the sine is the antisymmetric part of K.

from libc.math cimport fabs, frexp, ldexp, sqrt
from types cimport real
from layer cimport Layer
from products cimport Machine, product

cdef enum:
    SIDE = 64           # the widest layer

cdef struct Scores:
    Machine machine     # of float64
    int interfaces
    double* noise       # an interface is nothing if ||Z|| is at most this many times ||W|| ||V||
    double* constant    # (k_1, constants): columns of the first layer that do not move, beside those that do
    int constants
    double* W           # five matrices (2 SIDE, 2 SIDE), padded
    double* V
    double* Z
    double* T
    double* K
    long* at            # the steps, and how many are left
    long left
    double* out         # (steps, interfaces, 2)


cdef inline double squares(int rows, int columns, const double* A, int lda) noexcept nogil:
    cdef double total = 0
    cdef int i, j
    for i in range(rows):
        for j in range(columns):
            total += A[i * lda + j] * A[i * lda + j]
    return total


cdef inline int even(int columns) noexcept nogil:
    """Rows of whole vectors."""
    return (columns + 7) // 8 * 8


cdef inline void widen(real* precision, Layer* L, const double* constant, int constants, double* W, int ldw) noexcept nogil:
    """[W_i, constant] as float64, the padding zero; scaled by a power of two where squares of squares might overflow."""
    cdef const real* w = <const real*>L.matrix
    cdef double largest = 0
    cdef int i, j
    for i in range(L.n_out):
        for j in range(L.n_in):
            W[i * ldw + j] = w[i * L.ld + j]
        for j in range(constants):
            W[i * ldw + L.n_in + j] = constant[i * constants + j]
        for j in range(L.n_in + constants, ldw):
            W[i * ldw + j] = 0
        for j in range(ldw):
            largest = max(largest, fabs(W[i * ldw + j]))
    if largest > 0 and not 1e-30 < largest < 1e30:
        frexp(largest, &j)
        for i in range(L.n_out * ldw):
            # the power alone would be infinite for subnormal numbers
            W[i] = ldexp(W[i], -j)


cdef inline void score(real* precision, Scores* s, Layer* layers) noexcept nogil:
    """One record."""
    cdef int i, r, c, k, a, b, lda, ldb, ldk, constants
    cdef double skew, whole, gram, size, sine, gap
    cdef double* out = s.out
    for i in range(s.interfaces):
        constants = s.constants if i == 0 else 0
        k, a, b = layers[i].n_out, layers[i].n_in + constants, layers[i + 1].n_out
        lda, ldb, ldk = even(a), even(b), even(k)
        widen(precision, &layers[i], s.constant, constants, s.W, lda)
        widen(precision, &layers[i + 1], NULL, 0, s.V, ldk)
        product(&s.machine, False, False, b, a, k, 1, s.V, ldk, s.W, lda, 0, s.Z, lda)
        size = squares(k, a, s.W, lda) * squares(b, k, s.V, ldk)
        if sqrt(squares(b, a, s.Z, lda)) <= s.noise[i] * sqrt(size):
            out[2 * i], out[2 * i + 1] = 0, 1
            continue
        if a <= b:
            product(&s.machine, True, False, a, k, b, 1, s.Z, lda, s.V, ldk, 0, s.T, ldk)
            product(&s.machine, False, False, k, k, a, 1, s.W, lda, s.T, ldk, 0, s.K, ldk)
        else:
            product(&s.machine, False, True, k, b, a, 1, s.W, lda, s.Z, lda, 0, s.T, ldb)
            product(&s.machine, False, False, k, k, b, 1, s.T, ldb, s.V, ldk, 0, s.K, ldk)
        skew = 0
        for r in range(k):
            for c in range(r):
                gap = s.K[r * ldk + c] - s.K[c * ldk + r]
                skew += gap * gap
        whole = sqrt(squares(k, k, s.K, ldk))
        # skew holds half of ||K - K^T||^2
        sine = min(sqrt(skew) / whole, 1.0)
        out[2 * i] = sine
        if sine < 0.7:
            out[2 * i + 1] = sqrt(1 - sine * sine)
            continue
        if a <= b:
            product(&s.machine, True, False, a, a, b, 1, s.Z, lda, s.Z, lda, 0, s.T, lda)
            gram = squares(a, a, s.T, lda)
        else:
            product(&s.machine, False, True, b, b, a, 1, s.Z, lda, s.Z, lda, 0, s.T, ldb)
            gram = squares(b, b, s.T, ldb)
        out[2 * i + 1] = min(sqrt(gram) / whole, 1.0)
    s.out += 2 * s.interfaces
    s.at += 1
    s.left -= 1
