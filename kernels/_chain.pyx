"""Chain: a network bound to its data, and the loop over it (loop.pxd)."""

from libc.math cimport INFINITY
from libc.string cimport memset
from types cimport DENSE, RUNNING, CALLBACK_FAILED, NORMALISED, GROUP_RMSPROP
from layer cimport Layer
from memory cimport clear, padding, release, take
from products cimport la_tile_of, lay_out_panels
from structured cimport refresh
from score cimport Scores, SIDE, score
from engine cimport Engine, Optimiser, Batch, la_rules_of
from workspace cimport Memory, array_of, lay_out_blocks, lay_out_rows, lay_out_rule, lay_out_scores, lay_out_stripes, lay_out_tiles
from workspace cimport widest, width
from registers cimport hand_gradients_over, lay_out_registers
from one_row cimport lay_out_one_row
from constrained cimport bind_structure
from observed cimport bind_observations
from handover cimport address, doubles
from arrays cimport as_matrix, as_vector
from evaluation cimport copy_rows, places
from loop cimport run, forward, backward
from batch cimport gather

import numpy as np
from ._machine import buffer

cdef extern from "la_team.h":
    int la_team_watch() noexcept nogil

if la_team_watch():
    raise ImportError("this process cannot be told of its forks, for want of memory")


cdef int ask(void* owner, double* value) noexcept with gil:
    return (<Chain>owner).call_back(value)


cdef class Chain:
    """A network bound to its data: parameters, workspace and the loop over them.

    `params`, `velocities` and `gradients` are arrays that the loop works on in place; read them between calls.
    Not thread-safe; one Chain a thread.
    """

    cdef Memory memory
    cdef Engine e
    cdef Scores scores
    cdef bint single
    cdef bint busy              # a thread is inside `evaluate`
    cdef void** there           # where it finds parameters, then gradients
    cdef readonly list params
    cdef readonly list velocities
    cdef readonly list gradients
    cdef readonly list slots
    cdef readonly object numbers
    cdef readonly object dtype
    cdef readonly object error
    cdef readonly size_t engine  # where it is, for what is bound beside it (_curvature.pyx)
    cdef list kept              # what the engine has pointers to
    cdef list fed               # and the data that batches are of
    cdef object function
    cdef object outputs         # an array where `function` looks at them

    def __init__(self, params, structures, data, rule, schedule, machine):
        """All arguments are checked by the caller; the last four are the records of `engine.bind`.

        `params[i]` is copied; `structures[i]` is None for a dense layer, else what `plan.structures.parts` made of layer i.
        Raises: ValueError if the schedule does not fit the network and its data.
        """
        e = &self.e
        memset(e, 0, sizeof(Engine))
        self.engine = <size_t>e
        self.dtype = params[0].dtype
        self.single = self.dtype == np.float32
        self.kept, self.params, self.velocities, self.gradients, self.slots = [], [], [], [], []
        e.itemsize, e.depth = self.dtype.itemsize, len(params)
        e.machine.level, e.machine.most, e.machine.threads = machine.level, machine.tile, machine.threads
        e.machine.wake, e.machine.cache, e.machine.tile = machine.wake, machine.cache, la_tile_of(machine.level)
        e.pivot, e.rows = schedule.pivot, schedule.rows
        e.cyclic, e.momentum = rule.cyclic, rule.momentum
        self._layers(params, structures, rule)
        self._data(data, schedule.in_registers)
        # no factor that the tile transposes has longer sides; in whole vectors
        cdef int longest = max(widest(e), e.rows, 0 if data.X is None else len(data.X))
        cdef int side = min(e.machine.most, (longest + 15) // 16 * 16)
        e.machine.room = <Py_ssize_t>side * side
        e.machine.scratch = array_of(e, &self.memory.room, e.machine.threads * e.machine.room)
        cdef Py_ssize_t panels = lay_out_panels(&e.machine, machine.panels, widest(e), e.itemsize)
        e.machine.panels = take(&self.memory.room, panels) if panels else NULL
        self._outputs(data)
        if schedule.in_registers:
            lay_out_registers(e, &self.memory)
        lay_out_one_row(e, &self.memory, schedule.one_row)
        self.refresh()

    def __dealloc__(self):
        release(&self.memory.kept)
        release(&self.memory.room)

    # ---- binding

    cdef int _layers(self, params, structures, rule) except -1:
        """The layers and their parameters."""
        e = &self.e
        cdef int i
        cdef Layer* L
        e.layers = <Layer*>take(&self.memory.kept, e.depth * sizeof(Layer))
        e.ld = <int*>take(&self.memory.kept, (e.depth + 1) * sizeof(int))
        for i, (theta, structure) in enumerate(zip(params, structures)):
            L = &e.layers[i]
            L.kind = DENSE if structure is None else structure.kind
            L.n_out, L.n_in = theta.shape if structure is None else structure.shape
            L.ld = e.ld[i] = padding(L.n_in, e.itemsize, e.machine.most)
            L.lr, L.decay = rule.lr[i], rule.decay[i]
            L.theta = self._like(self.params, L, theta)
            if e.momentum:
                L.velocity = self._like(self.velocities, L, np.zeros_like(theta))
            if structure is None:
                L.matrix = L.theta
            else:
                bind_structure(e, &self.memory, L, structure, theta.size)
                self.kept.append(structure)
        e.n_in, e.n_out = e.layers[0].n_in, e.layers[e.depth - 1].n_out
        e.ld[e.depth] = padding(e.n_out, e.itemsize, e.machine.most)
        return 0

    cdef int _data(self, data, bint in_registers) except -1:
        """The samples, and where they meet the chain."""
        e = &self.e
        X = data.X
        e.diagonal = X is not None and X.ndim == 1
        if e.diagonal and in_registers and not e.pivot:
            e.registers.diagonal, e.diagonal = True, False
            e.registers.X = as_vector(self.kept, X, self.dtype, e.machine.most)
            X = np.diag(X)
        if e.diagonal:
            if e.cyclic or not e.pivot:
                raise ValueError("diagonal data need a pivot of at least 1 and simultaneous updates")
            X = X[None, :]
        e.samples = e.n_in if X is None or e.diagonal else len(X)
        if e.rows != width(e, e.pivot) if e.pivot else e.rows not in (e.samples, e.n_in):
            widths = [width(e, i) for i in range(e.depth + 1)]
            raise ValueError(f"{e.rows} rows in flight do not fit pivot {e.pivot} of widths {widths} on {e.samples} rows of data")
        e.data_last = e.pivot == 0 and X is not None and e.rows != e.samples
        if X is not None:
            e.ldx = padding(X.shape[1], e.itemsize, e.machine.most)
            if data.block:
                lay_out_blocks(e, &self.memory, as_matrix(self.kept, X, self.dtype, 0, data.lent),
                               as_matrix(self.kept, data.targets, self.dtype, 0, data.lent), data.block)
            else:
                e.X = as_matrix(self.kept, X, self.dtype, e.machine.most, data.lent)
        return 0

    cdef int _outputs(self, data) except -1:
        """The rows in flight, the outputs and their loss."""
        e = &self.e
        e.A = <void**>take(&self.memory.kept, (e.depth + 1) * sizeof(void*))
        e.Z = <void**>take(&self.memory.kept, (e.depth + 1) * sizeof(void*))
        e.owner, e.ask = <void*>self, ask
        self.function = data.function
        if data.function is not None:
            self.outputs = buffer(*((e.n_out, e.samples) if e.pivot else (e.samples, e.n_out)), self.dtype, e.machine.most)
        lay_out_rows(e, &self.memory, NULL if self.outputs is None else <void*>address(self.outputs))
        lay_out_stripes(e, &self.memory)
        e.loss.kind, e.loss.factor, e.loss.floor, e.loss.delta = data.loss, data.factor, data.floor, data.delta
        if data.targets is not None and not data.block:
            targets = data.targets.T if e.loss.by_output else data.targets
            e.loss.targets = as_matrix(self.kept, targets, self.dtype, e.machine.most, data.lent)
        lay_out_tiles(e, &self.memory)
        if data.observations is not None:
            bind_observations(e, &self.memory, data.observations)
            self.kept.append(data.observations)
        return 0

    cdef void* _like(self, list keeper, Layer* L, source) except NULL:
        """A copy as the parameters of the layer are kept."""
        cdef int most = self.e.machine.most
        return as_matrix(keeper, source, self.dtype, most, False) if L.kind == DENSE else as_vector(keeper, source, self.dtype, most)

    def batches(self, X, targets, factors):
        """From now on a step sees rows of these data, which it was bound with the first of: as many as there, or fewer from pivot 0.

        `factors[count]` is that of the loss of so many rows. Without X a step sees all rows, as bound, and noise on the targets alone. See
        `window` and `schedule`. Called again, it takes the place of what was there.
        """
        e = &self.e
        if e.batch == NULL:
            e.batch = <Batch*>take(&self.memory.kept, sizeof(Batch))
        b = e.batch
        self.fed = [np.array(factors, dtype=np.float64)]
        b.factors, b.most = doubles(self.fed[0]), e.samples
        # the loop of one row a step reads them where they lie, in whole vectors
        cdef int most = e.machine.most if e.one_row != NULL else 0
        b.X = NULL if X is None else as_matrix(self.fed, X, self.dtype, most, True)
        b.T = as_matrix(self.fed, targets, self.dtype, most, True)
        b.ldx, b.ldt = padding(e.n_in, e.itemsize, most), padding(e.n_out, e.itemsize, most)

    def optimise(self, int kind, numbers, int slots, int memory, *, bint matrix_metric, double clip=0, double rho=0, double average=-1,
                 scales=None):
        """From now on gradients are used by a rule of `optimiser.pxd`: `slots` arrays a layer and `memory` numbers, zero at first.

        `slots` counts the mean of the weights if `average` is not -1; it is the last.
        """
        e = &self.e
        cdef int i, k
        cdef Layer* L
        o = e.optimiser = <Optimiser*>take(&self.memory.kept, sizeof(Optimiser))
        o.functions, o.kind, o.slots = la_rules_of(e.machine.level), kind, slots - (average >= 0)
        for i in range(len(numbers)):
            o.numbers[i] = numbers[i]
        self.numbers = np.zeros(memory)
        o.memory = doubles(self.numbers)
        if scales is not None:
            scales = np.array(scales, dtype=np.float64)
            self.kept.append(scales)
            o.scales = doubles(scales)
        o.step, o.matrix_metric, o.clip, o.rho, o.average = 1, matrix_metric, clip, rho, average
        o.norms = clip > 0 or rho > 0 or kind == NORMALISED or kind == GROUP_RMSPROP
        self._room_for_gradients()
        self.slots = [[] for _ in range(slots)]
        lay_out_rule(e, &self.memory, slots)
        for i in range(e.depth):
            L = &e.layers[i]
            for k in range(slots):
                L.slots[k] = self._like(self.slots[k], L, np.zeros_like(self.params[i]))
        hand_gradients_over(e)

    def _room_for_gradients(self):
        cdef int i
        if not self.gradients:
            for i in range(self.e.depth):
                self.e.layers[i].gradient = self._like(self.gradients, &self.e.layers[i], np.zeros_like(self.params[i]))

    # ---- between calls of the loop

    def window(self, const Py_ssize_t[::1] rows, const double[:, ::1] noise=None):
        """The rows that the loss and its gradients are of, from now on, all if None; with `noise (most, k_d)` on their targets."""
        b = self.e.batch
        cdef Py_ssize_t count = b.most if rows is None else rows.shape[0]
        if not 0 < count <= b.most or (rows is None) != (b.X == NULL):
            raise ValueError(f"{count} rows were asked for; a step sees from 1 to {b.most}")
        b.rows, b.counts = NULL if rows is None else &rows[0], &count
        b.noise = NULL if noise is None else &noise[0, 0]
        if self.single:
            gather(<float*>NULL, &self.e, 0)
        else:
            gather(<double*>NULL, &self.e, 0)
        b.rows = b.counts = NULL
        b.noise = NULL

    def schedule(self, long first, const double[:, ::1] rates, const Py_ssize_t[:, ::1] rows, const Py_ssize_t[::1] counts,
                 const double[:, :, ::1] noise):
        """What the next `advance` goes by: its first step counted from 0, its rates `(steps, depth)`, its rows `(steps, most)` and the
        noise on their targets `(steps, most, k_d)`, or None.

        The caller keeps the arrays until then, and has checked them.
        """
        self.e.rates = &rates[0, 0] if rates is not None else NULL
        if self.e.optimiser != NULL:
            self.e.optimiser.step = first + 1
        if rows is not None:
            self.e.batch.rows, self.e.batch.counts = &rows[0, 0], &counts[0]
        if self.e.batch != NULL:
            self.e.batch.noise = NULL if noise is None else &noise[0, 0, 0]

    def refresh(self):
        """Bring what is made of the parameters up to date, after they were written from outside."""
        cdef int i
        for i in range(self.e.depth):
            if self.e.layers[i].structure != NULL:
                if self.single:
                    refresh(<float*>NULL, &self.e.layers[i])
                else:
                    refresh(<double*>NULL, &self.e.layers[i])

    def restore(self, kept):
        """Back to parameters, then velocities, as when the chain was bound with them.

        The loop multiplies the padding of short rows along, and zero times what left the finite numbers is nan: all that it wrote
        is cleared, not only the entries that can be seen.
        """
        clear(&self.memory.room)
        for array, old in zip([*self.params, *self.velocities, *(array for slot in self.slots for array in slot)], kept, strict=True):
            array.base.fill(0)
            array[...] = old
        if self.outputs is not None:
            self.outputs.base.fill(0)
        self.refresh()

    def use_one_thread(self):
        """One thread for every product from now on."""
        cdef int i
        self.e.machine.threads = 1
        for i in range(self.e.depth):
            if self.e.layers[i].structure != NULL:
                self.e.layers[i].structure.threads = 1

    def ranks(self):
        """The ranks of the stripes of A_i, Z_i and the outputs (stripes.pxd), -1 where a product is a dense one: for tests."""
        e, vertices = &self.e, range(self.e.depth + 1)
        return [e.stripes_A[i].rank for i in vertices], [e.stripes_Z[i].rank for i in vertices], [e.stripes_O[i].rank for i in vertices]

    def prepare_scores(self, noise, constant) -> bool:
        """Whether `advance` can score the interfaces on its way: dense layers, no side above SIDE.

        `noise[i]`: an interface is nothing if ||W_{i+1} W_i|| is at most this many times the norms. `constant (k_1, m)`:
        columns of the first layer that do not move, or None.
        """
        e = &self.e
        s = &self.scores
        cdef int i
        for i in range(e.depth):
            if e.layers[i].structure != NULL:
                return False
        if e.depth == 1 or widest(e) > SIDE or (constant is not None and constant.shape[1] > SIDE):
            return False
        memset(s, 0, sizeof(Scores))
        noise = np.array(noise, dtype=np.float64)
        s.interfaces, s.noise = e.depth - 1, doubles(noise)
        self.kept.append(noise)
        if constant is not None:
            constant = np.array(constant, dtype=np.float64, order="C")
            s.constant, s.constants = doubles(constant), constant.shape[1]
            self.kept.append(constant)
        lay_out_scores(e, &self.memory, s)
        return True

    # ---- the loop

    def advance_scoring(self, long steps, double[::1] values not None, double tol, long[::1] at not None):
        """`advance`, and the scores before the steps in `at`: `(status, steps taken, (len(at), interfaces, 2))`, sine and cosine.

        `at` is ascending, at most `steps`; needs `prepare_scores`. Scores of steps that were not reached are nan.
        """
        found = np.full((len(at), self.scores.interfaces, 2), np.nan)
        if not found.size:
            return *self.advance(steps, values, tol), found
        self.scores.at, self.scores.left, self.scores.out = &at[0], len(at), doubles(found)
        self.e.scores = &self.scores
        try:
            status, done = self.advance(steps, values, tol)
        finally:
            self.e.scores = NULL
        if status == RUNNING and self.scores.left:
            if self.single:
                score(<float*>NULL, &self.scores, self.e.layers)
            else:
                score(<double*>NULL, &self.scores, self.e.layers)
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
                status = run(<float*>NULL, &self.e, steps, &values[0], &done, tol)
            else:
                status = run(<double*>NULL, &self.e, steps, &values[0], &done, tol)
        return status, done

    def value(self, double tol):
        """`(status, loss)` where the network stands."""
        cdef double value = 0
        cdef int status
        with nogil:
            if self.single:
                status = forward(<float*>NULL, &self.e, &value, tol)
            else:
                status = forward(<double*>NULL, &self.e, &value, tol)
        return status, value

    def differentiate(self):
        """`(status, loss)`; `gradients` holds the gradient of every layer. Updates nothing."""
        cdef int status
        cdef double value = 0
        if self.e.cyclic:
            raise ValueError("a cyclic chain has no single gradient; bind a simultaneous one")
        self._room_for_gradients()
        self.e.gradients_only = True
        status, value = self.value(-np.inf)
        if status != CALLBACK_FAILED:
            with nogil:
                if self.single:
                    backward(<float*>NULL, &self.e)
                else:
                    backward(<double*>NULL, &self.e)
        self.e.gradients_only = False
        return status, value

    def evaluate(self, params, gradients):
        """`(status, loss)` at other parameters, whose gradients are written to `gradients` unless that is None.

        Each is one flat array, layer 1 first, or a sequence of arrays, one a layer; C-contiguous and of the chain's dtype.
        What the chain was bound with is gone afterwards. Raises: TypeError, ValueError, BufferError for other arrays,
        RuntimeError where another thread is inside.
        """
        cdef int i, status, d = self.e.depth
        cdef double value = 0
        cdef Layer* L
        if self.e.cyclic:
            raise ValueError("a cyclic chain has no single gradient; bind a simultaneous one")
        if self.busy:
            raise RuntimeError("this chain is in use by another thread; bind one for each")
        self.busy = True
        try:
            self._room_for_gradients()
            if self.there == NULL:
                self.there = <void**>take(&self.memory.kept, 2 * d * sizeof(void*))
            places(params, self.params, self.single, self.there, False)
            if gradients is not None:
                places(gradients, self.params, self.single, self.there + d, True)
            self.e.gradients_only = True
            for i in range(d):
                L = &self.e.layers[i]
                copy_rows(L, self.e.itemsize, L.theta, self.there[i], True)
            self.refresh()
            with nogil:
                if self.single:
                    status = forward(<float*>NULL, &self.e, &value, -INFINITY)
                    if gradients is not None and status != CALLBACK_FAILED:
                        backward(<float*>NULL, &self.e)
                else:
                    status = forward(<double*>NULL, &self.e, &value, -INFINITY)
                    if gradients is not None and status != CALLBACK_FAILED:
                        backward(<double*>NULL, &self.e)
            if gradients is not None and status != CALLBACK_FAILED:
                for i in range(d):
                    L = &self.e.layers[i]
                    copy_rows(L, self.e.itemsize, L.gradient, self.there[d + i], False)
        finally:
            self.e.gradients_only = False
            self.busy = False
        return status, value

    cdef int call_back(self, double* value):
        """The user's loss of the product, under the GIL."""
        try:
            at = np.array(self.outputs if self.e.loss.by_output else self.outputs.T, order="C")
            answer, gradient = self.function(at)
            value[0] = answer
            self.outputs[...] = gradient if self.e.loss.by_output else gradient.T
        except BaseException as error:
            self.error = error
            return CALLBACK_FAILED
        return RUNNING
