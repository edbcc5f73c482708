"""Flow: gradient flow of a Chain by an explicit Runge-Kutta method with error control, step after step without the GIL."""

from libc.math cimport INFINITY, exp, fabs, isfinite, nextafter, pow, sqrt
from libc.string cimport memcpy
from types cimport RUNNING, CONVERGED, DIVERGED, CALLBACK_FAILED, LINE
from layer cimport Layer
from memory cimport Arena, release, take
from products cimport combine, inner
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
    """The flow `dtheta_i/dt = -dL/dtheta_i / weights - decay_i theta_i` of a simultaneous float64 `Chain`, from where it stands.

    `A`, `B`: the method's coefficients, first-same-as-last, those of extra stages for dense output below; `errors`: of one or two error
    estimates, the second of lower order, of which `order` is the exponent. The error of a layer is a norm, over `atol` and `rtol` times
    that of the layer, `outside` it included: of squares times `weights`, 1 if None. `y`, `slopes`, `before`, `t`, `span`: after a step,
    the state, the slopes of its stages, the state before, the time, and how long it was; states are as the chain pads them, `flat` has
    the parameters of one.
    """

    cdef Engine* e
    cdef Arena arena
    cdef int stages
    cdef int extra
    cdef int estimates
    cdef double[:, ::1] A
    cdef double[:, ::1] errors
    cdef double exponent, rtol, atol
    cdef Py_ssize_t* begins     # where each layer does, and where the last one ends
    cdef Py_ssize_t* sizes      # with their padding
    cdef Py_ssize_t n, size
    cdef int counted            # layers that have parameters
    cdef double* outside        # squared norms of what is not run, at time 0
    cdef double* decay
    cdef double* weights        # NULL for ones
    cdef double* squares        # of the layers where it stands, then where it would stand
    cdef readonly double t, span, length
    cdef readonly long evaluations
    cdef readonly object chain, y, slopes, before
    cdef object at, home
    cdef int status             # of the first slope
    cdef bint stepped           # whether the last slope is that of the state
    cdef double* now
    cdef double* then
    cdef double* K
    cdef double* trial
    cdef double* off

    def __init__(self, chain, double[:, ::1] A, double[:, ::1] errors, int stages, int extra, double order, start, double last,
                 double rtol, double atol, double[::1] outside, double[::1] decay, weights):
        """`A` has the rows of stages 1.., then B, then the extra ones; `start`: flat, at time 0; `last`: the longest step."""
        import numpy as np
        cdef int i, d, lanes = LINE // <int>sizeof(double)
        cdef Layer* L
        self.chain, self.e = chain, <Engine*><size_t>chain.engine
        d = self.e.depth
        if self.e.itemsize != sizeof(double) or self.e.cyclic or self.e.train != NULL:
            raise ValueError("a flow is of a simultaneous float64 chain that does not run in registers")
        if stages + extra + 1 > STAGES or A.shape[0] != stages + extra or errors.shape[1] != stages + 1:
            raise ValueError(f"{A.shape[0]} rows of coefficients for {stages} stages and {extra} more")
        if outside.shape[0] != d or decay.shape[0] != d:
            raise ValueError(f"{outside.shape[0]} norms and {decay.shape[0]} decays for {d} layers")
        chain.differentiate()
        self.home = [theta.copy() for theta in chain.params]
        self.A, self.errors, self.estimates = A, errors, <int>errors.shape[0]
        self.stages, self.extra, self.exponent = stages, extra, -1.0 / (order + 1)
        self.rtol, self.atol = rtol, atol
        self.begins = <Py_ssize_t*>take(&self.arena, (d + 1) * sizeof(Py_ssize_t))
        self.sizes = <Py_ssize_t*>take(&self.arena, d * sizeof(Py_ssize_t))
        self.outside = <double*>take(&self.arena, d * sizeof(double))
        self.decay = <double*>take(&self.arena, d * sizeof(double))
        self.squares = <double*>take(&self.arena, 2 * d * sizeof(double))
        for i in range(d):
            L = &self.e.layers[i]
            self.sizes[i] = <Py_ssize_t>L.n_out * L.ld if L.structure == NULL else L.structure.size
            # whole vectors
            self.begins[i + 1] = self.begins[i] + (self.sizes[i] + lanes - 1) // lanes * lanes
            self.outside[i], self.decay[i] = outside[i], decay[i]
            self.counted += self.sizes[i] > 0
            self.size += chain.params[i].size
        self.n = self.begins[d]
        self.off = <double*>take(&self.arena, max(self.n, 1) * sizeof(double))
        self.y, self.before, self.at, self.slopes = np.zeros(self.n), np.zeros(self.n), np.zeros(self.n), np.zeros((STAGES, self.n))
        self.now = <double*>exactly(self.y, b"d", self.n, None, True)
        self.then = <double*>exactly(self.before, b"d", self.n, None, True)
        self.trial = <double*>exactly(self.at, b"d", self.n, None, True)
        self.K = <double*>exactly(self.slopes, b"d", STAGES * self.n, (STAGES, self.n), True)
        self.copy(self.now, <char*>exactly(start, b"d", self.size, None, False), True)
        if weights is not None:
            self.weights = <double*>take(&self.arena, max(self.n, 1) * sizeof(double))
            self.copy(self.weights, <char*>exactly(weights, b"d", self.size, None, False), True)
        with nogil:
            self.begin(last, order)

    def __dealloc__(self):
        release(&self.arena)

    cdef void copy(self, double* state, char* flat, bint into) noexcept:
        """Between a state and its parameters, one after the other."""
        cdef int i
        for i in range(self.e.depth):
            copy_rows(&self.e.layers[i], sizeof(double), state + self.begins[i], flat, into)
            flat += <Py_ssize_t>self.chain.params[i].size * <Py_ssize_t>sizeof(double)

    def flat(self, state):
        """The parameters of a state, layer 1 first."""
        import numpy as np
        found = np.empty(self.size)
        self.copy(<double*>exactly(state, b"d", self.n, None, False), <char*>exactly(found, b"d", self.size, None, True), False)
        return found

    cdef int slope(self, const double* y, double* out) noexcept nogil:
        """The right side at y. Returns a Status: RUNNING, DIVERGED where the loss is not finite, CALLBACK_FAILED."""
        e = self.e
        cdef int i, status
        cdef Py_ssize_t k
        cdef double value = 0, decay
        cdef const double* from_
        cdef const double* g
        cdef double* to
        cdef double* weights
        # with Cython's checks on, += on an attribute would take the GIL
        self.evaluations = self.evaluations + 1
        for i in range(e.depth):
            memcpy(e.layers[i].theta, y + self.begins[i], self.sizes[i] * sizeof(double))
            if e.layers[i].structure != NULL:
                refresh(<double*>NULL, &e.layers[i])
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
        for i in range(e.depth):
            from_, g, to, decay = y + self.begins[i], <double*>e.layers[i].gradient, out + self.begins[i], self.decay[i]
            if self.weights == NULL:
                for k in range(self.sizes[i]):
                    to[k] = -g[k]
            else:
                weights = self.weights + self.begins[i]
                for k in range(self.sizes[i]):
                    # of what is padding there is none
                    to[k] = -g[k] / weights[k] if weights[k] != 0 else 0
            if decay != 0:
                for k in range(self.sizes[i]):
                    to[k] -= decay * from_[k]
        return RUNNING

    cdef inline void sums(self, double h, const double[:, ::1] a, int row, int count, const double* base, double* out) noexcept nogil:
        """out = base + h sum_j a[row, j] K_j over the first `count` slopes; base NULL is zero."""
        cdef double factors[STAGES]
        cdef const double* slopes[STAGES]
        cdef int j, terms = 0
        for j in range(count):
            if a[row, j] != 0:
                factors[terms], slopes[terms] = h * a[row, j], self.K + j * self.n
                terms += 1
        combine(&self.e.machine, self.n, terms, factors, slopes, base, out)

    cdef double squared(self, int i, const double* state) noexcept nogil:
        """The squared norm of layer i of a state."""
        cdef const double* part = state + self.begins[i]
        cdef Py_ssize_t k, count = self.begins[i + 1] - self.begins[i]
        cdef double total = 0
        if self.weights == NULL:
            return inner(&self.e.machine, count, part, part)
        for k in range(count):
            total += self.weights[self.begins[i] + k] * part[k] * part[k]
        return total

    cdef double whole(self, int i, double squares, double t) noexcept nogil:
        """The squared norm of layer i as given, of which so much is run."""
        return squares + (self.outside[i] if self.decay[i] == 0 else self.outside[i] * exp(-2 * self.decay[i] * t))

    cdef double measure(self, const double* change, const double* squares, double t) noexcept nogil:
        """A mean over layers: the squared norm of a change over that which is allowed where the layers' are these."""
        cdef int i
        cdef double total = 0, unit
        for i in range(self.e.depth):
            if self.begins[i + 1] > self.begins[i]:
                unit = self.atol + self.rtol * sqrt(self.whole(i, squares[i], t))
                total += self.squared(i, change) / (unit * unit)
        return total / max(self.counted, 1)

    cdef void begin(self, double last, double order) noexcept nogil:
        """The first slope, and the length of the first step, as Hairer, Norsett and Wanner choose it (II.4)."""
        cdef int i
        cdef double size = 0, rate, curved, first, unit
        cdef Py_ssize_t k
        for i in range(self.e.depth):
            self.squares[i] = self.squared(i, self.now)
            if self.begins[i + 1] > self.begins[i]:
                unit = self.whole(i, self.squares[i], 0)
                size += unit / (self.atol + self.rtol * sqrt(unit)) ** 2
        self.status = self.slope(self.now, self.K)
        if self.status != RUNNING:
            return
        size, rate = sqrt(size / max(self.counted, 1)), sqrt(self.measure(self.K, self.squares, 0))
        first = min(last, 1e-6 if size < 1e-5 or rate < 1e-5 else 0.01 * size / rate)
        for k in range(self.n):
            self.trial[k] = self.now[k] + first * self.K[k]
        self.status = self.slope(self.trial, self.off)
        self.length = first
        if self.status != RUNNING:
            return
        for k in range(self.n):
            self.off[k] = self.off[k] - self.K[k]
        curved = sqrt(self.measure(self.off, self.squares, 0)) / first
        unit = max(rate, curved)
        self.length = min(min(100 * first, last), max(1e-6, first * 1e-3) if unit <= 1e-15 else pow(0.01 / unit, 1 / (order + 1)))

    cdef double error(self, double h) noexcept nogil:
        """The error of a step over what is allowed, of layers between `now` and `trial`, whose squares are found."""
        cdef double means[2]
        cdef double* larger = self.squares + self.e.depth
        cdef int i
        for i in range(self.e.depth):
            larger[i] = max(self.squares[i], self.squared(i, self.trial))
        means[0] = means[1] = 0
        for i in range(self.estimates):
            self.sums(1, self.errors, i, self.stages + 1, NULL, self.off)
            means[i] = self.measure(self.off, larger, self.t)
        if self.estimates == 1:
            return fabs(h) * sqrt(means[0])
        if means[0] == 0 and means[1] == 0:
            return 0
        return fabs(h) * means[0] / sqrt(means[0] + 0.01 * means[1])

    cdef int step(self, double end) noexcept nogil:
        """One step, at most up to `end`. Returns a Status; DIVERGED: one that was tried left the finite numbers; the next is shorter."""
        cdef double least = 10 * (nextafter(self.t, INFINITY) - self.t), h, until, off, factor
        cdef bint shortened = False
        cdef int i, s, status
        self.length = max(self.length, least)
        while True:
            if self.length < least:
                return DIVERGED
            until = min(self.t + self.length, end)
            h = until - self.t
            self.length = h
            for s in range(1, self.stages + 1):
                # the last row is the step itself, whose slope is the first of the next
                self.sums(h, self.A, s - 1, s, self.now, self.trial)
                status = self.slope(self.trial, self.K + s * self.n)
                if status != RUNNING:
                    self.length = h * LEAST
                    return status
            off = self.error(h)
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
        for i in range(self.e.depth):
            self.squares[i] = self.squared(i, self.now)
        self.t, self.span = until, h
        return RUNNING

    def advance(self, double until, double end, long most, double steady):
        """Steps until one ends at `until` or beyond, at `end` at the latest: `(why it ends, steps taken)`.

        `most` steps; ends where the norm of the slope is at most `steady`, unless that is negative, after a step.
        """
        cdef long taken = 0
        cdef int status = RUNNING
        cdef double* last = self.K + self.stages * self.n
        if self.status == DIVERGED and self.length == 0:
            self.chain.restore(self.home)
            return TOO_SMALL, taken
        if self.status == CALLBACK_FAILED:
            return FAILED, taken
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
                    if steady >= 0 and sqrt(inner(&self.e.machine, self.n, last, last)) <= steady:
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
                self.sums(self.span, self.A, self.stages + j, self.stages + 1 + j, self.then, self.trial)
                status = self.slope(self.trial, self.K + (self.stages + 1 + j) * self.n)
            if status != RUNNING:
                return False
        return True
