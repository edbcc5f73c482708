"""Outside: what of a network no step changes, where a smaller one is run in its place (T8.1).

The layers above the first are direct sums of what is run and a constant part; the first layer has constant columns besides, on inputs
that the data do not reach. Notation: `E_i` is what of layer i is outside; `E_1 = B_1 + B_2`, `B_1 = Q Q^T E_1` inside `S_1`, the space of
the outputs of the first layer that is run, with the basis Q, and `B_2` outside.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from ..cached import cached_property
from ..scores.interface import Part, gram_norm, skew
from ..scores.interfaces import balance
from ..validate import Array


def floors(heights: Sequence[int], rounding: Sequence[float]) -> Array:
    """An interface is nothing if `||W_{i+1} W_i||` is at most this many times the product of the norms."""
    return np.array([height * max(pair) for height, pair in zip(heights, pairwise(rounding), strict=False)])


def root(A: Array) -> Array:
    """`L` with `L L^T = A^T A`, as small as the columns of A allow."""
    return np.asarray(np.linalg.qr(A, mode="r")).T


@dataclass(frozen=True, eq=False)
class Coupling:
    """Roots of what couples `S_1` with its complement.

    lower : of `A = (I - Q Q^T) E_1 E_1^T Q`. pushed : of `E_2^T E_2 A` beside it; None if there is no `E_2`. product : of `E_2 A`.
    """

    lower: Array
    pushed: Array | None
    product: Array | None


@dataclass(frozen=True, eq=False)
class Outside:
    """The constant parts `E_1, ..., E_d`, None for zero, and the basis Q of `S_1`, None for everything.

    What follows from them is worked out when it is first asked for: some takes as long as thousands of steps.
    """

    parts: tuple[Array | None, ...]
    basis: Array | None

    @cached_property
    def inside(self) -> Array | None:
        """`Q^T B_1`, `(dim S_1, k_0)`; None for zero."""
        E = self.parts[0]
        return E if E is None or self.basis is None else self.basis.T @ E

    @cached_property
    def beside(self) -> Array | None:
        """A root of `Q^T B_1 B_1^T Q`: columns that stand for the constant ones beside the first layer."""
        return None if self.inside is None else root(self.inside.T)

    @cached_property
    def beside_gram(self) -> Array | None:
        """`Q^T B_1 B_1^T Q`."""
        return None if self.beside is None else self.beside @ self.beside.T

    @cached_property
    def coupling(self) -> Coupling | None:
        """What couples `S_1` with its complement; None where nothing does."""
        E, Q, B = self.parts[0], self.basis, self.inside
        if E is None or Q is None or B is None:
            return None
        A = E @ B.T
        A -= Q @ (Q.T @ A)
        if np.linalg.norm(A) <= 1e-13 * np.linalg.norm(E) ** 2:
            return None
        up = self.parts[1] if len(self.parts) > 1 else None
        if up is None:
            return Coupling(root(A), None, None)
        Z = up @ A
        R = root(np.hstack([A, up.T @ Z]))
        m = A.shape[1]
        return Coupling(R[:m], R[m:], root(Z))

    def layers(self, i: int) -> tuple[Array | None, Array | None]:
        """The two layers of interface i in the complement of `S_{i+1}`; None for zero."""
        W, V = self.parts[i], self.parts[i + 1]
        if i == 0 and W is not None:
            W = None if self.basis is None else W - self.basis @ (self.basis.T @ W)
        return W, V

    @cached_property
    def interfaces(self) -> list[Part]:
        """The parts of the interfaces that lie in the complements."""
        return [self._interface(*self.layers(i)) for i in range(len(self.parts) - 1)]

    @staticmethod
    def _interface(W: Array | None, V: Array | None) -> Part:
        if W is None or V is None:
            return Part(0.0, 0.0, 0.0, lambda: 0.0)
        Z = V @ W
        gram = gram_norm(Z)
        return Part(*skew(W, V, Z), float(np.linalg.norm(Z)), lambda: gram)

    @cached_property
    def balance(self) -> list[float]:
        """Balancedness of the interfaces in the complements."""
        found = []
        for i in range(len(self.parts) - 1):
            W, V = self.layers(i)
            if W is None or V is None:
                alone = V if W is None else W
                found.append(0.0 if alone is None else gram_norm(alone))
            else:
                found.append(float(balance([W, V])[0]))
        return found

    @cached_property
    def product(self) -> Array | None:
        """`E_d ... E_2 B_2`, the product from the complement of `S_1` up; None if it is zero."""
        first, Q = self.parts[0], self.basis
        if Q is None or first is None:
            return None
        product: Array = first - Q @ (Q.T @ first)
        for E in self.parts[1:]:
            if E is None:
                return None
            product = E @ product
        return product

    @cached_property
    def joint(self) -> tuple[Array, Array] | None:
        """`Q^T B_1` and `product` up to rotations: they end apart but begin in the same inputs."""
        if self.product is None or self.inside is None:
            return None
        R = root(np.hstack([self.inside.T, self.product.T])).T
        m = len(self.inside)
        return R[:, :m].T, root(R[:, m:].T).T
