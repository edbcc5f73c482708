"""The fused multilayer step for any pivot, and the training loop, without the GIL.

One step (design.md section 3; theory note, section 10). From the pivot p, with s = k_p rows in flight,

    upper  A_p = I,  A_i = A_{i-1} W_i^T         lower  Z_p = I,  Z_{i-1} = Z_i W_i
    meet   O = outputs, E = dL/dO, the only place that sees the data and the loss
    upper  D_d, D_{i-1} = D_i W_i                lower  R_0, R_i = R_{i-1} W_i^T
    grad_i = D_i^T A_{i-1}  (i > p)              grad_i = Z_i^T R_{i-1}  (i <= p)

At p = 0 there is no lower part and A_0 is the data (or I, if the samples are many). At p >= 1 the outputs are kept
transposed, (k_d, n), so that no product needs a transposed copy. The identities are never multiplied by.
A layer is updated in the product that computes its gradient, after its old value has been used.
"""

from libc.math cimport isfinite
from libc.string cimport memcpy, memset
from types cimport (real, Layer, RUNNING, CONVERGED, DIVERGED, CALLBACK_FAILED,
                    SQUARED, LOGISTIC, EXPONENTIAL, CROSS_ENTROPY, ENTRIES, SENSING)
from small cimport Small, product, transpose, axpby, scale_columns, dot_update, sum_update, has_vectors, la_detect, la_select
from loss cimport Objective, squared, logistic, exponential, cross_entropy, entries, sensing

import numpy as np

cdef extern from *:
    const int LA_DEBUG
    const int LA_NATIVE

cdef enum:
    CACHE = 400000      # bytes of a layer that stay in the second-level cache beside the rows in flight
    FEW = 64            # rows in flight up to which a step is bound by memory

cdef struct Engine:
    Small small
    Objective loss
    Layer* layers
    int depth
    int pivot
    int rows            # s, rows in flight
    int samples         # n, columns (p >= 1) or rows (p = 0) of the outputs
    int n_in            # k_0
    int n_out           # k_d
    bint cyclic
    bint gradients      # write gradients, update nothing
    bint mixed          # p = 0 with A_0 = I: the outputs are X A_d
    bint diagonal       # X is diag(X[0, :]), p >= 1
    double momentum
    void* X             # (n, k_0), NULL for the identity
    int ldx
    void** A            # A_i (s, k_i), i = p..d; NULL for the identity
    void** Z            # Z_i (s, k_i), i = 0..p; NULL for the identity
    int* ld             # leading dimension of rows of k_i
    void* H             # N X^T (s, n)
    void* O             # the outputs, then their gradient
    void* Q             # A_d E (s, n)
    int ldo             # of rows of n (p >= 1) or of k_d (p = 0)
    void* ping
    void* pong
    void* owner         # the Chain, for the callback


# ------------------------------------------------------------------ rows in flight
cdef inline void rows_by_transpose(Engine* e, int s, int n, int k, const real* A, int lda, real* B, int ldb,
                                   real* out, int ldout) noexcept nogil:
    """out (s, n) = A (s, k) @ B (n, k)^T."""
    if s == 1 and has_vectors(&e.small):
        dot_update(B, n, k, ldb, A, out, <const real*>NULL, 0, 1)
    else:
        product(&e.small, False, True, s, n, k, 1, A, lda, B, ldb, 0, out, ldout)


cdef inline void rows_by_matrix(Engine* e, int s, int n, int k, const real* A, int lda, real* B, int ldb,
                                real* out, int ldout) noexcept nogil:
    """out (s, n) = A (s, k) @ B (k, n)."""
    if s == 1 and has_vectors(&e.small):
        sum_update(B, k, n, ldb, A, out, <const real*>NULL, 0, 1)
    else:
        product(&e.small, False, False, s, n, k, 1, A, lda, B, ldb, 0, out, ldout)


cdef inline void by_diagonal(Engine* e, int rows, int cols, const real* A, int lda, const real* x, real* out, int ldout) noexcept nogil:
    """out = A diag(x)."""
    cdef Py_ssize_t r
    cdef int c
    if has_vectors(&e.small):
        # short rows are padded with zeros: whole vectors
        scale_columns(rows, min(lda, ldout) if cols <= e.small.most else cols, A, lda, x, out, ldout)
        return
    for r in range(rows):
        for c in range(cols):
            out[r * ldout + c] = A[r * lda + c] * x[c]


# ------------------------------------------------------------------ layers
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
    """Use lines of the gradient D^T A of a layer, D (s, out), A (s, in); NULL stands for the identity."""
    cdef void* place
    cdef double alpha = 1, beta = 0
    cdef Py_ssize_t offset = <Py_ssize_t>first * L.ld
    cdef real* target
    cdef real* v
    cdef real* w
    cdef real lr, decay
    cdef Py_ssize_t i
    if e.gradients:
        place = L.gradient
    elif L.velocity != NULL:
        place = L.velocity
        beta = e.momentum
    else:
        place = L.theta
        alpha = -L.lr
        beta = 1 - L.lr * L.decay
    target = <real*>place + offset
    if A == NULL:
        scale_add(lines, L.n_in, alpha, D + first, ldd, True, beta, target, L.ld)
    elif D == NULL:
        A += <Py_ssize_t>first * lda
        if has_vectors(&e.small) and lda == L.ld and beta != 0:
            axpby(<Py_ssize_t>lines * L.ld, alpha, A, beta, target)
        else:
            scale_add(lines, L.n_in, alpha, A, lda, False, beta, target, L.ld)
    elif s == 1 and has_vectors(&e.small) and beta != 0:
        dot_update(target, lines, L.n_in, L.ld, A, <real*>NULL, D + first, alpha, beta)
    else:
        product(&e.small, True, False, lines, L.n_in, s, alpha, D + first, ldd, A, lda, beta, target, L.ld)
    if L.velocity != NULL and not e.gradients:
        v = <real*>L.velocity + offset
        w = <real*>L.theta + offset
        lr = <real>L.lr
        decay = <real>L.decay
        for i in range(<Py_ssize_t>lines * L.ld):
            v[i] = v[i] + decay * w[i]
            w[i] = w[i] - lr * v[i]


cdef inline void descend(Engine* e, Layer* L, int s, const real* D, int ldd, const real* A, int lda) noexcept nogil:
    """Use the gradient D^T A of a layer."""
    descend_lines(e, L, 0, L.n_out, s, D, ldd, A, lda)


cdef inline int lines_at_once(Layer* L, int s, size_t itemsize) noexcept nogil:
    """Lines of a layer that stay in the second-level cache between the product by the old W and its update.

    With many rows in flight the products are bound by arithmetic, and want to be large.
    """
    cdef Py_ssize_t fit = CACHE // (L.ld * <Py_ssize_t>itemsize)
    if s == 1 or s > FEW or fit >= L.n_out:
        return L.n_out
    return <int>max(fit // 16 * 16, 64)


cdef inline void apply(Engine* e, Layer* L, int s, const real* A, int lda, real* out, int ldout) noexcept nogil:
    """out (s, n_out) = A W^T; A NULL is the identity."""
    if A == NULL:
        transpose(L.n_out, L.n_in, <real*>L.theta, L.ld, out, ldout)
    else:
        rows_by_transpose(e, s, L.n_out, L.n_in, A, lda, <real*>L.theta, L.ld, out, ldout)


cdef inline void adjoint(Engine* e, Layer* L, int s, const real* D, int ldd, real* out, int ldout) noexcept nogil:
    """out (s, n_in) = D W."""
    rows_by_matrix(e, s, L.n_in, L.n_out, D, ldd, <real*>L.theta, L.ld, out, ldout)


cdef inline void apply_descend(Engine* e, Layer* L, int s, const real* A, int lda, real* out, int ldout,
                               const real* D, int ldd) noexcept nogil:
    """out = A W^T with the old W, then the gradient D^T A: one pass over the layer."""
    cdef int j = 0, lines, step = lines_at_once(L, s, sizeof(real))
    while j < L.n_out:
        lines = min(step, L.n_out - j)
        rows_by_transpose(e, s, lines, L.n_in, A, lda, <real*>L.theta + <Py_ssize_t>j * L.ld, L.ld, out + j, ldout)
        descend_lines(e, L, j, lines, s, D, ldd, A, lda)
        j += step


cdef inline void adjoint_descend(Engine* e, Layer* L, int s, const real* D, int ldd, real* out, int ldout,
                                 const real* A, int lda) noexcept nogil:
    """out = D W with the old W, then the gradient D^T A: one pass over the layer."""
    cdef int j = 0, lines, step = lines_at_once(L, s, sizeof(real))
    if step == L.n_out:
        adjoint(e, L, s, D, ldd, out, ldout)
        descend(e, L, s, D, ldd, A, lda)
        return
    while j < L.n_out:
        lines = min(step, L.n_out - j)
        product(&e.small, False, False, s, L.n_in, lines, 1, D + j, ldd, <real*>L.theta + <Py_ssize_t>j * L.ld, L.ld,
                1 if j else 0, out, ldout)
        descend_lines(e, L, j, lines, s, D, ldd, A, lda)
        j += step


cdef inline bint one_pass(Engine* e, Layer* L, int s) noexcept nogil:
    """With one row in flight a plain update shares its pass over W with the product by the old W."""
    return s == 1 and L.velocity == NULL and not e.gradients and has_vectors(&e.small)


# ------------------------------------------------------------------ the loss
cdef int ask(Engine* e, double* value) noexcept with gil:
    return (<Chain>e.owner).call_back(value)


cdef inline int evaluate(real* tag, Engine* e, double* value) noexcept nogil:
    """The loss of the outputs; e.O becomes their gradient."""
    cdef int rows = e.n_out if e.loss.by_output else e.samples
    cdef int cols = e.samples if e.loss.by_output else e.n_out
    cdef real* O = <real*>e.O
    cdef real* T = <real*>e.loss.targets
    cdef double f = e.loss.factor
    cdef int kind = e.loss.kind
    if kind == SQUARED:
        value[0] = squared(&e.small, <Py_ssize_t>rows * e.ldo, O, T, f)
    elif kind == LOGISTIC:
        value[0] = logistic(rows, cols, e.ldo, O, T, f)
    elif kind == EXPONENTIAL:
        value[0] = exponential(rows, cols, e.ldo, O, T, f)
    elif kind == CROSS_ENTROPY:
        if e.loss.by_output:
            value[0] = cross_entropy(cols, rows, 1, e.ldo, O, T, f)
        else:
            value[0] = cross_entropy(rows, cols, e.ldo, 1, O, T, f)
    elif kind == ENTRIES:
        value[0] = entries(&e.loss, rows, e.ldo, O)
    elif kind == SENSING:
        value[0] = sensing(&e.loss, rows, cols, e.ldo, O)
    else:
        return ask(e, value)
    return RUNNING


# ------------------------------------------------------------------ pivot 0: rows are samples, or the identity
cdef inline void mix(real* tag, Engine* e, real* M, int ldm) noexcept nogil:
    """e.O = X M, M (k_0, k_d), where the samples enter at the end of the chain."""
    product(&e.small, False, False, e.samples, e.n_out, e.n_in, 1, <real*>e.X, e.ldx, M, ldm, 0, <real*>e.O, e.ldo)


cdef inline real* unmix(real* tag, Engine* e, real* out, int ldout) noexcept nogil:
    """D_d = X^T E (k_0, k_d)."""
    product(&e.small, True, False, e.n_in, e.n_out, e.samples, 1, <real*>e.X, e.ldx, <real*>e.O, e.ldo, 0, out, ldout)
    return out


cdef int forward_from_data(real* tag, Engine* e, double* value) noexcept nogil:
    cdef int i
    for i in range(e.depth):
        apply(e, &e.layers[i], e.rows, <real*>e.A[i], e.ld[i], <real*>e.A[i + 1], e.ld[i + 1])
    if e.mixed:
        mix(tag, e, <real*>e.A[e.depth], e.ld[e.depth])
    return evaluate(tag, e, value)


cdef void backward_to_data(real* tag, Engine* e) noexcept nogil:
    cdef real* D = <real*>e.O
    cdef real* below = <real*>e.ping
    cdef real* spare = <real*>e.pong
    cdef int ldd = e.ldo
    cdef int i
    cdef Layer* L
    if e.mixed:
        D = unmix(tag, e, spare, e.ld[e.depth])
        ldd = e.ld[e.depth]
    for i in range(e.depth - 1, -1, -1):
        L = &e.layers[i]
        if i and one_pass(e, L, e.rows):
            sum_update(<real*>L.theta, L.n_out, L.n_in, L.ld, D, below, <real*>e.A[i], -L.lr, 1 - L.lr * L.decay)
        else:
            if i:
                adjoint_descend(e, L, e.rows, D, ldd, below, e.ld[i], <real*>e.A[i], e.ld[i])
            else:
                descend(e, L, e.rows, D, ldd, <real*>e.A[i], e.ld[i])
        D = below
        ldd = e.ld[i]
        below = spare
        spare = D


# ------------------------------------------------------------------ pivots 1..d: outputs are transposed
cdef int forward_from_pivot(real* tag, Engine* e, double* value) noexcept nogil:
    cdef int i, p = e.pivot, s = e.rows, d = e.depth
    cdef real* H
    cdef int ldh
    for i in range(p, d):
        apply(e, &e.layers[i], s, <real*>e.A[i], e.ld[i], <real*>e.A[i + 1], e.ld[i + 1])
    # Z_p = I, so Z_{p-1} is W_p itself (bound so in Python)
    for i in range(p - 2, -1, -1):
        adjoint(e, &e.layers[i], s, <real*>e.Z[i + 1], e.ld[i + 1], <real*>e.Z[i], e.ld[i])
    H = <real*>(e.O if p == d else e.H)
    ldh = e.ldo
    if e.diagonal:
        by_diagonal(e, s, e.samples, <real*>e.Z[0], e.ld[0], <real*>e.X, H, ldh)
    elif e.X != NULL:
        rows_by_transpose(e, s, e.samples, e.n_in, <real*>e.Z[0], e.ld[0], <real*>e.X, e.ldx, H, ldh)
    elif p == d:
        for i in range(s):
            memcpy(&H[<Py_ssize_t>i * ldh], &(<real*>e.Z[0])[<Py_ssize_t>i * e.ld[0]], e.n_in * sizeof(real))
    else:
        H = <real*>e.Z[0]
        ldh = e.ld[0]
    if p < d:
        product(&e.small, True, False, e.n_out, e.samples, s, 1, <real*>e.A[d], e.ld[d], H, ldh, 0, <real*>e.O, e.ldo)
    return evaluate(tag, e, value)


cdef void backward_to_pivot(real* tag, Engine* e) noexcept nogil:
    cdef int i, p = e.pivot, s = e.rows, d = e.depth
    cdef real* E = <real*>e.O
    cdef real* H = <real*>(e.H if e.X != NULL else e.Z[0])
    cdef int ldh = e.ldo if e.X != NULL else e.ld[0]
    cdef real* Q = E
    cdef real* here
    cdef real* there = <real*>e.ping
    cdef real* spare = <real*>e.pong
    cdef int ldq = e.ldo
    cdef Layer* L
    if p < d:
        # both need the old upper part: Q before the updates
        Q = <real*>e.Q
        product(&e.small, False, False, s, e.samples, e.n_out, 1, <real*>e.A[d], e.ld[d], E, e.ldo, 0, Q, ldq)
        here = there
        product(&e.small, False, True, s, e.n_out, e.samples, 1, H, ldh, E, e.ldo, 0, here, e.ld[d])
        there = spare
        for i in range(d - 1, p - 1, -1):
            L = &e.layers[i]
            if i > p and one_pass(e, L, s):
                sum_update(<real*>L.theta, L.n_out, L.n_in, L.ld, here, there, <real*>e.A[i], -L.lr, 1 - L.lr * L.decay)
            else:
                if i > p:
                    adjoint_descend(e, L, s, here, e.ld[i + 1], there, e.ld[i], <real*>e.A[i], e.ld[i])
                else:
                    descend(e, L, s, here, e.ld[i + 1], <real*>e.A[i], e.ld[i])
            spare = here
            here = there
            there = spare
    here = Q
    there = <real*>e.ping
    spare = <real*>e.pong
    if e.X != NULL:
        if e.diagonal:
            by_diagonal(e, s, e.samples, Q, ldq, <real*>e.X, there, e.ld[0])
        else:
            rows_by_matrix(e, s, e.n_in, e.samples, Q, ldq, <real*>e.X, e.ldx, there, e.ld[0])
        here = there
        ldq = e.ld[0]
        there = spare
    for i in range(p):
        L = &e.layers[i]
        if i + 1 < p and one_pass(e, L, s):
            dot_update(<real*>L.theta, L.n_out, L.n_in, L.ld, here, there, <real*>e.Z[i + 1], -L.lr, 1 - L.lr * L.decay)
        else:
            if i + 1 < p:
                apply_descend(e, L, s, here, ldq, there, e.ld[i + 1], <real*>e.Z[i + 1], e.ld[i + 1])
            else:
                descend(e, L, s, <real*>e.Z[i + 1], e.ld[i + 1], here, ldq)
        here = there
        ldq = e.ld[i + 1]
        there = <real*>(e.pong if here == <real*>e.ping else e.ping)


# ------------------------------------------------------------------ cyclic: layer 1 to d, each from the newest
cdef int cycle(real* tag, Engine* e, double* value, double floor, double tol, bint look) noexcept nogil:
    """One sweep. A_i are prefixes (rows of data), Z_i = W_d ... W_{i+1} suffixes (k_d rows). `look`: the loss alone."""
    cdef int i, d = e.depth, status
    cdef double newer
    cdef real* D
    cdef Layer* L
    for i in range(d - 2, 0, -1):
        adjoint(e, &e.layers[i], e.n_out, <real*>e.Z[i + 1], e.ld[i + 1], <real*>e.Z[i], e.ld[i])
    for i in range(d):
        L = &e.layers[i]
        apply(e, L, e.rows, <real*>e.A[i], e.ld[i], <real*>e.A[i + 1], e.ld[i + 1])
        D = <real*>e.A[d]
        if i < d - 1:
            D = <real*>(e.ping if e.mixed else e.O)
            product(&e.small, False, True, e.rows, e.n_out, L.n_out, 1, <real*>e.A[i + 1], e.ld[i + 1],
                    <real*>e.Z[i + 1], e.ld[i + 1], 0, D, e.ld[d] if e.mixed else e.ldo)
        if e.mixed:
            mix(tag, e, D, e.ld[d])
        status = evaluate(tag, e, value if i == 0 else &newer)
        if status != RUNNING:
            return status
        if i == 0:
            if not isfinite(value[0]):
                return DIVERGED
            if value[0] + floor <= tol:
                return CONVERGED
            if look:
                return RUNNING
        D = <real*>e.O
        if e.mixed:
            D = unmix(tag, e, <real*>e.ping, e.ld[d])
        if i < d - 1:
            product(&e.small, False, False, e.rows, L.n_out, e.n_out, 1, D, e.ld[d] if e.mixed else e.ldo,
                    <real*>e.Z[i + 1], e.ld[i + 1], 0, <real*>e.pong, e.ld[i + 1])
            descend(e, L, e.rows, <real*>e.pong, e.ld[i + 1], <real*>e.A[i], e.ld[i])
            apply(e, L, e.rows, <real*>e.A[i], e.ld[i], <real*>e.A[i + 1], e.ld[i + 1])
        else:
            descend(e, L, e.rows, D, e.ld[d] if e.mixed else e.ldo, <real*>e.A[i], e.ld[i])
    return RUNNING


# ------------------------------------------------------------------ the loop
cdef int look(real* tag, Engine* e, double* value, double floor, double tol) noexcept nogil:
    """The loss where the network stands."""
    cdef int status
    if e.cyclic:
        return cycle(tag, e, value, floor, tol, True)
    status = forward_from_pivot(tag, e, value) if e.pivot else forward_from_data(tag, e, value)
    if status != RUNNING:
        return status
    if not isfinite(value[0]):
        return DIVERGED
    return CONVERGED if value[0] + floor <= tol else RUNNING


cdef int run(real* tag, Engine* e, long steps, double* values, long* done, double floor, double tol) noexcept nogil:
    cdef long t
    cdef int status
    for t in range(steps):
        done[0] = t
        if e.cyclic:
            status = cycle(tag, e, &values[t], floor, tol, False)
            if status != RUNNING:
                return status
        else:
            status = look(tag, e, &values[t], floor, tol)
            if status != RUNNING:
                return status
            if e.pivot:
                backward_to_pivot(tag, e)
            else:
                backward_to_data(tag, e)
    done[0] = steps
    return RUNNING


# ------------------------------------------------------------------ Python's side
def detect() -> int:
    """The instruction set of this processor: 0 baseline, 3 AVX2 and FMA, 4 AVX-512."""
    return la_detect()


def build() -> list:
    """How this module was built."""
    found = ["debug checks"] if LA_DEBUG else ["optimised"]
    if LA_NATIVE:
        found.append("-march=native: this build runs on processors like this one only")
    return found


def padding(int columns, int itemsize, int most) -> int:
    """The leading dimension of rows of that many columns: short rows are padded to 64 bytes for the tile."""
    lanes = 64 // itemsize
    return columns if columns > most else (columns + lanes - 1) // lanes * lanes


def buffer(int rows, int columns, dtype, int most) -> np.ndarray:
    """A zeroed matrix that starts on a cache line, as a view of its padded rows."""
    itemsize = np.dtype(dtype).itemsize
    ld = padding(columns, itemsize, most)
    raw = np.zeros(rows * ld * itemsize + 64, dtype=np.uint8)
    start = -raw.ctypes.data % 64
    return raw[start:start + rows * ld * itemsize].view(dtype).reshape(rows, ld)[:, :columns]


def multiply(bint ta, bint tb, double alpha, A, B, double beta, C, *, int level, int most, long volume, long repeats=1):
    """`C = alpha op(A) op(B) + beta C`, as the loop does it, `repeats` times: for tests and for `bench/tiles.py`.

    The three are `buffer`s of one dtype with `most`; a tile is used as the loop would use it.
    """
    cdef Small small
    dtype = A.dtype
    scratch = buffer(most, most, dtype, most)
    small.level, small.most, small.volume = level, most, volume
    small.scratch = <void*><size_t>scratch.ctypes.data
    cdef int m = C.shape[0], n = C.shape[1], k = A.shape[0 if ta else 1]
    cdef size_t a = A.ctypes.data, b = B.ctypes.data, c = C.ctypes.data
    cdef int lda = A.strides[0] // dtype.itemsize, ldb = B.strides[0] // dtype.itemsize, ldc = C.strides[0] // dtype.itemsize
    cdef bint single = dtype == np.float32
    cdef long _t
    la_select(level)
    with nogil:
        for _t in range(repeats):
            if single:
                product(&small, ta, tb, m, n, k, alpha, <float*>a, lda, <float*>b, ldb, beta, <float*>c, ldc)
            else:
                product(&small, ta, tb, m, n, k, alpha, <double*>a, lda, <double*>b, ldb, beta, <double*>c, ldc)


cdef class Chain:
    """A network bound to its data: parameters, workspace and the loop over them.

    `params`, `velocities` and `gradients` are arrays that the loop works on in place; read them between calls.
    Not thread-safe; one Chain a thread.
    """

    cdef Engine e
    cdef Layer* layers
    cdef void** A
    cdef void** Z
    cdef int* ld
    cdef int most
    cdef double floor
    cdef bint single
    cdef readonly list params
    cdef readonly list velocities
    cdef readonly list gradients
    cdef readonly object dtype
    cdef readonly object error
    cdef readonly object workspace
    cdef object function
    cdef object outputs

    def __init__(self, weights, X, targets, *, int kind, double factor, double floor, int pivot, int rows, lr, double momentum,
                 decay, bint cyclic, int level, int most, long volume, observations=None, function=None):
        """All arguments are checked by the caller; see `linalign.kernel`."""
        cdef int i, d = len(weights)
        cdef Layer* L
        self.dtype = weights[0].dtype
        self.single = self.dtype == np.float32
        cdef int itemsize = self.dtype.itemsize
        la_select(level)
        self.workspace = []
        self.most = most
        self.layers = <Layer*>self._table(d * sizeof(Layer))
        self.A = <void**>self._table((d + 1) * sizeof(void*))
        self.Z = <void**>self._table((d + 1) * sizeof(void*))
        self.ld = <int*>self._table((d + 1) * sizeof(int))
        self.floor = floor
        e = &self.e
        memset(e, 0, sizeof(Engine))
        e.layers = self.layers
        e.A, e.Z, e.ld = self.A, self.Z, self.ld
        e.depth, e.pivot, e.cyclic, e.momentum = d, pivot, cyclic, momentum
        e.owner = <void*>self
        e.small.level, e.small.most, e.small.volume = level, most, volume
        e.small.scratch = self._own(most, most)
        widths = [weights[0].shape[1], *(W.shape[0] for W in weights)]
        e.n_in, e.n_out, e.rows = widths[0], widths[d], rows
        e.diagonal = X is not None and X.ndim == 1
        if e.diagonal:
            if cyclic or not pivot:
                raise ValueError("diagonal data need a pivot of at least 1 and simultaneous updates")
            X = X[None, :]
        e.samples = widths[0] if X is None or e.diagonal else X.shape[0]
        if rows not in ((widths[pivot],) if pivot else (e.samples, e.n_in)):
            raise ValueError(f"{rows} rows in flight do not fit pivot {pivot} of widths {widths} on {e.samples} rows of data")
        e.mixed = pivot == 0 and X is not None and rows != e.samples
        for i in range(d + 1):
            self.ld[i] = padding(widths[i], itemsize, most)
        self.params, self.velocities, self.gradients = [], [], []
        for i in range(d):
            L = &self.layers[i]
            L.kind = 0
            L.n_in, L.n_out, L.ld = widths[i], widths[i + 1], self.ld[i]
            L.lr, L.decay = lr[i], decay[i]
            L.theta = self._matrix(self.params, weights[i])
            L.velocity = self._matrix(self.velocities, np.zeros_like(weights[i])) if momentum else NULL
            L.gradient = NULL
        if X is not None:
            e.X = self._copy(X)
            e.ldx = padding(X.shape[1], itemsize, most)
        self._chains(widths)
        self._objective(targets, kind, factor, observations, function)

    cdef void* _table(self, size_t size) except NULL:
        raw = np.zeros(size, dtype=np.uint8)
        self.workspace.append(raw)
        return <void*><size_t>raw.ctypes.data

    cdef void* _own(self, int rows, int columns) except NULL:
        array = buffer(rows, columns, self.dtype, self.most)
        self.workspace.append(array)
        return <void*><size_t>array.ctypes.data

    cdef void* _copy(self, source) except NULL:
        return self._matrix(self.workspace, source)

    cdef void* _matrix(self, list keeper, source) except NULL:
        array = buffer(source.shape[0], source.shape[1], self.dtype, self.most)
        array[...] = source
        keeper.append(array)
        return <void*><size_t>array.ctypes.data

    def _chains(self, widths):
        """Buffers of the chains; a NULL stands for the identity."""
        e = &self.e
        cdef int i, d = e.depth, p = e.pivot
        cdef int itemsize = self.dtype.itemsize
        widest = max(widths)
        for i in range(p + 1, d + 1):
            self.A[i] = self._own(e.rows, widths[i])
        self.outputs = self.workspace[len(self.workspace) - 1]
        if p == 0:
            self.A[0] = e.X if not e.mixed and e.X != NULL else NULL
        else:
            self.Z[p - 1] = self.layers[p - 1].theta
            for i in range(p - 1):
                self.Z[i] = self._own(e.rows, widths[i])
        if e.cyclic and d > 1:
            self.Z[d - 1] = self.layers[d - 1].theta
            for i in range(1, d - 1):
                self.Z[i] = self._own(e.n_out, widths[i])
        e.loss.by_output = p > 0
        lines, columns = (e.n_out, e.samples) if p else (e.samples, e.n_out)
        e.ldo = padding(columns, itemsize, self.most)
        e.O = self.A[d]
        if p or e.mixed:
            e.O = self._own(lines, columns)
            self.outputs = self.workspace[len(self.workspace) - 1]
        if 0 < p < d:
            e.H = self._own(e.rows, e.samples)
            e.Q = self._own(e.rows, e.samples)
        e.ping = self._own(e.rows, widest)
        e.pong = self._own(e.rows, widest)

    def _objective(self, targets, int kind, double factor, observations, function):
        e = &self.e
        e.loss.kind, e.loss.factor = kind, factor
        self.function = function
        if targets is not None:
            e.loss.targets = self._copy(targets.T if e.loss.by_output else targets)
        if observations is None:
            return
        values = np.array(observations["values"], dtype=np.float64)
        kept = np.zeros(len(values))
        self.workspace += [values, kept]
        e.loss.count = len(values)
        e.loss.values = <void*><size_t>values.ctypes.data
        e.loss.residual = <void*><size_t>kept.ctypes.data
        if "matrices" in observations:
            stack = observations["matrices"]
            stack = np.array(stack if e.loss.by_output else stack.transpose(0, 2, 1), dtype=np.float64, order="C")
            self.workspace.append(stack)
            e.loss.matrices = <void*><size_t>stack.ctypes.data
        else:
            first, second = observations["rows"], observations["cols"]
            if not e.loss.by_output:
                first, second = second, first
            where = np.ascontiguousarray(first * e.ldo + second, dtype=np.intp)
            self.workspace.append(where)
            e.loss.where = <Py_ssize_t*><size_t>where.ctypes.data

    cdef int call_back(self, double* value):
        """The user's loss of the product, under the GIL."""
        try:
            product_ = np.array(self.outputs if self.e.loss.by_output else self.outputs.T, order="C")
            answer, gradient = self.function(product_)
            value[0] = answer
            self.outputs[...] = gradient if self.e.loss.by_output else gradient.T
        except BaseException as error:
            self.error = error
            return CALLBACK_FAILED
        return RUNNING

    def advance(self, long steps, double[::1] values not None, double tol):
        """Take up to `steps` steps; `values[t]` is the loss before step t. Returns `(status, steps taken)`."""
        cdef long done = 0
        cdef int status
        if values.shape[0] < steps:
            raise ValueError(f"values has room for {values.shape[0]} losses; {steps} steps were asked for")
        if steps == 0:
            return RUNNING, 0
        with nogil:
            if self.single:
                status = run(<float*>NULL, &self.e, steps, &values[0], &done, self.floor, tol)
            else:
                status = run(<double*>NULL, &self.e, steps, &values[0], &done, self.floor, tol)
        return status, done

    def value(self, double tol):
        """`(status, loss)` where the network stands."""
        cdef double value = 0
        cdef int status
        with nogil:
            if self.single:
                status = look(<float*>NULL, &self.e, &value, self.floor, tol)
            else:
                status = look(<double*>NULL, &self.e, &value, self.floor, tol)
        return status, value

    def differentiate(self):
        """`(status, loss)`; `gradients` holds the gradient of every layer. Updates nothing."""
        cdef int i, status
        cdef double value = 0
        if self.e.cyclic:
            raise ValueError("a cyclic chain has no single gradient; bind a simultaneous one")
        if not self.gradients:
            for i in range(self.e.depth):
                self.layers[i].gradient = self._matrix(self.gradients, np.zeros_like(self.params[i]))
        status, value = self.value(-np.inf)
        if status == CALLBACK_FAILED:
            return status, value
        self.e.gradients = True
        with nogil:
            if self.single:
                if self.e.pivot:
                    backward_to_pivot(<float*>NULL, &self.e)
                else:
                    backward_to_data(<float*>NULL, &self.e)
            else:
                if self.e.pivot:
                    backward_to_pivot(<double*>NULL, &self.e)
                else:
                    backward_to_data(<double*>NULL, &self.e)
        self.e.gradients = False
        return status, value
