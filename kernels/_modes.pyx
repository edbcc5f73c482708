"""Scalar dynamics of the modes of an aligned network: one scalar a layer and mode (docs/theory, section 4)."""

from libc.math cimport isfinite
from types cimport RUNNING, CONVERGED, DIVERGED

import numpy as np

cdef extern from "la_modes.h":
    ctypedef double (*la_modes_float)(int, Py_ssize_t, float*, float*, const float*, const float*, const double*, const double*,
                                      const double*, double, double, float*, int, int) noexcept nogil
    ctypedef double (*la_modes_double)(int, Py_ssize_t, double*, double*, const double*, const double*, const double*, const double*,
                                       const double*, double, double, double*, int, int) noexcept nogil
    la_modes_float la_modes_f(int level) noexcept nogil
    la_modes_double la_modes_d(int level) noexcept nogil


cdef class Modes:
    """The scalars `sigma (d, r)` of r modes, with loss `factor * sum_j weight_j (x_j prod_i sigma_ij - y_j)^2`.

    `weight_j` counts how many identical modes this one stands for. Not thread-safe; one object a thread.
    """

    cdef int depth
    cdef Py_ssize_t stride
    cdef double momentum
    cdef double factor
    cdef double floor
    cdef bint cyclic
    cdef bint single
    cdef la_modes_float step_f
    cdef la_modes_double step_d
    cdef readonly object sigma
    cdef readonly object velocity
    cdef object x
    cdef object y
    cdef object prefix
    cdef double[::1] weight
    cdef double[::1] lr
    cdef double[::1] decay

    def __init__(self, sigma, x, y, weight, *, double factor, double floor, lr, decay, double momentum, bint cyclic, int level):
        """All arguments are checked by the caller; see `linalign.engine.bind.bind_modes`."""
        dtype = sigma.dtype
        lanes = 64 // dtype.itemsize
        d, r = sigma.shape
        self.depth, self.single = d, dtype == np.float32
        self.stride = (r + lanes - 1) // lanes * lanes
        self.momentum, self.factor, self.floor, self.cyclic = momentum, factor, floor, cyclic
        self.step_f, self.step_d = la_modes_f(level), la_modes_d(level)
        padded = np.zeros((d, self.stride), dtype)
        padded[:, :r] = sigma
        self.sigma = padded[:, :r]
        self.velocity = np.zeros_like(padded)[:, :r] if momentum else None
        self.x, self.y = np.zeros(self.stride, dtype), np.zeros(self.stride, dtype)
        self.x[:r], self.y[:r] = x, y
        self.prefix = np.zeros((d, self.stride), dtype)
        self.weight = np.zeros(self.stride)
        np.asarray(self.weight)[:r] = weight
        self.lr, self.decay = np.array(lr, dtype=np.float64), np.array(decay, dtype=np.float64)

    cdef int loop(self, long steps, double* values, long* done, double tol, bint look):
        cdef size_t sigma = self.sigma.ctypes.data, x = self.x.ctypes.data, y = self.y.ctypes.data
        cdef size_t prefix = self.prefix.ctypes.data
        cdef size_t velocity = 0 if self.velocity is None else self.velocity.ctypes.data
        cdef long t
        cdef double value
        cdef int status = RUNNING
        with nogil:
            for t in range(steps):
                done[0] = t
                # the loss comes with the step; a step from a loss that ends the run would have to be taken back
                if look or tol >= 0:
                    value = self.once(sigma, velocity, x, y, prefix, True)
                    values[t] = value
                    if not isfinite(value):
                        status = DIVERGED
                        break
                    if value + self.floor <= tol:
                        status = CONVERGED
                        break
                    if look:
                        break
                values[t] = self.once(sigma, velocity, x, y, prefix, False)
                if not isfinite(values[t]):
                    status = DIVERGED
                    break
            else:
                done[0] = steps
        return status

    cdef inline double once(self, size_t sigma, size_t velocity, size_t x, size_t y, size_t prefix, bint look) noexcept nogil:
        if self.single:
            return self.factor * self.step_f(self.depth, self.stride, <float*>sigma, <float*>velocity, <float*>x, <float*>y,
                                             &self.weight[0], &self.lr[0], &self.decay[0], self.momentum, self.factor,
                                             <float*>prefix, self.cyclic, look)
        return self.factor * self.step_d(self.depth, self.stride, <double*>sigma, <double*>velocity, <double*>x, <double*>y,
                                         &self.weight[0], &self.lr[0], &self.decay[0], self.momentum, self.factor,
                                         <double*>prefix, self.cyclic, look)

    def advance(self, long steps, double[::1] values not None, double tol):
        """Take up to `steps` steps; `values[t]` is the loss before step t. Returns `(status, steps taken)`."""
        cdef long done = 0
        if values.shape[0] < steps:
            raise ValueError(f"values has room for {values.shape[0]} losses; {steps} steps were asked for")
        if steps == 0:
            return RUNNING, 0
        status = self.loop(steps, &values[0], &done, tol, False)
        return status, done

    def value(self, double tol):
        """`(status, loss)` where the modes stand."""
        cdef long done = 0
        cdef double value = 0
        status = self.loop(1, &value, &done, tol, True)
        return status, value
