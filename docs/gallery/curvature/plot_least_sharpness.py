r"""
Implicit flatness: small starts end near the least sharpness there is
=====================================================================

Paper: Marion and Chizat, *Deep linear networks for regression are implicitly regularized towards flat minima*, NeurIPS 2024,
`arXiv:2405.13456 <https://arxiv.org/abs/2405.13456>`_.

A network of d layers and one output fits :math:`y = Xw`, loss :math:`\frac1n\lVert\cdot\rVert^2`. It can do so in many ways, and the
curvature of the loss there has no upper bound, but a lower one: with :math:`\hat w = w/\lVert w\rVert`,

.. math:: \lambda_{\max}(\nabla^2 L) \;\ge\; 2d\,\lVert w\rVert^{2-2/d}\;\hat w^\top \tfrac1n X^\top X\, \hat w \;=\; S_{\min} .

A learning rate above :math:`2/S_{\min}` therefore converges from no start.

**What to see.** Left, gradient descent with small steps from starts of all sizes: small ones end within a small factor of the bound,
large ones far above it. Right, large steps: whoever converges lies below :math:`2/\eta`, and beyond :math:`2/S_{\min}` nobody does.
"""

import matplotlib.pyplot as plt
import numpy as np

import linalign as la

# sphinx_gallery_start_ignore
plt.rcParams.update({"axes.spines.top": False, "axes.spines.right": False, "axes.axisbelow": True, "grid.color": "0.9"})
# sphinx_gallery_end_ignore

n, inputs, depth = 50, 5, 10
rng = np.random.default_rng(0)
X = rng.standard_normal((n, inputs)) * [1.3, 1.1, 1.0, 0.9, 0.7]
w = rng.standard_normal(inputs)
w /= np.linalg.norm(w)
Y = (X @ w)[:, None]
C = X.T @ X / n
least = 2 * depth * w @ C @ w
largest_eigenvalue = np.linalg.eigvalsh(C)[-1]


def start(scale: float, rng: int) -> la.Network:
    """All layers Gaussian with entries of deviation `scale / sqrt(inputs)`."""
    return la.Network.dense([inputs] * depth + [1]).init("gaussian", scale=scale**depth, rng=rng)


def sharpness(found: la.Sweep) -> np.ndarray:
    """At the end of every run, in the shape of the grid; nan for those that did not converge."""
    ends = [la.sharpness(run.network, X, Y, loss="mse") if run.converged else np.nan for run in found.runs]
    return np.reshape(ends, found.shape)


# %%
# Small steps: 15 sizes, 10 draws each.
options = {"loss": "mse", "tol": 1e-14, "keep_runs": True}
scales = np.linspace(0.6, 1.3, 15)
slow = la.sweep(start, X, Y, grid={"scale": scales, "rng": range(10)}, lr=5e-4, steps=200_000, **options)
reached = sharpness(slow)

# %%
# Large steps, from one size.
rates = np.geomspace(0.01, 0.16, 25)
fast = la.sweep(lambda rng: start(1.05, rng), X, Y, grid={"lr": rates, "rng": range(10)}, steps=40_000, **options)
settled = sharpness(fast)
print(slow, fast, sep="\n")
print(f"{np.isfinite(reached).sum()} and {np.isfinite(settled).sum()} converged")

# %%
figure, (left, right) = plt.subplots(1, 2, figsize=(10, 4.3), layout="constrained")
left.semilogy(np.repeat(scales, 10), reached.ravel() / least, "o", markersize=3, alpha=0.6, label="runs")
left.semilogy(scales, np.nanmedian(reached, axis=1) / least, color="C0", linewidth=1, label="their median")
left.axhline(1, color="C3", linestyle="--", label=r"least sharpness $S_{\mathrm{min}}$")
left.set(xlabel=r"size of the start, $\sqrt{5}$ times the deviation of an entry", ylabel=r"sharpness at the end over $S_{\mathrm{min}}$")
left.set_title("Small steps")
right.loglog(np.repeat(rates, 10), settled.ravel(), "o", markersize=3, alpha=0.6, label="runs that converged")
right.loglog(rates, 2 / rates, color="0.3", linewidth=1, label=r"$2/\eta$")
right.axhline(least, color="C3", linestyle="--", label=r"least sharpness $S_{\mathrm{min}}$")
right.axvline(2 / least, color="C3", linestyle=":", linewidth=1)
right.text(2 / least * 1.03, least * 5, r"$\eta = 2/S_{\mathrm{min}}$", color="C3", fontsize=9)
right.set(xlabel=r"learning rate $\eta$", ylabel="sharpness at the end", title="Large steps")
for ax in (left, right):
    ax.legend(frameon=False)
    ax.grid(True)
plt.show()

# %%
# The numbers
# -----------
# No minimiser is below the bound; runs end at a loss of 1e-14, where the curvature is that of a minimiser to some 1e-6. A minimiser with
# :math:`\eta\lambda = 2(1+\varepsilon)` throws descent off by a factor of :math:`1+2\varepsilon` a step, from rounding if need be: within
# some thousand steps unless :math:`\varepsilon` is below 1 %. Small starts end below the paper's constant, :math:`8d\Lambda` with the
# largest eigenvalue :math:`\Lambda` of the covariance.
print(f"S_min {least:.4f}; smallest reached {np.nanmin(reached):.4f}, {np.nanmin(settled):.4f}")
assert np.nanmin(reached) > least * (1 - 1e-5)
assert np.nanmin(settled) > least * (1 - 1e-5)
assert np.nanmax(settled * rates[:, None]) < 2 * (1 + 0.01)
assert np.nanmax(reached[:4]) < 8 * depth * largest_eigenvalue
assert np.isnan(settled[rates > 2 / least]).all()
