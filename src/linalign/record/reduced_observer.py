"""Reduced observer: recorded quantities of the network as given, from the small network that is run in its place.

Where nothing outside of it moves, products of the small side are all that is needed; the constants are those of `outside`.
"""

from __future__ import annotations

import math

import numpy as np

from ..linear_algebra import leaving
from ..reduce.biases import matrices
from ..reduce.inputs import BiasedInputsLift, InputsLift
from ..reduce.width import BiasedWidthLift, WidthLift
from ..scores import spectrum
from ..scores.chain import noise
from ..scores.interface import WIDE, Part, clear, sine_cosine, skew, sums
from ..scores.singular_vectors import zero
from ..validate import Array
from .observer import Angles, Observer, Running
from .outside import Outside, floors
from .reduced_vectors import ReducedScores


class ReducedObserver(Observer):
    """The quantities from the small network, without weight decay: what is outside does not move."""

    def __init__(self, run: Running, threads: int = 1) -> None:
        super().__init__(run, threads)
        work = run.work
        given = work.given.net.matrices()
        self._shapes: list[tuple[int, int]] = [(W.shape[0], W.shape[1]) for W in given]
        self._rounding = [noise(W) for W in given]
        # biases lie in the subspaces that are run, and scores are of matrices: what is outside is that of the weights
        lifts = [lift.weights if isinstance(lift, (BiasedInputsLift, BiasedWidthLift)) else lift for lift in work.lifts]
        inputs = next((lift for lift in lifts if isinstance(lift, InputsLift)), None)
        width = next((lift for lift in lifts if isinstance(lift, WidthLift)), None)
        self._shrunk = width is not None
        self._bases = [None] * (len(given) + 1) if width is None else width.bases
        self._inputs = None if inputs is None else inputs.V
        parts: list[Array | None] = [None] * len(given)
        if width is not None:
            for i, W in enumerate(given):
                E = width.outside(i)
                if E.size and np.linalg.norm(E) > 1e-13 * np.linalg.norm(W.astype(np.float64, copy=False)):
                    parts[i] = E
        parts[0] = inputs.outside if inputs is not None and inputs.V.shape[0] > inputs.V.shape[1] else None
        self._outside = Outside(tuple(parts), self._bases[1])
        self._sizes = [0.0 if E is None else float(np.linalg.norm(E)) for E in parts]

    def _make_scores(self) -> ReducedScores:
        parts = self._outside.parts
        zeros = [zero(shape, rounding) for shape, rounding in zip(self._shapes, self._rounding, strict=True)]
        small = self._run.work.problem.net
        start = matrices(small.layers, small.params)
        inputs = None if parts[0] is None else self._inputs
        return ReducedScores(start, self._shapes, self._bases, parts, inputs, zeros, self._threads, self._run.use_one_thread)

    def _moving(self) -> list[Array]:
        return self._small()

    def _small(self) -> list[Array]:
        return [W.astype(np.float64, copy=False) for W in self._run.running()]

    def _first(self, W: Array) -> Array:
        """The first small layer and the constant columns beside it."""
        beside = self._outside.beside
        return W if beside is None else np.hstack([W, beside])

    def angles(self) -> Angles:
        weights = self._small()
        sizes = [math.hypot(float(np.linalg.norm(W)), size) for W, size in zip(weights, self._sizes, strict=True)]
        least = self._floors()
        return [self._angle(i, weights[i], weights[i + 1], least[i] * sizes[i] * sizes[i + 1]) for i in range(len(weights) - 1)]

    def _angle(self, i: int, W: Array, V: Array, floor: float) -> tuple[float, float]:
        quick = self._quick(i, W, V, floor) if len(W) >= WIDE else None
        if quick is not None:
            return quick
        if i == 0:
            W = self._first(W)
        Z = V @ W
        parts = [Part(*skew(W, V, Z), float(np.linalg.norm(Z)), lambda: float(np.linalg.norm(Z @ Z.T))), self._outside.interfaces[i]]
        coupling = self._outside.coupling
        if i == 0 and coupling is not None:
            # K = [[A11 H1, A12 H2], [A21 H1, A22 H2]]: the off-diagonal blocks
            pulled = V.T @ (V @ coupling.lower)
            pushed = 0.0 if coupling.pushed is None else coupling.pushed
            clash = math.sqrt(2) * float(np.linalg.norm(pushed - pulled))
            parts.append(Part(clash, float(np.linalg.norm(pulled)), 0.0, lambda: self._across(V)))
            parts.append(Part(0.0, float(np.linalg.norm(pushed)), 0.0, lambda: 0.0))
        return sine_cosine(parts, floor)

    def _across(self, V: Array) -> float:
        """The off-diagonal blocks of `Z Z^T`."""
        coupling = self._outside.coupling
        return 0.0 if coupling is None or coupling.product is None else math.sqrt(2) * float(np.linalg.norm(V @ coupling.product))

    def _quick(self, i: int, W: Array, V: Array, floor: float) -> tuple[float, float] | None:
        """The angle from sums of squares, or None where these lose too many digits."""
        still = self._outside.interfaces[i]
        whole, square, size, grown = sums(W, V, self._outside.beside_gram if i == 0 else None)
        whole, square, size = whole + still.whole**2, square + still.gram() ** 2, size + still.product**2
        coupling = self._outside.coupling
        if i == 0 and coupling is not None:
            Y = V @ coupling.lower
            whole += float(np.vdot(Y, (V @ V.T) @ Y))
            whole += 0.0 if coupling.pushed is None else float(np.vdot(coupling.pushed, coupling.pushed))
            if coupling.product is not None:
                square += 2 * float(np.linalg.norm(V @ coupling.product)) ** 2
        return clear(whole, square, size, grown, floor)

    def _floors(self) -> Array:
        return floors([shape[0] for shape in self._shapes], self._rounding)

    def constants(self) -> tuple[Array, Array | None] | None:
        return None if self._shrunk else (self._floors(), self._outside.beside)

    def balancedness(self) -> Array:
        weights = self._small()
        coupling = self._outside.coupling
        out = []
        for i, balance in enumerate(self._outside.balance):
            W, V = self._first(weights[0]) if i == 0 else weights[i], weights[i + 1]
            parts = [float(np.linalg.norm(V.T @ V - W @ W.T)), balance]
            if i == 0 and coupling is not None:
                parts.append(math.sqrt(2) * float(np.linalg.norm(coupling.lower)))
            out.append(math.hypot(*parts))
        return np.array(out)

    def singular_values(self) -> Array:
        weights = self._small()
        joint = self._outside.joint
        if joint is not None:
            inside, rest = joint
            weights[0] = np.hstack([weights[0], inside])
            weights[-1] = np.vstack([weights[-1], np.zeros((len(rest), weights[-1].shape[1]))])
            product = np.ldexp(*spectrum.product_of(weights))
            product[len(product) - len(rest) :, product.shape[1] - rest.shape[1] :] = rest
            values = leaving.singular_values(product)
        else:
            weights[0] = self._first(weights[0])
            values = spectrum.product_values(weights)
        most = min(self._shapes[-1][0], self._shapes[0][1])
        values = np.sort(values)[::-1][:most]
        return np.concatenate([values, np.zeros(most - len(values))])

    def effective_rank(self) -> float:
        return spectrum.entropy_rank(self.singular_values())

    def modes(self, U: Array, V: Array) -> Array:
        weights, inside, rest, last = self._small(), self._outside.inside, self._outside.product, self._bases[-1]
        rows = (V if self._inputs is None else self._inputs.T @ V).T @ weights[0].T
        if inside is not None:
            rows = rows + (inside @ V).T
        for W in weights[1:]:
            rows = rows @ W.T
        left = U if last is None else last.T @ U
        out = np.einsum("aj,ja->j", left, rows)
        if rest is not None:
            out = out + np.einsum("aj,ab,bj->j", U, rest, V)
        return np.asarray(out)
