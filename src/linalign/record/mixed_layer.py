"""Mixed: left vectors of a first layer whose constant part meets what is run.

`W_1 = Q W^ V^T + E`: no step changes E, whose rows are orthogonal to V; its columns meet those of Q. The vectors are not formed where
products with others are all that is asked for.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..linear_algebra.leaving import symmetric_eigen, thin_svd
from ..scores.chain import norm
from ..scores.singular_vectors import Side, largest, matched
from ..scores.structured_svd import SPREAD
from ..validate import Array


@dataclass(frozen=True, eq=False)
class MixedLayer:
    """What of such a layer does not move.

    The layer in coordinates of the inputs `V` and of its own others is `[Q W^, B]`; if there are more inputs than outputs B is in any
    coordinates. `lifted` is `Q^T B`, `gram` the products of the small side of B.
    """

    Q: Array | None
    B: Array
    lifted: Array
    gram: Array
    by_inputs: bool
    zero: float

    def at(self, W: Array) -> MixedVectors:
        """The left vectors for this `W^`: from the Gram matrix of the small side where the values are of one size, else an SVD."""
        top = W if self.Q is None else self.Q @ W
        if self.by_inputs:
            r = W.shape[1]
            gram = np.empty((r + len(self.gram),) * 2)
            low = W.T @ self.lifted
            gram[:r, :r], gram[:r, r:], gram[r:, :r], gram[r:, r:] = W.T @ W, low, low.T, self.gram
        else:
            gram = top @ top.T + self.gram
        squares, z = symmetric_eigen(gram)
        if squares[0] > SPREAD**2 * squares[-1]:
            if not self.by_inputs:
                return MixedVectors(self, W, Side(z, 0), None)
            values = np.sqrt(squares)
            return MixedVectors(self, W, None, (values, z / values))
        U, s, _ = thin_svd(np.hstack([top, self.B]))
        # nan counts as a value
        live = int(np.count_nonzero(~(s <= self.zero * s[0])))
        return MixedVectors(self, W, Side(U[:, :live], len(gram) - live), None)


def mixed_layer(E: Array, outside: Array, Q: Array | None, zero: float) -> MixedLayer:
    """The constant part `E` in a form that is cheap to add to; `outside` spans the inputs orthogonal to V, Q None is the identity."""
    by_inputs = E.shape[1] < E.shape[0]
    B = E @ outside if by_inputs else np.asarray(np.linalg.qr(E.T, mode="r")).T
    return MixedLayer(Q, B, B if Q is None else Q.T @ B, B.T @ B if by_inputs else B @ B.T, by_inputs, zero)


@dataclass(frozen=True, eq=False)
class MixedStart:
    """The left vectors of the start, and their images under what does not move."""

    left: Side
    inside: Array
    images: Array


@dataclass(frozen=True, eq=False)
class MixedVectors:
    """The left vectors at one `W`: as they are, or as `[Q W, B] z` with the values that they belong to."""

    layer: MixedLayer
    W: Array
    formed: Side | None
    by_gram: tuple[Array, Array] | None

    def left(self) -> Side:
        """The vectors themselves."""
        if self.by_gram is None:
            assert self.formed is not None
            return self.formed
        Q = self.layer.Q
        return Side(np.hstack([self.W if Q is None else Q @ self.W, self.layer.B]) @ self.by_gram[1], 0)

    def met_by(self, inside: Array, outside: Array, nulls: int) -> float:
        """`sum_l max_j |v_l . u_j|`, v the columns of `inside`, in the basis Q, those of `outside`, orthogonal to Q, and null vectors."""
        Q, W = self.layer.Q, self.W
        if self.by_gram is None or nulls:
            return matched(Side(np.hstack([inside if Q is None else Q @ inside, outside]), nulls), self.left())
        rows = [np.hstack([inside.T @ W, inside.T @ self.layer.lifted])]
        if outside.shape[1]:
            rows.append(np.hstack([np.zeros((outside.shape[1], W.shape[1])), outside.T @ self.layer.B]))
        return float(np.abs(np.vstack(rows) @ self.by_gram[1]).max(axis=1).sum())

    def start(self) -> MixedStart:
        """These as the start of a run."""
        left, Q = self.left(), self.layer.Q
        return MixedStart(left, left.vectors if Q is None else Q.T @ left.vectors, self.layer.B.T @ left.vectors)

    def still(self, start: MixedStart) -> float:
        """`sum_j max_l |u_j(start) . u_l|`."""
        if self.by_gram is None or start.left.nulls:
            return matched(start.left, self.left())
        values, z = self.by_gram
        top = float(values[-1])
        # images are no longer than the largest value, and the columns of z are unit vectors over the values
        images = np.vstack([self.W.T @ start.inside, start.images])
        images /= top
        return float(largest(images, z * top, top / values).sum())

    def moved(self, W: Array) -> bool:
        """Whether the vectors for W are others than these."""
        return not norm(W - self.W) <= 2e-16 * norm(W)
