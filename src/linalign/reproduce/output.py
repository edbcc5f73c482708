"""One output: a rank-one aligned start stays aligned for the logistic loss on any data; with several outputs it does not."""

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


LOSSES = {"one": "logistic loss", "exponential": "exponential loss", "own": "log cosh, a loss of our own"}


def measure(setting: Setting) -> dict[str, Any]:
    X, Y, labels = setting.samples(setting.pick(1000, 200), setting.side)
    steps, pixels, classes = setting.pick(20_000, 3_000), X.shape[1], Y.shape[1]
    rng = np.random.default_rng(1)
    scale = float(np.linalg.norm(X, 2)) / np.sqrt(len(X))

    # one output, whether a class is among the first half; a direction of the inputs that has nothing to do with the data
    sign = np.where(labels < classes / 2, -1.0, 1.0)
    inputs = np.linalg.qr(rng.standard_normal((pixels, pixels)))[0]
    net, _ = aligned_start([pixels, 16, 8, 1], inputs, np.ones((1, 1)), np.array([[1.0], [0.6], [0.4]]))
    first = inputs[:, 0]

    def turn(now: la.Network) -> float:
        v = np.linalg.svd(now.matrices()[0])[2][0]
        return float(abs(v @ first))

    def own(P: Array) -> tuple[float, Array]:
        """A loss that nobody has written for this: the mean of `log cosh` of the errors."""
        error = X @ P[0] - sign
        return float(np.mean(np.logaddexp(error, -error) - np.log(2))), (np.tanh(error) @ X / len(X))[None]

    record = {chain_sine: "log", turn: "log", "loss": "log"}
    how: dict[str, Any] = {"lr": 0.1 / scale**2, "momentum": 0.5, "record": record, "reduce": "none"}
    out: dict[str, Any] = {}
    for name in LOSSES:
        if name == "own":
            run = la.train(net, None, loss=la.losses.EndToEnd(own), steps=steps // 4, **how)
        else:
            run = la.train(net, X, sign[:, None], loss="logistic" if name == "one" else name, steps=steps, **how)
        out |= {
            f"{name}_steps": run.history["loss"].steps, f"{name}_loss": run.history["loss"].values,
            f"{name}_sine": run.history["chain_sine"].values, f"{name}_turn": run.history["turn"].values,
        }  # fmt: skip

    # all classes, cross-entropy, an aligned start with as many modes, in the best bases there are
    condition = la.theory.invariance_condition(X, Y)
    net, _ = aligned_start([pixels, 16, classes, classes], condition.inputs, condition.outputs, rng.uniform(0.3, 1.0, (3, classes)))
    run = la.train(
        net, X, labels, loss="cross_entropy", lr=0.1 / scale**2, steps=steps, record={chain_sine: "log", "loss": "log"}, reduce="none"
    )
    return out | {
        "many_steps": run.history["loss"].steps, "many_loss": run.history["loss"].values, "many_sine": run.history["chain_sine"].values,
    }  # fmt: skip


def judge(a: Arrays) -> list[Check]:
    checks = []
    for name, text in LOSSES.items():
        checks += [
            at_most(f"one output, {text}: largest sine between any words of the chain, all steps", np.max(a[f"{name}_sine"]), 1e-8),
            at_most(f"one output, {text}: |cosine| between the input vector at the end and at the start", a[f"{name}_turn"][-1], 0.9),
            at_most(f"one output, {text}: loss at the end, over that at the start", a[f"{name}_loss"][-1] / a[f"{name}_loss"][0], 0.8),
        ]
    return [
        *checks,
        at_most("several outputs: the sine at the start", a["many_sine"][0], 1e-10),
        at_least("several outputs, cross-entropy: largest sine", np.max(a["many_sine"]), 1e-2),
        at_most("several outputs: loss at the end, over that at the start", a["many_loss"][-1] / a["many_loss"][0], 0.8),
    ]


def draw(figure: Figure, a: Arrays) -> None:
    left, right = style.panels(figure, 2)
    shown = [(name, f"one output, {text}") for name, text in LOSSES.items()] + [("many", "several outputs, cross-entropy")]
    for (name, text), colour in zip(shown, style.PALETTE, strict=False):
        at, loss = a[f"{name}_steps"], a[f"{name}_loss"]
        left.semilogy(at, np.maximum(a[f"{name}_sine"], style.FLOOR), color=colour, linewidth=2, label=text)
        right.plot(at, loss / loss[0], color=colour, linewidth=2, label="loss" if name == "one" else None)
        if name != "many":
            right.plot(
                at,
                a[f"{name}_turn"],
                color=colour,
                linewidth=1.4,
                linestyle="--",
                label="|cos| of the input vector" if name == "one" else None,
            )
    style.bound(left, 1e-8, "aligned, if below")
    left.set_ylim(style.FLOOR, 3)
    right.set_ylim(0, 1.05)
    style.label(left, "Misalignment of the chain", "step of gradient descent", "largest sine (0: aligned)")
    style.label(right, "Learning, and turning (colours as on the left)", "step of gradient descent", "loss over its start; |cosine|")
    for ax in (left, right):
        style.log_steps(ax)
    style.legend(left, loc="center right", bbox_to_anchor=(1.0, 0.36))
    style.legend(right, loc="lower left")


CLAIM = Claim(
    name="output",
    title="With one output alignment lasts for every loss and all data",
    statement="A rank-one aligned start of a network with one output stays aligned under gradient descent with any differentiable loss, on "
    "any data, with any step sizes and momentum; only the input vector of the first layer turns (T3.5). With several outputs it does not.",
    experiment="A network with one output learns, with momentum 0.5 and three losses in turn (logistic, exponential, and log cosh of the "
    "errors, given as a function), to tell one half of the classes from the other, from a rank-one start whose input vector is random. "
    "Beside it a network with an output for every class, cross-entropy, from an aligned start.",
    caption="Left: the sine of all pairs of words of the chain (T1.2), 0 exactly where the whole network is aligned. Right: all "
    "learn, and with one output the input vector turns away from its start (dashed).",
    measure=measure,
    judge=judge,
    draw=draw,
)
