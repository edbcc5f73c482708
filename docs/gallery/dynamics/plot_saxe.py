r"""
Exact learning dynamics of two layers
=====================================

Paper: Saxe, McClelland and Ganguli, *Exact solutions to the nonlinear dynamics of learning in deep linear neural networks*, ICLR 2014,
`arXiv:1312.6120 <https://arxiv.org/abs/1312.6120>`_.

Two layers learn what four living things have and can do. The inputs are orthonormal, so that the singular vectors of :math:`Y^\top X`
split the problem into modes. A balanced mode of strength :math:`a` that is to become :math:`s` follows

.. math:: \dot a = 2a(s-a), \qquad a(t) = \frac{s\,e^{2st}}{e^{2st}-1+s/a_0}.

**What to see.** Each mode waits, and then is learned all at once, in a time :math:`\propto 1/s`: first what all share, then animal or
plant, then the single item. Small random weights, which are not aligned with the data, do nearly the same.
"""

import matplotlib.pyplot as plt
import numpy as np

import linalign as la

# sphinx_gallery_start_ignore
plt.rcParams.update({"axes.spines.top": False, "axes.spines.right": False, "axes.axisbelow": True, "grid.color": "0.9"})
# sphinx_gallery_end_ignore

items = ["canary", "salmon", "oak", "rose"]
properties = ["grows", "moves", "has roots", "flies", "swims", "has bark", "has petals"]
Y = np.array([[1, 1, 0, 1, 0, 0, 0], [1, 1, 0, 0, 1, 0, 0], [1, 0, 1, 0, 0, 1, 0], [1, 0, 1, 0, 0, 0, 1]], dtype=float)
X = np.eye(len(items))
s = np.linalg.svd(Y, compute_uv=False)  # sqrt(7), sqrt(3), 1, 1

# %%
# An aligned start, all modes at :math:`a_0 = 0.01`, and a small random one. Both follow gradient flow.
a_0, times = 0.01, np.linspace(0, 5, 201)
shapes = la.Network.dense([4, 16, 7])
aligned = la.flow(shapes.init("aligned", X=X, Y=Y, singular_values=np.sqrt(a_0), rng=0), X, Y, times=times, record={"modes": 1})
network = shapes.init("gaussian", scale=0.01, rng=4)
random = la.flow(network, X, Y, times=times, record={"modes": 1, "outputs": (1, lambda net: net.matrix().T)})
theory = s / (1 + (s / a_0 - 1) * np.exp(-2 * s * times[:, None]))

# %%
figure = plt.figure(figsize=(10, 4.2), layout="constrained")
left, right = figure.subfigures(1, 2, width_ratios=[1.15, 1])
ax = left.subplots()
ax.grid(True)
for j, name in enumerate(["grows: all", "animal or plant", "one of two animals", None]):
    if name is not None:
        ax.plot(times, theory[:, j], color=f"C{j}", linewidth=2, label=f"{name}, $s = {s[j]:.3g}$")
        ax.plot(times[::8], aligned.history["modes"].values[::8, j], "o", color=f"C{j}", markersize=4)
    ax.plot(times, random.history["modes"].values[:, j], "--", color=f"C{min(j, 2)}", linewidth=1)
ax.plot([], [], "k-", label="closed form")
ax.plot([], [], "ko", markersize=4, label="aligned start")
ax.plot([], [], "k--", linewidth=1, label="random start")
ax.set(
    xlabel="time of gradient flow, $t$",
    ylabel="strength of a mode, $a_j(t)$",
    title="Modes are learned one after another",
    ylim=(-0.1, 4.1),
)
ax.legend(fontsize=8, frameon=False, loc="upper center", ncols=2)

moments = [0.0, 0.9, 1.7, 5.0]
axes = right.subplots(4, 1, sharex=True)
for ax, t in zip(axes, moments, strict=True):
    shown = random.history["outputs"].values[np.argmin(np.abs(times - t))]
    image = ax.imshow(shown, cmap="RdBu_r", vmin=-1, vmax=1, aspect="auto")
    ax.set_yticks(range(4), items, fontsize=8)
    ax.set_title(f"$t = {t}$", fontsize=9, loc="left", pad=2)
    ax.spines[:].set_visible(False)
axes[-1].set_xticks(range(7), properties, rotation=35, ha="right", fontsize=8)
right.colorbar(image, ax=list(axes), label="output of the network", shrink=0.8)
right.suptitle("What the network says of each item (random start)", fontsize=10)
plt.show()

# %%
# The numbers
# -----------
# A mode of :math:`s = 1` from :math:`a_0 = 0.01` is half-way at :math:`t = \ln(99)/2 = 2.297560` and has come to 0.995526 at
# :math:`t = 5`. The flow is integrated to a relative error of 1e-8 a step, which leaves some 1e-7 over a hundred steps.
half = la.theory.flow.balanced_time(2, a_0, 0.5, target=1.0, eigenvalue=1.0)
end = aligned.history["modes"].values[-1]
print(f"half-way at {half:.6f}; at t = 5 the last mode is {end[-1]:.6f}")
assert abs(half - 2.297560) < 5e-7  # six digits were printed
assert abs(end[-1] - 0.995526) < 5e-7 + 1e-7
assert np.abs(aligned.history["modes"].values - theory).max() < 1e-6 * s[0]
