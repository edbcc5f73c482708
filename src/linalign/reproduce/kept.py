"""Alignment is kept where the condition on the data holds, and lost where it does not."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

import linalign as la

from ..validate import Array
from . import style
from .bases import aligned_start, turned
from .claim import Arrays, Check, Claim, at_least, at_most
from .setting import Setting

if TYPE_CHECKING:
    from matplotlib.figure import Figure

CASES = {
    "autoencoding": "autoencoding: the targets are the images",
    "factorisation": "factorisation: the target is a matrix, the class means",
    "generic": "generic data: the targets are the classes",
}
HOLDS = ("autoencoding", "factorisation")
DEPTH, SCALE = 3, 0.3


def problem(setting: Setting, case: str) -> tuple[Array | None, Array, list[int]]:
    """X, Y and widths."""
    X, Y, labels = setting.samples(setting.pick(500, 100), setting.side)
    X = X - X.mean(axis=0)
    pixels, classes = X.shape[1], Y.shape[1]
    if case == "autoencoding":
        return X, X, [pixels, pixels // 2, pixels // 2, pixels]
    if case == "factorisation":
        means = np.array([X[labels == c].mean(axis=0) if (labels == c).any() else np.zeros(pixels) for c in range(classes)])
        return None, means, [pixels, pixels // 2, 2 * classes, classes]
    return X, Y, [pixels, pixels // 2, 2 * classes, classes]


def measure(setting: Setting) -> dict[str, Any]:
    steps = setting.pick(20_000, 4_000)
    out: dict[str, Any] = {}
    for case in CASES:
        X, Y, widths = problem(setting, case)
        condition = la.theory.invariance_condition(X, Y)
        rank = min(widths)
        net, bases = aligned_start(widths, condition.inputs, condition.outputs, np.full((DEPTH, rank), SCALE))
        # half the largest stable rate of a mode of the largest variance at the largest fit
        largest = float(condition.eigenvalues.max())
        fits = condition.targets[:rank] / np.maximum(condition.eigenvalues[:rank], 1e-9 * largest)
        lr = 0.5 / (largest * DEPTH * float(np.clip(fits.max(), SCALE**DEPTH, 1e3)) ** (2 - 2 / DEPTH))
        proof = la.theory.certify(net, X, Y)
        if proof.lr_matrix is not None:
            lr = proof.lr_matrix
        best = la.theory.aligned_minimum(widths, X, Y)
        # the matrices themselves: reduced to scalars they could not turn
        run = la.train(net, X, Y, lr=lr, steps=steps, record={turned(bases): "log", "loss": "log"}, reduce="none")
        seen = run.history["turned"]
        out |= {
            f"{case}_residual": condition.residual, f"{case}_commutator": condition.commutator, f"{case}_steps": seen.steps,
            f"{case}_turned": seen.values, f"{case}_loss": run.history["loss"].values - best.optimum, f"{case}_lr": lr,
        }  # fmt: skip
    return out


def judge(a: Arrays) -> list[Check]:
    checks = []
    for case in CASES:
        if case in HOLDS:
            checks += [
                at_most(f"{case}: residual of the condition", a[f"{case}_residual"], 1e-10),
                at_most(f"{case}: most that any layer turned", np.max(a[f"{case}_turned"]), 1e-8),
            ]
        else:
            checks += [
                at_least(f"{case}: commutator of the condition", a[f"{case}_commutator"], 1e-4),
                at_most(f"{case}: turned at the start", a[f"{case}_turned"][0], 1e-10),
                at_least(f"{case}: most that any layer turned", np.max(a[f"{case}_turned"]), 1e-2),
            ]
        excess = a[f"{case}_loss"]
        checks.append(at_most(f"{case}: loss above the least at the end, over that at the start", excess[-1] / excess[0], 0.5))
    return checks


def draw(figure: Figure, a: Arrays) -> None:
    left, right = style.panels(figure, 2)
    for case, colour in zip(CASES, style.PALETTE, strict=False):
        at = a[f"{case}_steps"]
        left.semilogy(at, np.maximum(a[f"{case}_turned"], style.FLOOR), color=colour, linewidth=2, label=case)
        excess = a[f"{case}_loss"]
        right.semilogy(at, np.maximum(excess / excess[0], 1e-12), color=colour, linewidth=2, label=case)
    style.bound(left, 1e-8, "kept, if below")
    style.label(left, "How far the layers have turned", "step of gradient descent", "largest off-diagonal share of a layer")
    style.label(right, "All three learn", "step of gradient descent", "loss above the least, 1 at the start")
    left.set_ylim(style.FLOOR, 3)
    for ax in (left, right):
        style.log_steps(ax)
    style.legend(left, loc="center right", bbox_to_anchor=(1.0, 0.32))
    style.legend(right, loc="lower left")


CLAIM = Claim(
    name="kept",
    title="Alignment is kept exactly where the data allow it",
    statement="With the squared loss, gradient descent keeps every aligned start in its singular bases, with any learning rate, exactly "
    "when X^T X and (Y^T X)^T (Y^T X) commute (T3.2). Autoencoding and matrix factorisation satisfy this; generic data do not.",
    experiment="Three networks of three layers start in the singular bases of the data (for generic data: in the bases that come "
    "nearest) and are trained on the full matrices, with no reduction to scalars. At each recorded step every layer is written in the "
    "bases of the start; what is off the diagonal has turned.",
    caption="Left: the largest off-diagonal share of any layer. Right: the loss above the least possible, so that nothing stands still.",
    measure=measure,
    judge=judge,
    draw=draw,
)
