r"""
Muon learns all modes at one speed
==================================

Papers: Jordan, Jin, Boza, You, Cesista, Newhouse and Bernstein, *Muon: an optimizer for hidden layers in neural networks*, 2024 (on the
web); Bernstein and Newhouse, *Old optimizer, new norm: an anthology*, 2024, `arXiv:2409.20325 <https://arxiv.org/abs/2409.20325>`_.

Muon replaces the gradient of a layer, :math:`G = U\Sigma V^\top`, by its polar factor :math:`UV^\top`. On an aligned network the gradients
of all layers are diagonal in the layers' own bases, and the rule is the sign of each mode: the scalars of a mode that is not yet learned
grow by the learning rate,

.. math:: \sigma_{ij}(t) = \sigma_0 + \eta t, \qquad p_j(t) = (\sigma_0 + \eta t)^d \quad\text{until } p_j = s_j,

where gradient descent has :math:`\dot p_j = d\,p_j^{2-2/d}(s_j - p_j)`.

**What to see.** Gradient descent learns the strongest mode first and the weakest 14 times later. Under Muon all modes grow along one
curve and leave it where they are done: the *weak* modes are learned first.
"""

import matplotlib.pyplot as plt
import numpy as np

import linalign as la

# sphinx_gallery_start_ignore
plt.rcParams.update({"axes.spines.top": False, "axes.spines.right": False, "axes.axisbelow": True, "grid.color": "0.9"})
# sphinx_gallery_end_ignore

depth, width = 3, 12
s = np.array([8.0, 4.0, 2.0, 1.0, 0.5])
rng = np.random.default_rng(0)
U, V = (np.linalg.qr(rng.standard_normal((width, len(s))))[0] for _ in range(2))
target = U * s @ V.T
sigma_0 = 0.1
strengths = np.zeros(width)
strengths[: len(s)] = sigma_0
start = la.Network.dense([width] * (depth + 1)).init("aligned", Y=target, singular_values=strengths, rng=1)

# %%
# Gradient descent, Muon with the exact polar factor, and Muon with the five Newton-Schulz steps that are used in practice.
polar = la.optim.Muon(momentum=0.0, nesterov=False, weight_decay=0.0, form="polar", adjust_lr="none")
newton = la.optim.Muon(momentum=0.0, nesterov=False, weight_decay=0.0, adjust_lr="none")
lr = 0.002
descent = la.train(start, None, target, lr=0.005, steps=40_000, record={"modes": 20})
exact = la.train(start, None, target, lr=lr, steps=1500, optimizer=polar, record={"modes": 1})
practical = la.train(start, None, target, lr=lr, steps=1500, optimizer=newton, record={"modes": 1})
print(exact.plan)

# %%
figure, axes = plt.subplots(1, 3, figsize=(12, 4), layout="constrained", sharey=True)
for ax, run, title in zip(
    axes, (descent, exact, practical), ("Gradient descent", "Muon, polar factor", "Muon, Newton-Schulz"), strict=True
):
    history = run.history["modes"]
    for j, strength in enumerate(s):
        ax.plot(history.steps, history.values[:, j], color=f"C{j}", linewidth=1.6, label=f"$s = {strength:g}$")
    ax.set(xlabel="step", title=title)
    ax.grid(True)
axes[0].set_xscale("log")
axes[0].set_xlim(20, 40_000)
axes[0].set_xlabel("step (logarithmic)")
axes[0].set_ylabel("strength of a mode, $p_j$")
t = np.arange(1500)
axes[1].plot(t, np.minimum((sigma_0 + lr * t) ** depth, 8), "k--", linewidth=1, label=r"$(\sigma_0+\eta t)^3$")
axes[1].legend(frameon=False, fontsize=9)
plt.show()

# %%
# The number
# ----------
# Until a mode arrives it lies on :math:`(\sigma_0+\eta t)^d`. The polar factor of a diagonal matrix has entries 1 to a few roundings a
# step, so 1000 steps leave less than 1e-12 in a number of size 8.
worst = 0.0
for j, strength in enumerate(s):
    arrival = int((strength ** (1 / depth) - sigma_0) / lr)
    growing = np.arange(arrival - 1)
    worst = max(worst, np.abs(exact.history["modes"].values[: arrival - 1, j] - (sigma_0 + lr * growing) ** depth).max())
print("largest deviation from the closed form:", worst)
assert worst < 1e-11
half = [int(history.steps[np.argmax(history.values[:, 4] > 0.25)]) for history in (descent.history["modes"], exact.history["modes"])]
first = [int(history.steps[np.argmax(history.values[:, 0] > 4.0)]) for history in (descent.history["modes"], exact.history["modes"])]
print(f"half-way, weakest and strongest mode: gradient descent {half[0]}, {first[0]}; Muon {half[1]}, {first[1]}")
assert half[0] > first[0]
assert half[1] < first[1]
