"""The explicit learning rate: what it promises, what is measured, and what happens beyond the largest stable one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

import linalign as la

from ..theory.modes import gamma
from ..validate import Array
from . import style
from .bases import aligned_start
from .claim import Arrays, Check, Claim, at_least, at_most
from .setting import Setting

if TYPE_CHECKING:
    from matplotlib.figure import Figure

DEPTH, MODES = 3, 8
# learning rates tried, as multiples of the largest stable one
MULTIPLES = (0.1, 0.25, 0.5, 0.75, 0.9, 0.97, 1.03, 1.1, 1.25, 1.5, 2.0, 3.0)


def problem(setting: Setting) -> Array:
    """The leading principal components of the images, the largest of variance one: autoencoding them is the task."""
    X, _, _ = setting.samples(setting.pick(1000, 200), setting.side)
    X = X - X.mean(axis=0)
    V = np.linalg.svd(X, full_matrices=False)[2][:MODES]
    Z = X @ V.T
    return np.asarray(Z / np.linalg.norm(Z, 2))


def measure(setting: Setting) -> dict[str, Any]:
    X = problem(setting)
    condition = la.theory.invariance_condition(X, X)
    widths = [MODES, 12, 10, MODES]
    net, _ = aligned_start(widths, condition.inputs, condition.outputs, np.full((DEPTH, MODES), 0.5))
    proof = la.theory.certify(net, X, X)
    assert proof.lr_matrix is not None
    assert proof.rate is not None
    distance = proof.loss - (proof.limit or 0.0)
    shares = 10.0 ** -np.arange(1, 11)
    promised = np.array([proof.steps(share * distance) for share in shares])
    run = la.train(net, X, X, lr="certified", steps=int(promised[-1]), record={"modes": 1}, reduce="none")
    # the least squared loss is 0: all modes are fitted
    errors = np.abs(1.0 - run.history["modes"].values)
    reached = np.array([np.argmax(run.loss <= share * distance) if (run.loss <= share * distance).any() else -1 for share in shares])
    # the largest stable rate: 2 over the largest eigenvalue of the Hessian at the limit, which is the flattest minimum there is
    top = float(condition.eigenvalues.max()) * gamma(np.ones(DEPTH))
    ends, overshoot = [], []
    for multiple in MULTIPLES:
        try:
            done = la.train(net, X, X, lr=multiple * 2 / top, steps=setting.pick(20_000, 5_000), record={}, reduce="none")
            ends.append(done.loss[-1] / done.loss[0])
            overshoot.append(float(np.max(np.diff(done.loss), initial=0.0)) / done.loss[0])
        except la.DivergenceError:
            ends.append(np.inf)
            overshoot.append(np.inf)
    ratios = random_ratios(setting, X, widths)
    return {
        "lr": proof.lr_matrix, "rate": proof.rate, "top": top, "errors": errors, "loss": run.loss, "shares": shares, "promised": promised,
        "reached": reached, "eigenvalues": condition.eigenvalues[:MODES], "multiples": np.array(MULTIPLES), "ends": np.array(ends),
        "overshoot": np.array(overshoot), "ratios": ratios,
    }  # fmt: skip


def random_ratios(setting: Setting, X: Array, widths: list[int]) -> Array:
    """Certified over largest stable learning rate, for random aligned starts: the Hessian at the limits that they reach."""
    condition = la.theory.invariance_condition(X, X)
    rng = np.random.default_rng(2)
    found = []
    for seed in range(setting.pick(40, 10)):
        factors = rng.uniform(0.1, 1.5, (DEPTH, MODES))
        net, bases = aligned_start(widths, condition.inputs, condition.outputs, factors, seed)
        proof = la.theory.certify(net, X, X)
        if proof.lr_matrix is None:
            continue
        run = la.train(net, X, X, lr="certified", steps=setting.pick(50_000, 20_000))
        if run.loss[-1] > 1e-8 * run.loss[0]:
            continue
        sigma = np.array([np.diag(Q.T @ W @ P)[:MODES] for W, P, Q in zip(run.network.matrices(), bases[:-1], bases[1:], strict=True)])
        y = sigma**2
        above, below = np.ones_like(y), np.ones_like(y)
        for i in range(1, DEPTH):
            below[i] = below[i - 1] * y[i - 1]
            above[-1 - i] = above[-i] * y[-i]
        # lambda_l Gamma_jl over all pairs of modes (T4.7)
        sharpness = float(np.max((above.T @ below) * condition.eigenvalues[:MODES]))
        found.append(proof.lr_matrix * sharpness / 2)
    return np.array(found)


def judge(a: Arrays) -> list[Check]:
    errors, rate = a["errors"], float(a["rate"])
    t = np.arange(len(errors))
    bound = (1 - rate) ** t[:, None] * errors[0]
    live = errors[0] != 0
    broken = np.max((errors[:, live] - bound[:, live]) / errors[0, live])
    # the slowest mode near the end, where its error shrinks by 1 - lr lambda d a step
    slow = int(np.argmin(a["eigenvalues"]))
    window = np.flatnonzero((errors[:, slow] < 1e-3) & (errors[:, slow] > 1e-8))
    measured = 1 - (errors[window[-1], slow] / errors[window[0], slow]) ** (1 / (window[-1] - window[0])) if len(window) > 1 else np.nan
    predicted = float(a["lr"]) * float(a["eigenvalues"][slow]) * DEPTH
    multiples, ends, overshoot = a["multiples"], a["ends"], a["overshoot"]
    certified = multiples <= float(a["lr"]) * float(a["top"]) / 2 * (1 + 1e-9)
    late = np.where(a["reached"] < 0, np.inf, a["reached"]) / a["promised"]
    return [
        at_most("errors beyond the certified rate, in any mode and step", broken, 1e-12),
        at_most("steps taken over steps promised, the most of ten accuracies", np.max(late), 1.0),
        at_most(
            "rate of the slowest mode near its end, measured against predicted: relative difference", abs(measured / predicted - 1), 0.01
        ),
        at_most("certified rates: largest rise of the loss in a step", np.max(overshoot[certified], initial=0.0), 1e-12),
        at_most("below the largest stable rate: loss at the end, over the start", np.max(ends[multiples < 1]), 1e-6),
        at_least("beyond it: least loss at the end, over the start (inf: diverged)", np.min(ends[multiples > 1]), 1e-4),
        at_most("random starts: certified over largest stable rate, the most", np.max(a["ratios"]) if len(a["ratios"]) else np.nan, 1.0),
        at_least("random starts: that ratio, the median", np.median(a["ratios"]) if len(a["ratios"]) else np.nan, 0.1),
    ]


def draw(figure: Figure, a: Arrays) -> None:
    left, middle, right = style.panels(figure, 3)
    errors = a["errors"]
    t = np.arange(len(errors))
    size = np.max(errors, axis=1)
    left.semilogy(t, np.maximum(size, 1e-16), color=style.PALETTE[0], linewidth=2, label="measured, the largest error of a mode")
    left.semilogy(t, (1 - float(a["rate"])) ** t * size[0], color=style.PALETTE[1], linewidth=2, linestyle="--", label="certified bound")
    left.set_ylim(max(1e-12, 0.3 * float(size.min())), 3)
    left.set_xlim(left=0)
    style.steps(left)
    style.label(left, "Rate: measured and certified", "step of gradient descent", "error |1 - mode|")
    style.legend(left, loc="lower left")
    shown = a["shares"]
    middle.semilogx(shown, a["promised"], color=style.PALETTE[1], marker="o", linewidth=2, label="promised at most")
    middle.semilogx(shown, np.where(a["reached"] < 0, np.nan, a["reached"]), color=style.PALETTE[0], marker="s", linewidth=2, label="taken")
    middle.invert_xaxis()
    style.label(middle, "Steps to an accuracy", "loss, as a share of its start", "steps")
    middle.set_ylim(bottom=0)
    style.legend(middle, loc="lower right")
    diverged = ~np.isfinite(a["ends"])
    ends = np.where(diverged, 1e3, np.maximum(a["ends"], 1e-31))
    right.semilogy(a["multiples"][~diverged], ends[~diverged], "o", color=style.PALETTE[0], label="loss at the end")
    right.semilogy(a["multiples"][diverged], ends[diverged], "x", color=style.PALETTE[1], markersize=8, markeredgewidth=2, label="diverged")
    right.axvline(1.0, color="black", linewidth=1.2, label="largest stable")
    right.axvline(float(a["lr"]) * float(a["top"]) / 2, color=style.GREY, linestyle="--", linewidth=1.4, label="certified")
    style.label(right, "Beyond the largest stable rate", "learning rate over the largest stable one", "loss at the end, 1 at the start")
    style.legend(right, loc="lower right")


CLAIM = Claim(
    name="rate",
    title="The learning rate is explicit, and so are the rate and the steps",
    statement="From an aligned start each mode goes to its target without overshoot for every learning rate up to 1 / (lambda Gamma), at a "
    "linear rate that is known beforehand (T4.2, T4.6). Beyond 2 / (largest eigenvalue of the Hessian at the flattest minimum) it cannot "
    "settle (T4.7).",
    experiment="Autoencoding of the eight leading principal components of the images with three layers, on the full matrices. First with "
    "the certified learning rate, comparing every step with the certificate; then with learning rates from a tenth to three times the "
    "largest stable one; then from random aligned starts, comparing the certified rate with the largest stable one at the limit reached.",
    caption="Left: the error of the slowest mode and its bound. Middle: steps promised and taken. Right: the loss after many steps.",
    measure=measure,
    judge=judge,
    draw=draw,
)
