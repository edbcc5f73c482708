r"""
Linear autoencoders with weight decay learn the principal directions
====================================================================

Papers: Kunin, Bloom, Goeva and Seed, *Loss landscapes of regularized linear autoencoders*, ICML 2019,
`arXiv:1901.08168 <https://arxiv.org/abs/1901.08168>`_; Pretorius, Kroon and Kamper, *Learning dynamics of linear denoising autoencoders*,
ICML 2018, `arXiv:1806.05413 <https://arxiv.org/abs/1806.05413>`_.

An autoencoder :math:`W_2W_1` with the loss :math:`\frac12\lVert X - XW_1^\top W_2^\top\rVert^2 + \frac\mu2(\lVert W_1\rVert^2 +
\lVert W_2\rVert^2)` has its minimum at

.. math:: W_2 W_1 = \sum_{j\le k} \Bigl(1 - \frac{\mu}{s_j^2}\Bigr)_+ v_j v_j^\top, \qquad W_2 = W_1^\top,

with the singular values :math:`s_j` and vectors :math:`v_j` of the data. Without decay it only finds their span. On the way a balanced mode
follows, as the second paper has it,

.. math:: \dot p = 2p\,\bigl(s_j^2(1-p) - \mu\bigr), \qquad p(t) = \frac{p_\infty}{1 + (p_\infty/p_0 - 1)\,e^{-2(s_j^2-\mu)t}},
          \quad p_\infty = 1 - \frac{\mu}{s_j^2} .

**What to see.** Directions are learned in the order of their variance, along the closed form, to the shrunk values that it has, and those
with :math:`s_j^2 < \mu` never. The decoder's singular vectors turn to the principal directions, and encoder and decoder become
transposes at the rate of the decay.
"""

import matplotlib.pyplot as plt
import numpy as np

import linalign as la

# sphinx_gallery_start_ignore
plt.rcParams.update({"axes.spines.top": False, "axes.spines.right": False, "axes.axisbelow": True, "grid.color": "0.9"})
# sphinx_gallery_end_ignore

n, pixels, code = 500, 30, 8
rng = np.random.default_rng(0)
axes_of_data = np.linalg.qr(rng.standard_normal((pixels, pixels)))[0]
X = rng.standard_normal((n, pixels)) * np.sqrt(4.0 * 0.75 ** np.arange(pixels)) @ axes_of_data.T / np.sqrt(n)
s, Vt = np.linalg.svd(X)[1:]
start = la.Network.dense([pixels, code, pixels]).init("gaussian", scale=0.05, rng=1)
mu, lr, steps = 0.8, 0.1, 4000


def directions(net: la.Network) -> np.ndarray:
    """How well each of the decoder's singular vectors is a principal direction."""
    return np.abs(np.sum(np.linalg.svd(net.matrices()[1])[0][:, :code] * Vt[:code].T, axis=0))


def transposes(net: la.Network) -> float:
    first, second = net.matrices()
    return float(np.linalg.norm(second - first.T))


# a balanced start in the directions of the data, and a random one
p_0, small = 0.01, 0.002
aligned = start.init("aligned", X=X, Y=X, singular_values=np.sqrt(p_0), rng=1)
modes = la.train(aligned, X, X, lr=small, steps=8000, weight_decay=mu, record={"modes": 20}).history["modes"]
time = small * modes.steps[:, None]
p_end = 1 - mu / s[:code] ** 2
logistic = p_end / (1 + (p_end / p_0 - 1) * np.exp(-2 * (s[:code] ** 2 - mu) * time))

seen = {directions: 20, transposes: 20}
runs = {decay: la.train(start, X, X, lr=lr, steps=steps, weight_decay=decay, record=seen) for decay in (mu, 0.0)}
print(runs[mu].plan)

# %%
# The same for other decays: where each direction ends up.
decays = np.linspace(0.02, 4.2, 22)
swept = la.sweep(lambda: start, X, X, grid={"weight_decay": decays}, lr=lr, steps=20_000, record={"singular_values": [20_000]})
ends = swept.histories["singular_values"].values[:, -1, :code]

# %%
figure, (first, second, third) = plt.subplots(1, 3, figsize=(12, 4.1), layout="constrained")
for j in range(code):
    first.plot(time[:, 0], logistic[:, j], color=plt.cm.viridis(j / code), linewidth=1)
    first.plot(time[::12, 0], modes.values[::12, j], "o", color=plt.cm.viridis(j / code), markersize=3.5)
    second.plot(decays, ends[:, j], "o", color=plt.cm.viridis(j / code), markersize=3.5)
    fine = np.linspace(0, 4.2, 300)
    second.plot(fine, np.maximum(1 - fine / s[j] ** 2, 0), color=plt.cm.viridis(j / code), linewidth=1)
first.set(xlabel="learning rate times steps, $t$", ylabel="strength of a mode of $W_2W_1$", ylim=(-0.02, 1.05))
first.set_title(rf"On the way, $\mu = {mu}$; curves: closed form")
second.set(xlabel=r"weight decay $\mu$", ylabel="singular value at the end", title=r"Curves: $(1-\mu/s_j^2)_+$", ylim=(-0.02, 1.05))
for decay, style in ((mu, "-"), (0.0, "--")):
    third.plot(
        runs[decay].history["directions"].steps,
        runs[decay].history["directions"].values[:, 0],
        "C0" + style,
        label=rf"$|u_1 \cdot v_1|$ of the decoder, $\mu = {decay}$",
    )
    third.plot(
        runs[decay].history["transposes"].steps,
        runs[decay].history["transposes"].values,
        "C1" + style,
        label=rf"$\Vert W_2 - W_1^\top\Vert$, $\mu = {decay}$",
    )
third.set(xlabel="step of gradient descent", title="Directions, and transposes", xlim=(0, 600), ylim=(-0.02, None))
third.legend(frameon=False, fontsize=8)
for ax in (first, second, third):
    ax.grid(True)
plt.show()

# %%
# The numbers
# -----------
# The closed form is that of the flow; a step of descent is off it by half its square in the logarithm, in all at most the learning rate
# times the largest rate, :math:`2\eta s_1^2`. Singular values at the end against the formula. Those at the threshold, :math:`s_j^2 \approx
# \mu`, converge like :math:`1/t` and not exponentially: a mode with :math:`\dot p = 2p\,(s^2 - \mu - s^2p)` is within :math:`1/(2 s^2 \eta
# t)`, 3e-4 for the smallest, of its end.
print("on the way, largest deviation", np.abs(modes.values[:, :code] - logistic).max())
assert np.abs(modes.values[:, :code] - logistic).max() < 2 * small * s[0] ** 2
theory = np.maximum(1 - decays[:, None] / s[:code] ** 2, 0)
print("largest deviation over 22 decays and 8 directions:", np.abs(ends - theory).max())
assert np.abs(ends - theory).max() < 1 / (2 * s[code - 1] ** 2 * lr * 20_000)
assert runs[mu].history["transposes"].values[-1] < 1e-10
