"""Kernel: the neural tangent kernel `J J^T` of the outputs' Jacobian in the parameters, from products before and after every layer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import scipy.sparse.linalg

from .. import reference, validate
from ..calls import called
from ..layers import Dense, Layer
from ..layers.homogeneous import Homogeneous, beside_ones, chain_of
from ..problem.network import Network, network
from ..validate import Array
from .metric import METRICS, Metric


@called
def ntk(net: Network, X: Any, X2: Any = None, *, metric: str = "parameters") -> Array:
    """The neural tangent kernel of two sets of inputs, `Theta[a, b, i, j] = <df_i(x_a)/dtheta, df_j(x2_b)/dtheta>`.

    `Theta = sum_i G_i (x) K_i` for dense layers, with Grams `G_i` of the activations before layer i and `K_i` of the product after it.

    Parameters
    ----------
    net : Network
    X, X2 : arrays (n, k_0), (n2, k_0)
        X2 is X if None.
    metric : "parameters", or "matrix": of orthonormal coordinates of the layers' subspaces.

    Returns
    -------
    array (n, n2, k_d, k_d)

    Raises: ValueError, TypeError. Cost: `n n2 k_d^2` a layer; constrained layers, their Jacobian. Source: docs/theory, T14.1.

    Examples
    --------
    >>> import linalign as la, numpy as np
    >>> net = la.Network.from_matrices([[[2.0]], [[3.0]]])
    >>> la.ntk(net, [[1.0]])  # 3^2 + 2^2
    array([[[[13.]]]])
    """
    ours = of_rows(net, "X", X, metric)
    theirs = ours if X2 is None else of_rows(net, "X2", X2, metric)
    return ours.table(theirs)


@called
def ntk_trace(net: Network, X: Any, *, metric: str = "parameters") -> float:
    """The trace of the neural tangent kernel, `||J||_F^2`: how fast the outputs can move.

    Raises: ValueError, TypeError. Cost: a pass over the layers. Source: docs/theory, T14.1.

    Examples
    --------
    >>> import linalign as la, numpy as np
    >>> la.ntk_trace(la.Network.from_matrices([[[2.0]], [[3.0]]]), [[1.0], [2.0]])  # 13 (1 + 4)
    65.0
    """
    return of_rows(net, "X", X, metric).trace()


@called
def ntk_operator(net: Network, X: Any, *, metric: str = "parameters") -> scipy.sparse.linalg.LinearOperator:
    """The neural tangent kernel as an operator on outputs `(n * k_d,)`, sample by sample, without forming it.

    Raises: ValueError, TypeError. Cost: a forward and a backward product with n rows. Source: docs/theory, T14.1.

    Examples
    --------
    >>> import linalign as la, numpy as np
    >>> la.ntk_operator(la.Network.from_matrices([[[2.0]], [[3.0]]]), [[1.0]]) @ np.ones(1)
    array([13.])
    """
    ours = of_rows(net, "X", X, metric)
    size = ours.n * ours.outputs

    def product(vector: Array) -> Array:
        R = vector.reshape(ours.n, ours.outputs)
        total = np.zeros_like(R)
        for (A, K), J in zip(ours.dense, ours.others, strict=True):
            total += A @ (A.T @ R) @ K if J is None else np.einsum("aik,k->ai", J, np.einsum("aik,ai->k", J, R))
        return total.ravel()

    return scipy.sparse.linalg.LinearOperator((size, size), matvec=product, rmatvec=product, dtype=net.dtype)


@called
def kernel_distance(net: Network, start: Network, X: Any, *, metric: str = "parameters") -> float:
    """How far the tangent kernel has turned from that of the start: `1 - <Theta, Theta_0> / (||Theta|| ||Theta_0||)`, 0 where it is lazy.

    Shapes: X (n, k_0). Raises: ValueError, TypeError; ArithmeticError where a kernel is zero.
    Cost: n^2 a pair of layers. Source: Fort et al., 2020; docs/theory, section 14.

    Examples
    --------
    >>> import linalign as la, numpy as np
    >>> a, b = la.Network.from_matrices([[[2.0]], [[3.0]]]), la.Network.from_matrices([[[4.0]], [[6.0]]])
    >>> la.kernel_distance(a, b, [[1.0]])  # as large as it may be, and the same direction
    0.0
    """
    network("net", net)
    network("start", start)
    if [repr(layer) for layer in net.layers] != [repr(layer) for layer in start.layers]:
        raise ValueError(f"start is {start!r} but net is {net!r}; both must have the same layers")
    return turned(of_rows(net, "X", X, metric), of_rows(start, "X", X, metric))


def turned(now: Factors, then: Factors) -> float:
    """`kernel_distance` of two kernels. Raises: ArithmeticError."""
    both, here, there = _inner(now, then), _inner(now, now), _inner(then, then)
    if not here > 0 or not there > 0:
        raise ArithmeticError("the tangent kernel is zero, or not finite: it has no direction")
    return max(0.0, 1.0 - both / float(np.sqrt(here * there)))


def _inner(a: Factors, b: Factors) -> float:
    """`<Theta_a, Theta_b>_F`, by pairs of layers."""
    total = 0.0
    for (A, K), J in zip(a.dense, a.others, strict=True):
        for (B, L), M in zip(b.dense, b.others, strict=True):
            total += _pair(A, K, J, B, L, M)
    return total


def _pair(A: Array, K: Array, J: Array | None, B: Array, L: Array, M: Array | None) -> float:
    if J is None and M is None:
        return float(np.sum((A.T @ B) ** 2)) * float(np.sum(K * L))
    if J is None:
        return _pair(B, L, M, A, K, J)
    if M is None:
        # <J J', (B B') (x) L> = sum_k tr(J_k' B B' J_k L)
        seen = np.einsum("ab,aik->bik", B, J)
        return float(np.einsum("bik,ij,bjk->", seen, L, seen, optimize=True))
    return float(np.sum(np.einsum("aik,ail->kl", J, M) ** 2))


def of_rows(net: Network, name: str, X: Any, metric: str) -> Factors:
    """The kernel of a network on rows of inputs. Raises: ValueError, TypeError naming them."""
    validate.choice("metric", metric, METRICS)
    network("net", net)
    rows = validate.matrix(name, X, net.dtype, columns=net.widths[0])
    layers: Sequence[Layer] = net.layers
    if net.has_biases:
        layers, rows = chain_of(net.layers), beside_ones(rows)
    return Factors(layers, net.params, rows, metric)


class Factors:
    """What each layer's part of the kernel is made of: Grams for dense layers, the Jacobian `(n, k_d, size)` for others."""

    def __init__(self, layers: Sequence[Layer], params: Sequence[Array], rows: Array, metric: str) -> None:
        """`layers` without biases, which are those of `Homogeneous` ones."""
        self.n, self.outputs, dtype = len(rows), layers[-1].shape[0], rows.dtype
        A = reference.forward(layers, list(params), rows)
        S = reference.backward(layers, list(params), np.eye(self.outputs, dtype=dtype))
        self.dense: list[tuple[Array, Array]] = []
        self.others: list[Array | None] = []
        scale = Metric(layers, metric)
        for i, layer in enumerate(layers):
            inner = layer.layer if isinstance(layer, Homogeneous) else layer
            plain = isinstance(inner, Dense) or (inner.has_bias and isinstance(inner.linear, Dense) and inner.offset is None)
            if plain:
                # without a bias the constant coordinate meets no parameter
                seen = A[i][:, : inner.shape[1]] if isinstance(layer, Homogeneous) and not inner.has_bias else A[i]
                above = S[i][:, : inner.shape[0]]
                self.dense.append((seen, above @ above.T))
                self.others.append(None)
            else:
                self.dense.append((A[i][:, :0], np.zeros((self.outputs, self.outputs), dtype=dtype)))
                self.others.append(_jacobian(layer, i, A[i], S[i], scale))

    def table(self, theirs: Factors) -> Array:
        """`Theta[a, b, i, j]` of these rows and those of another set."""
        shape = (self.n, theirs.n, self.outputs, self.outputs)
        pairs = [(A @ B.T, K) for (A, K), (B, _), J in zip(self.dense, theirs.dense, self.others, strict=True) if J is None]
        if pairs:
            # one product with as many terms as layers: every entry is written once, and nothing besides
            found = (np.stack([G.ravel() for G, _ in pairs], axis=1) @ np.stack([K.ravel() for _, K in pairs])).reshape(shape)
        else:
            found = np.zeros(shape, dtype=self.dense[0][1].dtype)
        for J, M in zip(self.others, theirs.others, strict=True):
            if J is not None and M is not None:
                found += np.einsum("aik,bjk->abij", J, M, optimize=True)
        return np.asarray(found)

    def whole(self, theirs: Factors) -> Array:
        """The same as a matrix, outputs sample by sample, `(n k_d, n2 k_d)`."""
        return self.table(theirs).transpose(0, 2, 1, 3).reshape(self.n * self.outputs, -1)

    def trace(self) -> float:
        """`||J||_F^2`."""
        return float(
            sum(
                np.sum(J.astype(np.float64) ** 2) if J is not None else np.sum(A.astype(np.float64) ** 2) * np.trace(K)
                for (A, K), J in zip(self.dense, self.others, strict=True)
            )
        )


def _jacobian(layer: Layer, at: int, A: Array, S: Array, scale: Metric) -> Array:
    """`df_i(x_a)/dtheta_k`, `(n, k_d, size)`: a parameter at a time."""
    found = np.empty((len(A), len(S), layer.size), dtype=A.dtype)
    for k in range(layer.size):
        one = np.zeros(layer.size, dtype=A.dtype)
        one[k] = 1.0
        direction = scale.inside_layer(at, one.reshape(layer.param_shape))
        found[:, :, k] = reference.tangent(layer, direction, A) @ S.T
    return found
