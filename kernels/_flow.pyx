"""Flow: gradient flow of a Chain by an explicit Runge-Kutta method with error control, step after step without the GIL."""

from libc.math cimport INFINITY, fabs, isfinite, nextafter, pow, sqrt
from libc.string cimport memcpy, memset
from types cimport RUNNING, CONVERGED, DIVERGED, CALLBACK_FAILED
from memory cimport Arena, release, take
from products cimport axpby, has_vectors
from handover cimport exactly
from evaluation cimport copy_rows
from structured cimport refresh
from engine cimport Engine
from loop cimport forward, backward

cdef enum:
    STAGES = 16         # at most, the extra ones of a dense output included

cdef enum End:
    REACHED = 0         # the time that was asked for
    STEPS = 1           # as many steps as were asked for
    STEADY = 2
    TOO_SMALL = 3       # no step is small enough
    FAILED = 4          # the loss raised

# the step is at most so many times as long as the one before, at least so small a share of it, and this much shorter than the error asks
cdef double MOST = 10, LEAST = 0.2, SAFETY = 0.9


cdef class Stepper:
    """The flow `dtheta/dt = -dL/dtheta` of a simultaneous float64 `Chain`, from where it stands.

    `A`, `B`: the method's coefficients, first-same-as-last, those of extra stages for dense output below; `errors`: of one or two error
    estimates, the second of lower order, of which `order` is the exponent. `y`, `slopes`, `before`, `t`, `span`: after a step, the state,
    the slopes of its stages, the state before, the time, and how long it was.
    """

    cdef Engine* e
    cdef Arena arena
    cdef int stages
    cdef int extra
    cdef int estimates
    cdef double[:, ::1] A
    cdef double[:, ::1] errors
    cdef double exponent, rtol, atol
    cdef Py_ssize_t* sizes
    cdef Py_ssize_t n
    cdef readonly double t, span, length
    cdef readonly long evaluations
    cdef readonly object chain, y, slopes, before
    cdef object at, home
    cdef bint stepped           # whether the last slope is that of the state
    cdef double* now
    cdef double* then
    cdef double* K
    cdef double* trial
    cdef double* scratch

    def __init__(self, chain, double[:, ::1] A, double[:, ::1] errors, int stages, int extra, double order, y, slope, double length,
                 double rtol, double atol):
        """`A` has the rows of stages 1.., then B, then the extra ones; `slope`: at `y`; `length`: of the first step."""
        import numpy as np
        cdef int i
        self.chain, self.e = chain, <Engine*><size_t>chain.engine
        if self.e.itemsize != sizeof(double) or self.e.cyclic or self.e.train != NULL:
            raise ValueError("a flow is of a simultaneous float64 chain that does not run in registers")
        if stages + extra + 1 > STAGES or A.shape[0] != stages + extra or errors.shape[1] != stages + 1:
            raise ValueError(f"{A.shape[0]} rows of coefficients for {stages} stages and {extra} more")
        chain.differentiate()
        self.home = [theta.copy() for theta in chain.params]
        self.A, self.errors, self.estimates = A, errors, <int>errors.shape[0]
        self.stages, self.extra, self.exponent = stages, extra, -1.0 / (order + 1)
        self.rtol, self.atol, self.length = rtol, atol, length
        self.n = y.size
        self.scratch = <double*>take(&self.arena, 2 * self.n * sizeof(double))
        self.sizes = <Py_ssize_t*>take(&self.arena, self.e.depth * sizeof(Py_ssize_t))
        for i in range(self.e.depth):
            self.sizes[i] = chain.params[i].size
        self.y, self.before, self.at = np.array(y), np.array(y), np.empty_like(y)
        self.slopes = np.zeros((STAGES, self.n))
        self.slopes[0] = slope
        self.now = <double*>exactly(self.y, b"d", self.n, None, True)
        self.then = <double*>exactly(self.before, b"d", self.n, None, True)
        self.trial = <double*>exactly(self.at, b"d", self.n, None, True)
        self.K = <double*>exactly(self.slopes, b"d", STAGES * self.n, (STAGES, self.n), True)

    def __dealloc__(self):
        release(&self.arena)

    cdef int slope(self, const double* y, double* out) noexcept nogil:
        """`-dL/dtheta` at y. Returns a Status: RUNNING, DIVERGED where the loss is not finite, CALLBACK_FAILED."""
        e = self.e
        cdef int i, status
        cdef Py_ssize_t k
        cdef double value = 0
        cdef char* place = <char*>y
        self.evaluations += 1
        for i in range(e.depth):
            copy_rows(&e.layers[i], sizeof(double), e.layers[i].theta, place, True)
            if e.layers[i].structure != NULL:
                refresh(<double*>NULL, &e.layers[i])
            place += self.sizes[i] * sizeof(double)
        e.gradients_only = True
        status = forward(<double*>NULL, e, &value, -INFINITY)
        if status != CALLBACK_FAILED and isfinite(value):
            backward(<double*>NULL, e)
            status = RUNNING
        e.gradients_only = False
        if status == CALLBACK_FAILED:
            return status
        if not isfinite(value):
            return DIVERGED
        place = <char*>out
        for i in range(e.depth):
            copy_rows(&e.layers[i], sizeof(double), e.layers[i].gradient, place, False)
            place += self.sizes[i] * sizeof(double)
        for k in range(self.n):
            out[k] = -out[k]
        return RUNNING

    cdef void combine(self, int row, int count, double h, const double* base, double* out) noexcept nogil:
        """out = base + h sum_j A[row, j] K_j over the first `count` slopes."""
        cdef int j
        memcpy(out, base, self.n * sizeof(double))
        for j in range(count):
            if self.A[row, j] != 0:
                self.add(h * self.A[row, j], j, out)

    cdef inline void add(self, double a, int j, double* out) noexcept nogil:
        """out += a K_j."""
        cdef const double* K = self.K + j * self.n
        cdef Py_ssize_t k
        if has_vectors(&self.e.machine):
            axpby(&self.e.machine, self.n, a, K, 1, out)
            return
        for k in range(self.n):
            out[k] = out[k] + a * K[k]

    cdef double error(self, double h, const double* old, const double* new) noexcept nogil:
        """The error of a step over what is allowed, a mean over entries."""
        cdef double squares[2]
        cdef double part
        cdef double* off = self.scratch
        cdef double* weight = self.scratch + self.n
        cdef Py_ssize_t k
        cdef int i, j
        squares[0] = squares[1] = 0
        for k in range(self.n):
            weight[k] = 1 / (self.atol + self.rtol * max(fabs(old[k]), fabs(new[k])))
        for i in range(self.estimates):
            memset(off, 0, self.n * sizeof(double))
            for j in range(self.stages + 1):
                if self.errors[i, j] != 0:
                    self.add(self.errors[i, j], j, off)
            for k in range(self.n):
                part = off[k] * weight[k]
                squares[i] += part * part
        if self.estimates == 1:
            return fabs(h) * sqrt(squares[0] / self.n)
        if squares[0] == 0 and squares[1] == 0:
            return 0
        return fabs(h) * squares[0] / sqrt((squares[0] + 0.01 * squares[1]) * self.n)

    cdef int step(self, double end) noexcept nogil:
        """One step, at most up to `end`. Returns a Status; DIVERGED: one that was tried left the finite numbers; the next is shorter."""
        cdef double least = 10 * (nextafter(self.t, INFINITY) - self.t), h, until, off, factor
        cdef bint shortened = False
        cdef int s, status
        self.length = max(self.length, least)
        while True:
            if self.length < least:
                return DIVERGED
            until = min(self.t + self.length, end)
            h = until - self.t
            self.length = h
            for s in range(1, self.stages + 1):
                # the last row is the step itself, whose slope is the first of the next
                self.combine(s - 1, s, h, self.now, self.trial)
                status = self.slope(self.trial, self.K + s * self.n)
                if status != RUNNING:
                    self.length = h * LEAST
                    return status
            off = self.error(h, self.now, self.trial)
            if off < 1:
                break
            # nan is no error that is small
            factor = SAFETY * pow(off, self.exponent) if off == off else LEAST
            self.length = h * max(LEAST, factor)
            shortened = True
        factor = MOST if off == 0 else min(MOST, SAFETY * pow(off, self.exponent))
        self.length = h * (min(1.0, factor) if shortened else factor)
        memcpy(self.then, self.now, self.n * sizeof(double))
        memcpy(self.now, self.trial, self.n * sizeof(double))
        self.t, self.span = until, h
        return RUNNING

    def advance(self, double until, double end, long most, double steady):
        """Steps until one ends at `until` or beyond, at `end` at the latest: `(why it ends, steps taken)`.

        `most` steps; ends where the norm of the slope is at most `steady` after a step.
        """
        cdef long taken = 0
        cdef int status = RUNNING
        cdef double squared
        cdef double* last = self.K + self.stages * self.n
        cdef Py_ssize_t k
        while self.t < until:
            with nogil:
                while self.t < until and taken < most:
                    if self.stepped:
                        # first same as last
                        memcpy(self.K, last, self.n * sizeof(double))
                        self.stepped = False
                    status = self.step(end)
                    if status != RUNNING:
                        break
                    self.stepped = True
                    taken += 1
                    squared = 0
                    for k in range(self.n):
                        squared += last[k] * last[k]
                    if sqrt(squared) <= steady:
                        status = CONVERGED
                        break
            if status == CALLBACK_FAILED:
                return FAILED, taken
            if status == CONVERGED:
                return STEADY, taken
            if status == DIVERGED:
                # the padding of the chain may have left the finite numbers too
                self.chain.restore(self.home)
                if self.length < 10 * (nextafter(self.t, INFINITY) - self.t):
                    return TOO_SMALL, taken
            elif taken == most:
                return STEPS, taken
        return REACHED, taken

    def dense(self):
        """The slopes that the dense output of the last step takes besides, into `slopes`. Returns whether they are finite."""
        cdef int j, status
        for j in range(self.extra):
            with nogil:
                self.combine(self.stages + j, self.stages + 1 + j, self.span, self.then, self.trial)
                status = self.slope(self.trial, self.K + (self.stages + 1 + j) * self.n)
            if status != RUNNING:
                return False
        return True
