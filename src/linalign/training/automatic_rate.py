"""Automatic rate: a learning rate from the curvature of the loss at the start and at balanced layers that fit the targets."""

from __future__ import annotations

from itertools import accumulate

import numpy as np

from ..layers.homogeneous import beside_ones, chain_of
from ..losses import Loss, resolve
from ..optim import SGD, Rule
from ..optim.wrapped import innermost
from ..problem.network import Network
from ..problem.problem import Problem
from ..reduce.biases import homogeneous
from ..validate import Array

AUTO = "auto"
# a bound of the loss's second derivative in one output, over its factor
CURVATURE = {"squared": 2.0, "cross_entropy": 0.5, "logistic": 0.25, "exponential": 1.0, "huber": 1.0, "squared_hinge": 2.0}
# how much larger than ||Y|| / ||X|| the end-to-end matrix may become
ROOM = 8


def automatic_rate(
    net: Network, X: Array, Y: Array, loss: str | Loss, *, n: int | None = None, momentum: float = 0.0, batch: int | None = None,
) -> float:  # fmt: skip
    """`(1 - momentum) / (c L G)`, a learning rate of the matrices at which most runs do not diverge.

    L is the largest eigenvalue of `X^T X`, c a bound of the loss's second derivative in an output, G the larger of
    `sum_i ||W_d ... W_{i+1}||^2 ||W_{i-1} ... W_1||^2` at the start and `d q^(2 - 2/d)`, which is that sum for balanced layers with
    an end-to-end matrix of norm `q = 8 ||Y|| / ||X||`. For steps of `batch` rows L is that many times the largest squared norm of a row,
    and no batch has a larger eigenvalue. With biases all of this is of `[X 1]` and `[W_i b_i; 0 1]` (T16.2). No
    certificate: `theory.certify` is one. Raises: ValueError for a loss without such a bound.

    Shapes: `X (n, k_0)`, `Y (n, k_d)`, or compressed rows of `n` samples. Cost: `X^T X`, and a norm a layer.
    """
    kind = resolve(loss)
    bound = curvature_of(kind) * kind.factor(batch or (len(X) if n is None else n), Y.shape[1])
    matrices = net.matrices()
    if net.has_biases:
        X, matrices = beside_ones(X), [layer.matrix(theta) for layer, theta in zip(chain_of(net.layers), net.params, strict=True)]
    return _rate(
        matrices, bound, (_largest(X) if batch is None else _most(X, batch), float(np.linalg.norm(X)), float(np.linalg.norm(Y))), momentum
    )


def of_problem(problem: Problem, rule: Rule, metric: str, batch: int | None = None) -> float | list[float]:
    """What `lr="auto"` is: the automatic rate in the metric, one a layer where layers share parameters differently.

    `batch`: the most rows that a step sees. Raises: ValueError for rules and losses for which no curvature is known.
    """
    check(rule)
    rule, kind = innermost(rule), problem.loss.kind
    bound = curvature_of(problem.loss, problem.T is not None)
    chain = homogeneous(problem)
    facts = chain.facts
    if facts.sizes is None:
        assert problem.T is not None
        targets = float(np.sqrt(np.linalg.norm(problem.T) ** 2 + max(problem.floor / problem.factor, 0.0)))
        if chain.X is None:
            # the matrix to be fitted is known: its norm may be more than ROOM times that of its rows on average
            facts.sizes = (
                1.0,
                float(np.sqrt(problem.rows)),
                max(targets, float(np.linalg.norm(problem.T, 2)) * np.sqrt(problem.rows) / ROOM),
            )
        else:
            facts.sizes = _largest(chain.X), float(np.linalg.norm(chain.X)), targets
    momentum = rule.momentum if isinstance(rule, SGD) else 0.0
    c, largest = bound * problem.factor, facts.sizes[0]
    if batch is not None and chain.X is not None:
        c, largest = bound * problem.loss.factor(batch, problem.net.widths[-1]), _most(chain.X, batch)
    if kind == "exponential":
        # its curvature is its value, which descent does not let grow: the worst sample of the start
        F = chain.net.matrix().T if chain.X is None else chain.X @ chain.net.matrix().T
        with np.errstate(over="ignore"):
            c *= max(1.0, float(np.exp(-(problem.T * F).min())))
    return for_metric(problem.net, _rate(chain.net.matrices(), c, (largest, *facts.sizes[1:]), momentum), metric)


def curvature_of(loss: Loss, has_targets: bool = True) -> float:
    """The bound in `CURVATURE`. Raises: ValueError for a loss without one."""
    if loss.kind not in CURVATURE or not has_targets:
        known = ", ".join(CURVATURE)
        raise ValueError(f"lr is 'auto' but the curvature of the loss {loss.kind!r} is not known, only of {known}; pass a number")
    return CURVATURE[loss.kind]


def check(rule: Rule, streams: bool = False) -> None:
    """That `lr="auto"` means something. Raises: ValueError."""
    rule = innermost(rule)
    if not isinstance(rule, SGD):
        raise ValueError(f"lr is 'auto' but the optimizer is {rule.name}; 'auto' is for gradient descent: pass a number")
    if streams:
        raise ValueError("lr is 'auto' but stream has data that are not known before their step; pass a number")


def hint(problem: Problem, rule: Rule, metric: str, lr: Array, batch: int | None = None, streams: bool = False) -> str:
    """What to do about a run that diverged: the automatic rate, where there is one below `lr`."""
    try:
        check(rule, streams)
        # of data whose squares overflow: the rate is then no number, which is seen below
        with np.errstate(over="ignore", invalid="ignore"):
            found = np.atleast_1d(np.asarray(of_problem(problem, rule, metric, batch)))
    except (ValueError, np.linalg.LinAlgError, ArithmeticError):
        return "lower lr"
    if not np.isfinite(found).all() or not np.any(found < lr):
        return "lower lr"
    here = f"{found[0]:.3g}" if len(np.unique(found)) == 1 else f"{found.min():.3g} to {found.max():.3g}, by layer,"
    return f"pass lr='auto', which is {here} here, or less"


def _largest(X: Array) -> float:
    """The largest eigenvalue of `X^T X`."""
    gram = (X.T @ X if len(X) >= X.shape[1] else X @ X.T).astype(np.float64)
    return float(np.linalg.eigvalsh(gram)[-1])


def _norm(A: Array) -> float:
    """The largest singular value, from the Gram matrix of the smaller side: no SVD."""
    scale = float(np.abs(A).max(initial=0.0))
    return scale * _largest(A / scale) ** 0.5 if scale > 0 else 0.0


def _most(X: Array, rows: int) -> float:
    """The most that the largest eigenvalue of `X_B^T X_B` may be for so many rows B of X, which may come again."""
    return rows * float(np.einsum("ij,ij->i", X, X, dtype=np.float64).max())


def _rate(matrices: list[Array], c: float, sizes: tuple[float, float, float], momentum: float) -> float:
    largest, of_inputs, of_targets = sizes
    depth = len(matrices)
    # of what is below and above every layer; nothing has norm 1
    below, above = [1.0], [1.0]
    for norms, chain in ((below, matrices[:-1]), (above, [W.T for W in matrices[:0:-1]])):
        norms += [_norm(product) for product in accumulate(chain, lambda P, W: W @ P)]
    at_start = sum((a * b) ** 2 for a, b in zip(above[::-1], below, strict=True))
    q = ROOM * of_targets / max(of_inputs, np.finfo(np.float64).tiny)
    grown = depth * q ** (2 - 2 / depth)
    curvature = c * largest * max(at_start, grown)
    slowing = 1 - momentum if 0 <= momentum < 1 else 1.0  # other momenta are refused by train
    return slowing / curvature if curvature > 0 else 1.0


def for_metric(net: Network, lr: float, metric: str) -> float | list[float]:
    """The same step for every layer: one of parameters is one of the matrix, as many times as long as they are shared (T5.1)."""
    shared = [float(layer.multiplicity.max(initial=1.0)) for layer in net.layers]
    return lr if metric == "matrix" or max(shared) == 1 else [lr / m for m in shared]
