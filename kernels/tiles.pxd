# The step of a chain of convolutions from pivot 0, some rows at a time: outputs, loss and gradients of a tile, while it is in the cache.

from cython.parallel cimport prange
from libc.string cimport memset
from types cimport real
from layer cimport Layer
from products cimport la_team, share
from structured cimport structured_apply, structured_backward
from engine cimport Engine
from rule cimport use_coordinates
from outputs cimport evaluate_rows


cdef inline bint goes_by_tiles(Engine* e) noexcept nogil:
    """Whether a step does."""
    return e.tiles != NULL and e.rows > e.tiles.rows


cdef inline void tiles_of(real* precision, Engine* e, int p, int threads) noexcept nogil:
    """A thread's share: the sum of its losses, and of its gradients."""
    cdef Layer* layers = e.tiles.layers + p * e.depth
    cdef Layer* L
    cdef int i, rows, r, d = e.depth, first = share(e.rows, p, threads, 1), last = share(e.rows, p + 1, threads, 1)
    cdef Py_ssize_t k, wide = <Py_ssize_t>first * e.tiles.wide
    cdef real* D
    cdef real* below
    cdef real* spare
    cdef real* A
    cdef real* sums
    cdef double value
    e.tiles.values[p * 8] = 0
    for i in range(d):
        memset(<real*>e.tiles.sums[i] + p * layers[i].structure.size, 0, layers[i].structure.size * sizeof(real))
    r = first
    while r < last:
        rows = min(e.tiles.rows, last - r)
        # all tiles of a thread lie where its first does; those of the data do not
        A = <real*>e.X + <Py_ssize_t>r * e.ldx
        for i in range(d):
            D = <real*>e.A[i + 1] + <Py_ssize_t>first * e.ld[i + 1]
            structured_apply(&layers[i], rows, A, e.ld[i], D, e.ld[i + 1])
            A = D
        evaluate_rows(precision, e, rows, D, <real*>e.loss.targets + <Py_ssize_t>r * e.ldo, &value)
        e.tiles.values[p * 8] += value
        below, spare = <real*>e.ping + wide, <real*>e.pong + wide
        for i in range(d - 1, -1, -1):
            L = &layers[i]
            A = <real*>e.A[i] + <Py_ssize_t>first * e.ld[i] if i else <real*>e.X + <Py_ssize_t>r * e.ldx
            structured_backward(L, rows, D, e.ld[i + 1], below if i else <real*>NULL, e.ld[i], A, e.ld[i])
            sums = <real*>e.tiles.sums[i] + p * L.structure.size
            for k in range(L.structure.size):
                sums[k] += (<real*>L.structure.coordinates)[k]
            D, below, spare = below, spare, below
        r += rows


cdef inline void forward_by_tiles(real* precision, Engine* e, double* value) noexcept nogil:
    """The loss; the coordinates of all gradients."""
    cdef int i, p, threads = min(e.layers[0].structure.threads, e.rows)
    cdef Py_ssize_t k, size
    cdef real* found
    cdef real* sums
    if threads == 1:
        tiles_of(precision, e, 0, 1)
    else:
        for p in prange(threads, num_threads=la_team(threads), schedule="static"):
            tiles_of(precision, e, p, threads)
    value[0] = 0
    for p in range(threads):
        value[0] += e.tiles.values[p * 8]
    for i in range(e.depth):
        size, found, sums = e.layers[i].structure.size, <real*>e.layers[i].structure.coordinates, <real*>e.tiles.sums[i]
        for k in range(size):
            found[k] = sums[k]
        for p in range(1, threads):
            for k in range(size):
                found[k] += sums[p * size + k]


cdef inline void backward_by_tiles(real* precision, Engine* e) noexcept nogil:
    """Use them."""
    cdef int i
    for i in range(e.depth - 1, -1, -1):
        use_coordinates(precision, e, &e.layers[i])
