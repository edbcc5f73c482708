# The loop over steps, without the GIL. The step is that of the engine: from the samples, from a pivot, a cyclic sweep, or in registers.

from libc.math cimport isfinite
from types cimport real, RUNNING, CONVERGED, DIVERGED
from score cimport score
from engine cimport Engine
from samples cimport forward_from_samples, backward_to_samples
from pivot cimport forward_from_pivot, backward_to_pivot
from sweep cimport sweep
from batch cimport gather
from optimiser cimport climb, come_back, metric_norm, use_gradients
from registers cimport loss_in_registers, run_in_registers
from one_row cimport run_one_row, sees_one_row


cdef inline int forward(real* precision, Engine* e, double* value, double tol) noexcept nogil:
    """The loss where the network stands. Returns a Status: whether the run ends here."""
    cdef int status
    if e.cyclic:
        return sweep(precision, e, value, tol, True)
    if e.train != NULL and not e.gradients_only:
        status = loss_in_registers(e, value)
    else:
        status = forward_from_pivot(precision, e, value) if e.pivot else forward_from_samples(precision, e, value)
    if status != RUNNING:
        return status
    if not isfinite(value[0]):
        return DIVERGED
    return CONVERGED if value[0] + e.loss.floor <= tol else RUNNING


cdef inline void backward(real* precision, Engine* e) noexcept nogil:
    """Use the gradients of all layers, after `forward`."""
    if e.pivot:
        backward_to_pivot(precision, e)
    else:
        backward_to_samples(precision, e)


cdef inline int step(real* precision, Engine* e, long t, double* value, double tol) noexcept nogil:
    """One step of a rule that sees the gradients of all layers first. Returns a Status."""
    cdef double uphill
    cdef int status
    e.gradients_only = True
    status = forward(precision, e, value, tol)
    if status == RUNNING:
        backward(precision, e)
        if e.optimiser.rho > 0:
            climb(precision, e, metric_norm(precision, e))
            # the loss that is told is the one before the step, wherever this one is
            status = forward_from_pivot(precision, e, &uphill) if e.pivot else forward_from_samples(precision, e, &uphill)
            if status == RUNNING:
                backward(precision, e)
            come_back(precision, e)
    e.gradients_only = False
    if status != RUNNING:
        return status
    use_gradients(precision, e, t)
    return RUNNING


cdef inline int run(real* precision, Engine* e, long steps, double* values, long* done, double tol) noexcept nogil:
    """Up to `steps` steps; `values[t]` is the loss before step t, `done` how many were taken. Returns a Status."""
    cdef long t
    cdef int status, i
    if e.train != NULL:
        return run_in_registers(precision, e, steps, values, done, tol)
    if sees_one_row(e):
        return run_one_row(precision, e, steps, values, done, tol)
    for t in range(steps):
        done[0] = t
        if e.scores != NULL and e.scores.left and e.scores.at[0] == t:
            score(precision, e.scores, e.layers)
        if e.rates != NULL and e.optimiser == NULL:
            for i in range(e.depth):
                e.layers[i].lr = e.rates[t * e.depth + i]
        if e.batch != NULL:
            gather(precision, e, t)
        if e.optimiser != NULL:
            status = step(precision, e, t, &values[t], tol)
            if status != RUNNING:
                return status
        elif e.cyclic:
            status = sweep(precision, e, &values[t], tol, False)
            if status != RUNNING:
                return status
        else:
            status = forward(precision, e, &values[t], tol)
            if status != RUNNING:
                return status
            backward(precision, e)
    done[0] = steps
    return RUNNING
