# Where the chains meet: the outputs, their loss, and the gradient of the loss in them.

from types cimport real, RUNNING, SQUARED, LOGISTIC, EXPONENTIAL, CROSS_ENTROPY, ENTRIES, SENSING, HUBER, HINGE, SQUARED_HINGE
from products cimport product
from loss cimport squared, logistic, exponential, huber, hinge, cross_entropy, entries, sensing
from engine cimport Engine


cdef inline void outputs_of(real* precision, Engine* e, real* M, int ldm) noexcept nogil:
    """e.O = X M, M (k_0, k_d), where the samples enter at the end of the chain."""
    product(&e.machine, False, False, e.samples, e.n_out, e.n_in, 1, <real*>e.X, e.ldx, M, ldm, 0, <real*>e.O, e.ldo)


cdef inline real* gradient_of_product(real* precision, Engine* e, double beta, real* out, int ldout) noexcept nogil:
    """D_d = X^T E + beta * D_d (k_0, k_d), the same."""
    product(&e.machine, True, False, e.n_in, e.n_out, e.samples, 1, <real*>e.X, e.ldx, <real*>e.O, e.ldo, beta, out, ldout)
    return out


cdef inline int evaluate(real* precision, Engine* e, double* value) noexcept nogil:
    """The loss of the outputs; e.O becomes their gradient. Returns a Status."""
    return evaluate_rows(precision, e, e.n_out if e.loss.by_output else e.samples, <real*>e.O, <real*>e.loss.targets, value)


cdef inline int evaluate_rows(real* precision, Engine* e, int rows, real* O, real* T, double* value) noexcept nogil:
    """The same of rows of the outputs, or of all: those of a loss of samples alone are parts of it."""
    cdef int cols = e.samples if e.loss.by_output else e.n_out
    cdef double f = e.loss.factor
    cdef int kind = e.loss.kind
    if kind == SQUARED:
        value[0] = squared(&e.machine, <Py_ssize_t>rows * e.ldo, O, T, f)
    elif kind == LOGISTIC:
        value[0] = logistic(rows, cols, e.ldo, O, T, f)
    elif kind == EXPONENTIAL:
        value[0] = exponential(rows, cols, e.ldo, O, T, f)
    elif kind == HUBER:
        value[0] = huber(rows, cols, e.ldo, O, T, f, e.loss.delta)
    elif kind == HINGE or kind == SQUARED_HINGE:
        value[0] = hinge(rows, cols, e.ldo, O, T, f, kind == SQUARED_HINGE)
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
