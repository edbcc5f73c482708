"""Balance and alignment: what gradient descent with a finite rate takes from the one it takes from the other."""

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
FAMILIES = {
    "generic": "classes, a balanced start",
    "unbalanced": "classes, an aligned start that is not balanced",
    "kept": "autoencoding, a balanced start in the bases of the data",
}


def imbalance(net: la.Network) -> float:
    """The largest `||W_{i+1}^T W_{i+1} - W_i W_i^T||` over `||W_i||^2`: 0 exactly if the network is balanced."""
    sizes = [float(np.sum(W**2)) for W in net.matrices()]
    return float(np.max(la.balancedness(net) / sizes[:-1]))


def measure(setting: Setting) -> dict[str, Any]:
    X, Y, _ = setting.samples(setting.pick(500, 100), setting.side)
    first = setting.pick(300, 60)
    rates = np.array([1.0, 0.1, 0.01][: setting.pick(3, 2)])
    out: dict[str, Any] = {"rates": rates}
    for family in FAMILIES:
        net, x, y = start(family, X, Y)
        for j, rate in enumerate(rates):
            steps = round(first / rate)
            at = np.unique(np.round(np.logspace(0, np.log10(steps), 40)).astype(int))
            lr = 0.3 * rate / float(np.linalg.norm(x, 2)) ** 2
            run = la.train(net, x, y, lr=lr, steps=steps, record={chain_sine: [0, *at], imbalance: [0, *at]}, reduce="none")
            sine = run.history["chain_sine"]
            out |= {
                f"{family}_{j}_time": sine.steps * rate, f"{family}_{j}_sine": sine.values,
                f"{family}_{j}_imbalance": run.history["imbalance"].values, f"{family}_{j}_gain": run.loss[-1] / run.loss[0],
            }  # fmt: skip
    return out


def start(family: str, X: Array, Y: Array) -> tuple[la.Network, Array, Array]:
    """The network and its data."""
    rng, pixels, classes = np.random.default_rng(6), X.shape[1], Y.shape[1]
    if family == "kept":
        condition = la.theory.invariance_condition(X, X)
        # every mode has a value of its own, the same in all layers
        factors = np.tile(rng.uniform(0.4, 0.8, pixels), (DEPTH, 1))
        return aligned_start([pixels] * (DEPTH + 1), condition.inputs, condition.outputs, factors)[0], X, X
    inputs, outputs = (np.linalg.qr(rng.standard_normal((k, k)))[0] for k in (pixels, classes))
    one = rng.uniform(0.3, 0.6, classes)
    factors = np.tile(one, (DEPTH, 1)) if family == "generic" else rng.uniform(0.3, 0.6, (DEPTH, classes))
    return aligned_start([pixels, 16, 16, classes], inputs, outputs, factors)[0], X, Y


def judge(a: Arrays) -> list[Check]:
    rates = a["rates"]
    checks = []
    for key, text in (("sine", "sine of the chain"), ("imbalance", "imbalance")):
        ends = np.array([a[f"generic_{j}_{key}"][-1] for j in range(len(rates))])
        firsts = np.array([a[f"generic_{j}_{key}"][1] for j in range(len(rates))])
        falls = ends[:-1] / np.maximum(ends[1:], style.FLOOR)
        checks += [
            at_most(f"classes, balanced: {text} at the start", a[f"generic_0_{key}"][0], 1e-12),
            at_least(f"classes, balanced: {text} after the first step, the least of all rates", np.min(firsts), 1e-9),
            at_least(f"classes, balanced: {text} at the end, over that with a tenth of the rate, the least", np.min(falls), 5.0),
            at_most(f"classes, balanced: {text} at the end, over that with a tenth of the rate, the most", np.max(falls), 20.0),
            at_most(
                f"autoencoding, balanced: {text} at any step, the largest of all rates",
                np.max([np.max(a[f"kept_{j}_{key}"]) for j in range(len(rates))]), 1e-9,
            ),
        ]  # fmt: skip
    ends = np.array([a[f"unbalanced_{j}_sine"][-1] for j in range(len(rates))])
    gains = [float(a[f"{family}_{j}_gain"]) for family in FAMILIES for j in range(len(rates))]
    return [
        *checks,
        at_least("classes, aligned but not balanced: sine of the chain at the end, the least of all rates", np.min(ends), 1e-2),
        at_most("the same: largest over least of all rates", np.max(ends) / np.maximum(np.min(ends), style.FLOOR), 1.5),
        at_most("all: loss at the end, over the start, the largest", np.max(gains), 0.9),
    ]


def draw(figure: Figure, a: Arrays) -> None:
    axes = style.panels(figure, 2)
    for ax, key in zip(axes, ("sine", "imbalance"), strict=True):
        for (family, text), colour in zip(FAMILIES.items(), style.PALETTE, strict=False):
            for j, rate in enumerate(a["rates"]):
                values = np.maximum(a[f"{family}_{j}_{key}"], style.FLOOR)
                name = text if j == 0 else None
                ax.loglog(a[f"{family}_{j}_time"][1:], values[1:], color=colour, linewidth=2.2 - 0.6 * j, alpha=1 - 0.2 * j, label=name)
                if family == "generic":
                    ax.annotate(
                        f"{rate:g}", (a[f"{family}_{j}_time"][-1], values[-1]), xytext=(4, -3), textcoords="offset points", fontsize=8
                    )
        ax.set_ylim(style.FLOOR, 10)
    style.label(axes[0], "Misalignment of the chain", "time: steps times rate", "largest sine (0: aligned)")
    style.label(axes[1], "Imbalance", "time: steps times rate", "relative imbalance (0: balanced)")
    for ax in axes:
        style.legend(ax, loc="center right", bbox_to_anchor=(1.0, 0.33))


CLAIM = Claim(
    name="balanced",
    title="Balance and alignment are lost together, and only by steps of finite size",
    statement="A balanced network is aligned (T1.3), and gradient flow keeps balance. Gradient descent with a finite rate on generic data "
    "takes both at the first step, in proportion to the rate; where the data keep alignment (T3.2), a balanced start keeps both. Alignment "
    "without balance is lost at the same time whatever the rate.",
    experiment="Three layers learn classes from a balanced start in random bases, with a rate, a tenth and a hundredth of it for as many "
    "times the steps; the same from an aligned start that is not balanced; and autoencoding, a balanced start in the bases of the data.",
    caption="Thick lines: the largest rate; thinner ones: a tenth and a hundredth of it (numbers at the ends), over the same time. On the "
    "left the lines of the second experiment lie on each other.",
    measure=measure,
    judge=judge,
    draw=draw,
)
