"""Curvature: Hessian and Gauss-Newton products of a network that a Chain is bound to (direction.pxd)."""

from types cimport real, FIXED, SPARSE
from layer cimport Layer, Structure, has_matrix
from memory cimport Arena, release, take
from structured cimport refresh
from engine cimport Engine
from workspace cimport array_of, matrix_of, width, widest
from handover cimport exactly
from evaluation cimport copy_rows
from direction cimport Direction, stand, differentiate
from second cimport has_weights


cdef class Curvature:
    """The Hessian of the loss of a simultaneous `Chain` in its parameters, or Gauss-Newton's part of it, as products with vectors.

    Vectors are flat, layer 1 first, C-contiguous and of the chain's dtype. It computes in the chain, which is not to be used
    between `stand` and the products; not thread-safe.
    """

    cdef Engine* e
    cdef Direction t
    cdef Arena arena
    cdef char code
    cdef Py_ssize_t* sizes
    cdef readonly Py_ssize_t size
    cdef readonly object chain

    def __init__(self, chain, bint part):
        cdef int i, d
        self.chain, self.e = chain, <Engine*><size_t>chain.engine
        e, t = self.e, &self.t
        d = e.depth
        if e.cyclic:
            raise ValueError("a cyclic chain has no single gradient; bind a simultaneous one")
        if e.train != NULL:
            raise ValueError("a chain in registers keeps no rows in flight; bind one that does not stand alone")
        self.code = b"f" if e.itemsize == sizeof(float) else b"d"
        t.part = part
        self.sizes = <Py_ssize_t*>take(&self.arena, d * sizeof(Py_ssize_t))
        t.layers = <Layer*>take(&self.arena, d * sizeof(Layer))
        t.found = <void**>take(&self.arena, d * sizeof(void*))
        for i in range(d):
            self.sizes[i] = chain.params[i].size
            self.size += self.sizes[i]
            self._layer(i)
        self._rows()

    def __dealloc__(self):
        release(&self.arena)

    cdef bint _lies(self, int i) noexcept nogil:
        """Whether layer i of a vector is a matrix where it lies: of rows too long to be padded, which would only be copied."""
        cdef Layer* L = &self.e.layers[i]
        return L.structure == NULL and L.n_in > self.e.machine.most

    cdef int _layer(self, int i) except -1:
        """The layer of a direction, and of what is found: those of the engine without what no parameter moves."""
        e = self.e
        cdef Layer* L = &e.layers[i]
        cdef Layer* V = &self.t.layers[i]
        cdef Structure* S
        V[0] = L[0]
        if L.structure == NULL:
            if not self._lies(i):
                V.theta = V.matrix = matrix_of(e, &self.arena, L.n_out, L.n_in)
                self.t.found[i] = matrix_of(e, &self.arena, L.n_out, L.n_in)
            return 0
        S = V.structure = <Structure*>take(&self.arena, sizeof(Structure))
        S[0] = L.structure[0]
        V.theta = array_of(e, &self.arena, max(S.size, 1))
        self.t.found[i] = array_of(e, &self.arena, max(S.size, 1))
        if has_matrix(L):
            V.matrix = matrix_of(e, &self.arena, L.n_out, L.n_in)
        S.offset = NULL
        if L.kind == SPARSE:
            S.values = array_of(e, &self.arena, max(S.nonzeros, 1)) if S.parameter != NULL else V.theta
        V.n_out -= S.border.carried
        S.border.skip = S.border.carried = 0
        return 0

    cdef int _rows(self) except -1:
        """The rows in flight, along the direction and of the point; the same as the engine has them."""
        e, t = self.e, &self.t
        cdef int i, d = e.depth, p = e.pivot
        cdef Arena* room = &self.arena
        cdef int rows = e.n_out if p else e.samples, cols = e.samples if p else e.n_out
        t.A, t.Z = <void**>take(room, (d + 1) * sizeof(void*)), <void**>take(room, (d + 1) * sizeof(void*))
        t.D, t.R = <void**>take(room, (d + 1) * sizeof(void*)), <void**>take(room, (d + 1) * sizeof(void*))
        t.O = matrix_of(e, room, rows, cols)
        if has_weights(&e.loss):
            t.weights = matrix_of(e, room, rows, cols)
        for i in range(p + 1, d + 1):
            t.A[i] = t.O if i == d and p == 0 and not e.data_last else matrix_of(e, room, e.rows, width(e, i))
            if not t.part:
                t.D[i] = e.O if i == d and p == 0 and not e.data_last else matrix_of(e, room, e.rows, width(e, i))
        for i in range(p):
            # beside an identity that is not written out Z'_{p-1} is V itself
            t.Z[i] = t.layers[i].matrix if i == p - 1 and e.Z[p] == NULL else matrix_of(e, room, e.rows, width(e, i))
            if not t.part:
                t.R[i] = matrix_of(e, room, e.rows, width(e, i)) if i or e.X != NULL else e.O if p == d else e.Q
        if 0 < p < d:
            t.H, t.Q = matrix_of(e, room, e.rows, e.samples), matrix_of(e, room, e.rows, e.samples)
        t.ping, t.pong = matrix_of(e, room, e.rows, widest(e)), matrix_of(e, room, e.rows, widest(e))
        t.spare = matrix_of(e, room, e.rows, widest(e))
        return 0

    def stand(self):
        """`(status, loss)` where the chain stands, with what the products there share. Needed once the chain has moved."""
        cdef int status
        cdef double value = 0
        with nogil:
            if self.code == b"f":
                status = stand(<float*>NULL, self.e, &self.t, &value)
            else:
                status = stand(<double*>NULL, self.e, &self.t, &value)
        return status, value

    def product(self, vectors, out, Py_ssize_t count=1):
        """`out = H vectors`, a vector or `count` of them, one after the other. Raises: TypeError, ValueError, BufferError."""
        cdef char* into = <char*>exactly(vectors, self.code, count * self.size, None, False)
        cdef char* back = <char*>exactly(out, self.code, count * self.size, None, True)
        cdef Py_ssize_t j, step = self.size * self.e.itemsize
        with nogil:
            for j in range(count):
                if self.code == b"f":
                    self._one(<float*>NULL, into + j * step, back + j * step)
                else:
                    self._one(<double*>NULL, into + j * step, back + j * step)

    cdef void _one(self, real* precision, char* into, char* back) noexcept nogil:
        cdef int i
        cdef size_t itemsize = self.e.itemsize
        cdef Layer* V
        cdef char* out = back
        for i in range(self.e.depth):
            V = &self.t.layers[i]
            if self._lies(i):
                V.theta, V.matrix, self.t.found[i] = into, into, out
                if i == self.e.pivot - 1 and self.e.Z[i + 1] == NULL:
                    self.t.Z[i] = into
            else:
                copy_rows(V, itemsize, V.theta, into, True)
                if V.structure != NULL and V.kind != FIXED:
                    refresh(precision, V)
            into += self.sizes[i] * itemsize
            out += self.sizes[i] * itemsize
        differentiate(precision, self.e, &self.t)
        for i in range(self.e.depth):
            if not self._lies(i):
                copy_rows(&self.t.layers[i], itemsize, self.t.found[i], back, False)
            back += self.sizes[i] * itemsize
