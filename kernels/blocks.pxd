# Long data in blocks of rows. Losses of the outputs are sums over rows: all that a step keeps of a block is its part of the loss and of
# the gradients beside the data, so that nothing as long as the data is written, and both products with a block find it in the cache.

from libc.string cimport memcpy
from types cimport real
from memory cimport padding
from products cimport product, sum_update, has_vectors, axpby
from engine cimport Engine


cdef inline void enter(real* precision, Engine* e, Py_ssize_t first) noexcept nogil:
    """The block of rows from `first` on is the data of the engine: X, targets, and how many rows there are."""
    cdef Py_ssize_t r, count = min(<Py_ssize_t>e.blocks.most, e.blocks.rows - first)
    cdef int c, columns
    cdef const real* X = <const real*>e.blocks.X + first * e.n_in
    cdef const real* T = <const real*>e.blocks.T + first * e.n_out
    cdef real* into = <real*>e.loss.targets
    e.samples = <int>count
    e.X = <void*>X
    if e.blocks.room != NULL:
        e.X = e.blocks.room
        for r in range(count):
            memcpy(<real*>e.X + r * e.ldx, X + r * e.n_in, e.n_in * sizeof(real))
    if not e.loss.by_output:
        for r in range(count):
            memcpy(into + r * e.ldo, T + r * e.n_out, e.n_out * sizeof(real))
        return
    columns = padding(<int>count, sizeof(real), e.machine.most)
    e.ldo = columns
    for c in range(e.n_out):
        for r in range(count):
            into[<Py_ssize_t>c * columns + r] = T[r * e.n_out + c]
        for r in range(count, columns):
            into[<Py_ssize_t>c * columns + r] = 0


cdef inline void add_rows_by_data(real* precision, Engine* e, const real* Q, bint first) noexcept nogil:
    """Q X of a block (s, k_0) is added to those before."""
    cdef real* below = <real*>e.blocks.below
    cdef real* own
    if e.rows > 1 or not has_vectors(&e.machine):
        product(&e.machine, False, False, e.rows, e.n_in, e.samples, 1, Q, e.ldo, <real*>e.X, e.ldx, 0 if first else 1, below, e.ld[0])
        return
    own = below if first else <real*>e.pong
    sum_update(&e.machine, <real*>e.X, e.samples, e.n_in, e.ldx, Q, own, <const real*>NULL, 0, 1)
    if not first:
        axpby(&e.machine, e.n_in, 1, own, 1, below)
