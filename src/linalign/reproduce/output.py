"""One output: a rank-one aligned start stays aligned for the logistic loss on any data; with several outputs it does not."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

import linalign as la

from . import style
from .bases import aligned_start, chain_sine
from .claim import Arrays, Check, Claim, at_least, at_most
from .setting import Setting

if TYPE_CHECKING:
    from matplotlib.figure import Figure


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

    record = {chain_sine: "log", turn: "log", "loss": "log"}
    run = la.train(net, X, sign[:, None], loss="logistic", lr=0.1 / scale**2, steps=steps, momentum=0.5, record=record, reduce="none")
    out = {
        "one_steps": run.history["loss"].steps, "one_loss": run.history["loss"].values,
        "one_sine": run.history["chain_sine"].values, "one_turn": run.history["turn"].values,
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
    return [
        at_most("one output: largest sine between any words of the chain, all steps", np.max(a["one_sine"]), 1e-8),
        at_most("one output: |cosine| between the input vector at the end and at the start", a["one_turn"][-1], 0.9),
        at_most("one output: logistic loss at the end, over that at the start", a["one_loss"][-1] / a["one_loss"][0], 0.8),
        at_most("several outputs: the sine at the start", a["many_sine"][0], 1e-10),
        at_least("several outputs, cross-entropy: largest sine", np.max(a["many_sine"]), 1e-2),
        at_most("several outputs: loss at the end, over that at the start", a["many_loss"][-1] / a["many_loss"][0], 0.8),
    ]


def draw(figure: Figure, a: Arrays) -> None:
    left, right = style.panels(figure, 2)
    for name, text, colour in (("one", "one output, logistic loss", 0), ("many", "several outputs, cross-entropy", 1)):
        at = a[f"{name}_steps"]
        left.semilogy(at, np.maximum(a[f"{name}_sine"], style.FLOOR), color=style.PALETTE[colour], linewidth=2, label=text)
        loss = a[f"{name}_loss"]
        right.plot(at, loss / loss[0], color=style.PALETTE[colour], linewidth=2, label=f"loss, {text}")
    right.plot(a["one_steps"], a["one_turn"], color=style.PALETTE[2], linewidth=2, label="|cos| of the input vector, one output")
    style.bound(left, 1e-8, "aligned, if below")
    left.set_ylim(style.FLOOR, 3)
    right.set_ylim(0, 1.05)
    style.label(left, "Misalignment of the chain", "step of gradient descent", "largest sine (0: aligned)")
    style.label(right, "Learning, and turning", "step of gradient descent", "loss over its start; |cosine|")
    for ax in (left, right):
        style.log_steps(ax)
    style.legend(left, loc="center right", bbox_to_anchor=(1.0, 0.36))
    style.legend(right, loc="lower left")


CLAIM = Claim(
    name="output",
    title="With one output alignment lasts for every loss and all data",
    statement="A rank-one aligned start of a network with one output stays aligned under gradient descent with any differentiable loss, on "
    "any data, with any step sizes and momentum; only the input vector of the first layer turns (T3.5). With several outputs it does not.",
    experiment="A network with one output learns, with the logistic loss and momentum 0.5, to tell one half of the classes from the other, "
    "from a rank-one start whose input vector is random. Beside it a network with an output for every class, cross-entropy, from an "
    "aligned start.",
    caption="Left: the sine of all pairs of words of the chain (T1.2), 0 exactly where the whole network is aligned. Right: both learn, "
    "and the input vector of the first turns away from its start.",
    measure=measure,
    judge=judge,
    draw=draw,
)
