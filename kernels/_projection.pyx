"""Gather: the coordinates of a matrix in a layer whose entries are parameters, over how often each stands there."""

from libc.stdlib cimport calloc, free
from types cimport real
from handover cimport address, doubles, elements, exactly, whole


cdef void gather(const real* M, Py_ssize_t count, const Py_ssize_t* places, const int* index, const signed char* sign,
                 double* sums) noexcept nogil:
    """sums[index] += sign * M[places], in double."""
    cdef Py_ssize_t e
    if sign == NULL:
        for e in range(count):
            sums[index[e]] += M[places[e]]
    else:
        for e in range(count):
            sums[index[e]] += sign[e] * <double>M[places[e]]


cdef void scale(double* sums, const double* weights, Py_ssize_t size, real* out) noexcept nogil:
    cdef Py_ssize_t k
    for k in range(size):
        out[k] = <real>(sums[k] * weights[k])


cdef class Gather:
    """`theta_k = weights_k sum_e sign_e M[places_e]` over the entries e with `index_e = k`; thread-safe.

    `places` are counted row by row through M `(shape)`; `weights` is float64, of as many parameters as `param_shape` has.
    """

    cdef object shape
    cdef object param_shape
    cdef object kept
    cdef Py_ssize_t count
    cdef Py_ssize_t size
    cdef Py_ssize_t total
    cdef const Py_ssize_t* places
    cdef const int* index
    cdef const signed char* sign
    cdef const double* weights

    def __init__(self, shape, param_shape, places, index, sign, weights):
        self.shape, self.param_shape, self.kept = shape, param_shape, (places, index, sign, weights)
        self.count, self.size, self.total = len(places), len(weights), shape[0] * shape[1]
        self.places = <const Py_ssize_t*>address(places)
        self.index, self.sign, self.weights = whole(index), <const signed char*>elements(sign, b"b"), doubles(weights)

    def __call__(self, M, out):
        """Write theta to `out`; both C-contiguous, float64 or float32. Raises: TypeError, ValueError, BufferError for other arrays."""
        cdef bint single = M.itemsize == 4
        cdef char code = b"f" if single else b"d"
        cdef void* source = exactly(M, code, self.total, self.shape, False)
        cdef void* target = exactly(out, code, self.size, self.param_shape, True)
        cdef double* sums = <double*>calloc(self.size + 1, sizeof(double))
        if sums == NULL:
            raise MemoryError(f"no memory for {self.size} sums")
        with nogil:
            if single:
                gather(<float*>source, self.count, self.places, self.index, self.sign, sums)
                scale(sums, self.weights, self.size, <float*>target)
            else:
                gather(<double*>source, self.count, self.places, self.index, self.sign, sums)
                scale(sums, self.weights, self.size, <double*>target)
        free(sums)
