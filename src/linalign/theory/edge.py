"""Edge: the learning rate above which no minimum of a kind is stable under gradient descent (T13.5, T13.6)."""

from __future__ import annotations

import math

import numpy as np

from .rows import Rows


def of_mode(eigenvalue: float, target: float, depth: int) -> float:
    """`2 / (lambda d |q|^(2 - 2/d))`: above it a fitted mode of d factors is not stable, whatever the factors; balanced ones are up to it.

    inf where nothing is fitted or seen. Source: docs/theory, T13.5; by `Gamma >= d |q|^(2 - 2/d)` of T4.2 for other factors.
    """
    curvature = eigenvalue * depth * abs(target) ** (2.0 - 2.0 / depth)
    return 2.0 / curvature if curvature > 0 else math.inf


def least_sharpness(rows: Rows, scale: float, depth: int) -> tuple[float, float] | None:
    """What no global minimiser of a network with one output is flatter than, and the sharpness of the balanced one.

    `d ||w||^(2 - 2/d) w^' C w^` and `||w||^(2 - 2/d) lambda_max(C^(1/2) (I + (d - 1) w^ w^') C^(1/2))`, `C = X' X` times `scale`, w the
    one minimiser. None with more outputs, data of lower rank, whose minimisers differ, or w = 0. Source: docs/theory, T13.6.
    """
    X, Y = rows.data, rows.Y
    if Y.shape[1] != 1:
        return None
    if X is None:
        # the identity: w is the target
        size = float(np.linalg.norm(Y))
        return (depth * scale * size ** (2.0 - 2.0 / depth),) * 2 if size else None
    if len(X) < X.shape[1] or np.linalg.matrix_rank(X) < X.shape[1]:
        return None
    w = np.linalg.lstsq(X, Y[:, 0], rcond=None)[0]
    size = float(np.linalg.norm(w))
    if size <= 1e-12 * float(np.linalg.norm(Y)) / float(np.linalg.norm(X, 2)):
        return None
    along = X @ (w / size)
    power = scale * size ** (2.0 - 2.0 / depth)
    J = np.hstack([X, math.sqrt(depth - 1.0) * along[:, None]])
    return depth * power * float(along @ along), power * float(np.linalg.norm(J, 2)) ** 2
