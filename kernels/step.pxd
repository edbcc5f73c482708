# The fused multilayer step for any pivot, and the training loop, without the GIL.
#
# One step (design.md section 3; theory note, section 10). From the pivot p, with s = k_p rows in flight,
#
#     upper  A_p = I,  A_i = A_{i-1} W_i^T         lower  Z_p = I,  Z_{i-1} = Z_i W_i
#     meet   O = outputs, E = dL/dO, the only place that sees the data and the loss
#     upper  D_d, D_{i-1} = D_i W_i                lower  R_0, R_i = R_{i-1} W_i^T
#     grad_i = D_i^T A_{i-1}  (i > p)              grad_i = Z_i^T R_{i-1}  (i <= p)
#
# At p = 0 there is no lower part and A_0 is the data (or I, if the samples are many). At p >= 1 the outputs are kept
# transposed, (k_d, n), so that no product needs a transposed copy. The identities are never multiplied by.
# A layer is updated in the product that computes its gradient, after its old value has been used.
# Header only: built into _chain.pyx.

from libc.math cimport INFINITY, isfinite
from libc.string cimport memcpy, memset
from types cimport (real, Layer, DENSE, FIXED, RUNNING, CONVERGED, DIVERGED, CALLBACK_FAILED,
                    SQUARED, LOGISTIC, EXPONENTIAL, CROSS_ENTROPY, ENTRIES, SENSING)
from small cimport Small, product, transpose, axpby, scale_columns, dot_update, sum_update, has_vectors
from structured cimport has_matrix, structured_apply, structured_backward, gather_matrix, use_coordinates
from stripes cimport Stripes, stripes_product
from score cimport Scores, score
from loss cimport Objective, squared, logistic, exponential, cross_entropy, entries, sensing

cdef enum:
    CACHE = 400000      # bytes of a layer that stay in the second-level cache beside the rows in flight
    FEW = 64            # rows in flight up to which a step is bound by memory

cdef extern from "la_chain.h":
    ctypedef struct la_chain:
        int depth, rows, diagonal, turned
        int* widths
        void** W
        void** R
        void** A
        void* D[2]
        void* X
        void* Y
        void* scale
        double* lr
        double* decay
        double factor
    ctypedef long (*la_train)(const la_chain*, long, double*, double, double) noexcept nogil
    la_train la_chain_train(int level, int single) noexcept nogil

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
    void** A            # A_i (s, k_i), i = p..d; NULL for the identity, beside a layer that has a matrix
    void** Z            # Z_i (s, k_i), i = 0..p; the same
    Stripes* of_A       # of each A_i and Z_i, and of the outputs of a sweep; rank NONE where the products before are not all Toeplitz
    Stripes* of_Z
    Stripes* of_O
    Stripes* flat       # of a Toeplitz matrix
    void* room          # for their products
    int* ld             # leading dimension of rows of k_i
    void* H             # N X^T (s, n)
    void* O             # the outputs, then their gradient
    void* Q             # A_d E (s, n)
    int ldo             # of rows of n (p >= 1) or of k_d (p = 0)
    void* ping
    void* pong
    int (*ask)(void* owner, double* value) noexcept with gil    # a loss in Python, of the outputs
    void* owner         # the Chain
    Scores* scores      # what to record on the way; NULL for nothing
    la_train train      # NULL unless the whole chain fits in registers
    la_chain tiny


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


cdef inline void descend_constrained(Engine* e, Layer* L, int s, const real* D, int ldd, const real* A, int lda) noexcept nogil:
    """Use the coordinates of the gradient D^T A of a layer that is not dense."""
    cdef real* G
    if L.kind == FIXED:
        return
    if not has_matrix(L):
        structured_backward(L, s, D, ldd, <real*>NULL, 0, A, lda)
    else:
        G = <real*>L.more.full
        if A == NULL:
            transpose(&e.small, s, L.n_out, D, ldd, G, L.ld)
        elif D == NULL:
            scale_add(L.n_out, L.n_in, 1, A, lda, False, 0, G, L.ld)
        else:
            product(&e.small, True, False, L.n_out, L.n_in, s, 1, D, ldd, A, lda, 0, G, L.ld)
        gather_matrix(<real*>NULL, L, e.gradients)
    use_coordinates(<real*>NULL, L, e.gradients, e.momentum)


cdef inline void descend(Engine* e, Layer* L, int s, const real* D, int ldd, const real* A, int lda) noexcept nogil:
    """Use the gradient D^T A of a layer."""
    if L.kind == DENSE:
        descend_lines(e, L, 0, L.n_out, s, D, ldd, A, lda)
    else:
        descend_constrained(e, L, s, D, ldd, A, lda)


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
    if not has_matrix(L):
        structured_apply(L, s, A, lda, out, ldout)
    elif A == NULL:
        transpose(&e.small, L.n_out, L.n_in, <real*>L.theta, L.ld, out, ldout)
    else:
        rows_by_transpose(e, s, L.n_out, L.n_in, A, lda, <real*>L.theta, L.ld, out, ldout)


cdef inline void adjoint(Engine* e, Layer* L, int s, const real* D, int ldd, real* out, int ldout) noexcept nogil:
    """out (s, n_in) = D W."""
    if not has_matrix(L):
        structured_backward(L, s, D, ldd, out, ldout, <real*>NULL, 0)
    else:
        rows_by_matrix(e, s, L.n_in, L.n_out, D, ldd, <real*>L.theta, L.ld, out, ldout)


cdef inline void upper(real* tag, Engine* e, int i) noexcept nogil:
    """A_{i+1} = A_i W^T, W of layer i."""
    cdef Layer* L = &e.layers[i]
    if e.of_A[i + 1].rank > 0:
        stripes_product(e.rows, L.n_out, L.n_in, <real*>e.A[i], e.ld[i], &e.of_A[i], <real*>L.theta, L.ld, True, e.flat,
                        <real*>e.A[i + 1], e.ld[i + 1], &e.of_A[i + 1], <real*>e.room)
    else:
        apply(e, L, e.rows, <real*>e.A[i], e.ld[i], <real*>e.A[i + 1], e.ld[i + 1])


cdef inline void lower(real* tag, Engine* e, int i, int s) noexcept nogil:
    """Z_i (s, k_i) = Z_{i+1} W, W of layer i."""
    cdef Layer* L = &e.layers[i]
    if e.of_Z[i].rank > 0:
        stripes_product(s, L.n_in, L.n_out, <real*>e.Z[i + 1], e.ld[i + 1], &e.of_Z[i + 1], <real*>L.theta, L.ld, False, e.flat,
                        <real*>e.Z[i], e.ld[i], &e.of_Z[i], <real*>e.room)
    else:
        adjoint(e, L, s, <real*>e.Z[i + 1], e.ld[i + 1], <real*>e.Z[i], e.ld[i])


cdef inline void apply_descend(Engine* e, Layer* L, int s, const real* A, int lda, real* out, int ldout,
                               const real* D, int ldd) noexcept nogil:
    """out = A W^T with the old W, then the gradient D^T A: one pass over the layer."""
    cdef int j = 0, lines, step = lines_at_once(L, s, sizeof(real))
    if L.kind != DENSE:
        apply(e, L, s, A, lda, out, ldout)
        descend(e, L, s, D, ldd, A, lda)
        return
    while j < L.n_out:
        lines = min(step, L.n_out - j)
        rows_by_transpose(e, s, lines, L.n_in, A, lda, <real*>L.theta + <Py_ssize_t>j * L.ld, L.ld, out + j, ldout)
        descend_lines(e, L, j, lines, s, D, ldd, A, lda)
        j += step


cdef inline void adjoint_descend(Engine* e, Layer* L, int s, const real* D, int ldd, real* out, int ldout,
                                 const real* A, int lda) noexcept nogil:
    """out = D W with the old W, then the gradient D^T A: one pass over the layer."""
    cdef int j = 0, lines, step = lines_at_once(L, s, sizeof(real))
    if not has_matrix(L):
        structured_backward(L, s, D, ldd, out, ldout, A, lda)
        use_coordinates(<real*>NULL, L, e.gradients, e.momentum)
        return
    if step == L.n_out or L.kind != DENSE:
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
    return s == 1 and L.kind == DENSE and L.velocity == NULL and not e.gradients and has_vectors(&e.small)


# ------------------------------------------------------------------ the loss
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
        return e.ask(e.owner, value)
    return RUNNING


# ------------------------------------------------------------------ pivot 0: rows are samples, or the identity
cdef inline void mix(real* tag, Engine* e, real* M, int ldm) noexcept nogil:
    """e.O = X M, M (k_0, k_d), where the samples enter at the end of the chain."""
    product(&e.small, False, False, e.samples, e.n_out, e.n_in, 1, <real*>e.X, e.ldx, M, ldm, 0, <real*>e.O, e.ldo)


cdef inline real* unmix(real* tag, Engine* e, real* out, int ldout) noexcept nogil:
    """D_d = X^T E (k_0, k_d)."""
    product(&e.small, True, False, e.n_in, e.n_out, e.samples, 1, <real*>e.X, e.ldx, <real*>e.O, e.ldo, 0, out, ldout)
    return out


cdef inline int forward_from_data(real* tag, Engine* e, double* value) noexcept nogil:
    cdef int i
    for i in range(e.depth):
        upper(tag, e, i)
    if e.mixed:
        mix(tag, e, <real*>e.A[e.depth], e.ld[e.depth])
    return evaluate(tag, e, value)


cdef inline void backward_to_data(real* tag, Engine* e) noexcept nogil:
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
cdef inline int forward_from_pivot(real* tag, Engine* e, double* value) noexcept nogil:
    cdef int i, p = e.pivot, s = e.rows, d = e.depth
    cdef real* H
    cdef int ldh
    for i in range(p, d):
        upper(tag, e, i)
    # where W_p is a matrix, Z_{p-1} is W_p itself (bound so in Python)
    for i in range(p - 1 if e.Z[p] != NULL else p - 2, -1, -1):
        lower(tag, e, i, s)
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


cdef inline void backward_to_pivot(real* tag, Engine* e) noexcept nogil:
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
cdef inline int cycle(real* tag, Engine* e, double* value, double floor, double tol, bint look) noexcept nogil:
    """One sweep. A_i are prefixes (rows of data), Z_i = W_d ... W_{i+1} suffixes (k_d rows). `look`: the loss alone.

    Before layer i+1 has its turn, the outputs are A_i Z_i^T: newest below, old above.
    """
    cdef int i, d = e.depth, status
    cdef double newer
    cdef real* D
    cdef int ldd
    cdef Layer* L
    for i in range(d - 1 if e.Z[d] != NULL else d - 2, -1, -1):
        lower(tag, e, i, e.n_out)
    for i in range(d):
        L = &e.layers[i]
        D = <real*>(e.ping if e.mixed else e.O)
        ldd = e.ld[d] if e.mixed else e.ldo
        if e.A[i] == NULL:
            transpose(&e.small, e.n_out, L.n_in, <real*>e.Z[0], e.ld[0], D, ldd)
        elif e.of_O[i].rank > 0:
            stripes_product(e.rows, e.n_out, L.n_in, <real*>e.A[i], e.ld[i], &e.of_A[i], <real*>e.Z[i], e.ld[i], True, &e.of_Z[i],
                            D, ldd, &e.of_O[i], <real*>e.room)
        else:
            rows_by_transpose(e, e.rows, e.n_out, L.n_in, <real*>e.A[i], e.ld[i], <real*>e.Z[i], e.ld[i], D, ldd)
        if e.mixed:
            mix(tag, e, D, ldd)
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
        if e.mixed:
            D = unmix(tag, e, <real*>e.ping, e.ld[d])
        if i == d - 1:
            descend(e, L, e.rows, D, ldd, <real*>e.A[i], e.ld[i])
            break
        rows_by_matrix(e, e.rows, L.n_out, e.n_out, D, ldd, <real*>e.Z[i + 1], e.ld[i + 1], <real*>e.pong, e.ld[i + 1])
        descend(e, L, e.rows, <real*>e.pong, e.ld[i + 1], <real*>e.A[i], e.ld[i])
        upper(tag, e, i)
    return RUNNING


# ------------------------------------------------------------------ the loop
cdef inline int look(real* tag, Engine* e, double* value, double floor, double tol) noexcept nogil:
    """The loss where the network stands."""
    cdef int status
    if e.cyclic:
        return cycle(tag, e, value, floor, tol, True)
    if e.train != NULL and not e.gradients:
        # any finite loss is at most this tol, so that no step is taken
        e.train(&e.tiny, 1, value, 0, INFINITY)
        status = RUNNING
    else:
        status = forward_from_pivot(tag, e, value) if e.pivot else forward_from_data(tag, e, value)
    if status != RUNNING:
        return status
    if not isfinite(value[0]):
        return DIVERGED
    return CONVERGED if value[0] + floor <= tol else RUNNING


cdef inline int run_tiny(real* tag, Engine* e, long steps, double* values, long* done, double floor, double tol) noexcept nogil:
    """A chain that fits in registers, from one score to the next."""
    cdef long t = 0, stop
    while t < steps:
        stop = steps
        if e.scores != NULL and e.scores.left:
            if e.scores.at[0] == t:
                score(tag, e.scores, e.layers)
            if e.scores.left:
                stop = e.scores.at[0]
        t += e.train(&e.tiny, stop - t, &values[t], floor, tol)
        done[0] = t
        if t < stop:
            return CONVERGED if isfinite(values[t]) else DIVERGED
    return RUNNING


cdef inline int run(real* tag, Engine* e, long steps, double* values, long* done, double floor, double tol) noexcept nogil:
    cdef long t
    cdef int status
    if e.train != NULL:
        return run_tiny(tag, e, steps, values, done, floor, tol)
    for t in range(steps):
        done[0] = t
        if e.scores != NULL and e.scores.left and e.scores.at[0] == t:
            score(tag, e.scores, e.layers)
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
