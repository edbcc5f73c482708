"""Fused: products of a stack of weights on rows, and their gradients, on arrays of the caller's (stack.pxd)."""

from libc.string cimport memset
from types cimport LINE
from memory cimport Arena, release, take
from products cimport la_tile_of, lay_out_panels
from handover cimport exactly
from stack cimport ROWS, Matrix, Stack, backward, forward, give, hand_back, matrix, room_for, written

cdef extern from "la_team.h":
    int la_team_watch() noexcept nogil


BY_ROWS = ROWS

if la_team_watch():
    raise ImportError("this process cannot be told of its forks, for want of memory")


cdef inline void* place(array, char code, int rows, int columns, bint writable) except? NULL:
    """Where an array begins; a number is an address, of what whoever calls has checked."""
    if type(array) is int:
        return <void*><size_t>array
    return exactly(array, code, <Py_ssize_t>rows * columns, (rows, columns), writable)


cdef class Fused:
    """Weights of given widths on so many rows, from a pivot, with the room that this takes.

    `pivot`: from 0 to the number of weights, or BY_ROWS. `tape`: how many elements `backward` takes over from `forward`.
    `by_blas`: whether some products go to BLAS, whose own threads are to be held back where `threads` share them.
    Arrays are C-contiguous and of the dtype; a number in place of one is an address that the caller has checked. Not
    thread-safe; one Fused a thread. Raises: TypeError, ValueError, BufferError for other arrays.
    """

    cdef Stack s
    cdef Arena arena
    cdef char code
    cdef int rows
    cdef void* own_tape
    cdef bint has_room          # for gradients
    cdef readonly int pivot
    cdef readonly Py_ssize_t tape
    cdef readonly bint by_blas

    def __init__(self, widths, int rows, bint single, int pivot, *, int level, int most, int threads=1, Py_ssize_t wake=150000,
                 int least=0, Py_ssize_t cache=400000):
        s = &self.s
        memset(s, 0, sizeof(Stack))
        self.code, self.rows, self.pivot = (b"f" if single else b"d"), rows, pivot
        s.itemsize = sizeof(float) if single else sizeof(double)
        s.depth, s.pivot = len(widths) - 1, pivot
        s.machine.level, s.machine.most, s.machine.threads = level, most, threads
        s.machine.wake, s.machine.cache = wake, cache
        s.machine.tile, s.machine.room = la_tile_of(level), <Py_ssize_t>most * most
        s.machine.scratch = take(&self.arena, <size_t>threads * most * most * s.itemsize)
        cdef Py_ssize_t panels = lay_out_panels(&s.machine, least, max(widths), s.itemsize)
        s.machine.panels = take(&self.arena, panels) if panels else NULL
        cdef int i, d = s.depth, p = pivot
        self.by_blas = not level or max(rows, *widths) > most
        s.widths = <int*>take(&self.arena, (d + 1) * sizeof(int))
        s.theirs = <void**>take(&self.arena, d * sizeof(void*))
        s.W, s.dW = self._matrices(), self._matrices()
        s.A, s.U, s.Z = self._matrices(), self._matrices(), self._matrices()
        for i in range(d + 1):
            s.widths[i] = widths[i]
        for i in range(d):
            s.W[i] = room_for(s, &self.arena, s.widths[i + 1], s.widths[i])
        s.X, s.F = room_for(s, &self.arena, rows, s.widths[0]), room_for(s, &self.arena, rows, s.widths[d])
        if p == ROWS:
            for i in range(1, d):
                s.A[i] = self._on_tape(rows, s.widths[i])
            return
        for i in range(p + 2, d + 1):
            s.U[i] = self._on_tape(s.widths[i], s.widths[p])
        for i in range(p - 1):
            s.Z[i] = self._on_tape(s.widths[p], s.widths[i])
        if 0 < p < d:
            s.H = self._on_tape(rows, s.widths[p])

    def __dealloc__(self):
        release(&self.arena)

    cdef Matrix* _matrices(self) except NULL:
        return <Matrix*>take(&self.arena, (self.s.depth + 1) * sizeof(Matrix))

    cdef Matrix _on_tape(self, int rows, int columns) except *:
        """A matrix after those that are on the tape, each from a cache line of it on."""
        cdef Matrix found = matrix(&self.s, rows, columns)
        cdef int line = LINE // self.s.itemsize
        found.offset = self.tape
        self.tape += (<Py_ssize_t>rows * found.ld + line - 1) // line * line
        return found

    cdef int _room_for_gradients(self) except -1:
        """Room that `forward` alone does not need."""
        s = &self.s
        cdef int i, d = s.depth, p = s.pivot
        cdef size_t most = 0
        if self.has_room:
            return 0
        for i in range(d):
            s.dW[i] = room_for(s, &self.arena, s.widths[i + 1], s.widths[i])
        s.D, s.dX = room_for(s, &self.arena, self.rows, s.widths[d]), room_for(s, &self.arena, self.rows, s.widths[0])
        for i in range(d + 1):
            if p == ROWS:
                most = max(most, <size_t>self.rows * matrix(s, 1, s.widths[i]).ld)
            else:
                most = max(most, <size_t>s.widths[p] * matrix(s, 1, s.widths[i]).ld)
                most = max(most, <size_t>max(self.rows, s.widths[i]) * matrix(s, 1, s.widths[p]).ld)
        s.ping.at, s.pong.at = take(&self.arena, most * s.itemsize), take(&self.arena, most * s.itemsize)
        self.has_room = True
        return 0

    cdef int _bind(self, weights, X, tape) except -1:
        """What both ways begin with: weights, rows, and where the tape is."""
        s = &self.s
        cdef int i, d = s.depth, p = s.pivot
        cdef char* at
        if len(weights) != d:
            raise ValueError(f"{len(weights)} weights for a stack of {d}")
        for i in range(d):
            give(s, &s.W[i], place(weights[i], self.code, s.widths[i + 1], s.widths[i], False))
        give(s, &s.X, place(X, self.code, self.rows, s.widths[0], False))
        if tape is None:
            if self.own_tape == NULL:
                self.own_tape = take(&self.arena, self.tape * s.itemsize)
            at = <char*>self.own_tape
        elif type(tape) is int:
            at = <char*><size_t>tape
        else:
            at = <char*>exactly(tape, self.code, self.tape, None, True)
        if p == ROWS:
            s.A[0] = s.X
            for i in range(1, d):
                s.A[i].at = at + s.A[i].offset * s.itemsize
            return 0
        for i in range(p + 2, d + 1):
            s.U[i].at = at + s.U[i].offset * s.itemsize
        for i in range(p - 1):
            s.Z[i].at = at + s.Z[i].offset * s.itemsize
        if p < d:
            s.U[p + 1] = s.W[p]
        if p:
            s.Z[p - 1] = s.W[p - 1]
        if 0 < p < d:
            s.H.at = at + s.H.offset * s.itemsize
        elif p == 0:
            s.H = s.X
        return 0

    def forward(self, weights, X, out, tape):
        """`out = X W_1^T ... W_d^T`; what `backward` can take over is written to `tape`, unless that is None."""
        s = &self.s
        self._bind(weights, X, tape)
        there = place(out, self.code, self.rows, s.widths[s.depth], True)
        s.F.at = written(&s.F, there)
        if s.pivot == ROWS:
            s.A[s.depth] = s.F
        elif s.pivot == s.depth:
            s.H = s.F
        with nogil:
            if self.code == b"f":
                forward(<float*>NULL, s, True)
            else:
                forward(<double*>NULL, s, True)
            hand_back(s, &s.F, there)

    def backward(self, weights, X, D, gradients, inputs, tape):
        """The gradients of `<D, out>` in the weights, and in X, written to `gradients` and `inputs`; None is left out.

        `tape` is that of `forward` with the same weights and X, or None: then it is made again.
        """
        s = &self.s
        cdef int i, d = s.depth
        cdef bint again = tape is None
        cdef void* there = NULL
        self._room_for_gradients()
        self._bind(weights, X, tape)
        if len(gradients) != d:
            raise ValueError(f"{len(gradients)} gradients for a stack of {d}")
        for i in range(d):
            s.theirs[i] = s.dW[i].at = NULL
            if gradients[i] is not None:
                s.theirs[i] = place(gradients[i], self.code, s.widths[i + 1], s.widths[i], True)
                s.dW[i].at = written(&s.dW[i], s.theirs[i])
        s.dX.at = NULL
        if inputs is not None:
            there = place(inputs, self.code, self.rows, s.widths[0], True)
            s.dX.at = written(&s.dX, there)
        give(s, &s.D, place(D, self.code, self.rows, s.widths[d], False))
        with nogil:
            if self.code == b"f":
                if again:
                    forward(<float*>NULL, s, False)
                backward(<float*>NULL, s)
            else:
                if again:
                    forward(<double*>NULL, s, False)
                backward(<double*>NULL, s)
            for i in range(d):
                hand_back(s, &s.dW[i], s.theirs[i])
            hand_back(s, &s.dX, there)
