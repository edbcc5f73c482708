"""Chains: the input of every score, a network, its matrices, or a trajectory of them, and how large matrices are.

A trajectory is a `Run` that recorded "params", a sequence of `Network`s, or a sequence of stacks `[(t, k_1, k_0), (t, k_2, k_1), ...]`.
A score of a trajectory is an array of the scores of its members, in their order.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from functools import wraps
from typing import Any, Protocol, TypeVar, cast, runtime_checkable

import numpy as np
import numpy.typing as npt

from .. import validate
from ..problem.network import Network
from ..validate import Array

Vector = npt.NDArray[np.float64]
Matrices = Sequence[Array]
Score = TypeVar("Score", bound=Callable[..., Any])

# norms in this range can be raised to the eighth power, times eps^2, within the range of float64
SAFE = (1e-15, 1e15)


@runtime_checkable
class Trajectory(Protocol):
    """What knows its members, as a run does that recorded its parameters."""

    def snapshots(self) -> list[list[Array]]:
        """The matrices of each. Raises: ValueError where they were not kept."""
        ...


def snapshots(net: Any) -> list[list[Array]] | None:
    """The members of a trajectory, each as its matrices; None if `net` is a single network.

    Raises: ValueError for a run that recorded no parameters, networks of different shapes, or stacks of different lengths.
    """
    if isinstance(net, Trajectory):
        return net.snapshots()
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
        return [chain_matrices([stack[t] for stack in members]) for t in range(counts.pop())]
    return None


def along(score: Score) -> Score:
    """The score, of every member where it is given a trajectory."""

    @wraps(score)
    def of(net: Any, *arguments: Any, **options: Any) -> Any:
        members = snapshots(net)
        if members is None:
            return score(net, *arguments, **options)
        return np.array([score(member, *arguments, **options) for member in members])

    return cast(Score, of)


def chain_matrices(net: Network | Iterable[Any], name: str = "net") -> list[Array]:
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
    check_fit(name, [W.shape for W in own])
    return own


def check_fit(name: str, shapes: Sequence[tuple[int, ...]]) -> None:
    for i in range(1, len(shapes)):
        if shapes[i][1] != shapes[i - 1][0]:
            raise ValueError(
                f"{name}[{i}] takes {shapes[i][1]} inputs but {name}[{i - 1}] gives {shapes[i - 1][0]} outputs; "
                f"{name}[0] is applied first, so the columns of {name}[{i}] must equal the rows of {name}[{i - 1}]"
            )


def norm(A: Array) -> float:
    """Frobenius norm, without the overhead of numpy.linalg.norm."""
    return math.sqrt(float(np.vdot(A, A)))


def unit(W: Array) -> tuple[Array, int]:
    """`W 2^-e` with its largest entry in [1/2, 1), and e."""
    exponent = math.frexp(float(np.abs(W).max(initial=0.0)))[1]
    return np.ldexp(W, -exponent), exponent


def noise(W: Array) -> float:
    """The relative rounding error that the entries of W carry."""
    return 1.2e-7 if W.itemsize == 4 else 2.3e-16


def safe(W: Array) -> tuple[Array, float]:
    """W in float64, brought into a safe range by a power of two, and its norm. Exact: powers of two do not round."""
    W = np.asarray(W, dtype=np.float64)
    size = norm(W)
    if SAFE[0] < size < SAFE[1] or not W.any():
        return W, size
    W, _ = unit(W)
    return W, norm(W)
