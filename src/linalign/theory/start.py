"""Start: the modes of a network on given data, and whether gradient descent moves nothing else."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..linear_algebra import signed_qr
from ..scores.certificate import alignment_certificate
from ..scores.chain import Matrices
from ..scores.chain import noise as _noise
from ..scores.chain import norm as _norm
from ..validate import Array
from .rows import Rows, joint_eigenbasis


@dataclass(frozen=True, eq=False)
class Start:
    """A start and the modes into which it splits; `print` it for plain words.

    A mode j is a pair of vectors `(v_j, u_j)` that every layer keeps apart from the rest: there are orthonormal
    `q_{0,j} = v_j, ..., q_{d,j} = u_j` with `W_i q_{i-1,j} = sigma_{ij} q_{i,j}` and `W_i^T q_{i,j} = sigma_{ij} q_{i-1,j}`.

    separates : gradient descent moves the factors `sigma_{ij}` of these modes and nothing else, in every step and with every
        learning rate. Each mode is a joint triple of the data (`C v = lambda v`, `M v = s u`, `M^T u = s v`) or already fitted
        (`u^T (P C - M) = 0`), and outside the modes no layer has a gradient.
    aligned : the start is aligned (`alignment_certificate`).
    residual : the largest relative residual of these equations.
    reason : which of them holds or fails.
    inputs, outputs : `v_j (k_0, r)`, `u_j (k_d, r)`.
    factors : `sigma_{ij} (d, r)`, of any sign.
    eigenvalues, targets : `lambda_j`, `s_j (r,)`.
    """

    separates: bool
    aligned: bool
    residual: float
    reason: str
    inputs: Array
    outputs: Array
    factors: Array
    eigenvalues: Array
    targets: Array

    @property
    def holds(self) -> bool:
        """Gradient descent keeps this start aligned, in fixed bases."""
        return self.separates and self.aligned

    def __str__(self) -> str:
        modes = f"{self.factors.shape[1]} modes, residual {self.residual:.1e}"
        if self.holds:
            return f"this start stays aligned in fixed bases: {self.reason} ({modes})"
        if self.separates:
            return f"this start is not aligned, but only its aligned part moves: {self.reason} ({modes})"
        return f"this start is not known to stay aligned in fixed bases: {self.reason} ({modes})"


def examine(matrices: Matrices, rows: Rows, tol: float) -> Start:
    """The modes of a start. Source: docs/theory, L3.1, T3.2, T3.3 (c) (algorithm A4), and T8.3 for what the modes leave over.

    The bases of a start are not unique where its singular values repeat. They are taken joint with the data's first, and from
    the start alone where that fails, which is right where a mode is fitted but no joint triple.
    """
    split = _Split(matrices, rows)
    aligned = alignment_certificate(list(matrices), tol).aligned
    tried = []
    for joint in (True, False):
        for seed in (0, 1):
            tried.append(split.modes(joint, np.random.default_rng(seed), tol, aligned))
            if tried[-1].separates:
                return tried[-1]
    return min(tried, key=lambda start: start.residual)


class _Split:
    """The products of one network and one data set that the search for modes needs, layers scaled to spectral norm 1."""

    def __init__(self, matrices: Matrices, rows: Rows) -> None:
        layers = [np.asarray(W, dtype=np.float64) for W in matrices]
        self.sizes = [float(np.linalg.norm(W, 2)) for W in layers]
        self.units = [W / size if size else W for W, size in zip(layers, self.sizes, strict=True)]
        self.below = [np.eye(layers[0].shape[1])]  # W_i ... W_1
        for W in self.units:
            self.below.append(W @ self.below[-1])
        self.above = [np.eye(layers[-1].shape[0])]  # W_d ... W_{i+1}, i = 0..d
        for W in reversed(self.units):
            self.above.insert(0, self.above[0] @ W)
        self.P = self.below[-1] * np.prod(self.sizes)
        self.rows, self.C, self.M = rows, rows.C, rows.M
        self.c, self.m = rows.c, rows.m
        self.G = self.P @ self.C - self.M
        self.scale = float(np.linalg.norm(self.P, 2)) * self.c + self.m
        # a factor or product this far below its layers' norms is zero
        self.zero = 1e3 * max(1e-15, rows.precision, *(_noise(W) for W in matrices))

    def modes(self, joint: bool, rng: np.random.Generator, tol: float, aligned: bool) -> Start:
        chains, factors, outputs = self._follow(self._inputs(joint, rng))
        V, U = chains[0], chains[-1]
        eigenvalues = np.einsum("ij,ij->j", self.rows.X @ V, self.rows.X @ V)
        targets = np.einsum("ij,ij->j", U, self.M @ V)
        triple = np.max(
            [
                _columns(self.C @ V - V * eigenvalues) / self.c,
                _columns(self.M @ V - U * targets) / self.m,
                _columns(self.M.T @ U - V * targets) / self.m,
            ],
            axis=0,
        )
        # a mode with two zero layers has no gradient: where it is no triple it is none, and belongs to the rest
        idle = np.count_nonzero(factors == 0.0, axis=0) >= 2
        kept = np.flatnonzero(outputs & ~(idle & (triple > tol)))
        chains, factors, triple = [Q[:, kept] for Q in chains], factors[:, kept], triple[kept]
        V, U, eigenvalues, targets = V[:, kept], U[:, kept], eigenvalues[kept], targets[kept]
        error = factors.prod(axis=0) * np.prod(self.sizes) * eigenvalues - targets
        fitted = _columns(self.G.T @ U) / self.scale
        rest = self.G - (U * error) @ V.T
        apart = self._apart(chains, factors)
        data = float(np.minimum(triple, fitted).max(initial=0.0))
        outside = float(np.max([_norm(a.T @ rest @ b.T) for a, b in zip(self.above[1:], self.below[:-1], strict=True)])) / self.scale
        residual = float(np.max([apart, data, outside]))  # nan, from weights out of range, is no agreement
        if residual <= tol:
            reason = "every mode that moves is a joint triple of the data"
        elif apart > tol:
            reason = "the layers and the data have no singular vectors in common" if aligned else "the start is not aligned"
        elif data > tol:
            worst = int(np.argmax(np.minimum(triple, fitted)))
            reason = f"mode {worst} moves, and its singular vectors are no joint triple of the data (T3.3)"
        else:
            reason = "a layer has a gradient outside the modes (L3.1)"
        return Start(
            separates=residual <= tol,
            aligned=aligned,
            residual=residual,
            reason=reason,
            inputs=V,
            outputs=U,
            factors=factors * np.array(self.sizes)[:, None],
            eigenvalues=eigenvalues,
            targets=targets,
        )

    def _inputs(self, joint: bool, rng: np.random.Generator) -> Array:
        """A joint eigenbasis of the words that begin and end at the inputs; with the data's words among them if `joint`."""
        blocks = [W for W in self.below[1:] if _norm(W) > self.zero]
        if joint:
            blocks += [self.rows.X, self.M, *(a.T @ self.M for a in self.above[:-1])]
            if _norm(self.below[-1]) > self.zero and self.M.any():
                # the sum knows the sign between start and target, which the two Gram matrices do not
                blocks.append(self.below[-1] / _norm(self.below[-1]) + rng.uniform(1.0, 2.0) * self.M / _norm(self.M))
        return joint_eigenbasis(blocks, len(self.C), rng)

    def _follow(self, V: Array) -> tuple[list[Array], Array, Array]:
        """The chains `q_{i,j}` (zero where a mode has none), the factors of the unit layers, and which modes have an output.

        From the inputs up until a layer maps the chain to zero; a mode that does not arrive takes `M v_j` for its output and
        is followed from there down until it meets the zero layer from above.
        """
        d, modes = len(self.units), V.shape[1]
        chains = [V, *(np.zeros((W.shape[0], modes)) for W in self.units)]
        factors = np.zeros((d, modes))
        alive = np.arange(modes)
        for i, W in enumerate(self.units):
            alive, chains[i + 1][:, alive], factors[i, alive] = _images(W @ chains[i][:, alive], alive, self.zero)
        arrived = alive
        missing = np.setdiff1d(np.arange(modes), arrived)
        U = chains[-1]
        reached = self.M @ V[:, missing]
        reached -= U @ (U.T @ reached)
        missing, directions, _ = _images(reached, missing, self.zero * self.m, room=len(U) - len(arrived))
        U[:, missing] = directions
        alive = missing
        for i in reversed(range(d)):
            down = self.units[i].T @ chains[i + 1][:, alive]
            free = ~chains[i][:, alive].any(axis=0)  # a chain that is already there from below is not overwritten
            alive, chains[i][:, alive], factors[i, alive] = _images(down[:, free], alive[free], self.zero)
        outputs = np.zeros(modes, bool)
        outputs[arrived] = outputs[missing] = True
        return chains, factors, outputs

    def _apart(self, chains: list[Array], factors: Array) -> float:
        """How far the layers are from keeping the chains apart."""
        worst = [0.0]
        for i, W in enumerate(self.units):
            low, high, s = chains[i], chains[i + 1], factors[i]
            up = (W @ low - high * s) * low.any(axis=0)
            down = (W.T @ high - low * s) * high.any(axis=0)
            worst += [*_columns(up), *_columns(down)]
        for Q in chains:
            present = Q[:, Q.any(axis=0)]
            worst.append(np.abs(present.T @ present - np.eye(present.shape[1])).max(initial=0.0))
        return float(np.max(worst))


def _columns(A: Array) -> Array:
    """The norms of the columns."""
    norms: Array = np.sqrt(np.einsum("ij,ij->j", A, A))
    return norms


def _images(Z: Array, names: Array, zero: float, room: int | None = None) -> tuple[Array, Array, Array]:
    """Which columns are not zero, an orthonormal basis in their directions, and their lengths along it.

    Large columns first: what rounding leaves of them in the small ones is then taken out again, layer by layer.
    """
    order = np.argsort(-_columns(Z), kind="stable")
    order = order[_columns(Z)[order] > zero][: len(Z) if room is None else room]
    return names[order], *signed_qr(Z[:, order])
