# Second derivatives of the losses in the outputs: along a direction, the derivative of what loss.pxd writes over them (docs/theory, T13.1).

from libc.math cimport exp, fabs
from types cimport real, SQUARED, LOGISTIC, EXPONENTIAL, CROSS_ENTROPY, ENTRIES, SENSING, HUBER, HINGE, SQUARED_HINGE
from loss cimport Objective


cdef inline bint has_weights(Objective* loss) noexcept nogil:
    """Whether `second` needs what `weigh` writes."""
    return loss.kind != SQUARED and loss.kind != ENTRIES and loss.kind != SENSING


cdef inline void softmax(int samples, int classes, Py_ssize_t step_s, Py_ssize_t step_c, const real* O, real* S) noexcept nogil:
    """softmax(O) over classes."""
    cdef double top, total
    cdef Py_ssize_t s, at
    cdef int c
    for s in range(samples):
        at = s * step_s
        top = O[at]
        for c in range(1, classes):
            top = max(top, O[at + c * step_c])
        total = 0
        for c in range(classes):
            S[at + c * step_c] = <real>exp(O[at + c * step_c] - top)
            total += S[at + c * step_c]
        for c in range(classes):
            S[at + c * step_c] = <real>(S[at + c * step_c] / total)


cdef inline void weigh(Objective* loss, int rows, int cols, int ld, const real* O, real* S) noexcept nogil:
    """S: of a loss that is a sum over outputs its second derivative at O, factor included; of cross-entropy the probabilities."""
    cdef const real* T = <real*>loss.targets
    cdef double f = loss.factor, margin, e
    cdef Py_ssize_t r, at
    cdef int c, kind = loss.kind
    if kind == CROSS_ENTROPY:
        if loss.by_output:
            softmax(cols, rows, 1, ld, O, S)
        else:
            softmax(rows, cols, ld, 1, O, S)
        return
    for r in range(rows):
        for c in range(cols):
            at = r * ld + c
            margin = <double>T[at] * O[at]
            if kind == LOGISTIC:
                e = exp(-fabs(margin))
                S[at] = <real>(f * (e / ((1 + e) * (1 + e))))
            elif kind == EXPONENTIAL:
                S[at] = <real>(f * exp(-margin))
            elif kind == HUBER:
                S[at] = <real>(f if fabs(<double>O[at] - T[at]) <= loss.delta else 0)
            elif kind == SQUARED_HINGE:
                S[at] = <real>(2 * f if margin < 1 else 0)
            else:  # HINGE is piecewise linear
                S[at] = 0


cdef inline void weigh_classes(int samples, int classes, Py_ssize_t step_s, Py_ssize_t step_c, double factor, const real* S,
                               real* V) noexcept nogil:
    """V = factor (p V - p (p . V)) of every sample, p in S."""
    cdef double total
    cdef Py_ssize_t s, at
    cdef int c
    for s in range(samples):
        at = s * step_s
        total = 0
        for c in range(classes):
            total += <double>S[at + c * step_c] * V[at + c * step_c]
        for c in range(classes):
            V[at + c * step_c] = <real>(factor * S[at + c * step_c] * (V[at + c * step_c] - total))


cdef inline void second(Objective* loss, int rows, int cols, int ld, const real* S, real* V) noexcept nogil:
    """V, a direction in the outputs, becomes the derivative of the loss's gradient along it; S is that of `weigh`."""
    cdef double* kept = <double*>loss.residual
    cdef double* A = <double*>loss.matrices
    cdef Py_ssize_t j, size = <Py_ssize_t>rows * cols, whole = <Py_ssize_t>rows * ld
    cdef int i, c
    cdef real slope = <real>(2 * loss.factor)
    if loss.kind == SQUARED:
        for j in range(whole):
            V[j] = slope * V[j]
    elif loss.kind == CROSS_ENTROPY:
        if loss.by_output:
            weigh_classes(cols, rows, 1, ld, loss.factor, S, V)
        else:
            weigh_classes(rows, cols, ld, 1, loss.factor, S, V)
    elif loss.kind == ENTRIES:
        for j in range(loss.count):
            kept[j] = 2 * loss.factor * V[loss.where[j]]
        for j in range(whole):
            V[j] = 0
        for j in range(loss.count):
            V[loss.where[j]] += <real>kept[j]
    elif loss.kind == SENSING:
        for j in range(loss.count):
            kept[j] = 0
            for i in range(rows):
                for c in range(cols):
                    kept[j] += A[j * size + i * cols + c] * V[i * ld + c]
            kept[j] *= 2 * loss.factor
        for j in range(whole):
            V[j] = 0
        for j in range(loss.count):
            for i in range(rows):
                for c in range(cols):
                    V[i * ld + c] += <real>(kept[j] * A[j * size + i * cols + c])
    else:
        for j in range(whole):
            V[j] = S[j] * V[j]
