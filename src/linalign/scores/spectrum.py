"""Singular values of a network, and the input of every score: a network, its matrices, or a trajectory of them.

A trajectory is a `Run` that recorded "params", a sequence of `Network`s, or a sequence of stacks `[(t, k_1, k_0), (t, k_2, k_1), ...]`.
A score of a trajectory is an array of the scores of its members, in their order.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from functools import wraps
from typing import Any, TypeVar, cast

import numpy as np
import numpy.typing as npt

from .. import validate
from ..problem.network import Network
from ..validate import Array
from . import structured_svd as singular

Vector = npt.NDArray[np.float64]
Matrices = Sequence[Array]
Score = TypeVar("Score", bound=Callable[..., Any])


def snapshots(net: Any) -> list[list[Array]] | None:
    """The members of a trajectory, each as its matrices; None if `net` is a single network.

    Raises: ValueError for a run that recorded no parameters, networks of different shapes, or stacks of different lengths.
    """
    if hasattr(net, "history") and hasattr(net, "network"):
        return _recorded(net)
    if isinstance(net, (Network, str, bytes)) or not isinstance(net, Iterable):
        return None
    members = list(net) if isinstance(net, (list, tuple)) else []
    if members and all(isinstance(member, Network) for member in members):
        shapes = [tuple(layer.shape for layer in member.layers) for member in members]
        for i, shape in enumerate(shapes):
            if shape != shapes[0]:
                raise ValueError(f"net[{i}] has layers of shapes {list(shape)} but net[0] has {list(shapes[0])}; they must be equal")
        return [member.matrices() for member in members]
    if members and all(getattr(member, "ndim", 0) == 3 for member in members):
        counts = {len(member) for member in members}
        if len(counts) > 1:
            raise ValueError(f"net holds stacks of {sorted(counts)} matrices; each layer needs as many")
        return [_matrices([stack[t] for stack in members]) for t in range(counts.pop())]
    return None


def _recorded(run: Any) -> list[list[Array]]:
    if "params" not in run.history:
        raise ValueError('the run recorded no parameters; train with record={"params": 100}, or pass run.network for the last one alone')
    found = []
    for flat in run.history["params"].values:
        ends = np.cumsum([layer.size for layer in run.network.layers])[:-1]
        parts = zip(run.network.layers, np.split(flat, ends), strict=True)
        found.append([layer.matrix(part.reshape(layer.param_shape)) for layer, part in parts])
    return found


def along(score: Score) -> Score:
    """The score, of every member where it is given a trajectory."""

    @wraps(score)
    def of(net: Any, *arguments: Any, **options: Any) -> Any:
        members = snapshots(net)
        if members is None:
            return score(net, *arguments, **options)
        return np.array([score(member, *arguments, **options) for member in members])

    return cast(Score, of)


@along
def singular_values(net: Network | Iterable[Any]) -> Vector:
    """The singular values of `W_d ... W_1`, largest first, shape `(min(k_0, k_d),)`. Raises: as `alignment`."""
    return _singular_values(_matrices(net))


def layer_singular_values(net: Network | Iterable[Any]) -> list[Vector]:
    """The singular values of each layer, largest first, each `(min(k_i, k_{i-1}),)`. Raises: as `alignment`."""
    return _layer_singular_values(_matrices(net))


@along
def effective_rank(net: Network | Iterable[Any]) -> float:
    r"""`exp(-sum_j p_j log p_j)` with `p_j = s_j / sum_l s_l` over the singular values of `W_d ... W_1`; 0 if it is zero.

    Between 1 (rank one) and `min(k_0, k_d)` (all equal). Raises: as `alignment`. Source: Roy and Vetterli, 2007.
    """
    return _effective_rank(_matrices(net))


def _matrices(net: Network | Iterable[Any], name: str = "net") -> list[Array]:
    """The matrices of a network or of a sequence, checked; float32 stays float32, so that its noise is known."""
    if isinstance(net, Network):
        return net.matrices()
    try:
        given = list(net)
    except TypeError:
        raise TypeError(f"{name} is {type(net).__name__}; a Network or a sequence of matrices [W_1, ..., W_d] was wanted") from None
    if not given:
        raise ValueError(f"{name} is empty; a Network or at least one matrix was wanted")
    own = [validate.matrix(f"{name}[{i}]", W) for i, W in enumerate(given)]
    _check_fit(name, [W.shape for W in own])
    return own


def _check_fit(name: str, shapes: Sequence[tuple[int, ...]]) -> None:
    for i in range(1, len(shapes)):
        if shapes[i][1] != shapes[i - 1][0]:
            raise ValueError(
                f"{name}[{i}] takes {shapes[i][1]} inputs but {name}[{i - 1}] gives {shapes[i - 1][0]} outputs; "
                f"{name}[0] is applied first, so the columns of {name}[{i}] must equal the rows of {name}[{i - 1}]"
            )


def _norm(A: Array) -> float:
    """Frobenius norm, without the overhead of numpy.linalg.norm."""
    return math.sqrt(float(np.vdot(A, A)))


def _unit(W: Array) -> tuple[Array, int]:
    """`W 2^-e` with its largest entry in [1/2, 1), and e."""
    exponent = math.frexp(float(np.abs(W).max(initial=0.0)))[1]
    return np.ldexp(W, -exponent), exponent


def _product(matrices: Matrices) -> tuple[Array, int]:
    """`W_d ... W_1 2^-e` with its largest entry in [1/2, 1), and e."""
    product, total = _unit(np.asarray(matrices[0], dtype=np.float64))
    for W in matrices[1:]:
        factor, one = _unit(np.asarray(W, dtype=np.float64))
        product, two = _unit(factor @ product)
        total += one + two
    return product, total


def _singular_values(matrices: Matrices) -> Vector:
    product, exponent = _product(matrices)
    with np.errstate(over="ignore", under="ignore"):
        return np.ldexp(np.linalg.svd(product, compute_uv=False), exponent)


def _layer_singular_values(matrices: Matrices) -> list[Vector]:
    return [singular.values(np.asarray(W, dtype=np.float64)) for W in matrices]


def _effective_rank(matrices: Matrices) -> float:
    return _rank_of(np.linalg.svd(_product(matrices)[0], compute_uv=False))


def _rank_of(values: Vector) -> float:
    if values[0] == 0.0:
        return 0.0
    shares = values / values.sum()
    shares = shares[shares > 0.0]
    return float(np.exp(-np.sum(shares * np.log(shares))))
