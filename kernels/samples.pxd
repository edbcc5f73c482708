# The step from pivot 0: the rows in flight are samples, or the identity where the samples enter at the end.

from types cimport real, RUNNING
from layer cimport Layer
from engine cimport Engine
from rows cimport upper
from outputs cimport outputs_of, gradient_of_product, evaluate
from blocks cimport enter
from descend cimport descend, adjoint_descend
from tiles cimport goes_by_tiles, forward_by_tiles, backward_by_tiles


cdef inline void outputs_from_samples(real* precision, Engine* e) noexcept nogil:
    """The outputs."""
    cdef int i
    for i in range(e.depth):
        upper(precision, e, i)
    if e.data_last:
        outputs_of(precision, e, <real*>e.A[e.depth], e.ld[e.depth])


cdef inline int forward_from_samples(real* precision, Engine* e, double* value) noexcept nogil:
    """The loss and the gradient in the outputs, or in the product where the data come in blocks. Returns a Status."""
    cdef int i, status = RUNNING
    cdef Py_ssize_t first = 0
    cdef double part
    if goes_by_tiles(e):
        forward_by_tiles(precision, e, value)
        return RUNNING
    if e.blocks == NULL:
        outputs_from_samples(precision, e)
        return evaluate(precision, e, value)
    for i in range(e.depth):
        upper(precision, e, i)
    value[0] = 0
    while status == RUNNING and first < e.blocks.rows:
        enter(precision, e, first)
        outputs_of(precision, e, <real*>e.A[e.depth], e.ld[e.depth])
        status = evaluate(precision, e, &part)
        value[0] += part
        gradient_of_product(precision, e, 1 if first else 0, <real*>e.pong, e.ld[e.depth])
        first += e.samples
    return status


cdef inline void backward_to_samples(real* precision, Engine* e) noexcept nogil:
    """The gradients of all layers, from the last to the first."""
    cdef real* D = <real*>e.O
    cdef real* below = <real*>e.ping
    cdef real* spare = <real*>e.pong
    cdef int ldd = e.ldo
    cdef int i
    if goes_by_tiles(e):
        backward_by_tiles(precision, e)
        return
    if e.data_last:
        D = spare if e.blocks != NULL else gradient_of_product(precision, e, 0, spare, e.ld[e.depth])
        ldd = e.ld[e.depth]
    for i in range(e.depth - 1, 0, -1):
        adjoint_descend(e, &e.layers[i], e.rows, D, ldd, below, e.ld[i], <real*>e.A[i], e.ld[i])
        D = below
        ldd = e.ld[i]
        below = spare
        spare = D
    descend(e, &e.layers[0], e.rows, D, ldd, <real*>e.A[0], e.ld[0])
