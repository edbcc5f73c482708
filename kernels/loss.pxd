# Losses of the outputs and of the product: the value, and the gradient written over the outputs.
#
# O is (rows, cols) with leading dimension ld; targets have the same layout, and both are zero in the padding.
# `by_output`: rows are outputs and columns samples (pivots p >= 1); else rows are samples (p = 0).

from libc.math cimport exp, log, log1p
from types cimport real
from products cimport Machine

cdef struct Objective:
    int kind
    double factor
    double floor        # what is left out of the loss, and belongs to it
    double delta        # where a Huber loss turns linear
    bint by_output
    void* targets       # laid out as the outputs
    Py_ssize_t count    # observations of a loss of the product
    Py_ssize_t* where   # their offsets in O
    void* values        # their values, double
    void* matrices      # (count, rows * cols) double, in the orientation of O
    void* residual      # (count,) double


cdef inline double squared(Machine* machine, Py_ssize_t count, real* O, const real* T, double factor) noexcept nogil:
    """factor * sum (O - T)^2; O becomes its gradient. Flat: the padding is zero in both."""
    cdef double total = 0
    cdef Py_ssize_t i
    cdef real r
    cdef real slope = <real>(2 * factor)
    if machine.level:
        if real is float:
            return factor * machine.tile.f.residual(count, O, T, slope)
        else:
            return factor * machine.tile.d.residual(count, O, T, slope)
    for i in range(count):
        r = O[i] - T[i]
        total += <double>r * r
        O[i] = slope * r
    return factor * total


cdef inline double logistic(int rows, int cols, int ld, real* O, const real* T, double factor) noexcept nogil:
    """factor * sum log(1 + exp(-T O)), computed without overflow."""
    cdef double total = 0, margin, e
    cdef Py_ssize_t r, at
    cdef int c
    for r in range(rows):
        for c in range(cols):
            at = r * ld + c
            margin = <double>T[at] * O[at]
            if margin > 0:
                e = exp(-margin)
                total += log1p(e)
                O[at] = <real>(-factor * T[at] * (e / (1 + e)))
            else:
                e = exp(margin)
                total += log1p(e) - margin
                O[at] = <real>(-factor * T[at] / (1 + e))
    return factor * total


cdef inline double exponential(int rows, int cols, int ld, real* O, const real* T, double factor) noexcept nogil:
    """factor * sum exp(-T O)."""
    cdef double total = 0, e
    cdef Py_ssize_t r, at
    cdef int c
    for r in range(rows):
        for c in range(cols):
            at = r * ld + c
            e = exp(-<double>T[at] * O[at])
            total += e
            O[at] = <real>(-factor * T[at] * e)
    return factor * total


cdef inline double huber(int rows, int cols, int ld, real* O, const real* T, double factor, double delta) noexcept nogil:
    """factor * sum h(O - T), quadratic up to delta and linear beyond."""
    cdef double total = 0, residual, slope
    cdef Py_ssize_t r, at
    cdef int c
    for r in range(rows):
        for c in range(cols):
            at = r * ld + c
            residual = <double>O[at] - T[at]
            # nan passes through
            slope = delta if residual > delta else -delta if residual < -delta else residual
            total += slope * (residual - slope / 2)
            O[at] = <real>(factor * slope)
    return factor * total


cdef inline double hinge(int rows, int cols, int ld, real* O, const real* T, double factor, bint squares) noexcept nogil:
    """factor * sum max(0, 1 - T O), or of its squares."""
    cdef double total = 0, gap
    cdef Py_ssize_t r, at
    cdef int c
    for r in range(rows):
        for c in range(cols):
            at = r * ld + c
            gap = 1 - <double>T[at] * O[at]
            # so that nan passes through
            if gap <= 0:
                O[at] = 0
            elif squares:
                total += gap * gap
                O[at] = <real>(-2 * factor * T[at] * gap)
            else:
                total += gap
                O[at] = <real>(-factor * T[at])
    return factor * total


cdef inline double cross_entropy(int samples, int classes, Py_ssize_t step_s, Py_ssize_t step_c, real* O, const real* T,
                                 double factor) noexcept nogil:
    """-factor * sum T log softmax(O) over classes; each row of T sums to one."""
    cdef double total = 0, top, sum, shift
    cdef Py_ssize_t s, at
    cdef int c
    for s in range(samples):
        at = s * step_s
        top = O[at]
        for c in range(1, classes):
            if O[at + c * step_c] > top or O[at + c * step_c] != O[at + c * step_c]:
                top = O[at + c * step_c]
        sum = 0
        shift = 0
        for c in range(classes):
            shift += T[at + c * step_c] * (O[at + c * step_c] - top)
        for c in range(classes):
            O[at + c * step_c] = <real>exp(O[at + c * step_c] - top)
            sum += O[at + c * step_c]
        total += log(sum) - shift
        for c in range(classes):
            O[at + c * step_c] = <real>(factor * (O[at + c * step_c] / sum - T[at + c * step_c]))
    return factor * total


cdef inline double entries(Objective* loss, int rows, int ld, real* O) noexcept nogil:
    """factor * sum (O[where] - values)^2; O becomes its gradient, zero elsewhere."""
    cdef double total = 0, r
    cdef double* values = <double*>loss.values
    cdef double* kept = <double*>loss.residual
    cdef Py_ssize_t j
    for j in range(loss.count):
        r = <double>O[loss.where[j]] - values[j]
        kept[j] = 2 * loss.factor * r
        total += r * r
    for j in range(<Py_ssize_t>rows * ld):
        O[j] = 0
    for j in range(loss.count):
        O[loss.where[j]] = <real>kept[j]
    return loss.factor * total


cdef inline double sensing(Objective* loss, int rows, int cols, int ld, real* O) noexcept nogil:
    """factor * sum_j (<A_j, O> - values_j)^2; O becomes its gradient."""
    cdef double total = 0, r
    cdef double* values = <double*>loss.values
    cdef double* kept = <double*>loss.residual
    cdef double* A = <double*>loss.matrices
    cdef Py_ssize_t j, i, c
    cdef Py_ssize_t size = <Py_ssize_t>rows * cols
    for j in range(loss.count):
        r = -values[j]
        for i in range(rows):
            for c in range(cols):
                r += A[j * size + i * cols + c] * O[i * ld + c]
        kept[j] = 2 * loss.factor * r
        total += r * r
    for i in range(rows):
        for c in range(cols):
            O[i * ld + c] = 0
    for j in range(loss.count):
        for i in range(rows):
            for c in range(cols):
                O[i * ld + c] += <real>(kept[j] * A[j * size + i * cols + c])
    return loss.factor * total
