"""The settings of the paper's authors, with their two scores and the exact criterion."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

import linalign as la

from ..validate import Array
from . import style
from .bases import aligned_start, chain_sine
from .claim import Arrays, Check, Claim, at_least, at_most
from .convolution import KERNEL
from .setting import LARGE, Setting

if TYPE_CHECKING:
    from matplotlib.figure import Figure

NAMES = {
    "classes": "784-1024-64-10, 256 samples, classes",
    "autoencoding": "784-1024-784, 256 samples, autoencoding",
    "one": "784-4-1, 8 samples, one output",
    "convolutions": "three 3x3 convolutions, one image",
}
ALIGNED = ("autoencoding", "one")
EVERY = 100


def measure(setting: Setting) -> dict[str, Any]:
    out: dict[str, Any] = {"target": 1e-4, "large": LARGE}
    for name in NAMES:
        net, X, Y, lr, most = case(setting, name)
        scores = {"alignment_svd": EVERY, "invariance": EVERY, chain_sine: most}
        run = la.train(net, X, Y, loss="mse", lr=lr, steps=most, tol=tolerance(net, X, Y), record=scores)
        base = la.alignment_baseline(net, rng=0, draws=1)
        svd = run.history["alignment_svd"]
        out |= {
            f"{name}_steps": svd.steps, f"{name}_svd": svd.values, f"{name}_invariance": run.history["invariance"].values,
            f"{name}_sine": run.history["chain_sine"].values, f"{name}_loss": run.loss[svd.steps], f"{name}_taken": run.steps,
            f"{name}_converged": run.converged, f"{name}_seconds": run.seconds, f"{name}_lr": lr,
            f"{name}_baseline": base["alignment_svd"], f"{name}_floor": run.floor,
        }  # fmt: skip
    return out


def tolerance(net: la.Network, X: Array, Y: Array) -> float:
    """A mean squared error of 1e-4 above the least that a network of these widths can have."""
    least = la.theory.aligned_minimum(net.widths, X, Y).optimum
    return 1e-4 + 2.0 * least / Y.size


def case(setting: Setting, name: str) -> tuple[la.Network, Array, Array, float, int]:
    """The start, the data, the learning rate and the most steps."""
    side = LARGE
    if name == "convolutions":
        X, _, _ = setting.samples(1, side)
        Y = np.rot90(X.reshape(-1, side, side), axes=(1, 2)).reshape(X.shape)
        layers = [la.Conv2d(side, 3)] * 3
        net = la.Network(layers, [KERNEL[None, None] * (1.0 - 0.1 * i) for i in range(3)])
        return net, X, Y, 1e-3 * X.size / 2, setting.pick(400, 100)
    samples = {"one": 8}.get(name, setting.pick(256, 64))
    X, Y, labels = setting.samples(samples, side)
    pixels, classes = X.shape[1], Y.shape[1]
    if name == "one":
        Y = np.where(labels < classes / 2, -1.0, 1.0)[:, None]
        inputs = np.linalg.svd(X)[2].T
        net, _ = aligned_start([pixels, 4, 1], inputs, np.ones((1, 1)), np.full((2, 1), 0.3))
        return net, X, Y, 1e-2, setting.pick(200_000, 20_000)
    if name == "autoencoding":
        Y, widths = X, [pixels, setting.pick(1024, 256), pixels]
        condition = la.theory.invariance_condition(X, X)
        count = min(samples, 40)
        net, _ = aligned_start(widths, condition.inputs, condition.outputs, np.full((2, count), 0.3))
        return net, X, Y, 1e-2, setting.pick(100_000, 10_000)
    widths = [pixels, setting.pick(1024, 256), 64, classes]
    net = la.Network.dense(widths).init("aligned", X=X, Y=Y, rng=0, singular_values=0.5)
    return net, X, Y, 1e-2, setting.pick(200_000, 20_000)
