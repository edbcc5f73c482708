"""Whole problems, drawn: layers, start, data, loss, update rule, batches, reductions, pivot, precision and what is recorded.

`problems()` is a strategy of hypothesis, so that what fails is made small. Sizes, structures and options are drawn by it, numbers by a
generator from a seed that it draws. A combination that `train` refuses is refused before any work, which is what `outcome` says then.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from hypothesis import strategies as st

import linalign as la
from linalign import optim
from linalign.layers import Biased, Residual
from tests.oracles.checks import LOSSES
from tests.oracles.reductions import STARTS, unit

WIDEST = 12
RULES = {
    "sgd": lambda: optim.SGD(),
    "momentum": lambda: optim.SGD(0.9, weight_decay=0.01),
    "nesterov": lambda: optim.SGD(0.5, nesterov=True),
    "dampening": lambda: optim.SGD(0.8, dampening=0.3, weight_decay=0.1),
    "adam": lambda: optim.Adam((0.8, 0.99), eps=1e-3, weight_decay=0.01),
    "adamw": lambda: optim.AdamW(eps=1e-3),
    "rmsprop": lambda: optim.RMSprop(0.9, eps=1e-2, momentum=0.5, centered=True),
    "adagrad": lambda: optim.Adagrad(lr_decay=1e-3, initial=0.1),
    "sign": lambda: optim.Sign(0.5),
    "normalized": lambda: optim.NormalizedGD(weight_decay=0.01),
    "group_rmsprop": lambda: optim.GroupRMSprop(eps=1e-3),
    "sam": lambda: optim.SAM(0.05, optim.SGD(0.5)),
    "muon": lambda: optim.Muon(),
}
# in a jump of these an exact zero and a rounding are worlds apart
JUMPS = ("sign", "normalized", "muon")
RECORDS = (
    "loss", "gradient_norm", "layer_gradient_norms", "alignment", "misalignment", "balancedness", "singular_values",
    "layer_singular_values", "nuclear_norm", "params",
)  # fmt: skip
REDUCTIONS = ("filters", "samples", "offsets", "inputs", "width", "split")


def shapes_of(n):
    """`(channels, height, width)` of n pixels."""
    return [(c, h, n // (c * h)) for c in range(1, n + 1) if n % c == 0 for h in range(1, n // c + 1) if n // c % h == 0]


@st.composite
def layers(draw, n_in: int, rng: np.random.Generator, widest: int = WIDEST) -> la.Layer:
    """A layer of any structure with so many inputs."""
    side = st.integers(1, widest)
    kind = draw(st.sampled_from([
        "dense", "dense", "dense", "toeplitz", "hankel", "circulant", "anticirculant", "diagonal", "symmetric", "skew", "blocks",
        "masked", "tied", "subspace", "fixed", "scaled", "conv1d", "conv2d", "residual", "biased",
    ]))  # fmt: skip
    if kind in ("circulant", "anticirculant", "diagonal", "symmetric", "skew"):
        made = {"circulant": la.Circulant, "anticirculant": la.AntiCirculant, "diagonal": la.Diagonal, "symmetric": la.Symmetric}
        return la.Skew(n_in) if kind == "skew" and n_in > 1 else made.get(kind, la.Symmetric)(n_in)
    if kind == "residual":
        return Residual(la.Dense(n_in, n_in))
    if kind in ("conv1d", "conv2d"):
        channels, height, width = draw(st.sampled_from(shapes_of(n_in)))
        given, how = draw(st.integers(1, 3)), draw(st.sampled_from(["same", "valid", "circular"]))
        if kind == "conv1d":
            length = height * width
            return la.Conv1d(length, draw(st.integers(1, min(4, length))), channels, given, how)
        taps = draw(st.integers(1, min(3, height))), draw(st.integers(1, min(3, width)))
        return la.Conv2d((height, width), taps, channels, given, how)
    n_out = draw(side)
    if kind == "biased":
        return Biased(la.Dense(n_in, n_out))
    if kind == "blocks" and n_in > 1 and n_out > 1:
        a, b = draw(st.integers(1, n_in - 1)), draw(st.integers(1, n_out - 1))
        return la.BlockDiagonal([(a, b), (n_in - a, n_out - b)])
    if kind == "masked":
        mask = rng.random((n_out, n_in)) < draw(st.sampled_from([0.2, 0.6, 1.0]))
        mask.flat[0] = True
        return la.Masked(mask)
    if kind == "tied":
        _, index = np.unique(rng.integers(-1, 4, (n_out, n_in)), return_inverse=True)
        return la.Tied(index.reshape(n_out, n_in))
    if kind == "subspace":
        return la.Subspace(rng.standard_normal((min(3, n_in * n_out), n_out, n_in)))
    if kind == "fixed":
        return la.Fixed(rng.standard_normal((n_out, n_in)))
    if kind == "scaled":
        return la.Scaled(rng.standard_normal((n_out, n_in)))
    return {"toeplitz": la.Toeplitz, "hankel": la.Hankel}.get(kind, la.Dense)(n_in, n_out)


@dataclass(frozen=True, eq=False)
class Drawn:
    """What `train` is given, by name."""

    net: la.Network
    X: Any
    Y: Any
    rule: str
    options: dict[str, Any] = field(default_factory=dict)

    def train(self, **changed: Any) -> Any:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            return la.train(self.net, self.X, self.Y, **self.options | changed)

    def outcome(self, **changed: Any) -> Any:
        """A run; the error where it was refused or diverged."""
        try:
            return self.train(**changed)
        except (la.DivergenceError, ValueError, TypeError) as error:
            return error

    def shaken(self, seed: int) -> Drawn:
        """Every number rounded the other way here and there: start, data and targets."""
        rng, eps = np.random.default_rng(seed), float(np.finfo(self.net.dtype).eps)

        def shake(A):
            if A is None or A.dtype.kind != "f" or set(np.unique(A)) <= {-1.0, 1.0}:
                return A
            return (A * (1 + eps * rng.choice([-1, 0, 1], A.shape))).astype(A.dtype)

        return replace(self, net=self.net.with_params([shake(theta) for theta in self.net.params]), X=shake(self.X), Y=shake(self.Y))


@st.composite
def problems(draw, widest: int = WIDEST, most_rows: int = 14, most_steps: int = 12, precisions=("float64", "float32")) -> Drawn:
    """A problem of at most so wide layers."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    depth, dense = draw(st.integers(1, 4)), draw(st.booleans())
    if dense:
        k = [draw(st.integers(1, widest)) for _ in range(depth + 1)]
        start = draw(st.sampled_from([name for name in sorted(STARTS) if depth > 1 or name != "identity middle"]))
        net = la.Network.dense(k, STARTS[start](rng, k))
    else:
        found = []
        n_in = draw(st.integers(1, widest))
        for _ in range(depth):
            # convolutions with many channels outgrow the rest
            found.append(draw(layers(n_in, rng, widest)) if n_in <= 3 * widest else la.Dense(n_in, draw(st.integers(1, widest))))
            n_in = found[-1].shape[0]
        net = la.Network(found).init("gaussian", rng=int(rng.integers(2**31)), scale=draw(st.sampled_from([0.3, 0.7])))
        start = "gaussian"
    k = net.widths
    names = [name for name in LOSSES if name != "end_to_end" and (k[-1] > 1 or not name.startswith(("cross", "factorisation-labels")))]
    name = draw(st.sampled_from(names))
    n = draw(st.integers(1, most_rows))
    X, Y, loss = LOSSES[name](rng, k, n)
    if X is not None:
        shape = draw(st.sampled_from(["any", "low rank", "repeated rows", "dead inputs"]))
        if shape == "low rank":
            r = draw(st.integers(1, min(X.shape)))
            X = rng.standard_normal((n, r)) @ rng.standard_normal((r, k[0]))
        elif shape == "repeated rows":
            X = X[rng.integers(n, size=n)]
        elif shape == "dead inputs" and k[0] > 1:
            X[:, rng.choice(k[0], draw(st.integers(1, k[0] - 1)), replace=False)] = 0
        X = unit(X)
        if name.startswith(("squared", "mse", "huber")) and name != "squared_hinge":
            Y = unit(Y)
    dtype = np.dtype(draw(st.sampled_from(precisions)))
    X, Y = (v.astype(dtype) if v is not None and v.dtype.kind == "f" else v for v in (X, Y))
    rule = draw(st.sampled_from(sorted(RULES if dense else set(RULES) - {"muon"})))
    # rules that take one layer after the other, or the metric of the matrix
    simple = rule in ("sgd", "momentum", "dampening")
    steps = draw(st.integers(0, most_steps))
    options: dict[str, Any] = {
        "loss": loss, "optimizer": RULES[rule](), "steps": steps, "metric": draw(st.sampled_from(["parameters", "matrix"])) if simple else "parameters",
        "lr": draw(st.sampled_from([0.01, 0.05])) * (0.1 if rule in ("adam", "adamw", "sign", "normalized", "muon", "rmsprop") else 1.0),
        "update": draw(st.sampled_from(["simultaneous", "simultaneous", "cyclic"])) if simple else "simultaneous",
        "reduce": draw(st.one_of(st.just("auto"), st.just("auto"), st.lists(st.sampled_from(REDUCTIONS), unique=True, min_size=1))),
        "pivot": draw(st.one_of(st.just("auto"), st.integers(0, depth))),
        "threads": draw(st.sampled_from([1, 1, 2, 3])),
        "record": {r: draw(st.sampled_from([1, 3, "log"])) for r in draw(st.lists(st.sampled_from(RECORDS), unique=True, max_size=3))} or None,
    }  # fmt: skip
    if options["reduce"] != "auto":
        options["reduce"] = [r for r in REDUCTIONS if r in options["reduce"]]
    plain = options["update"] == "simultaneous" and options["metric"] == "parameters"
    if plain and draw(st.integers(0, 3)) == 0:
        options["clip_norm"] = draw(st.sampled_from([0.1, 10.0]))
    if plain and draw(st.integers(0, 3)) == 0:
        options["average"] = 0.9
    if X is not None and draw(st.integers(0, 2)) == 0:
        options |= {"batch": draw(st.integers(1, n)), "order": draw(st.sampled_from(["shuffle", "replacement"])), "rng": 0}
        options["pivot"] = draw(st.sampled_from(["auto", 0]))
    return Drawn(net.astype(dtype), X, Y, rule, options)


# ---- comparison ------------------------------------------------------------------------------------------------------------
# Two ways to compute a run differ by what rounding does to it. Of a run of so few steps on data of norm one that is some hundred units
# of the last place; where it is more, as after a jump of a rule, near the kink of a loss, or at the edge of stability, rounding the
# problem itself here and there must do as much, within a hundred times: that is, in each of a hundred operations.

UNITS = 2**9
AMPLE = 100


def check(problem: Drawn) -> str:
    """The plan that is chosen, no reduction, and the reference: the same run. What came of it: "run", "refused", "diverged" or "jump".

    Raises: AssertionError where they differ, where only some end, or where something is no number.
    """
    ways = ({}, {"reduce": "none"}, {"reduce": "none", "pivot": "auto", "implementation": "reference"})
    found = [problem.outcome(**way) for way in ways]
    kinds = {type(run) for run in found}
    if kinds != {la.Run}:
        assert la.Run not in kinds or la.DivergenceError in kinds, [str(run)[:200] for run in found]
        if kinds == {la.DivergenceError}:
            steps = [error.run.steps for error in found]
            assert max(steps) - min(steps) <= 1, f"diverged after {steps}"
            return "diverged"
        assert la.DivergenceError not in kinds, [str(run)[:200] for run in found]
        return "refused"
    assert all(finite(run) for run in found), "something is no number"
    scale = max(float(np.abs(theta).max(initial=0.0)) for theta in problem.net.params) or 1.0
    eps = float(np.finfo(problem.net.dtype).eps)
    off = max(distance(found[2], run, scale) for run in found[:2])
    if off <= UNITS * eps:
        return "run"
    most = 0.0
    for seed in range(4):
        for way, before in zip(ways, found, strict=True):
            run = problem.shaken(seed).outcome(**way)
            if not isinstance(run, la.Run):
                return "jump"
            # each with itself: what is wrong in one of them is no excuse
            most = max(most, distance(before, run, scale))
            if off <= AMPLE * most:
                return "jump"
    raise AssertionError(f"the runs differ by {off:.1e}, and by {most:.1e} where the problem is rounded otherwise")


def distance(a: Any, b: Any, scale: float) -> float:
    """The largest difference of losses, parameters, their mean and records, relative to the largest of each or, of parameters, `scale`."""
    pairs = list(zip(a.network.params, b.network.params, strict=True))
    if a.average is not None:
        pairs += list(zip(a.average.params, b.average.params, strict=True))
    found = [float(np.abs(a.loss - b.loss).max()) / (float(np.abs(a.loss).max()) or 1.0)]
    for p, q in pairs:
        found.append(float(np.abs(p.astype(float) - q).max(initial=0.0)) / max(float(np.abs(p).max(initial=0.0)), scale))
    for name in a.history:
        u, v = (np.asarray(run.history[name].values, dtype=float) for run in (a, b))
        assert u.shape == v.shape, name
        # short rows of singular values end in nan
        assert np.array_equal(np.isnan(u), np.isnan(v)), name
        u, v = np.nan_to_num(u), np.nan_to_num(v)
        least = {"alignment": 1.0, "misalignment": 1.0, "balancedness": scale**2}.get(name, scale)
        whole = max(float(np.abs(u).max(initial=0.0)), least)
        found.append(float(np.abs(u - v).max(initial=0.0)) / whole)
    return max(found)


def finite(run: Any) -> bool:
    """Nothing that is not a number, but where short rows end, and a gradient on the way to a divergence that leaves the precision."""
    beyond = float(np.abs(run.loss).max()) > float(np.finfo(run.network.dtype).max) ** 0.75
    left = {"layer_singular_values", *(("layer_gradient_norms", "gradient_norm") if beyond else ())}
    arrays = [run.loss, *run.network.params, *(h.values for name, h in run.history.items() if name not in left)]
    return all(np.isfinite(np.asarray(array, dtype=float)).all() for array in arrays)
