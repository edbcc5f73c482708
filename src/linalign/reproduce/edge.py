"""Beyond the paper: sharpness along training, below and above the edge of stability that is known beforehand."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

import linalign as la

from . import style
from .claim import Arrays, Check, Claim, Comparison, at_least, at_most
from .setting import Setting

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# the setting of arXiv 2502.20531: three layers of 5 x 5, three modes to learn
TARGET = (10.0, 9.5, 9.0, 0.0, 0.0)
RATES = (0.0305, 0.032, 0.0345, 0.0362)
PUBLISHED = (0.030944, 0.033134, 0.035611)
# on images: 2 / lr is above what descent comes to, and below it
IMAGES = (0.01, 0.035, 0.05)
LAST = 200
# records beside one that its band in the picture is of
AROUND = 2


def measure(setting: Setting) -> dict[str, Any]:
    target = np.diag(TARGET)
    net = la.Network.from_matrices([np.zeros((5, 5)), 0.01 * np.eye(5), 0.01 * np.eye(5)])
    out: dict[str, Any] = {"edges": np.sort(la.theory.certify(net, None, target).edges)[:3], "rates": np.array(RATES)}
    steps, every = setting.pick(2000, 1200), setting.pick(1, 3)
    for i, lr in enumerate(RATES):
        run = la.train(net, None, target, lr=lr, steps=steps, record={"sharpness": every, "modes": 1}, metric="parameters")
        seen = run.history["sharpness"]
        out |= {f"steps_{i}": seen.steps, f"sharpness_{i}": seen.values, f"modes_{i}": run.history["modes"].values[-LAST:]}
        out[f"loss_{i}"] = run.loss[-1] / run.loss[0]
    X, Y, _ = setting.samples(setting.pick(500, 150), setting.side)
    X = X - X.mean(axis=0)
    X = X / np.linalg.norm(X, 2)
    net = la.Network.dense([X.shape[1], 32, 16, Y.shape[1]]).init("gaussian", rng=0, scale=0.5)
    scale = np.linalg.norm(Y.T @ X, 2) / IMAGE_MOMENT
    out["image_rates"] = np.array(IMAGES) / scale
    for i, lr in enumerate(out["image_rates"]):
        run = la.train(net, X, Y, lr=lr, steps=setting.pick(6000, 2500), record={"sharpness": 10, "loss": 10}, metric="parameters")
        out |= {
            f"image_steps_{i}": run.history["sharpness"].steps, f"image_sharpness_{i}": run.history["sharpness"].values,
            f"image_loss_{i}": run.history["loss"].values - run.floor,
        }  # fmt: skip
    return out


# the largest singular value of Y^T X in which the rates above were chosen: 200 of the digits
IMAGE_MOMENT = 4.4


def oscillating(modes: Any) -> int:
    """How many modes go up and down for good."""
    return int(np.count_nonzero(np.ptp(modes, axis=0) > 1e-2))


def judge(a: Arrays) -> list[Check]:
    edges = a["edges"]
    checks = [
        at_most("thresholds beside those published: the largest relative difference", np.max(np.abs(edges / PUBLISHED - 1)), 2e-5),
        at_most(
            "below the edge: sharpness at the end times the first threshold over 2, off 1",
            abs(a["sharpness_0"][-1] * edges[0] / 2 - 1),
            1e-6,
        ),
        at_most("below the edge: loss at the end, over the start", a["loss_0"], 1e-12),
    ]
    for i, lr in enumerate(a["rates"]):
        wanted = int(np.count_nonzero(edges < lr))
        checks.append(
            at_most(
                f"lr {lr:g}: modes that oscillate, less the {wanted} whose edge is below", abs(oscillating(a[f"modes_{i}"]) - wanted), 0
            )
        )
    for i in range(1, len(a["rates"])):
        last, limit = a[f"sharpness_{i}"][-LAST // 4 :], 2 / a["rates"][i]
        checks.append(at_least(f"lr {a['rates'][i]:g}: largest sharpness of the last steps, over 2/lr", np.max(last) / limit, 1.0))
    for i, lr in enumerate(a["image_rates"]):
        there = np.median(a[f"image_sharpness_{i}"][-50:]) * lr / 2
        if i == 0:
            checks.append(at_most(f"images, lr {lr:.3g}: sharpness at the end over 2/lr", there, 0.95))
        else:
            checks.append(at_most(f"images, lr {lr:.3g}: sharpness at the end over 2/lr, off 1", abs(there - 1), 0.1))
        checks.append(
            at_most(f"images, lr {lr:.3g}: loss above the least, over the start", a[f"image_loss_{i}"][-1] / a[f"image_loss_{i}"][0], 0.1)
        )
    return checks


def compare(a: Arrays) -> list[Comparison]:
    return [
        Comparison(f"threshold of mode {j + 1}", f"{known:.6f}", [float(edge)], known - 1e-6, known + 1e-6)
        for j, (known, edge) in enumerate(zip(PUBLISHED, a["edges"], strict=True))
    ]


def draw(figure: Figure, a: Arrays) -> None:
    left, right = style.panels(figure, 2)
    for i, colour in zip((2, 1, 0), style.PALETTE[2::-1], strict=True):
        lr, values = float(a["rates"][i]), a[f"sharpness_{i}"]
        # from step to step it goes up and down: a band between the least and the largest of a few
        low, high = (np.array([pick(values[max(t - AROUND, 0) : t + AROUND + 1]) for t in range(len(values))]) for pick in (np.min, np.max))
        left.fill_between(a[f"steps_{i}"], low, high, color=colour, alpha=0.3, linewidth=0)
        for line in (low, high):
            left.plot(a[f"steps_{i}"], line, color=colour, linewidth=1.6, label=f"lr {lr:g}" if line is low else None)
        left.axhline(2 / lr, color=colour, linestyle="--", linewidth=1.2)
    left.set_xlim(400, 700)
    left.set_ylim(0, 110)
    for i, colour in enumerate(style.PALETTE[: len(a["image_rates"])]):
        lr = float(a["image_rates"][i])
        right.plot(a[f"image_steps_{i}"], a[f"image_sharpness_{i}"], color=colour, linewidth=1.6, label=f"lr {lr:.3g}")
        right.axhline(2 / lr, color=colour, linestyle="--", linewidth=1.2)
    right.set_ylim(0, 1.15 * max(2 / float(a["image_rates"][0]), *(float(np.max(a[f"image_sharpness_{i}"])) for i in range(3))))
    right.set_xlim(left=0)
    style.label(left, "Factorisation, three modes", "step of gradient descent", "sharpness (dashed: 2/lr)")
    style.label(right, "Images, a random start", "step of gradient descent", "sharpness (dashed: 2/lr)")
    for ax in (left, right):
        style.steps(ax)
    style.legend(left, loc="upper left")
    style.legend(right, loc="upper left", bbox_to_anchor=(0.05, 0.82))


CLAIM = Claim(
    name="edge",
    title="Beyond the paper: the edge of stability is known beforehand",
    statement="A fitted mode of depth d is stable under gradient descent up to a learning rate of 2 / (lambda d q^(2 - 2/d)); above it the "
    "mode oscillates, and the oscillation balances its layers (T13.5). Between two thresholds exactly the modes below oscillate.",
    experiment="Factorisation of diag(10, 9.5, 9, 0, 0) by three layers, in a setting whose thresholds are published (arXiv 2502.20531), "
    "with one learning rate below all of them and one between each two; the largest eigenvalue of the Hessian is recorded along the way. "
    "Then a network on images, from a random start, with 2/lr above and below the sharpness that it grows to.",
    caption="Sharpness along training. Left: below the edge (blue) it settles under 2/lr; above, it goes up and down from step to step, "
    "in a band beyond its 2/lr. Right: on images it grows until it meets 2/lr, and stays there while the loss goes on falling.",
    measure=measure,
    judge=judge,
    draw=draw,
    compare=compare,
    heading="A setting of ours and one of arXiv 2502.20531, beyond the paper",
)
