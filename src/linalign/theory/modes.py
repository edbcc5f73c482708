"""Modes: the scalar dynamics of an aligned network, one product of d factors a mode, and what is proved about them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..validate import Array
from . import edge

# the case of a mode, and what is proved of it
CASES = {
    "fitted": "starts at its target and stays",
    "grows": "grows monotonically to its target, no overshoot (T4.2)",
    "shrinks": "shrinks monotonically to its target, no undershoot (T4.3)",
    "vanishes": "shrinks to its target 0 linearly (T4.4)",
    "fades": "shrinks to its target 0 slower than any power law with a rate: its two smallest factors are equal (T4.4)",
    "crosses": "its smallest factor crosses zero once, then it grows to its target, no overshoot (T4.5)",
    "stuck": "stands still at the saddle 0: two or more of its factors are zero",
    "undecided": "starts with the wrong sign, and its two smallest factors are equal: small steps lead to the saddle 0 (T4.5)",
}
# factors this near to each other, relatively, count as equal: what separates them is rounding
TIE = 1e-10
MOVING = ("grows", "shrinks", "vanishes", "fades", "crosses")


@dataclass(frozen=True)
class Mode:
    """One mode: `L = const + lambda/2 (p - q)^2`, `p = prod sigma_i`, under `sigma_i <- sigma_i - lr dL/dsigma_i`.

    eigenvalue, target : lambda and q, in the units of the loss.
    start : p at the start. factors : the `|sigma_i|` at the start, in increasing order.
    case : a name of `linalign.theory.modes.CASES`.
    lr : the certified learning rate of this mode alone; inf where nothing can move, nan where nothing is proved.
    curvature : `lr = 1 / (lambda curvature)` in the cases "grows", "shrinks", "vanishes", "fades".
    speed : Gamma in the guaranteed contraction `1 - lr lambda speed` a step of the error `|q - p|`; for "crosses" from the
        crossing on; 0 where there is none.
    """

    eigenvalue: float
    target: float
    start: float
    factors: tuple[float, ...]
    case: str
    lr: float
    curvature: float
    speed: float

    @property
    def error(self) -> float:
        return abs(self.target - self.start)

    @property
    def edge(self) -> float:
        """The learning rate above which the mode is not stable where it fits its target; balanced factors are up to it (T13.5)."""
        return edge.of_mode(self.eigenvalue, self.target, len(self.factors))

    def __str__(self) -> str:
        return f"lambda {self.eigenvalue:.4g}, from {self.start:.4g} to {self.target:.4g}, lr <= {self.lr:.4g}: {CASES[self.case]}"


def gamma(y: Array) -> float:
    """`sum_i prod_{l != i} y_l`, the squared norm of the gradient of the product, without a division. Source: docs/theory, section 4."""
    y = np.asarray(y, dtype=np.float64)
    return float(np.sum(_others(y)))


def _others(y: Array) -> Array:
    """`prod_{l != i} y_l` for every i."""
    before = np.concatenate([[1.0], np.cumprod(y[:-1])])
    after = np.concatenate([np.cumprod(y[:0:-1])[::-1], [1.0]])
    return np.asarray(before * after)


def tau_star(y: Array, q: float) -> float:
    """The root `tau > -min y` of `prod_i (y_i + tau) = q^2`, `q != 0`: how far gradient flow moves all `sigma_i^2`.

    Source: docs/theory, T4.2. With `m = min y`, `z = y - m`, `s = tau + m`: `sum log(z_i + s) - 2 log|q|` is increasing and
    concave in log s, and its root lies in `(0, |q|^{2/d}]`.
    """
    y = np.asarray(y, dtype=np.float64)
    low_y, d = float(y.min()), len(y)
    z, wanted = y - low_y, 2.0 * math.log(abs(q))
    high = wanted / d  # logarithm of s
    # the smallest that s can be: all other terms at their largest
    low = min(high, wanted - (d - 1) * math.log(float(z.max()) + math.exp(high)))
    for _ in range(200):
        middle = (low + high) / 2
        if middle in (low, high):
            break
        if float(np.sum(np.log(z + math.exp(middle)))) > wanted:
            high = middle
        else:
            low = middle
    # the upper end: a learning rate from it errs to the safe side
    return math.exp(high) - low_y


def simple_lr(eigenvalue: float, target: float, factors: Sequence[float]) -> float:
    """`1 / (lambda q^2 sum_i sigma_i^{-2})` for `0 < p <= q`: T4.1, never larger than that of T4.2."""
    return 1.0 / (eigenvalue * target**2 * float(np.sum(np.asarray(factors, dtype=np.float64) ** -2.0)))


def certify_mode(eigenvalue: float, target: float, factors: Array, fitted: bool = False) -> Mode:
    """What is proved of one mode. `factors` may have any signs; `fitted` says that rounding aside it is.

    Source: docs/theory, T4.2 to T4.5 (algorithm A5).
    """
    sigma = np.sort(np.abs(np.asarray(factors, dtype=np.float64)))
    y, p, q, d = sigma**2, float(np.prod(factors)), float(target), len(factors)
    zeros = int(np.count_nonzero(sigma == 0.0))
    agree = float(np.prod(np.sign(factors))) * q > 0.0  # not by the sign of p, which can underflow

    def mode(case: str, lr: float, curvature: float = math.nan, speed: float = 0.0) -> Mode:
        return Mode(float(eigenvalue), q, p, tuple(sigma.tolist()), case, lr, curvature, speed)

    if fitted or eigenvalue == 0.0 or p == q:
        return mode("fitted", math.inf)
    if zeros >= 2:
        return mode("stuck", math.inf)
    if d == 1:  # one layer: the error shrinks by 1 - lr lambda, whatever the signs
        return mode("grows", 1.0 / eigenvalue, 1.0, 1.0)
    now, tie = gamma(y), bool(sigma[1] - sigma[0] <= TIE * sigma[1])
    if q == 0.0:
        gaps = 0.0 if tie else float(np.prod((sigma[1:] - sigma[0]) ** 2))
        return mode("fades" if tie else "vanishes", 1.0 / (eigenvalue * now), now, gaps)
    if agree and abs(p) > abs(q):
        speed = max(q * q * float(np.sum(1.0 / y)), d * abs(q) ** (2.0 - 2.0 / d))
        return mode("shrinks", 1.0 / (eigenvalue * now), now, (1.0 - math.exp(-1.0)) * speed)
    limit = gamma(y + tau_star(y, q))
    if agree or zeros == 1:
        return mode("grows", 1.0 / (eigenvalue * limit), limit, now)
    if tie:
        return mode("undecided", math.nan)
    reach = eigenvalue * (abs(q) + abs(p))
    lr = min(1.0 / (eigenvalue * limit), abs(q) / (reach * float(np.prod(y[1:]))), 0.999 / (reach * float(np.prod(sigma[2:]))))
    return mode("crosses", lr, math.nan, float(np.prod((sigma[1:] - sigma[0]) ** 2)))


def crossing_steps(mode: Mode, lr: float) -> int:
    """Steps within which the smallest factor of a "crosses" mode has changed its sign. Source: docs/theory, T4.5."""
    sigma = np.array(mode.factors)
    drift = lr * mode.eigenvalue * abs(mode.target) * float(np.prod(sigma[1:] - sigma[0]))
    return math.ceil(1.0 + float(sigma[0]) / drift)


def steps_within(modes: Sequence[Mode], lr: float, excess: float) -> int:
    """Steps after which `sum_j lambda_j/2 (q_j - p_j)^2 <= excess` over the moving modes is proved.

    For a growing mode the recursion `p <- p + lr lambda (q - p) max(Gamma(0), d p^{2-2/d})` bounds p from below (T4.6); for
    one that fades `p <- p (1 - lr lambda d p^{2-2/d} / 3)` bounds it from above, by T4.3 and the same inequality
    `Gamma >= d p^{2-2/d}`. The rate is held for as long as p changes by less than a hundredth, which keeps it a bound.
    """
    moving = [mode for mode in modes if mode.case in MOVING]
    if not moving:
        return 0
    lam = np.array([mode.eigenvalue for mode in moving])
    goal = np.array([abs(mode.target) for mode in moving])
    error = np.array([mode.error for mode in moving])
    speed = np.array([mode.speed for mode in moving])
    depth = len(moving[0].factors)
    power = 2.0 - 2.0 / depth
    case = np.array([mode.case for mode in moving])
    growing, fading = np.isin(case, ("grows", "crosses")) & (depth > 1), np.isin(case, ("vanishes", "fades"))
    wait = np.array([crossing_steps(mode, lr) if mode.case == "crosses" else 0 for mode in moving])
    # p is carried along, not taken from the error: near a saddle it is far below the rounding of the error
    p = np.where(growing, [max(mode.start * math.copysign(1.0, mode.target), 0.0) for mode in moving], error)
    steps: int = 0
    part = 0.01
    while 0.5 * float(np.sum(lam * error**2)) > excess:
        waiting = wait > steps
        # what p^(2-2/d) is worth over a stretch in which p changes by `part` at most: its smallest value there
        power_law = np.where(growing, depth * p**power, depth * ((1.0 - part) * p) ** power / 3.0)
        gain = np.where(growing | fading, np.maximum(speed, power_law), speed)
        rate = np.where(waiting, 0.0, np.minimum(lr * lam * gain, 1.0))
        if not (waiting.any() or rate.any()):
            raise OverflowError("the certified rate of a mode underflows: the start is too small for any useful number of steps")
        with np.errstate(divide="ignore", over="ignore", invalid="ignore"):
            decay = np.log1p(-rate)
            # growth counts from where the power law takes over from the constant
            growth = np.maximum(p, (speed / depth) ** (1.0 / power) if power else 0.0)
            stretch = np.where(growing, np.log1p(-np.minimum(part * growth / error, 1.0)) / decay, np.inf)
            stretch = np.where(fading & (power_law > speed), math.log(1.0 - part) / decay, stretch)
        stretch = np.where(waiting, wait - steps, np.where(np.isnan(stretch), np.inf, np.maximum(stretch, 1.0)))
        length = math.floor(min(float(stretch.min()), 2.0**62))
        if _excess(lam, error, decay, length) <= excess:
            low, high = 0, length
            while high - low > 1:
                middle = (low + high) // 2
                low, high = (low, middle) if _excess(lam, error, decay, middle) <= excess else (middle, high)
            return int(steps + high)
        steps += length
        gained = error * -np.expm1(length * decay)
        error = error * np.exp(length * decay)
        # a mode that has crossed by now starts anew from 0
        crossed = waiting & (wait <= steps)
        error = np.where(crossed, goal, error)
        p = np.where(growing, np.where(waiting, 0.0, p + gained), error)
        part = min(part * 1.0002, 0.2)  # coarser, never wrong, where the way is long
    return steps


def _excess(lam: Array, error: Array, decay: Array, steps: int) -> float:
    return 0.5 * float(np.sum(lam * (error * np.exp(steps * decay)) ** 2))
