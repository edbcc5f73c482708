# Update rules that see the gradients of all layers first: gradients_only, then a pass over the parameters. Formulas: src/linalign/optim.

from libc.math cimport fabs, frexp, isfinite, ldexp, pow, sqrt
from libc.string cimport memcpy
from types cimport real, DENSE, FIXED, SGD, ADAM, RMSPROP, ADAGRAD, SIGN, NORMALISED, GROUP_RMSPROP, NEWTON_SCHULZ
from layer cimport Layer
from products cimport product
from structured cimport refresh
from engine cimport Engine, Optimiser


cdef inline double squared_norm(real* precision, Engine* e) noexcept nogil:
    """The sum of the squared norms of all gradients, in the metric."""
    cdef double total = 0
    cdef Layer* L
    cdef const double* inverse
    cdef int i
    for i in range(e.depth):
        L = &e.layers[i]
        inverse = NULL if L.structure == NULL or not e.optimiser.matrix_metric else L.structure.inverse_gram
        if real is float:
            total += e.optimiser.functions.f.squares(L.size, <float*>L.gradient, inverse)
        else:
            total += e.optimiser.functions.d.squares(L.size, <double*>L.gradient, inverse)
    return total


cdef inline void along(real* precision, Optimiser* o, Py_ssize_t n, void* w, const void* g, double keep, double rate) noexcept nogil:
    """w = keep w - rate g."""
    if real is float:
        o.functions.f.along(n, <float*>w, <const float*>g, <float>keep, <float>rate)
    else:
        o.functions.d.along(n, <double*>w, <const double*>g, keep, rate)


cdef inline void mean(real* precision, Optimiser* o, Py_ssize_t n, void* a, const void* w, double keep, double fresh) noexcept nogil:
    """a = keep a + fresh w."""
    if real is float:
        o.functions.f.mean(n, <float*>a, <const float*>w, <float>keep, <float>fresh)
    else:
        o.functions.d.mean(n, <double*>a, <const double*>w, keep, fresh)


cdef inline void measure(real* precision, Engine* e) noexcept nogil:
    """Gradients in the metric of the matrices: by the inverse Gram matrix where it is diagonal."""
    cdef int i
    cdef Py_ssize_t k
    cdef Layer* L
    for i in range(e.depth):
        L = &e.layers[i]
        if L.structure != NULL and L.structure.inverse_gram != NULL:
            for k in range(L.size):
                (<real*>L.gradient)[k] = (<real*>L.gradient)[k] * <real>L.structure.inverse_gram[k]


cdef inline void shorten(real* precision, Engine* e, double share) noexcept nogil:
    """All gradients times `share`."""
    cdef int i
    cdef Py_ssize_t k
    cdef real f = <real>share
    for i in range(e.depth):
        for k in range(e.layers[i].size):
            (<real*>e.layers[i].gradient)[k] = f * (<real*>e.layers[i].gradient)[k]


cdef inline double rescale(real* precision, Engine* e, double squared) noexcept nogil:
    """All gradients times a power of two, the largest entry about one; their `squared` then."""
    cdef double largest = 0
    cdef int i, exponent
    cdef Py_ssize_t k
    cdef real* g
    for i in range(e.depth):
        g = <real*>e.layers[i].gradient
        for k in range(e.layers[i].size):
            largest = max(largest, fabs(g[k]))
    if largest == 0 or not isfinite(largest):
        return squared
    frexp(largest, &exponent)
    for i in range(e.depth):
        g = <real*>e.layers[i].gradient
        for k in range(e.layers[i].size):
            g[k] = <real>ldexp(g[k], -exponent)
    return squared_norm(precision, e)


cdef inline void climb(real* precision, Engine* e, double squared) noexcept nogil:
    """W + rho g / ||g||, and W kept."""
    cdef int i
    cdef Layer* L
    cdef double share = e.optimiser.rho / (sqrt(squared) + 1e-12)
    if squared > 1e300:
        # which may be infinite though the norm is not
        share = e.optimiser.rho / sqrt(rescale(precision, e, squared))
    for i in range(e.depth):
        L = &e.layers[i]
        memcpy(L.kept, L.theta, L.size * sizeof(real))
        along(precision, e.optimiser, L.size, L.theta, L.gradient, 1, -share)
        if L.structure != NULL:
            refresh(precision, L)


cdef inline void come_back(real* precision, Engine* e) noexcept nogil:
    """From there to W."""
    cdef int i
    for i in range(e.depth):
        memcpy(e.layers[i].theta, e.layers[i].kept, e.layers[i].size * sizeof(real))


cdef inline void orthogonal(real* precision, Engine* e, Layer* L, double a, double b, double c, int steps, double eps,
                            real* M) noexcept nogil:
    """M (n_out, ld) by the quintic iteration of Newton and Schulz, over the shorter side: X <- a X + (b X X^T + c (X X^T)^2) X."""
    cdef Optimiser* o = e.optimiser
    cdef bint turned = L.n_out > L.n_in
    cdef int r = L.n_in if turned else L.n_out, n = L.n_out if turned else L.n_in, _t, i, j
    cdef int ldx = L.ld_turned if turned else L.ld, ldg = L.ld if turned else L.ld_turned
    cdef real* X = <real*>o.wide if turned else M
    cdef real* Y = <real*>o.wide_too
    cdef real* G = <real*>o.gram
    cdef real* B = <real*>o.gram_too
    cdef double size
    if real is float:
        size = sqrt(o.functions.f.squares(L.size, <float*>M, NULL))
    else:
        size = sqrt(o.functions.d.squares(L.size, <double*>M, NULL))
    cdef real by = <real>(1.0 / (size if size > eps else eps))
    if turned:
        for i in range(r):
            for j in range(ldx):
                X[<Py_ssize_t>i * ldx + j] = by * M[<Py_ssize_t>j * L.ld + i] if j < n else 0
    else:
        for i in range(r * ldx):
            X[i] = by * X[i]
    for _t in range(steps):
        product(&e.machine, False, True, r, r, n, 1, X, ldx, X, ldx, 0, G, ldg)
        memcpy(B, G, <size_t>r * ldg * sizeof(real))
        product(&e.machine, False, False, r, r, r, c, G, ldg, G, ldg, b, B, ldg)
        memcpy(Y, X, <size_t>r * ldx * sizeof(real))
        product(&e.machine, False, False, r, n, r, 1, B, ldg, X, ldx, a, Y, ldx)
        memcpy(X, Y, <size_t>r * ldx * sizeof(real))
    if turned:
        for i in range(L.n_out):
            for j in range(L.n_in):
                M[<Py_ssize_t>i * L.ld + j] = X[<Py_ssize_t>j * ldx + i]


cdef inline void muon(real* precision, Engine* e, Layer* L, double scale) noexcept nogil:
    """A mean of gradients, turned into its orthogonal factor."""
    cdef Optimiser* o = e.optimiser
    cdef double momentum = o.numbers[0]
    cdef real* M = <real*>o.turned
    mean(precision, o, L.size, L.slots[0], L.gradient, momentum, 1 - momentum)
    memcpy(M, L.slots[0], L.size * sizeof(real))
    if o.numbers[1] != 0:
        mean(precision, o, L.size, M, L.gradient, momentum, 1 - momentum)
    orthogonal(precision, e, L, o.numbers[3], o.numbers[4], o.numbers[5], <int>o.numbers[2], o.numbers[6], M)
    along(precision, o, L.size, L.theta, M, 1 - L.lr * L.decay, L.lr * scale)


cdef inline void entries(real* precision, Optimiser* o, Layer* L, double step) noexcept nogil:
    """A rule that takes one entry at a time."""
    cdef double c[8]
    cdef double* p = o.numbers
    cdef void* first = L.slots[0] if o.slots > 0 else NULL
    cdef void* second = L.slots[1] if o.slots > 1 else NULL
    cdef void* third = NULL
    c[0] = L.decay
    c[1] = L.lr
    if o.kind == SGD:
        c[2], c[3], c[4] = p[0], 1.0 if step == 1 else 1.0 - p[2], p[1]
    elif o.kind == ADAM:
        # decay through the gradient, or beside it
        c[0] = L.decay if p[3] != 0 else 0
        c[7] = 1 if p[3] != 0 else 1 - L.lr * L.decay
        c[1] = L.lr / o.first
        c[2], c[3], c[4], c[5], c[6] = 1 - p[0], p[1], 1 - p[1], 1 / sqrt(o.second), p[2]
    elif o.kind == RMSPROP:
        c[2], c[3], c[4], c[5] = p[0], 1 - p[0], p[1], p[2]
        third = (L.slots[2] if p[3] != 0 else second) if p[2] != 0 else NULL
        second = second if p[3] != 0 else NULL
    elif o.kind == ADAGRAD:
        c[1] = L.lr / (1 + (step - 1) * p[0])
        c[2] = p[1]
    else:
        c[0], c[2] = 1 - L.lr * L.decay, 1 - p[0]
    if real is float:
        if o.kind == SGD:
            o.functions.f.sgd(L.size, <float*>L.theta, <float*>L.gradient, <float*>first, c)
        elif o.kind == ADAM:
            o.functions.f.adam(L.size, <float*>L.theta, <float*>L.gradient, <float*>first, <float*>second, c)
        elif o.kind == RMSPROP:
            o.functions.f.rmsprop(L.size, <float*>L.theta, <float*>L.gradient, <float*>first, <float*>second, <float*>third, c)
        elif o.kind == ADAGRAD:
            o.functions.f.adagrad(L.size, <float*>L.theta, <float*>L.gradient, <float*>first, c)
        else:
            o.functions.f.sign(L.size, <float*>L.theta, <float*>L.gradient, <float*>first, c)
    else:
        if o.kind == SGD:
            o.functions.d.sgd(L.size, <double*>L.theta, <double*>L.gradient, <double*>first, c)
        elif o.kind == ADAM:
            o.functions.d.adam(L.size, <double*>L.theta, <double*>L.gradient, <double*>first, <double*>second, c)
        elif o.kind == RMSPROP:
            o.functions.d.rmsprop(L.size, <double*>L.theta, <double*>L.gradient, <double*>first, <double*>second, <double*>third, c)
        elif o.kind == ADAGRAD:
            o.functions.d.adagrad(L.size, <double*>L.theta, <double*>L.gradient, <double*>first, c)
        else:
            o.functions.d.sign(L.size, <double*>L.theta, <double*>L.gradient, <double*>first, c)


cdef inline double divisor(Optimiser* o, double squared, double step) noexcept nogil:
    """What the gradients of all layers are divided by, of a rule that divides them by one number."""
    if o.kind == NORMALISED:
        return sqrt(squared)
    o.memory[0] = o.numbers[0] * o.memory[0] + (1 - o.numbers[0]) * squared
    return sqrt(o.memory[0] / (1 - pow(o.numbers[0], step))) + o.numbers[1]


cdef inline void correct(Optimiser* o) noexcept nogil:
    """`first` and `second` of the step. A power takes as long as a small layer: they are worked out anew at every sixteenth step and
    multiplied on from there, wherever a run begins, so that they are the same in one that goes on."""
    cdef int _t
    if o.step == 1 or o.known != o.step - 1 or o.step % 16 == 0:
        o.powers[0], o.powers[1] = pow(o.numbers[0], o.step // 16 * 16), pow(o.numbers[1], o.step // 16 * 16)
        for _t in range(o.step % 16):
            o.powers[0], o.powers[1] = o.powers[0] * o.numbers[0], o.powers[1] * o.numbers[1]
    else:
        o.powers[0], o.powers[1] = o.powers[0] * o.numbers[0], o.powers[1] * o.numbers[1]
    o.known = o.step
    o.first, o.second = 1 - o.powers[0], 1 - o.powers[1]


cdef inline void optimise(real* precision, Engine* e, double squared) noexcept nogil:
    """Use the gradients of all layers, whose squared norm is `squared` where the rule asks for it."""
    cdef Optimiser* o = e.optimiser
    cdef Layer* L
    cdef int i
    cdef double step = <double>o.step, by = 1
    if o.kind == NORMALISED or o.kind == GROUP_RMSPROP:
        if o.kind == NORMALISED and not 1e-40 < squared < 1e40:
            # the same step whatever their length: neither squares nor a rate over their root leave the precision
            squared = rescale(precision, e, squared)
        by = divisor(o, squared, step)
    elif o.kind == ADAM:
        correct(o)
    for i in range(e.depth):
        L = &e.layers[i]
        if L.kind == FIXED:
            continue
        if o.kind == NEWTON_SCHULZ:
            muon(precision, e, L, o.scales[i])
        elif o.kind == NORMALISED or o.kind == GROUP_RMSPROP:
            along(precision, o, L.size, L.theta, L.gradient, 1 - L.lr * L.decay, L.lr / by if by != 0 else 0)
        else:
            entries(precision, o, L, step)
        if L.structure != NULL:
            refresh(precision, L)
        if o.average >= 0:
            mean(precision, o, L.size, L.slots[o.slots], L.theta, 0 if o.step == 1 else o.average, 1 if o.step == 1 else 1 - o.average)


cdef inline double metric_norm(real* precision, Engine* e) noexcept nogil:
    """Gradients in the metric of the descent; the square of their norm in it, where it is asked for."""
    if e.optimiser.matrix_metric:
        measure(precision, e)
    return squared_norm(precision, e) if e.optimiser.norms else 0.0


cdef inline void use_gradients(real* precision, Engine* e, long t) noexcept nogil:
    """The rule, after the gradients of all layers were written down; `t` counts the steps that were handed over."""
    cdef double squared = metric_norm(precision, e)
    cdef int i
    if e.rates != NULL:
        for i in range(e.depth):
            e.layers[i].lr = e.rates[t * e.depth + i]
    cdef double norm = sqrt(squared) + 1e-6
    if e.optimiser.clip > 0 and e.optimiser.clip < norm:
        if squared > 1e300:
            squared = rescale(precision, e, squared)
            norm = sqrt(squared)
        shorten(precision, e, e.optimiser.clip / norm)
        squared = squared * (e.optimiser.clip / norm) ** 2
    optimise(precision, e, squared)
    e.optimiser.step += 1
