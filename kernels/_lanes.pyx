"""Networks of the same shapes side by side, one a lane of the vectors (include/la_lanes.inc.h)."""

from handover cimport elements, exactly
from memory cimport Arena, release, take
from types cimport LINE

cdef extern from "la_lanes.h":
    const int LA_MOST_DEPTH
    const int LA_NOWHERE
    const int LA_FIRST
    const int LA_BEHIND
    const int LA_DIAGONAL
    const int LA_BATCHES
    const int LA_DESCEND
    const int LA_HEAVY_BALL
    const int LA_MOMENTUM
    const int LA_ADAM
    const int LA_RMSPROP
    const int LA_ADAGRAD
    const int LA_SIGN
    enum: LA_MOST_SLOTS
    ctypedef struct la_lanes:
        int depth, rows, samples, place, turned, loss, law, carried
        const int* widths
        const void* X
        const void* Y
        double factor, floor, initial
        double numbers[4]
        int slots
        long count, size
        void* params
        const double* lr
        const double* decay
        const double* schedule
        const long long* table
        long scheduled
        const int* order
        const int* counts
        const long long* drawn
        long lines
        const double* factors
        const double* momentum
        const double* tol
        const long long* limit
        double* value
        double* before
        long long* steps
        int* status
        void* kept_slots[LA_MOST_SLOTS]
        long records
        const long long* at
        void* kept
        double* kept_value
        int* taken
        double* losses
        long row
        long next
        void** M
        void** A
        void** slot[LA_MOST_SLOTS]
        void* D[2]
        void* F
        void* G
        void* rates
    ctypedef long (*la_run_lanes)(la_lanes*, long) noexcept nogil
    la_run_lanes la_lanes_run(int level, int single) noexcept nogil

# where the data are, and the laws by which layers are changed, by the names that Python has for them
PLACES = {"nowhere": LA_NOWHERE, "first": LA_FIRST, "behind": LA_BEHIND, "diagonal": LA_DIAGONAL, "batches": LA_BATCHES}
LAWS = {"descend": LA_DESCEND, "heavy ball": LA_HEAVY_BALL, "momentum": LA_MOMENTUM, "adam": LA_ADAM, "rmsprop": LA_RMSPROP,
        "adagrad": LA_ADAGRAD, "sign": LA_SIGN}
MOST_DEPTH = LA_MOST_DEPTH
# of a network that has not come to its end
UNFINISHED = -1


cdef class Lanes:
    """Room for as many networks as there are lanes, of widths `k_0, ..., k_d` from the end where they begin. One object a thread.

    `X` and `Y` are contiguous and of the networks' type; see `la_lanes.h` for their shapes at each place.
    """

    cdef la_lanes c
    cdef Arena arena
    cdef la_run_lanes advance_c
    cdef bint single
    cdef object held, ends

    def __cinit__(self):
        self.arena.blocks, self.arena.count, self.arena.next, self.arena.left = NULL, 0, NULL, 0

    def __dealloc__(self):
        release(&self.arena)

    def __init__(self, widths, *, int rows, int samples, int place, bint turned, bint carried, int loss, int law, X, Y, factors,
                 double factor, double floor, numbers, int slots, double initial, bint single, int level):
        """All arguments are checked by the caller, `linalign.engine.lanes`. Raises: ValueError where this processor has no such loop."""
        cdef int i, slot, d = len(widths) - 1, most = 0
        cdef char code = b"f" if single else b"d"
        c = &self.c
        self.advance_c = la_lanes_run(level, single)
        if self.advance_c == NULL or not (0 < d <= LA_MOST_DEPTH and 0 <= slots <= LA_MOST_SLOTS):
            raise ValueError(f"{d} layers at instruction set {level} cannot be run side by side")
        self.single, self.held = single, (X, Y, factors)
        c.factors = NULL if factors is None else <double*>exactly(factors, b"d", rows + 1, None, False)
        c.depth, c.rows, c.samples, c.place, c.turned, c.carried, c.loss, c.law = d, rows, samples, place, turned, carried, loss, law
        c.X, c.Y = elements(X, code), elements(Y, code)
        c.factor, c.floor = factor, floor
        for i in range(4):
            c.numbers[i] = numbers[i] if i < len(numbers) else 0
        c.slots, c.initial = slots, initial
        k = <int*>take(&self.arena, (d + 1) * sizeof(int))
        for i in range(d + 1):
            k[i] = widths[i]
            most = max(most, k[i])
        c.widths = k
        c.M, c.A = <void**>take(&self.arena, (d + 1) * sizeof(void*)), <void**>take(&self.arena, (d + 1) * sizeof(void*))
        for slot in range(slots):
            c.slot[slot] = <void**>take(&self.arena, (d + 1) * sizeof(void*))
        c.size = 0
        largest = 0
        for i in range(1, d + 1):
            size = k[i] * k[i - 1]
            c.size += size
            largest = max(largest, size)
            c.M[i], c.A[i] = self.matrix(size), self.matrix(rows * k[i])
            for slot in range(slots):
                c.slot[slot][i] = self.matrix(size)
        if place == LA_BATCHES:
            c.A[0] = self.matrix(rows * k[0])
        c.D[0], c.D[1] = self.matrix(rows * most), self.matrix(rows * most)
        c.F, c.G = self.matrix(samples * max(k[0], k[d])), self.matrix(largest)
        c.rates = self.matrix(4 * d)

    cdef void* matrix(self, Py_ssize_t count) except NULL:
        return take(&self.arena, max(count, 1) * LINE)

    def take(self, params, *, lr, schedule, table, order, counts, drawn, decay, momentum, tol, limit, at, kept, kept_value, taken, losses,
             slots, value, before, steps, status):
        """The networks to run: `params (count, size)`, in whose place they will end; one line of all else a network.

        Nothing is copied: the arrays are read and written until `advance` says that all have ended.
        """
        cdef Py_ssize_t count = len(params), d = self.c.depth, records = len(at)
        cdef char code = b"f" if self.single else b"d"
        c = &self.c
        c.count, c.next, c.records = count, 0, records
        self.ends = (params, lr, schedule, table, order, counts, drawn, decay, momentum, tol, limit, at, kept, kept_value, taken, losses,
                     slots, value, before, steps, status)
        c.params = exactly(params, code, count * c.size, (count, c.size), True)
        c.lr = <double*>exactly(lr, b"d", count * d, (count, d), False)
        c.schedule, c.table, c.scheduled = NULL, NULL, 0
        if schedule is not None:
            c.scheduled = schedule.shape[1]
            c.schedule = <double*>exactly(schedule, b"d", len(schedule) * c.scheduled * d, (len(schedule), c.scheduled, d), False)
            c.table = <long long*>wide(table, count, False)
        c.order, c.counts, c.drawn, c.lines = NULL, NULL, NULL, 0
        if order is not None:
            c.lines = order.shape[1]
            c.order = <int*>exactly(order, b"i", len(order) * c.lines * c.rows, (len(order), c.lines, c.rows), False)
            c.counts = <int*>exactly(counts, b"i", len(order) * c.lines, (len(order), c.lines), False)
            c.drawn = <long long*>wide(drawn, count, False)
        c.decay = <double*>exactly(decay, b"d", count * d, (count, d), False)
        c.momentum, c.tol = <double*>exactly(momentum, b"d", count, None, False), <double*>exactly(tol, b"d", count, None, False)
        c.limit, c.at = <long long*>wide(limit, count, False), <long long*>wide(at, records, False)
        c.value, c.before = <double*>exactly(value, b"d", count, None, True), <double*>exactly(before, b"d", count, None, True)
        c.steps = <long long*>wide(steps, count, True)
        c.status = <int*>exactly(status, b"i", count, None, True)
        c.taken = <int*>exactly(taken, b"i", count, None, True)
        c.kept = c.kept_value = NULL
        if records:
            c.kept = exactly(kept, code, count * records * c.size, (count, records, c.size), True)
            c.kept_value = <double*>exactly(kept_value, b"d", count * records, (count, records), True)
        for i in range(LA_MOST_SLOTS):
            c.kept_slots[i] = NULL
        for i, slot in enumerate(slots):
            c.kept_slots[i] = exactly(slot, code, count * c.size, (count, c.size), True)
        c.losses, c.row = NULL, 0
        if losses is not None:
            c.row = losses.shape[1]
            c.losses = <double*>exactly(losses, b"d", count * c.row, (count, c.row), True)

    def advance(self, long budget):
        """Up to `budget` steps of all lanes; whether every network has ended."""
        cdef long left
        with nogil:
            left = self.advance_c(&self.c, budget)
        return left >= 0


cdef inline void* wide(array, Py_ssize_t count, bint writable) except? NULL:
    """Of np.int64."""
    return exactly(array, b"l" if sizeof(long) == 8 else b"q", count, None, writable)
