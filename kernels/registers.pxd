# A chain that fits in registers: its loop is one function in C (include/la_chain.inc.h), which takes all steps from one score to the next.

from libc.math cimport INFINITY, isfinite
from types cimport real, RUNNING, CONVERGED, DIVERGED
from score cimport score
from engine cimport Engine


cdef inline int loss_in_registers(Engine* e, double* value) noexcept nogil:
    """The loss where the network stands."""
    # any finite loss is at most this tol, so that no step is taken
    e.train(&e.registers, 1, value, 0, INFINITY)
    return RUNNING


cdef inline int run_in_registers(real* precision, Engine* e, long steps, double* values, long* done, double floor,
                                 double tol) noexcept nogil:
    """Up to `steps` steps; `values[t]` is the loss before step t. Returns a Status."""
    cdef long t = 0, stop
    while t < steps:
        stop = steps
        if e.scores != NULL and e.scores.left:
            if e.scores.at[0] == t:
                score(precision, e.scores, e.layers)
            if e.scores.left:
                stop = e.scores.at[0]
        t += e.train(&e.registers, stop - t, &values[t], floor, tol)
        done[0] = t
        if t < stop:
            return CONVERGED if isfinite(values[t]) else DIVERGED
    return RUNNING
