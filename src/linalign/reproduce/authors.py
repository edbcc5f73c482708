"""The settings of the paper's authors, with their two scores and the exact criterion."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

import linalign as la

from ..validate import Array
from . import style
from .bases import aligned_start, chain_sine, turned
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
    out: dict[str, Any] = {}
    for name in NAMES:
        net, bases, X, Y, lr, most = case(setting, name)
        scores = {"alignment_svd": EVERY, "invariance": EVERY, chain_sine: most, turned(bases): most}
        run = la.train(net, X, Y, loss="mse", lr=lr, steps=most, tol=tolerance(net, X, Y), record=scores)
        base = la.alignment_baseline(net, rng=0, draws=1)
        svd = run.history["alignment_svd"]
        out |= {
            f"{name}_steps": svd.steps, f"{name}_svd": svd.values, f"{name}_invariance": run.history["invariance"].values,
            f"{name}_sine": run.history["chain_sine"].values, f"{name}_turned": run.history["turned"].values,
            f"{name}_loss": run.loss[svd.steps], f"{name}_converged": run.converged, f"{name}_seconds": run.seconds,
            f"{name}_lr": run.lr[0], f"{name}_baseline": base["alignment_svd"], f"{name}_layers": described(net),
        }  # fmt: skip
    return out


def described(net: la.Network) -> str:
    """Widths, or convolutions."""
    dense = all(isinstance(layer, la.Dense) for layer in net.layers)
    return "-".join(map(str, net.widths)) if dense else f"{net.depth} convolutions of {net.widths[0]} pixels"


def tolerance(net: la.Network, X: Array, Y: Array) -> float:
    """A mean squared error of 1e-4 above the least that a network of these widths can have."""
    least = la.theory.aligned_minimum(net.widths, X, Y).optimum
    return 1e-4 + 2.0 * least / Y.size


def case(setting: Setting, name: str) -> tuple[la.Network, list[Array], Array, Array, float | str, int]:
    """The start and its bases, the data, the learning rate and the most steps."""
    side, rng = LARGE, np.random.default_rng(5)
    X: Array
    Y: Array
    if name == "convolutions":
        X, _, _ = setting.samples(1, side)
        turned: Array = np.rot90(X.reshape(-1, side, side), axes=(1, 2)).reshape(X.shape)
        net = la.Network([la.Conv2d(side, 3)] * 3, [KERNEL[None, None] * (1.0 - 0.1 * i) for i in range(3)])
        # near the start the products have norms of about one
        return net, [sines(side)] * 4, X, turned, 0.1 * turned.size / float(np.sum(X**2)), setting.pick(5_000, 500)
    X, Y, labels = setting.samples(8 if name == "one" else setting.pick(256, 64), side)
    pixels, classes, wide = X.shape[1], Y.shape[1], setting.pick(1024, 128)
    if name == "one":
        Y = np.asarray(np.where(labels < classes / 2, -1.0, 1.0)).reshape(-1, 1)
        widths = [pixels, 4, 1]
        # the other modes of the first layer lie where there are no data, so that they meet no gradient
        inputs = np.linalg.svd(X)[2].T[:, [0, *range(len(X), pixels), *range(1, len(X))]]
    elif name == "autoencoding":
        Y, widths = X, [pixels, wide, pixels]
        inputs = np.linalg.svd(X)[2].T
    else:
        widths = [pixels, wide, 64, classes]
        inputs = np.linalg.svd(X)[2].T
    # full rank and distinct singular values, without which the authors' scores are noise; the bases are those of X and of Y
    factors = [rng.uniform(0.3, 0.7, min(a, b)) for a, b in pairwise(widths)]
    net, bases = aligned_start(widths, inputs, np.linalg.svd(Y, full_matrices=True)[2].T, factors)
    if name == "autoencoding":
        return net, bases, X, Y, "certified", setting.pick(100_000, 20_000)
    # half the largest stable rate where the end-to-end matrix has the norm of the fit
    q = max(1.0, float(np.linalg.norm(np.linalg.pinv(X) @ Y, 2)) if name == "one" else 1.0)
    curvature = 2.0 / Y.size * float(np.linalg.norm(X, 2)) ** 2 * net.depth * q ** (2 - 2 / net.depth)
    return net, bases, X, Y, 1.0 / curvature, setting.pick(50_000, 10_000)


def sines(side: int) -> Array:
    """The basis in which symmetric kernels with zero padding are diagonal: sine waves along both axes."""
    at = np.arange(1, side + 1)
    one = np.sqrt(2 / (side + 1)) * np.sin(np.pi * np.outer(at, at) / (side + 1))
    return np.asarray(np.kron(one, one))


def judge(a: Arrays) -> list[Check]:
    checks = []
    for name in ALIGNED:
        checks += [
            at_least(f"{NAMES[name]}: reached a mean squared error of 1e-4 above the least (1: yes)", float(a[f"{name}_converged"]), 1),
            at_most(f"{NAMES[name]}: sine of the chain at the end", a[f"{name}_sine"][-1], 1e-8),
        ]
    checks += [
        at_most(f"{NAMES['autoencoding']}: most that any layer turned", a["autoencoding_turned"][-1], 1e-8),
        at_most(f"{NAMES['classes']}: turned at the start", a["classes_turned"][0], 1e-10),
        at_least(f"{NAMES['classes']}: turned at the end", a["classes_turned"][-1], 1e-2),
        at_most(f"{NAMES['classes']}: score of invariance at the end (1: nothing turned)", a["classes_invariance"][-1], 0.99),
        at_most(f"{NAMES['classes']}: loss at the end, over the start", a["classes_loss"][-1] / a["classes_loss"][0], 0.5),
        at_most(f"{NAMES['convolutions']}: turned at the start", a["convolutions_turned"][0], 1e-10),
        at_least(f"{NAMES['convolutions']}: turned at the end", a["convolutions_turned"][-1], 1e-2),
        at_most(f"{NAMES['convolutions']}: loss at the end, over the start", a["convolutions_loss"][-1] / a["convolutions_loss"][0], 0.9),
    ]
    return checks


def draw(figure: Figure, a: Arrays) -> None:
    axes = style.panels(figure, 3)
    for name, colour in zip(NAMES, style.PALETTE, strict=False):
        at = a[f"{name}_steps"]
        for ax, key in zip(axes, ("loss", "svd", "invariance"), strict=True):
            ax.plot(at, a[f"{name}_{key}"], color=style.PALETTE[list(NAMES).index(name)], linewidth=2, label=NAMES[name])
        axes[1].axhline(float(a[f"{name}_baseline"]), color=colour, linestyle=":", linewidth=1.2)
    axes[0].set_yscale("log")
    for ax in axes:
        ax.set_xscale("symlog", linthresh=EVERY, linscale=0.3)
        ax.set_xlim(left=0)
    for ax in axes[1:]:
        ax.set_ylim(0, 1.05)
    style.label(axes[0], "Mean squared error", "step of gradient descent", "mean squared error")
    style.label(axes[1], "The authors' score of alignment", "step of gradient descent", "alignment_svd (dotted: random layers)")
    style.label(axes[2], "Their score of invariance", "step of gradient descent", "invariance (1: no vector turned)")
    style.legend(axes[2], loc="lower left")


CLAIM = Claim(
    name="authors",
    title="The settings of the authors",
    statement="Autoencoding and networks with one output stay aligned; fitting classes and training convolutions on generic images does "
    "not "
    "keep alignment in fixed bases, even where the fit is perfect (T3.2, T3.4, T3.5, T6.3).",
    experiment="The paper's networks on images of 28 x 28: 784-1024-64-10 on classes and 784-1024-784 on autoencoding, 256 samples each, "
    "784-4-1 with 8 samples, and three zero-padded 3x3 convolutions with one image; mean squared error, from aligned starts, trained "
    "until it is within 1e-4 of the least possible (at most 100,000 steps). Every 100 steps the authors' two scores are taken, from the "
    "singular vectors of "
    "every layer. Where singular values repeat these scores are noise, so the verdict goes by the sine of the chain (T1.2) and by what "
    "the layers have off "
    "the diagonal in the bases of the start.",
    caption="The error and the two scores; dotted lines: what random layers of these shapes score.",
    measure=measure,
    judge=judge,
    draw=draw,
)
