"""Alignment of convolutional networks as the number of samples grows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

import linalign as la

from ..validate import Array
from . import style
from .bases import aligned_start, chain_sine
from .claim import Arrays, Check, Claim, at_least, at_most
from .setting import Setting

if TYPE_CHECKING:
    from matplotlib.figure import Figure

DEPTH = 3
# symmetric under both reflections, so that zero-padded convolutions with such kernels share the sine basis
KERNEL = np.array([[0.05, 0.1, 0.05], [0.15, 0.7, 0.15], [0.05, 0.1, 0.05]])
FAMILIES = {
    "convolution": "zero-padded convolutions",
    "reflected": "the same, data with their reflections",
    "circulant": "circulant layers",
    "dense": "dense layers, autoencoding",
}
KEPT = ("reflected", "circulant", "dense")


def measure(setting: Setting) -> dict[str, Any]:
    side = setting.side
    most = setting.pick(256, 32)
    counts = np.array([n for n in (1, 2, 4, 8, 16, 32, 64, 128, 256) if n <= most])
    steps = setting.pick(300, 100)
    X, _, _ = setting.samples(int(counts[-1]), side)
    Y = np.rot90(X.reshape(-1, side, side), axes=(1, 2)).reshape(X.shape)
    out: dict[str, Any] = {"counts": counts, "steps": steps}
    for family in FAMILIES:
        first, last, gain = [], [], []
        for n in counts:
            x, y = X[:n], Y[:n]
            if family == "reflected":
                x, y = reflected(x, side), reflected(y, side)
            if family == "dense":
                y = x
            net = start(family, side, x, y)
            lr = 0.2 / float(np.linalg.norm(x, 2)) ** 2
            run = la.train(net, x, y, lr=lr, steps=steps, metric="matrix")
            first.append(chain_sine(net))
            last.append(chain_sine(run.network))
            gain.append(run.loss[-1] / run.loss[0])
        out |= {f"{family}_first": np.array(first), f"{family}_last": np.array(last), f"{family}_gain": np.array(gain)}
    return out


def reflected(images: Array, side: int) -> Array:
    """The images and their mirror images, left-right, up-down and both."""
    A = images.reshape(-1, side, side)
    return np.concatenate([A, A[:, :, ::-1], A[:, ::-1], A[:, ::-1, ::-1]]).reshape(-1, side * side)


def start(family: str, side: int, X: Array, Y: Array) -> la.Network:
    """An aligned start of the family."""
    if family == "dense":
        condition = la.theory.invariance_condition(X, Y)
        widths = [X.shape[1]] * (DEPTH + 1)
        factors = np.full((DEPTH, X.shape[1]), 0.7)
        return aligned_start(widths, condition.inputs, condition.outputs, factors)[0]
    if family == "circulant":
        layers: list[Any] = [la.Circulant(side * side)] * DEPTH
        rng = np.random.default_rng(4)
        return la.Network(layers, [np.eye(side * side)[0] + 0.1 * rng.standard_normal(side * side) / side for _ in layers])
    layers = [la.Conv2d(side, 3)] * DEPTH
    return la.Network(layers, [KERNEL[None, None] * (1.0 - 0.1 * i) for i in range(DEPTH)])


def judge(a: Arrays) -> list[Check]:
    checks = [at_most("all families: the sine at the start, the largest", np.max([a[f"{f}_first"] for f in FAMILIES]), 1e-10)]
    least = float(np.min(a["convolution_last"]))
    checks.append(at_least("zero-padded convolutions: sine after training, the least over all numbers of samples", least, 1e-3))
    many = float(a["convolution_last"][-1])
    checks.append(at_least(f"zero-padded convolutions: the sine with {a['counts'][-1]} samples", many, 1e-3))
    checks += [at_most(f"{FAMILIES[f]}: sine after training, the largest", np.max(a[f"{f}_last"]), 1e-8) for f in KEPT]
    checks.append(at_most("all families: loss at the end, over the start, the largest", np.max([a[f"{f}_gain"] for f in FAMILIES]), 0.99))
    return checks


def draw(figure: Figure, a: Arrays) -> None:
    (ax,) = style.panels(figure, 1)
    figure.set_size_inches(8.0, 4.2)
    for (family, text), colour, marker in zip(FAMILIES.items(), style.PALETTE, "os^D", strict=False):
        shown = np.maximum(a[f"{family}_last"], style.FLOOR)
        ax.loglog(a["counts"], shown, color=colour, marker=marker, linewidth=2, label=text)
    style.bound(ax, 1e-8, "aligned, if below")
    ax.set_ylim(style.FLOOR, 3)
    ax.set_xticks(a["counts"], [str(n) for n in a["counts"]])
    ax.minorticks_off()
    style.label(ax, f"Three layers after {int(a['steps'])} steps from an aligned start", "number of samples", "largest sine (0: aligned)")
    style.legend(ax, loc="center left", bbox_to_anchor=(0.0, 0.3))


CLAIM = Claim(
    name="convolution",
    title="Convolutional networks lose alignment, whatever the number of samples",
    statement="The matrices of a zero-padded convolution have no singular bases in common, so that for generic data alignment in fixed "
    "bases is "
    "lost at the first step, from one sample on, and more samples do not bring it back (L6.1, T6.3, L6.4). Exceptions are exact: data "
    "with all their reflections keep symmetric kernels, and with them the sine basis; circulant layers are aligned at every instant, in "
    "bases that turn (T6.6).",
    experiment="Three layers learn to turn images by 90 degrees (dense ones: to reproduce them) from an aligned start, on 1, 2, 4, ... "
    "samples. The sine of the chain is 0 exactly where the network is aligned in some bases, fixed or not.",
    caption="The sine after training against the number of samples.",
    measure=measure,
    judge=judge,
    draw=draw,
)
