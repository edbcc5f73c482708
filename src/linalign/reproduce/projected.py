"""Gradient descent on the parameters of a constrained layer is projected gradient descent, where multiplicities are equal."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

import linalign as la
from linalign.layers import Layer

from . import style
from .claim import Arrays, Check, Claim, at_least, at_most
from .setting import Setting

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def structures(side: int) -> dict[str, list[Layer]]:
    """Two layers of each structure, on images of that many pixels a side."""
    n = side * side
    mask = np.random.default_rng(3).random((n, n)) < 0.1
    mask[np.arange(n), np.arange(n)] = True
    return {
        "circular convolution": [la.Conv2d(side, 3, padding="circular"), la.Conv2d(side, 3, padding="circular")],
        "valid convolution": [la.Conv2d(side, 3, padding="valid"), la.Conv2d(side - 2, 3, padding="valid")],
        "circulant": [la.Circulant(n), la.Circulant(n)],
        "block diagonal": [la.BlockDiagonal(((side, side),) * side), la.BlockDiagonal(((side, side),) * side)],
        "sparse mask": [la.Masked(mask), la.Masked(mask)],
        "zero-padded convolution": [la.Conv2d(side, 3), la.Conv2d(side, 3)],
        "Toeplitz": [la.Toeplitz(n, n), la.Toeplitz(n, n)],
        "symmetric": [la.Symmetric(n), la.Symmetric(n)],
    }


def measure(setting: Setting) -> dict[str, Any]:
    X, _, _ = setting.samples(setting.pick(60, 20), setting.side)
    steps = setting.pick(200, 60)
    side = setting.side
    turned = np.rot90(X.reshape(-1, side, side), axes=(1, 2))
    names, equal, gaps, moved = [], [], [], []
    for name, layers in structures(side).items():
        cut = (side - int(np.sqrt(layers[-1].shape[0]))) // 2
        Y = turned[:, cut : side - cut, cut : side - cut].reshape(len(X), -1)
        net = la.Network(layers).init("gaussian", rng=0, scale=0.25)
        counts = [layer.multiplicity for layer in layers]
        same = all(float(c.min()) == float(c.max()) for c in counts)
        mean = [float(c.mean()) for c in counts]
        # in the metric of matrices; on the parameters the gradient is larger by the multiplicity
        lr = 0.3 / float(np.linalg.norm(X, 2)) ** 2
        by_matrix = la.train(net, X, Y, lr=lr, steps=steps, metric="matrix")
        by_parameter = la.train(net, X, Y, lr=[lr / c for c in mean], steps=steps, metric="parameters")
        size = sum(float(np.linalg.norm(p)) ** 2 for p in by_matrix.network.params)
        gap = sum(float(np.linalg.norm(p - q)) ** 2 for p, q in zip(by_matrix.network.params, by_parameter.network.params, strict=True))
        way = sum(float(np.linalg.norm(p - q)) ** 2 for p, q in zip(by_matrix.network.params, net.params, strict=True))
        names.append(name)
        equal.append(same)
        gaps.append(np.sqrt(gap / size))
        moved.append(np.sqrt(way / size))
    return {"names": np.array(names), "equal": np.array(equal), "gaps": np.array(gaps), "moved": np.array(moved), "steps": steps}


def judge(a: Arrays) -> list[Check]:
    checks = []
    for name, equal, gap in zip(a["names"], a["equal"], a["gaps"], strict=True):
        kind = "equal multiplicities" if equal else "unequal multiplicities"
        what = f"{name}, {kind}: distance of the two networks at the end, relative"
        checks.append(at_most(what, gap, 1e-10) if equal else at_least(what, gap, 1e-3))
    checks.append(at_least("how far the parameters moved, the least of all structures", np.min(a["moved"]), 0.05))
    expected = {"circular convolution": True, "valid convolution": True, "zero-padded convolution": False}
    wrong = sum(bool(a["equal"][list(a["names"]).index(name)]) != want for name, want in expected.items())
    checks.append(at_most("convolutions whose multiplicities are not what T5.1 says", wrong, 0))
    return checks


def draw(figure: Figure, a: Arrays) -> None:
    (ax,) = style.panels(figure, 1)
    figure.set_size_inches(8.4, 3.9)
    order = np.arange(len(a["names"]))[::-1]
    gaps = np.maximum(a["gaps"], style.FLOOR)
    for equal, text, colour, marker in ((True, "equal multiplicities", 0, "o"), (False, "unequal multiplicities", 1, "s")):
        at = np.flatnonzero(np.asarray(a["equal"]) == equal)
        ax.hlines(order[at], style.FLOOR, gaps[at], color=style.PALETTE[colour], linewidth=1.5)
        ax.plot(gaps[at], order[at], marker, color=style.PALETTE[colour], markersize=9, label=text, clip_on=False, zorder=3)
    ax.set_xscale("log")
    ax.set_xlim(style.FLOOR, 1)
    ax.set_ylim(-0.6, len(order) - 0.4)
    names: list[str] = [str(name) for name in a["names"]]
    ax.set_yticks(order, names)
    ax.axvline(1e-10, color=style.GREY, linestyle="--", linewidth=1.2, label="the same, if to the left")
    style.label(
        ax, f"Two descents, {int(a['steps'])} steps", "relative distance of the two networks at the end (1e-17 stands for 0)", "structure"
    )
    style.legend(ax, loc="upper right")


CLAIM = Claim(
    name="projected",
    title="Gradient descent on shared parameters is projected gradient descent, if each is shared equally often",
    statement="Descent on the parameters of a linear structure equals projected descent on the matrix exactly when every parameter "
    "stands in "
    "the matrix equally often, with the learning rate divided by that multiplicity (T5.1). Circular and valid convolutions qualify, "
    "zero-padded ones do not: at the border some taps are cut off.",
    experiment="Two layers of each structure learn to turn images by 90 degrees, once by gradient descent on the parameters, once by "
    "projected gradient descent on the matrices, from the same start; where multiplicities differ their mean divides the learning rate.",
    caption="How far apart the two networks are at the end. Blue: multiplicities are equal, and the two are one. Orange: they differ.",
    measure=measure,
    judge=judge,
    draw=draw,
)
