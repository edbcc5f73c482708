r"""
From lazy to rich: a phase diagram of 1,600 networks
====================================================

Papers: Braun, Dominé, Fitzgerald and Saxe, *Exact learning dynamics of deep linear networks with prior knowledge*, NeurIPS 2022; Dominé,
Anguita, Proca, Braun, Kunin, Mediano and Saxe, *From lazy to rich: exact learning dynamics in deep linear networks*, 2024,
`arXiv:2409.14623 <https://arxiv.org/abs/2409.14623>`_.

Two layers start with :math:`W_2^\top W_2 - W_1 W_1^\top = \lambda I`, which gradient flow keeps. On whitened data with the singular values
:math:`s_j` and vectors :math:`u_j, v_j` of :math:`Y^\top X` the layers end at

.. math:: W_1^\top W_1 = \sum_j \bigl(\sqrt{s_j^2+\lambda^2/4} - \lambda/2\bigr)\, v_j v_j^\top, \qquad
          W_2 W_2^\top = \sum_j \bigl(\sqrt{s_j^2+\lambda^2/4} + \lambda/2\bigr)\, u_j u_j^\top .

Both make the neural tangent kernel, :math:`\Theta = X W_1^\top W_1 X^\top \otimes I + X X^\top \otimes W_2 W_2^\top`. How far it has turned
says whether features were learned (rich) or not (lazy).

**What to see.** Strong imbalance of either sign is lazy, however small the start; in balanced networks the kernel turns at every size.
The whole plane lies on the closed form.
"""

import time

import matplotlib.pyplot as plt
import numpy as np

import linalign as la

# sphinx_gallery_start_ignore
plt.rcParams.update({"axes.spines.top": False, "axes.spines.right": False, "axes.axisbelow": True, "grid.color": "0.9"})
# sphinx_gallery_end_ignore

k = 5
rng = np.random.default_rng(1)
X = np.linalg.qr(rng.standard_normal((10, k)))[0]  # whitened: X^T X = I
Y = rng.standard_normal((10, k))
U, s, Vt = np.linalg.svd(Y.T @ X)


def start(lam: float, scale: float) -> la.Network:
    """One draw, at every size and imbalance."""
    return la.Network.dense([k, k, k]).init("lambda_balanced", lam=lam, scale=scale, rng=3)


def distance(first: tuple[np.ndarray, np.ndarray], last: tuple[np.ndarray, np.ndarray]) -> float:
    """1 - cosine of two kernels, each given as `W_1^T W_1` and `W_2 W_2^T`: whitened data leave these alone."""

    def inner(a: tuple[np.ndarray, np.ndarray], b: tuple[np.ndarray, np.ndarray]) -> float:
        traces = np.trace(a[0]) * np.trace(b[1]) + np.trace(a[1]) * np.trace(b[0])
        return k * np.sum(a[0] * b[0]) + k * np.sum(a[1] * b[1]) + traces

    return 1 - inner(first, last) / np.sqrt(inner(first, first) * inner(last, last))


def grams(net: la.Network) -> tuple[np.ndarray, np.ndarray]:
    first, second = net.matrices()
    return first.T @ first, second @ second.T


def predicted(lam: float, scale: float) -> float:
    """From the start and the closed form of the end."""
    root = np.sqrt(s**2 + lam**2 / 4)
    return distance(grams(start(lam, scale)), (Vt.T * (root - lam / 2) @ Vt, U * (root + lam / 2) @ U.T))


# %%
# 40 imbalances by 40 sizes, 4,000 steps each.
lams, scales = np.linspace(-8, 8, 40), np.geomspace(0.01, 10, 40)
began = time.perf_counter()
found = la.sweep(
    start, X, Y, grid={"lam": lams, "scale": scales}, lr=0.005, steps=4000, record={"kernel_distance": [4000]}, metric="parameters"
)
print(f"{found}, {time.perf_counter() - began:.1f} s")
plane = found.histories["kernel_distance"].values[:, -1].reshape(40, 40)
theory = np.array([[predicted(lam, scale) for scale in scales] for lam in lams])

# %%
figure, (left, right) = plt.subplots(1, 2, figsize=(10.5, 4.4), layout="constrained")
image = left.pcolormesh(lams, scales, plane.T, cmap="magma", vmin=0, shading="nearest", rasterized=True)
left.set(yscale="log", xlabel=r"imbalance $\lambda$", ylabel="size of the start (end to end)", title="1,600 networks 5-5-5")
figure.colorbar(image, ax=left, label="distance of the tangent kernel from its start")
for text, at, colour in (("rich", (0, 0.7), "black"), ("lazy", (-6.2, 0.05), "white"), ("lazy", (6.2, 0.05), "white")):
    left.text(*at, text, ha="center", color=colour)
for place, colour in ((4, "C0"), (20, "C1"), (28, "C2")):
    right.plot(lams, plane[:, place], "o", color=colour, markersize=4, label=f"trained, size {scales[place]:.2g}")
    right.plot(lams, theory[:, place], color=colour, linewidth=1)
right.plot([], [], "k-", linewidth=1, label="closed form")
right.set(xlabel=r"imbalance $\lambda$", ylabel="distance of the tangent kernel", title="Cuts at three sizes", ylim=(0, None))
right.legend(frameon=False, fontsize=8)
right.grid(True)
plt.show()

# %%
# The number
# ----------
# Measured against the closed form in all 1,600 networks. The formula is that of the flow. Descent with the learning rate
# :math:`\eta = 0.005` changes :math:`\lambda` by :math:`\eta^2` a step times what is left of the squared gradient, so that its kernels
# differ relatively by some :math:`\eta` times the curvature: at the largest starts, of curvature 20, by a tenth of a distance of 0.25, and
# in the median, at a curvature of 4, by less than 0.001.
difference = np.abs(plane - theory)
print(f"largest difference {difference.max():.4f}, median {np.median(difference):.1e}")
assert np.median(difference) < 1e-3
assert difference.max() < 0.03
