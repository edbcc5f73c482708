"""NumPy's convolutions: images are the rows of a matrix, pixel by pixel or line by line, and taps products with moved rows.

Every product is of consecutive rows, so nothing is gathered; a block passes through all layers while it is in the cache.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
from scipy.linalg import blas

from ..workloads import Array, Case
from .images import given

BLOCKS = (16, 64, 256)
LARGE = 1e6


def variants(case: Case) -> dict[str, Callable[[], Loop]]:
    """By lines where there is one channel, which makes larger products, else by pixels; gathering (im2col) is slower than both."""
    single = all(t.shape[:2] == (1, 1) for t in case.weights)
    name, form = ("lines", Lines) if single else ("pixels", Pixels)
    # the smallest are too small for threads, which matters where there are many
    fitting = BLOCKS[1:] if case.X.size > LARGE else [block for i, block in enumerate(BLOCKS) if not i or block <= len(case.X)]
    return {f"{name}, {block} images at a time": partial(Loop, case, form, block) for block in fitting}


class Pixels:
    """Rows are pixels with their channels; between lines, and between images, are zeros if borders are."""

    def __init__(self, case: Case) -> None:
        X, _, padding = given(case)
        gap = int(padding == "same")
        self.side, self.less = X.shape[2], 0 if gap else 2
        self.raster = (self.side + gap, self.side + gap)
        self.moves = [(a - gap) * self.raster[1] + b - gap for a in range(3) for b in range(3)]
        self.margin = self.side + 2
        self.widths = [1, *(t.shape[0] for t in case.weights)]
        # (9, c_in, c_out): one product a tap
        self.taps = [np.ascontiguousarray(t.transpose(2, 3, 1, 0)).reshape(9, t.shape[1], t.shape[0]) for t in case.weights]

    def matrices(self, i: int) -> Array:
        return self.taps[i]

    def descend(self, i: int, G: Array) -> None:
        self.taps[i] -= G

    def weights(self) -> list[Array]:
        return [np.ascontiguousarray(t.reshape(3, 3, *t.shape[1:]).transpose(3, 2, 0, 1)) for t in self.taps]

    def place(self, A: Array, side: int, images: Array) -> None:
        A[:, :side, :side, 0] = images[:, 0]

    def clear(self, A: Array, side: int) -> None:
        """Zero what is outside of the images."""
        A[:, side:] = 0
        A[:, :, side:] = 0

    def apply(self, M: Array, A: Array, out: Array, first: int, moves: list[int]) -> None:
        """`out += A[moved] M_k` for each tap; the rows of `out` begin at `first`."""
        gemm, to = (blas.dgemm if A.dtype == np.float64 else blas.sgemm), out[first : len(out) - first].T
        for k, move in enumerate(moves):
            at = first + move
            gemm(1.0, M[k].T, A[at : at + to.shape[1]].T, float(k > 0), to, 0, 0, 1)

    def adjoint(self, M: Array, D: Array, out: Array, first: int, moves: list[int]) -> None:
        gemm, to = (blas.dgemm if D.dtype == np.float64 else blas.sgemm), out[first : len(out) - first].T
        for k, move in enumerate(moves):
            at = first - move
            gemm(1.0, M[k].T, D[at : at + to.shape[1]].T, float(k > 0), to, 1, 0, 1)

    def gradient(self, A: Array, D: Array, G: Array, first: int, moves: list[int]) -> None:
        gemm, own = (blas.dgemm if D.dtype == np.float64 else blas.sgemm), D[first : len(D) - first].T
        for k, move in enumerate(moves):
            at = first + move
            gemm(1.0, own, A[at : at + own.shape[1]].T, 1.0, G[k].T, 0, 1, 1)


class Lines(Pixels):
    """Rows are the lines of an image, of one channel; the three taps of a line are a banded matrix."""

    def __init__(self, case: Case) -> None:
        super().__init__(case)
        gap = self.raster[0] - self.side
        self.raster = (self.side + gap, 1)
        self.moves, self.margin = [a - gap for a in range(3)], 2
        self.taps = [t.reshape(9).copy() for t in case.weights]
        self.widths = [self.side - self.less * i for i in range(len(self.taps) + 1)]
        self.bands = []
        for wide, narrow in zip(self.widths, self.widths[1:], strict=False):
            a, b, x = (index.ravel() for index in np.indices((3, 3, narrow)))
            inside = (x + b - gap >= 0) & (x + b - gap < wide)
            where = ((a * wide + x + b - gap) * narrow + x)[inside]
            self.bands.append((np.zeros((3, wide, narrow), case.X.dtype), where, (3 * a + b)[inside]))

    def matrices(self, i: int) -> Array:
        M, where, which = self.bands[i]
        M.ravel()[where] = self.taps[i][which]
        return M

    def descend(self, i: int, G: Array) -> None:
        _, where, which = self.bands[i]
        self.taps[i] -= np.bincount(which, G.ravel()[where], 9).astype(G.dtype)

    def weights(self) -> list[Array]:
        return [t.reshape(1, 1, 3, 3).copy() for t in self.taps]

    def place(self, A: Array, side: int, images: Array) -> None:
        A[:, :side, 0, :] = images[:, 0]

    def clear(self, A: Array, side: int) -> None:
        A[:, side:] = 0


class Loop:
    """Gradient descent, block by block: the gradients of all blocks are added up."""

    def __init__(self, case: Case, kind: type[Pixels], block: int) -> None:
        X, Y, _ = given(case)
        self.form = form = kind(case)
        self.rate, self.lines = X.dtype.type(case.lr), form.raster[0] * form.raster[1]
        self.sides = [form.side - form.less * i for i in range(len(form.taps) + 1)]
        self.blocks = []
        for first in range(0, len(X), block):
            ends = []
            for images, at in ((X[first : first + block], 0), (Y[first : first + block], -1)):
                rows, inner = self._rows(len(images), form.widths[at], X.dtype)
                form.place(inner, self.sides[at], images)
                ends.append(rows)
            self.blocks.append(ends)
        # the last block may be smaller
        counts = {min(block, len(X)), len(X) % block or min(block, len(X))}
        self.A = {n: [self._rows(n, w, X.dtype) for w in form.widths[1:]] for n in counts}
        self.D = {n: [self._rows(n, w, X.dtype) for w in form.widths[1:-1]] for n in counts}

    def _rows(self, n: int, width: int, dtype: np.dtype) -> tuple[Array, Array]:
        """A matrix with room for the moves at both ends, and the images in it."""
        form = self.form
        A = np.zeros((2 * form.margin + n * form.raster[0] * form.raster[1], width), dtype)
        return A, A[form.margin : len(A) - form.margin].reshape(n, *form.raster, width)

    def prepare(self, steps: int) -> None:
        pass

    def weights(self) -> list[Array]:
        return self.form.weights()

    def run(self, steps: int) -> None:
        form, first, moves = self.form, self.form.margin, self.form.moves
        for _ in range(steps):
            M = [form.matrices(i) for i in range(len(form.taps))]
            G = [np.zeros_like(m) for m in M]
            for X, T in self.blocks:
                n = (len(X) - 2 * first) // self.lines
                above, below = self.A[n], [*self.D[n], self.A[n][-1]]
                A = [X, *(rows for rows, _ in above)]
                for i, m in enumerate(M):
                    form.apply(m, A[i], A[i + 1], first, moves)
                    form.clear(above[i][1], self.sides[i + 1])
                D = A[-1]
                np.subtract(D, T, D)
                np.multiply(D, self.rate, D)
                for i in range(len(M) - 1, -1, -1):
                    form.gradient(A[i], below[i][0], G[i], first, moves)
                    if i:
                        form.adjoint(M[i], below[i][0], below[i - 1][0], first, moves)
                        form.clear(below[i - 1][1], self.sides[i])
            for i, g in enumerate(G):
                form.descend(i, g)
