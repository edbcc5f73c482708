"""Observe: recorded quantities of the network as given, from the small network that is run.

Where the closure of T8.1 holds, the layers above the first are a direct sum of what is run and a part that no step
changes, and the first layer adds a constant part to its columns. The quantities here need products of the small side
alone; the constants are worked out once. Everything else is computed on the lifted network.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, reduce
from itertools import pairwise

import numpy as np

from ..plan.planner import Work
from ..reduce.inputs import InputsLift
from ..reduce.split import Modes
from ..reduce.width import WidthLift
from ..scores import spectrum
from ..scores.interfaces import WIDE, _angles, _balancedness, _clear, _gram_norm, _noise, _skew, _sums
from ..scores.singular_vectors import Scores
from ..validate import Array
from .convolution_interfaces import Images, small_images
from .reduced_vectors import SmallScores

Angles = list[tuple[float, float]]


class Observer:
    """The quantities from the matrices of the network as given."""

    def __init__(
        self, matrices: Callable[[], list[Array]], start: Callable[[], list[Array]], step: Callable[[], int], threads: int = 1,
        images: Images | None = None,
    ) -> None:  # fmt: skip
        """`start()` are the matrices at step 0 of what `matrices()` are now; `step()` says where the run stands."""
        self._matrices, self._start, self._step, self._threads = matrices, start, step, threads
        self._scores: Scores | SmallScores | None = None
        self._images = images

    def _make_scores(self) -> Scores | SmallScores:
        return Scores(self._matrices, self._start(), self._step, self._threads)

    @property
    def vectors(self) -> Scores | SmallScores:
        """The scores that need singular vectors."""
        if self._scores is None:
            self._scores = self._make_scores()
        return self._scores

    def close(self) -> None:
        """End the threads of the scores."""
        if self._scores is not None:
            self._scores.close()

    def angles(self) -> Angles:
        """Sine and cosine of every interface."""
        if self._images is None:
            return _angles(self._matrices())
        found = self._images.angles()
        if None not in found:
            return [angle for angle in found if angle is not None]
        full = self._matrices()
        return [_angles(full[i : i + 2])[0] if angle is None else angle for i, angle in enumerate(found)]

    def constants(self) -> tuple[Array, Array | None] | None:
        """What is needed to take `angles` of the matrices that are run: the noise of each interface over the product of the
        norms, and constant columns of the first layer, if any. None where it needs more."""
        return None

    def balancedness(self) -> Array:
        """`||W_{i+1}^T W_{i+1} - W_i W_i^T||_F` of every interface."""
        return _balancedness(self._matrices())

    def singular_values(self) -> Array:
        """Singular values of the product, largest first."""
        return spectrum._singular_values(self._matrices())

    def effective_rank(self) -> float:
        """`exp` of the entropy of the normalised singular values of the product."""
        return spectrum._effective_rank(self._matrices())

    def modes(self, U: Array, V: Array) -> Array:
        """`u_j^T W_d ... W_1 v_j`."""
        rows = V.T
        for W in self._matrices():
            rows = rows @ W.T
        return np.asarray(np.einsum("aj,ja->j", U, rows))


@dataclass(frozen=True, eq=False)
class _Still:
    """The constant part of one interface, of a direct sum: norms that add in squares."""

    skew: float
    whole: float
    product: float
    gram: float


def _root(A: Array) -> Array:
    """`L` with `L L^T = A^T A`, as small as the columns of A allow."""
    return np.asarray(np.linalg.qr(A, mode="r")).T


class SmallObserver(Observer):
    """The quantities from the small network, without weight decay: what is outside does not move.

    Notation: `E_i` is what of layer i is outside; `E_1 = B_1 + B_2`, inside and outside `S_1`.
    """

    def __init__(
        self,
        small: Callable[[], list[Array]],
        work: Work,
        step: Callable[[], int],
        threads: int = 1,
        alone: Callable[[], None] | None = None,
    ) -> None:
        super().__init__(small, work.problem.net.matrices, step, threads)
        self._alone = alone
        given = [W.astype(np.float64, copy=False) for W in work.given.net.matrices()]
        self._d = len(given)
        self._heights: list[int] = [W.shape[0] for W in given]
        self._width_d = given[-1].shape[0], given[0].shape[1]
        self._noise = [_noise(W) for W in work.given.net.matrices()]
        inputs = next((lift for lift in work.lifts if isinstance(lift, InputsLift)), None)
        width = next((lift for lift in work.lifts if isinstance(lift, WidthLift)), None)
        self._shrunk = width is not None
        bases = [None] * (self._d + 1) if width is None else width.bases
        self._bases, self._given = bases, given
        self._last = bases[-1]
        outside = [np.zeros((0, 0))] * self._d if width is None else [width.outside(i) for i in range(self._d)]
        self._E: list[Array | None] = [E if E.size and np.linalg.norm(E) > 1e-13 * np.linalg.norm(W) else None
                                       for E, W in zip(outside, given, strict=True)]  # fmt: skip
        E = inputs.outside if inputs is not None and inputs.V.shape[0] > inputs.V.shape[1] else None
        self._E[0] = E
        self._V = None if inputs is None else inputs.V
        self._Q = bases[1]
        self._sizes = [0.0 if E is None else float(np.linalg.norm(E)) for E in self._E]

    def _make_scores(self) -> SmallScores:
        first = self._E[0]
        inputs = None if first is None or self._V is None else (first, self._V)
        return SmallScores(self._matrices, self._start(), self._step, self._given, self._bases, self._E, inputs, self._threads, self._alone)

    # The constants, each when it is first asked for: some take as long as thousands of steps.
    @cached_property
    def _B1(self) -> Array | None:
        E = self._E[0]
        return E if E is None or self._Q is None else self._Q.T @ E

    @cached_property
    def _L(self) -> Array | None:
        """A root of `B_1 B_1^T`."""
        return None if self._B1 is None else _root(self._B1.T)

    @cached_property
    def _more(self) -> Array | None:
        """`B_1 B_1^T`."""
        return None if self._L is None else self._L @ self._L.T

    @cached_property
    def _coupling(self) -> tuple[Array | None, Array | None, Array | None]:
        """Roots of what couples `S_1` with its complement: `A = (I - Q Q^T) E E^T Q`, `E_2^T E_2 A` beside it, and `E_2 A`."""
        E, Q, B1 = self._E[0], self._Q, self._B1
        if E is None or Q is None or B1 is None:
            return None, None, None
        A = E @ B1.T
        A -= Q @ (Q.T @ A)
        if np.linalg.norm(A) <= 1e-13 * np.linalg.norm(E) ** 2:
            return None, None, None
        up = self._E[1] if self._d > 1 else None
        if up is None:
            return _root(A), None, None
        Z = up @ A
        R = _root(np.hstack([A, up.T @ Z]))
        m = A.shape[1]
        return R[:m], R[m:], _root(Z)

    def _outside(self, i: int) -> tuple[Array | None, Array | None]:
        """The layers of interface i in the complement of `S_{i+1}`; None for zero."""
        W, V = self._E[i], self._E[i + 1]
        if i == 0 and W is not None:
            W = None if self._Q is None else W - self._Q @ (self._Q.T @ W)
        return W, V

    @cached_property
    def _still(self) -> list[_Still]:
        """The parts of the interfaces that lie in the complements."""
        return [self._constant(*self._outside(i)) for i in range(self._d - 1)]

    @staticmethod
    def _constant(W: Array | None, V: Array | None) -> _Still:
        if W is None or V is None:
            return _Still(0.0, 0.0, 0.0, 0.0)
        Z = V @ W
        skew, whole = _skew(W, V, Z)
        return _Still(skew, whole, float(np.linalg.norm(Z)), _gram_norm(Z))

    @cached_property
    def _balance(self) -> list[float]:
        """Balancedness of the interfaces in the complements."""
        found = []
        for i in range(self._d - 1):
            W, V = self._outside(i)
            if W is None or V is None:
                alone = V if W is None else W
                found.append(0.0 if alone is None else _gram_norm(alone))
            else:
                found.append(float(_balancedness([W, V])[0]))
        return found

    @cached_property
    def _rest(self) -> Array | None:
        """The product of what is outside, from the complement of `S_1` up; None if it is zero."""
        if self._Q is None or any(E is None for E in self._E):
            return None
        first = self._E[0]
        assert first is not None
        product: Array = first - self._Q @ (self._Q.T @ first)
        for E in self._E[1:]:
            assert E is not None
            product = E @ product
        return product

    @cached_property
    def _joint(self) -> tuple[Array, Array] | None:
        """`B_1` and the product outside up to rotations: they end apart but begin in the same inputs."""
        if self._rest is None or self._B1 is None:
            return None
        R = _root(np.hstack([self._B1.T, self._rest.T])).T
        m = len(self._B1)
        return R[:, :m].T, _root(R[:, m:].T).T

    def _small(self) -> list[Array]:
        return [W.astype(np.float64, copy=False) for W in self._matrices()]

    def angles(self) -> Angles:
        weights = self._small()
        sizes = [math.hypot(float(np.linalg.norm(W)), size) for W, size in zip(weights, self._sizes, strict=True)]
        found = []
        for i in range(self._d - 1):
            W, V, still = weights[i], weights[i + 1], self._still[i]
            noise = self._noise[i] if self._noise[i] > self._noise[i + 1] else self._noise[i + 1]
            floor = self._heights[i] * noise * sizes[i] * sizes[i + 1]
            quick = self._quick(i, W, V, floor) if len(W) >= WIDE else None
            if quick is not None:
                found.append(quick)
                continue
            if i == 0 and self._L is not None:
                W = np.hstack([W, self._L])
            Z = V @ W
            skew, whole = _skew(W, V, Z)
            product, gram = float(np.linalg.norm(Z)), float(np.linalg.norm(Z @ Z.T))
            skews, wholes, grams = [skew, still.skew], [whole, still.whole], [gram, still.gram]
            A, AH, ZA = self._coupling
            if i == 0 and A is not None:
                # K = [[A11 H1, A12 H2], [A21 H1, A22 H2]]: the off-diagonal blocks
                pulled = V.T @ (V @ A)
                pushed = 0.0 if AH is None else AH
                skews.append(math.sqrt(2) * float(np.linalg.norm(pushed - pulled)))
                wholes += [float(np.linalg.norm(pulled)), float(np.linalg.norm(pushed))]
                if ZA is not None:
                    grams.append(math.sqrt(2) * float(np.linalg.norm(V @ ZA)))
            whole = math.hypot(*wholes)
            if math.hypot(product, still.product) <= floor:
                found.append((0.0, 1.0))
                continue
            sine = min(math.hypot(*skews) / (math.sqrt(2) * whole), 1.0)
            cosine = math.sqrt(1 - sine * sine) if sine < 0.7 else min(math.hypot(*grams) / whole, 1.0)
            found.append((sine, cosine))
        return found

    def _quick(self, i: int, W: Array, V: Array, floor: float) -> tuple[float, float] | None:
        """The angle from sums of squares, or None where these lose too many digits."""
        still = self._still[i]
        whole, square, size, grown = _sums(W, V, self._more if i == 0 else None)
        whole, square, size = whole + still.whole**2, square + still.gram**2, size + still.product**2
        A, AH, ZA = self._coupling
        if i == 0 and A is not None:
            Y = V @ A
            whole += float(np.vdot(Y, (V @ V.T) @ Y)) + (0.0 if AH is None else float(np.vdot(AH, AH)))
            if ZA is not None:
                square += 2 * float(np.linalg.norm(V @ ZA)) ** 2
        return _clear(whole, square, size, grown, floor)

    def constants(self) -> tuple[Array, Array | None] | None:
        if self._shrunk:
            return None
        return _floors(self._heights, self._noise), self._L

    def balancedness(self) -> Array:
        weights = self._small()
        out = []
        for i, balance in enumerate(self._balance):
            W, V = weights[i], weights[i + 1]
            if i == 0 and self._L is not None:
                W = np.hstack([W, self._L])
            parts = [float(np.linalg.norm(V.T @ V - W @ W.T)), balance]
            A = self._coupling[0]
            if i == 0 and A is not None:
                parts.append(math.sqrt(2) * float(np.linalg.norm(A)))
            out.append(math.hypot(*parts))
        return np.array(out)

    def singular_values(self) -> Array:
        weights = self._small()
        if self._joint is not None:
            B1, rest = self._joint
            weights[0] = np.hstack([weights[0], B1])
            weights[-1] = np.vstack([weights[-1], np.zeros((len(rest), weights[-1].shape[1]))])
            product = reduce(lambda below, W: W @ below, weights)
            product[len(product) - len(rest) :, product.shape[1] - rest.shape[1] :] = rest
            values = np.linalg.svd(product, compute_uv=False)
        else:
            if self._L is not None:
                weights[0] = np.hstack([weights[0], self._L])
            values = spectrum._singular_values(weights)
        most = min(self._width_d)
        values = np.sort(values)[::-1][:most]
        return np.concatenate([values, np.zeros(most - len(values))])

    def effective_rank(self) -> float:
        return spectrum._rank_of(self.singular_values())

    def modes(self, U: Array, V: Array) -> Array:
        weights = self._small()
        rows = (V if self._V is None else self._V.T @ V).T @ weights[0].T
        if self._B1 is not None:
            rows = rows + (self._B1 @ V).T
        for W in weights[1:]:
            rows = rows @ W.T
        left = U if self._last is None else self._last.T @ U
        out = np.einsum("aj,ja->j", left, rows)
        if self._rest is not None:
            out = out + np.einsum("aj,ab,bj->j", U, self._rest, V)
        return np.asarray(out)


class AlignedObserver(Observer):
    """The quantities where scalar modes are all that moves, and the rest never meets: the network stays aligned (T3.2)."""

    def angles(self) -> Angles:
        return [(0.0, 1.0)] * (len(self._start()) - 1)

    def constants(self) -> tuple[Array, Array | None] | None:
        return np.zeros(len(self._start()) - 1), None


def _stays_aligned(work: Work) -> bool:
    """Whether the network as given is an orthogonal sum of modes and of constant layers that do not meet."""
    if work.split is None or any(not (isinstance(lift, InputsLift) and lift.V.shape[0] == lift.V.shape[1]) for lift in work.lifts):
        return False
    for part in work.split.parts:
        if part.content is None:
            for W, V in pairwise(part.start):
                if np.linalg.norm(V @ W) > 1e-13 * np.linalg.norm(V) * np.linalg.norm(W):
                    return False
        elif not isinstance(part.content, Modes):
            return False
    return True


class GivenObserver(Observer):
    """The quantities where the network is run as it was given."""

    def constants(self) -> tuple[Array, Array | None] | None:
        matrices = self._matrices()
        return _floors([W.shape[0] for W in matrices], [_noise(W) for W in matrices]), None


def _floors(heights: list[int], noise: list[float]) -> Array:
    """An interface is nothing if `||W_{i+1} W_i||` is at most this many times the product of the norms."""
    return np.array([height * max(pair) for height, pair in zip(heights, pairwise(noise), strict=False)])


def observer(
    work: Work, moving: bool, params: Callable[[], list[Array]], full: Callable[[], list[Array]], step: Callable[[], int],
    threads: int = 1, alone: Callable[[], None] | None = None, lifted: Callable[[], list[Array]] | None = None,
) -> Observer:  # fmt: skip
    """The cheapest observer that is exact.

    `moving`: whether what is outside decays; `params()` are those of the small network, `lifted()` those of the network as given;
    `alone()` tells the loop that its other threads are taken.
    """
    if _stays_aligned(work):
        return AlignedObserver(full, work.given.net.matrices, step, threads)
    images = None if lifted is None else small_images(work.given.net.layers, lifted)
    if moving or not any(isinstance(lift, (InputsLift, WidthLift)) for lift in work.lifts):
        as_given = not work.lifts and work.split is None and work.problem.net.layers == work.given.net.layers
        return (GivenObserver if as_given else Observer)(full, work.given.net.matrices, step, threads, images)
    layers = work.problem.net.layers

    def small() -> list[Array]:
        return [layer.matrix(theta) for layer, theta in zip(layers, params(), strict=True)]

    return SmallObserver(small, work, step, threads, alone)
