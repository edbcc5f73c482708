r"""
The edge of stability, mode by mode
===================================

Paper: Ghosh, Kwon, Wang, Ravishankar and Qu, *Learning dynamics of deep linear networks beyond the edge of stability*, 2025,
`arXiv:2502.20531 <https://arxiv.org/abs/2502.20531>`_.

Three layers factorise a matrix with the singular values 10, 9.5, 9, 0, 0. At the balanced minimum a mode :math:`q` of a network of depth
:math:`d` has the curvature :math:`d\,q^{2-2/d}`, so that gradient descent can rest there only if its learning rate is below

.. math:: \eta_q = \frac{2}{d\,q^{2-2/d}} .

**What to see.** Below :math:`\eta_q` a mode is learned exactly. Above, it swings between two values for ever, then four, then
chaotically; and each mode does so at a threshold of its own, the strongest first. While it swings, the three layers become equally strong:
the balance that gradient flow would keep for ever is lost, and what is left is the flattest of all minima.
"""

import matplotlib.pyplot as plt
import numpy as np

import linalign as la

# sphinx_gallery_start_ignore
plt.rcParams.update({"axes.spines.top": False, "axes.spines.right": False, "axes.axisbelow": True, "grid.color": "0.9"})
# sphinx_gallery_end_ignore

target = np.diag([10.0, 9.5, 9.0, 0.0, 0.0])
published = np.array([0.030944, 0.033134, 0.035611])
depth, q = 3, np.array([10.0, 9.5, 9.0])
predicted = 2 / (depth * q ** (2 - 2 / depth))


def start() -> la.Network:
    """The identity times 0.01 in two layers, zero in the last."""
    return la.Network.dense([5, 5, 5, 5]).init(["identity", "identity", "zero"], scale=[0.01, 0.01, None])


# %%
# 1,201 learning rates, 12,000 steps each; the last 64 are kept.
rates, steps = np.linspace(0.0300, 0.0420, 1201), 12_000
found = la.sweep(start, None, target, grid={"lr": rates}, steps=steps, record={"modes": range(steps - 64, steps + 1)})
orbits = found.histories["modes"].values[:, :, :3]  # (rates, records, modes)
swing = np.ptp(orbits, axis=1)

# %%
# One run beyond the first threshold, watched at every step.


def gap(net: la.Network) -> float:
    """How far apart the three layers are in the strongest mode."""
    return np.ptp([abs(W[0, 0]) for W in net.matrices()])


lr = 0.0322
run = la.train(start(), None, target, lr=lr, steps=1200, record={"sharpness": 1, gap: 1})
sharpness, apart = run.history["sharpness"].values, run.history["gap"].values

# %%
figure, (ax, below) = plt.subplots(2, 1, figsize=(8.5, 8), layout="constrained", height_ratios=[1.5, 1])
for j in range(3):
    ax.plot(np.repeat(rates, orbits.shape[1]), orbits[:, :, j].ravel(), ",", color=f"C{j}", alpha=0.5, rasterized=True)
    ax.plot([], [], "o", color=f"C{j}", markersize=4, label=f"mode of {q[j]:g}")
    ax.axvline(predicted[j], color=f"C{j}", linestyle="--", linewidth=1)
    ax.annotate(
        rf"$\eta_{{{q[j]:g}}}$ = {published[j]:.6f}",
        (predicted[j], 0.02),
        xycoords=("data", "axes fraction"),
        rotation=90,
        ha="right",
        va="bottom",
        fontsize=8,
    )
ax.set(
    xlabel=r"learning rate $\eta$", ylabel="the last 65 values of each mode", title="Where each mode ends up", xlim=(rates[0], rates[-1])
)
ax.legend(frameon=False, loc="upper left")
ax.grid(True)

step = np.arange(1201)
for parity, style in ((0, "-"), (1, ":")):
    name = "even" if parity == 0 else "odd"
    below.plot(step[parity::2], sharpness[parity::2], style, color="C3", linewidth=1.5, label=f"sharpness, {name} steps")
below.axhline(2 / lr, color="0.3", linestyle="--", linewidth=1, label=r"$2/\eta$")
below.set(xlabel=rf"step of gradient descent, $\eta = {lr}$", ylabel="largest eigenvalue of the Hessian", xlim=(0, 1200))
below.set_title("Beyond the first threshold: swinging about $2/\\eta$ balances the layers")
below.grid(True)
other = below.twinx()
other.semilogy(step, np.maximum(apart, 1e-16), color="C0", label="gap of the layers")
other.set_ylabel("gap of the layers, top mode", color="C0")
other.spines["right"].set_visible(True)
lines = [*below.get_legend_handles_labels()[0], *other.get_legend_handles_labels()[0]]
below.legend(lines, [line.get_label() for line in lines], frameon=False, fontsize=8, loc="center left")
plt.show()

# %%
# The numbers
# -----------
# The paper's thresholds have six decimals, and so has the formula. Measured, a mode swings from the first rate of the grid, of spacing
# 1e-5, above its threshold; one spacing more on either side, as close to the threshold a swing takes long to die out, or to grow.
first = np.array([rates[np.argmax(swing[:, j] > 1e-3)] for j in range(3)])
print("predicted", predicted.round(6), "measured", first.round(5))
assert np.all(np.abs(predicted - published) < 1e-6)
assert np.all(np.abs(first - published) <= 2 * (rates[1] - rates[0]))
