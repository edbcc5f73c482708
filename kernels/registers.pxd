# A chain that fits in registers: its loop is one function in C (include/la_chain.inc.h), which takes all steps from one score to the next.

from libc.math cimport INFINITY, isfinite
from types cimport real, LINE, DENSE, SQUARED, RUNNING, CONVERGED, DIVERGED
from layer cimport Layer
from memory cimport take
from score cimport score
from engine cimport Engine, la_chain_train
from workspace cimport Memory, matrix_of, width, widest
from optimiser cimport use_gradients


cdef inline int lay_out_registers(Engine* e, Memory* memory) except -1:
    """Bind that loop, which holds each layer twice, once transposed. `e.registers` has diagonal data of pivot 0.

    Raises: ValueError unless all matrices have at most as many rows and columns as a line has elements, all layers are dense, the pivot
    is at an end (the outputs only with diagonal data or none), the loss is squared, and there is no momentum.
    """
    cdef int i, d = e.depth, side = LINE // e.itemsize
    cdef bint turned = e.pivot == d
    cdef bint fits = turned and (e.X == NULL or e.diagonal) or not e.pivot and not e.data_last
    cdef Layer* L
    c = &e.registers
    for i in range(d):
        fits = fits and e.layers[i].kind == DENSE
    if max(widest(e), e.rows) > side or not fits or e.cyclic or e.momentum != 0 or e.loss.kind != SQUARED:
        raise ValueError(f"widths {[width(e, i) for i in range(d + 1)]} on {e.rows} rows are no chain that fits in registers")
    c.depth, c.rows, c.factor, c.turned = d, e.rows, e.loss.factor, turned
    widths = <int*>take(&memory.kept, (d + 1) * sizeof(int))
    lr = <double*>take(&memory.kept, (d + 1) * sizeof(double))
    decay = <double*>take(&memory.kept, (d + 1) * sizeof(double))
    c.widths, c.lr, c.decay = widths, lr, decay
    c.W = <void**>take(&memory.kept, (d + 1) * sizeof(void*))
    c.R = <void**>take(&memory.kept, (d + 1) * sizeof(void*))
    c.A = <void**>take(&memory.kept, (d + 1) * sizeof(void*))
    c.G = <void**>take(&memory.kept, (d + 1) * sizeof(void*))
    # the transposed network begins at the outputs
    for i in range(d + 1):
        widths[i] = width(e, d - i if turned else i)
    for i in range(1, d + 1):
        L = &e.layers[d - i if turned else i - 1]
        lr[i], decay[i] = L.lr, L.decay
        c.A[i] = matrix_of(e, &memory.room, side, side)
        c.W[i] = matrix_of(e, &memory.room, side, side) if turned else L.matrix
        c.R[i] = L.matrix if turned else matrix_of(e, &memory.room, side, side)
    c.D[0], c.D[1] = matrix_of(e, &memory.room, side, side), matrix_of(e, &memory.room, side, side)
    c.Y = e.loss.targets
    if turned:
        c.scale = e.X
    elif not c.diagonal:
        c.X = e.X
    e.train = la_chain_train(e.machine.level, e.itemsize == sizeof(float))
    return 0


cdef inline void use_float(void* engine, long t) noexcept nogil:
    use_gradients(<float*>NULL, <Engine*>engine, t)


cdef inline void use_double(void* engine, long t) noexcept nogil:
    use_gradients(<double*>NULL, <Engine*>engine, t)


cdef inline void hand_gradients_over(Engine* e) noexcept:
    """From now on that loop, where there is one, leaves the gradients to the rule of the engine."""
    cdef int i
    if e.train == NULL:
        return
    c = &e.registers
    for i in range(e.depth):
        c.G[e.depth - i if c.turned else i + 1] = e.layers[i].gradient
    c.owner, c.use = e, use_float if e.itemsize == sizeof(float) else use_double


cdef inline int loss_in_registers(Engine* e, double* value) noexcept nogil:
    """The loss where the network stands."""
    # any finite loss is at most this tol, so that no step is taken
    e.train(&e.registers, 1, value, 0, INFINITY)
    return RUNNING


cdef inline int run_in_registers(real* precision, Engine* e, long steps, double* values, long* done, double tol) noexcept nogil:
    """Up to `steps` steps; `values[t]` is the loss before step t. Returns a Status."""
    cdef long t = 0, stop
    while t < steps:
        stop = steps
        if e.scores != NULL and e.scores.left:
            if e.scores.at[0] == t:
                score(precision, e.scores, e.layers)
            if e.scores.left:
                stop = e.scores.at[0]
        e.registers.begin = t
        t += e.train(&e.registers, stop - t, &values[t], e.loss.floor, tol)
        done[0] = t
        if t < stop:
            return CONVERGED if isfinite(values[t]) else DIVERGED
    return RUNNING
