"""Chain: a network bound to its data, and the loop over it. The loop itself is in loop.pxd."""

from cpython.buffer cimport PyObject_GetBuffer, PyBuffer_Release, PyBUF_STRIDED_RO
from libc.string cimport memset
from arena cimport Arena, clear, release, take
from types cimport LINE, la_detect, DENSE, TIED, BASIS, FIXED, BLOCKS, SPARSE, CONV, RUNNING, CALLBACK_FAILED
from layer cimport Layer, Structure, la_conv_layout, la_structured_of
from products cimport Machine, la_tile_of, product
from structured cimport refresh
from score cimport Scores, SIDE
from stripes cimport Stripes, NONE, longer
from engine cimport Engine, la_chain_train
from loop cimport run, forward, backward

import numpy as np

cdef extern from "la_team.h":
    int la_team_watch() noexcept nogil

cdef extern from "la_structured.h":
    const int LA_PANEL

cdef extern from *:
    """
    #ifdef _OPENMP
    #define LA_SHARES 1
    #else
    #define LA_SHARES 0
    #endif
    """
    const int LA_DEBUG
    const int LA_NATIVE
    const int LA_SHARES


if la_team_watch():
    raise ImportError("this process cannot be told of its forks, for want of memory")


cdef int ask(void* owner, double* value) noexcept with gil:
    return (<Chain>owner).call_back(value)


def detect() -> int:
    """The instruction set of this processor: 0 baseline, 3 AVX2 and FMA, 4 AVX-512."""
    return la_detect()


def build() -> list:
    """How this module was built."""
    found = ["debug checks"] if LA_DEBUG else ["optimised"]
    if LA_NATIVE:
        found.append("-march=native: this build runs on processors like this one only")
    return found


def shares() -> bool:
    """Whether products can be shared out among threads."""
    return LA_SHARES != 0


cpdef int padding(int columns, int itemsize, int most) noexcept:
    """The leading dimension of rows of that many columns: short rows are padded to 64 bytes for the tile."""
    cdef int lanes = LINE // itemsize
    return columns if columns > most else (columns + lanes - 1) // lanes * lanes


cdef size_t address(array) except? 0:
    """Where the array begins; `array.ctypes.data` takes ten times as long."""
    cdef Py_buffer view
    PyObject_GetBuffer(array, &view, PyBUF_STRIDED_RO)
    found = <size_t>view.buf
    PyBuffer_Release(&view)
    return found


def buffer(int rows, int columns, dtype, int most) -> np.ndarray:
    """A zeroed matrix that starts on a cache line, as a view of its padded rows."""
    itemsize = np.dtype(dtype).itemsize
    ld = padding(columns, itemsize, most)
    # touched here, and not page by page in the first steps
    raw = np.empty(rows * ld * itemsize + LINE, dtype=np.uint8)
    raw.fill(0)
    start = (LINE - address(raw) % LINE) % LINE
    return np.ndarray((rows, columns), dtype, raw, start, (ld * itemsize, itemsize))


def multiply(bint ta, bint tb, double alpha, A, B, double beta, C, *, int level, int most, long repeats=1, int threads=1):
    """`C = alpha op(A) op(B) + beta C`, as the loop does it, `repeats` times: for tests and for `bench/products.py`.

    The three are `buffer`s of one dtype with `most`; a tile is used as the loop would use it.
    """
    cdef Machine machine
    dtype = A.dtype
    scratch = buffer(threads * most, most, dtype, most)
    machine.room = most * most
    machine.level, machine.most, machine.threads = level, most, threads
    machine.tile = la_tile_of(level)
    machine.scratch = <void*>address(scratch)
    cdef int m = C.shape[0], n = C.shape[1], k = A.shape[0 if ta else 1]
    cdef size_t a = address(A), b = address(B), c = address(C)
    cdef int lda = A.strides[0] // dtype.itemsize, ldb = B.strides[0] // dtype.itemsize, ldc = C.strides[0] // dtype.itemsize
    cdef bint single = dtype == np.float32
    cdef long _t
    with nogil:
        for _t in range(repeats):
            if single:
                product(&machine, ta, tb, m, n, k, alpha, <float*>a, lda, <float*>b, ldb, beta, <float*>c, ldc)
            else:
                product(&machine, ta, tb, m, n, k, alpha, <double*>a, lda, <double*>b, ldb, beta, <double*>c, ldc)


cdef class Chain:
    """A network bound to its data: parameters, workspace and the loop over them.

    `params`, `velocities` and `gradients` are arrays that the loop works on in place; read them between calls.
    Not thread-safe; one Chain a thread.
    """

    cdef Arena arena
    cdef Arena room     # what the loop alone writes, and what it makes of the parameters
    cdef Engine e
    cdef Layer* layers
    cdef void** A
    cdef void** Z
    cdef int* ld
    cdef int most
    cdef int itemsize
    cdef double floor
    cdef bint single
    cdef Scores scores
    cdef readonly list params
    cdef readonly list velocities
    cdef readonly list gradients
    cdef readonly object dtype
    cdef readonly object error
    cdef readonly object workspace
    cdef object function
    cdef object outputs

    def __init__(self, weights, X, targets, *, int kind, double factor, double floor, int pivot, int rows, lr, double momentum,
                 decay, bint cyclic, int level, int most, int threads=1, structures=None, observations=None, function=None,
                 bint tiny=False):
        """All arguments are checked by the caller; see `linalign.engine.bind`.

        `structures[i]` is None for a dense layer, or what `engine.structures.parts` made of layer i. `tiny`: all matrices have at most
        `lanes` rows and columns, the pivot is at an end (the outputs only with diagonal data or none), the squared loss, no momentum;
        the whole loop is one function in C.
        """
        cdef int i, d = len(weights)
        cdef Layer* L
        self.dtype = weights[0].dtype
        self.single = self.dtype == np.float32
        self.itemsize = self.dtype.itemsize
        self.workspace = []
        self.most = most
        self.layers = <Layer*>take(&self.arena, d * sizeof(Layer))
        self.A = <void**>take(&self.arena, (d + 1) * sizeof(void*))
        self.Z = <void**>take(&self.arena, (d + 1) * sizeof(void*))
        self.ld = <int*>take(&self.arena, (d + 1) * sizeof(int))
        self.floor = floor
        e = &self.e
        memset(e, 0, sizeof(Engine))
        e.layers = self.layers
        e.A, e.Z, e.ld = self.A, self.Z, self.ld
        e.depth, e.pivot, e.cyclic, e.momentum = d, pivot, cyclic, momentum
        e.owner = <void*>self
        e.ask = ask
        e.machine.level, e.machine.most, e.machine.threads = level, most, threads
        e.machine.tile = la_tile_of(level)
        structures = structures or [None] * d
        shapes = [W.shape if parts is None else parts["shape"] for W, parts in zip(weights, structures)]
        widths = [shapes[0][1], *(shape[0] for shape in shapes)]
        e.n_in, e.n_out, e.rows = widths[0], widths[d], rows
        # no factor that the tile transposes has longer sides; in whole vectors
        side = min(most, (max(*widths, rows, 0 if X is None else len(X)) + 15) // 16 * 16)
        e.machine.scratch, e.machine.room = self._own(threads * side, side), side * side
        e.diagonal = X is not None and X.ndim == 1
        if e.diagonal and tiny and not pivot:
            e.registers.diagonal, e.diagonal = True, False
            e.registers.X = self._vector(self.workspace, X)
            X = np.diag(X)
        if e.diagonal:
            if cyclic or not pivot:
                raise ValueError("diagonal data need a pivot of at least 1 and simultaneous updates")
            X = X[None, :]
        e.samples = widths[0] if X is None or e.diagonal else X.shape[0]
        if rows not in ((widths[pivot],) if pivot else (e.samples, e.n_in)):
            raise ValueError(f"{rows} rows in flight do not fit pivot {pivot} of widths {widths} on {e.samples} rows of data")
        e.data_last = pivot == 0 and X is not None and rows != e.samples
        for i in range(d + 1):
            self.ld[i] = padding(widths[i], self.itemsize, most)
        self.params, self.velocities, self.gradients = [], [], []
        for i in range(d):
            L = &self.layers[i]
            L.kind = DENSE
            L.n_in, L.n_out, L.ld = widths[i], widths[i + 1], self.ld[i]
            L.lr, L.decay = lr[i], decay[i]
            L.gradient = NULL
            if structures[i] is not None:
                self._constrain(L, weights[i], structures[i], momentum != 0)
                continue
            L.matrix = L.theta = self._matrix(self.params, weights[i])
            L.velocity = self._matrix(self.velocities, np.zeros_like(weights[i])) if momentum else NULL
        if X is not None:
            e.X = self._copy(X)
            e.ldx = padding(X.shape[1], self.itemsize, most)
        self.refresh()
        self.function = function
        self._chains(widths)
        self._objective(targets, kind, factor, observations)
        if tiny:
            self._tiny(widths)

    def _tiny(self, widths):
        """Bind the loop that holds each layer twice, once transposed."""
        e = &self.e
        c = &e.registers
        cdef Layer* L
        cdef int i, d = e.depth, side = LINE // self.itemsize
        cdef bint turned = e.pivot == d
        at_an_end = turned and (e.X == NULL or e.diagonal) or not e.pivot and not e.data_last
        constrained = False
        for i in range(d):
            constrained = constrained or self.layers[i].kind != 0
        if max(*widths, e.rows) > side or not at_an_end or constrained or e.cyclic or e.momentum or e.loss.kind:
            raise ValueError(f"widths {widths} on {e.rows} rows are no chain that fits in registers")
        c.depth, c.rows, c.factor, c.turned = d, e.rows, e.loss.factor, turned
        k = <int*>take(&self.arena, (d + 1) * sizeof(int))
        rates, decays = <double*>take(&self.arena, (d + 1) * sizeof(double)), <double*>take(&self.arena, (d + 1) * sizeof(double))
        # the transposed network begins at the outputs
        for i in range(d + 1):
            k[i] = widths[d - i if turned else i]
        for i in range(1, d + 1):
            L = &self.layers[d - i if turned else i - 1]
            rates[i], decays[i] = L.lr, L.decay
        c.widths, c.lr, c.decay = k, rates, decays
        c.W = <void**>take(&self.arena, (d + 1) * sizeof(void*))
        c.R = <void**>take(&self.arena, (d + 1) * sizeof(void*))
        c.A = <void**>take(&self.arena, (d + 1) * sizeof(void*))
        for i in range(1, d + 1):
            c.A[i] = self._own(side, side)
            if turned:
                c.W[i], c.R[i] = self._own(side, side), self.layers[d - i].matrix
            else:
                c.W[i], c.R[i] = self.layers[i - 1].matrix, self._own(side, side)
        c.D[0], c.D[1] = self._own(side, side), self._own(side, side)
        c.Y = e.loss.targets
        if turned:
            c.scale = e.X
        elif not c.diagonal:
            c.X = e.X
        e.train = la_chain_train(e.machine.level, self.single)

    cdef void* _own(self, Py_ssize_t rows, int columns) except NULL:
        """A matrix that only the loop sees."""
        return take(&self.room, rows * padding(columns, self.itemsize, self.most) * self.itemsize)

    cdef void* _seen(self, int rows, int columns) except NULL:
        """The outputs: an array where a function of the user's will look at them."""
        if self.function is None:
            return self._own(rows, columns)
        self.outputs = buffer(rows, columns, self.dtype, self.most)
        return <void*>address(self.outputs)

    cdef void* _copy(self, source) except NULL:
        return self._matrix(self.workspace, source)

    cdef void* _matrix(self, list keeper, source) except NULL:
        array = buffer(source.shape[0], source.shape[1], self.dtype, self.most)
        array[...] = source
        keeper.append(array)
        return <void*>address(array)

    cdef void* _vector(self, list keeper, source) except NULL:
        """A copy of an array of any shape, without padding."""
        array = buffer(1, source.size, self.dtype, self.most)
        array[0] = source.ravel()
        keeper.append(array.reshape(source.shape))
        return <void*>address(array)

    cdef void* _numbers(self, source, dtype) except? NULL:
        """A copy as whole numbers or doubles; NULL for None."""
        if source is None:
            return NULL
        array = np.array(source, dtype=dtype, order="C")
        self.workspace.append(array)
        return <void*>address(array)

    cdef void* _eye(self, int size) except NULL:
        return self._copy(np.eye(size))

    cdef int _constrain(self, Layer* L, theta, parts, bint momentum) except -1:
        """Bind a layer that is not dense: its parameters, its structure and the room for its products."""
        cdef Structure* S = <Structure*>take(&self.arena, sizeof(Structure))
        L.structure = S
        L.kind = parts["kind"]
        S.functions = la_structured_of(self.e.machine.level)
        S.size, S.threads = theta.size, parts["threads"]
        S.inverse_gram = <double*>self._numbers(parts["scale"], np.float64)
        L.theta = self._vector(self.params, theta)
        L.velocity = self._vector(self.velocities, np.zeros_like(theta)) if momentum else NULL
        S.coordinates = take(&self.room, <size_t>S.threads * S.size * self.itemsize)
        if L.kind <= FIXED:
            L.matrix = self._own(L.n_out, L.n_in)
            S.entry_gradient = self._own(L.n_out, L.n_in)
        if L.kind == TIED:
            S.toeplitz = parts["toeplitz"]
            r = &S.runs
            r.count = len(parts["row"])
            r.row, r.column = <int*>self._numbers(parts["row"], np.intc), <int*>self._numbers(parts["col"], np.intc)
            r.length, r.parameter = <int*>self._numbers(parts["length"], np.intc), <int*>self._numbers(parts["param"], np.intc)
            r.step, r.sign = <int*>self._numbers(parts["step"], np.intc), <int*>self._numbers(parts["sign"], np.intc)
        elif L.kind == BASIS:
            S.basis, S.dual = self._vector(self.workspace, parts["basis"]), self._vector(self.workspace, parts["dual"])
        elif L.kind == FIXED:
            L.matrix = self._copy(parts["matrix"])
        elif L.kind == BLOCKS:
            S.blocks = len(parts["sides"]) // 2
            S.sides = <int*>self._numbers(parts["sides"], np.intc)
        elif L.kind == SPARSE:
            S.nonzeros = len(parts["row_col"])
            S.row_ptr, S.row_col = <int*>self._numbers(parts["row_ptr"], np.intc), <int*>self._numbers(parts["row_col"], np.intc)
            S.col_ptr, S.col_row = <int*>self._numbers(parts["col_ptr"], np.intc), <int*>self._numbers(parts["col_row"], np.intc)
            S.col_at = <int*>self._numbers(parts["col_at"], np.intc)
            S.index, S.sign = <int*>self._numbers(parts["index"], np.intc), <int*>self._numbers(parts["sign"], np.intc)
            S.room = max(L.n_in, L.n_out) * LA_PANEL
            S.work = take(&self.room, <size_t>S.threads * S.room * self.itemsize)
            S.values = L.theta
            if S.index != NULL:
                S.values = take(&self.room, <size_t>S.nonzeros * self.itemsize)
                S.entry_gradient = take(&self.room, <size_t>S.threads * S.nonzeros * self.itemsize)
        elif L.kind == CONV:
            g = &S.conv
            (g.c_in, g.h_in, g.w_in, g.c_out, g.h_out, g.w_out, g.kh, g.kw, g.sh, g.sw, g.top, g.left, g.circular) = parts["geometry"]
            S.room = la_conv_layout(g)
            S.work = take(&self.room, <size_t>S.threads * S.room * self.itemsize)
        return 0

    def __dealloc__(self):
        release(&self.arena)
        release(&self.room)

    def refresh(self):
        """Bring what is made of the parameters up to date, after they were written from outside."""
        cdef int i
        for i in range(self.e.depth):
            if self.layers[i].structure != NULL:
                if self.single:
                    refresh(<float*>NULL, &self.layers[i])
                else:
                    refresh(<double*>NULL, &self.layers[i])

    def restore(self, kept):
        """Back to parameters, then velocities, as when the chain was bound with them.

        The loop multiplies the padding of short rows along, and zero times what left the finite numbers is nan: all that it wrote
        is cleared, not only the entries that can be seen.
        """
        clear(&self.room)
        for array, old in zip([*self.params, *self.velocities], kept, strict=True):
            array.base.fill(0)
            array[...] = old
        if self.outputs is not None:
            self.outputs.base.fill(0)
        self.refresh()

    def _chains(self, widths):
        """Buffers of the chains; a NULL stands for the identity, beside a layer that has a matrix."""
        e = &self.e
        cdef int i, d = e.depth, p = e.pivot
        widest = max(widths)
        for i in range(p + 1, d + 1):
            self.A[i] = self._own(e.rows, widths[i]) if i < d or p or e.data_last else self._seen(e.rows, widths[i])
        if p == 0 and not e.data_last and e.X != NULL:
            self.A[0] = e.X
        elif p < d and self.layers[p].kind > FIXED:
            self.A[p] = self._eye(e.rows)
        # suffixes of the product: from the pivot, or from the outputs for cyclic updates
        last, rows = (d, e.n_out) if e.cyclic else (p, e.rows)
        if last:
            if self.layers[last - 1].kind <= FIXED:
                self.Z[last - 1] = self.layers[last - 1].matrix
            else:
                self.Z[last] = self._eye(rows)
                self.Z[last - 1] = self._own(rows, widths[last - 1])
            for i in range(last - 1):
                self.Z[i] = self._own(rows, widths[i])
        e.loss.by_output = p > 0
        lines, columns = (e.n_out, e.samples) if p else (e.samples, e.n_out)
        e.ldo = padding(columns, self.itemsize, self.most)
        e.O = self.A[d]
        if p or e.data_last:
            e.O = self._seen(lines, columns)
        if 0 < p < d:
            e.H = self._own(e.rows, e.samples)
            e.Q = self._own(e.rows, e.samples)
        e.ping = self._own(e.rows, widest)
        e.pong = self._own(e.rows, widest)
        self._stripes(widths, last, rows)

    def _stripes(self, widths, int last, int rows):
        """Which chains are products of Toeplitz matrices alone, and room for their stripes."""
        e = &self.e
        cdef int i, d = e.depth, p = e.pivot
        e.stripes_A = <Stripes*>take(&self.arena, (d + 1) * sizeof(Stripes))
        e.stripes_Z = <Stripes*>take(&self.arena, (d + 1) * sizeof(Stripes))
        e.stripes_O = <Stripes*>take(&self.arena, (d + 1) * sizeof(Stripes))
        e.toeplitz = <Stripes*>take(&self.arena, sizeof(Stripes))
        for i in range(d + 1):
            e.stripes_A[i].rank = e.stripes_Z[i].rank = e.stripes_O[i].rank = NONE
        flat = [0 if self.layers[i].structure == NULL else self.layers[i].structure.toeplitz for i in range(d)]
        if not e.machine.level or not any(flat):
            return 0
        e.stripes_work = self._own(1, 2 * max(*widths, e.rows, rows))
        # the identity beside a layer that has a matrix is not multiplied by
        for i in range(p, d):
            if flat[i]:
                rank = 0 if self.A[i] == NULL else longer(e.stripes_A[i].rank, 0)
                self._rank(&e.stripes_A[i + 1], rank, e.rows, widths[i + 1], widths[i], flat[i])
        for i in range(last - 1, -1, -1):
            if flat[i]:
                rank = 0 if self.Z[i + 1] == NULL else longer(e.stripes_Z[i + 1].rank, 0)
                self._rank(&e.stripes_Z[i], rank, rows, widths[i], widths[i + 1], flat[i])
        for i in range(1, d if e.cyclic else 0):
            self._rank(&e.stripes_O[i], longer(e.stripes_A[i].rank, e.stripes_Z[i].rank), e.rows, e.n_out, widths[i], flat[i])
        # what one thread reads first, by diagonals, is not filled by others
        for i in range(d):
            if e.stripes_A[i + 1].rank > 0 or e.stripes_Z[i].rank > 0:
                self.layers[i].structure.threads = 1

    cdef int _rank(self, Stripes* s, int rank, int m, int n, int k, int worth) except -1:
        """Room for the stripes of a product (m, n) with sums of k terms, if they repay."""
        if rank * worth > k * self.itemsize:
            return 0
        s.rank = rank
        if rank > 0:
            s.ldg, s.ldh = padding(m, self.itemsize, m), padding(n, self.itemsize, n)
            s.G, s.H = self._own(rank, s.ldg), self._own(rank, s.ldh)
        return 0

    def _objective(self, targets, int kind, double factor, observations):
        e = &self.e
        e.loss.kind, e.loss.factor = kind, factor
        if targets is not None:
            e.loss.targets = self._copy(targets.T if e.loss.by_output else targets)
        if observations is None:
            return
        values = np.array(observations["values"], dtype=np.float64)
        kept = np.zeros(len(values))
        self.workspace += [values, kept]
        e.loss.count = len(values)
        e.loss.values = <void*>address(values)
        e.loss.residual = <void*>address(kept)
        if "matrices" in observations:
            stack = observations["matrices"]
            stack = np.array(stack if e.loss.by_output else stack.transpose(0, 2, 1), dtype=np.float64, order="C")
            self.workspace.append(stack)
            e.loss.matrices = <void*>address(stack)
        else:
            first, second = observations["rows"], observations["cols"]
            if not e.loss.by_output:
                first, second = second, first
            where = np.ascontiguousarray(first * e.ldo + second, dtype=np.intp)
            self.workspace.append(where)
            e.loss.where = <Py_ssize_t*>address(where)

    cdef int call_back(self, double* value):
        """The user's loss of the product, under the GIL."""
        try:
            product_ = np.array(self.outputs if self.e.loss.by_output else self.outputs.T, order="C")
            answer, gradient = self.function(product_)
            value[0] = answer
            self.outputs[...] = gradient if self.e.loss.by_output else gradient.T
        except BaseException as error:
            self.error = error
            return CALLBACK_FAILED
        return RUNNING

    def ranks(self):
        """The ranks of the stripes of A_i, Z_i and the outputs (stripes.pxd), -1 where a product is a dense one: for tests."""
        cdef int i
        e = &self.e
        places = range(e.depth + 1)
        return [e.stripes_A[i].rank for i in places], [e.stripes_Z[i].rank for i in places], [e.stripes_O[i].rank for i in places]

    def alone(self):
        """One thread for every product from now on."""
        cdef int i
        self.e.machine.threads = 1
        for i in range(self.e.depth):
            if self.layers[i].structure != NULL:
                self.layers[i].structure.threads = 1

    def watch(self, noise, beside) -> bool:
        """Whether `advance` can score the interfaces on its way: dense layers, no side above SIDE.

        `noise[i]`: an interface is nothing if ||W_{i+1} W_i|| is at most this many times the norms. `beside (k_1, m)`:
        constant columns of the first layer, or None.
        """
        cdef int i, d = self.e.depth
        s = &self.scores
        if d == 1 or any([self.layers[i].structure != NULL for i in range(d)]):
            return False
        widths = [self.layers[0].n_in, *[self.layers[i].n_out for i in range(d)]]
        if max(widths) > SIDE or (beside is not None and beside.shape[1] > SIDE):
            return False
        memset(s, 0, sizeof(Scores))
        kept = [np.array(noise, dtype=np.float64)]
        s.interfaces, s.noise = d - 1, <double*>address(kept[0])
        if beside is not None:
            kept.append(np.array(beside, dtype=np.float64, order="C"))
            s.constant, s.constants = <double*>address(kept[1]), beside.shape[1]
        cdef size_t size = (2 * SIDE) * (2 * SIDE) * sizeof(double)
        s.W, s.V, s.Z = <double*>take(&self.room, size), <double*>take(&self.room, size), <double*>take(&self.room, size)
        s.T, s.K = <double*>take(&self.room, size), <double*>take(&self.room, size)
        s.machine = self.e.machine
        s.machine.threads = 1
        s.machine.scratch = take(&self.room, size)
        self.workspace += kept
        return True

    def advance_scoring(self, long steps, double[::1] values not None, double tol, long[::1] at not None):
        """`advance`, and the scores before the steps in `at`: `(status, steps taken, (len(at), interfaces, 2))`, sine and cosine.

        `at` is ascending, below `steps`; needs `watch`. Scores of steps that were not reached are nan.
        """
        found = np.full((len(at), self.scores.interfaces, 2), np.nan)
        if not found.size:
            return *self.advance(steps, values, tol), found
        self.scores.at, self.scores.left, self.scores.out = &at[0], len(at), <double*>address(found)
        self.e.scores = &self.scores
        try:
            status, done = self.advance(steps, values, tol)
        finally:
            self.e.scores = NULL
        return status, done, found

    def advance(self, long steps, double[::1] values not None, double tol):
        """Take up to `steps` steps; `values[t]` is the loss before step t. Returns `(status, steps taken)`."""
        cdef long done = 0
        cdef int status
        if values.shape[0] < steps:
            raise ValueError(f"values has room for {values.shape[0]} losses; {steps} steps were asked for")
        if steps == 0:
            return RUNNING, 0
        with nogil:
            if self.single:
                status = run(<float*>NULL, &self.e, steps, &values[0], &done, self.floor, tol)
            else:
                status = run(<double*>NULL, &self.e, steps, &values[0], &done, self.floor, tol)
        return status, done

    def value(self, double tol):
        """`(status, loss)` where the network stands."""
        cdef double value = 0
        cdef int status
        with nogil:
            if self.single:
                status = forward(<float*>NULL, &self.e, &value, self.floor, tol)
            else:
                status = forward(<double*>NULL, &self.e, &value, self.floor, tol)
        return status, value

    def differentiate(self):
        """`(status, loss)`; `gradients` holds the gradient of every layer. Updates nothing."""
        cdef int i, status
        cdef double value = 0
        if self.e.cyclic:
            raise ValueError("a cyclic chain has no single gradient; bind a simultaneous one")
        if not self.gradients:
            for i in range(self.e.depth):
                zeros = np.zeros_like(self.params[i])
                if self.layers[i].structure == NULL:
                    self.layers[i].gradient = self._matrix(self.gradients, zeros)
                else:
                    self.layers[i].gradient = self._vector(self.gradients, zeros)
        self.e.gradients_only = True
        status, value = self.value(-np.inf)
        if status == CALLBACK_FAILED:
            self.e.gradients_only = False
            return status, value
        with nogil:
            if self.single:
                backward(<float*>NULL, &self.e)
            else:
                backward(<double*>NULL, &self.e)
        self.e.gradients_only = False
        return status, value
