r"""
Benign overfitting of deep linear networks
==========================================

Paper: Chatterji and Long, *Deep linear networks can benignly overfit when shallow ones do*, JMLR 2023,
`arXiv:2209.09315 <https://arxiv.org/abs/2209.09315>`_.

A network of three layers, a random first layer of size :math:`\alpha`, the identity in the middle and a random last layer, fits 100 noisy
samples exactly. The inputs have a few strong directions and hundreds of weak ones. With the projection :math:`P` on the rows of X, the
interpolator that training finds is

.. math:: \Theta = \underbrace{\Theta\,P}_{\text{the least }\ell_2\text{ norm solution}} + \;
          \underbrace{W_3 W_2 W_1(0)\,(I - P)}_{\text{what no sample sees}} ,

so that it hides the noise exactly as well as the least-norm solution does; only the second part, which grows with :math:`\alpha`, differs.

**What to see.** Left, the excess risk against the size of the first layer: it comes down to the least-norm risk. Right, more and more
weak directions: the fit becomes benign, and the deep networks follow the shallow one.
"""

import time

import matplotlib.pyplot as plt
import numpy as np

import linalign as la

# sphinx_gallery_start_ignore
plt.rcParams.update({"axes.spines.top": False, "axes.spines.right": False, "axes.axisbelow": True, "grid.color": "0.9"})
# sphinx_gallery_end_ignore

n, outputs, strong = 100, 3, 10


def problem(p: int, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Inputs with `strong` directions of variance 1 and others of 4 / p, a random truth of length 1, noise of variance 1."""
    rng = np.random.default_rng(seed)
    deviations = np.where(np.arange(p) < strong, 1.0, np.sqrt(4 / p))
    X = rng.standard_normal((n, p)) * deviations
    truth = rng.standard_normal((outputs, p)) * (np.arange(p) < strong)
    truth /= np.linalg.norm(truth, axis=1)[:, None]
    return X, X @ truth.T + rng.standard_normal((n, outputs)), truth, deviations


def risk(theta: np.ndarray, truth: np.ndarray, deviations: np.ndarray) -> float:
    """Excess risk of the linear map theta, over that of predicting zero."""
    return float(np.sum(((theta - truth) * deviations) ** 2) / np.sum((truth * deviations) ** 2))


def deep(X: np.ndarray, Y: np.ndarray, alpha: float, width: int) -> la.Run:
    """Gaussian, identity, Gaussian; trained until the residual is 1e-10 of the targets."""
    kinds, scales = ["gaussian", "identity", "gaussian"], [alpha**3, 1.0, 1.0]
    start = la.Network.dense([X.shape[1], width, width, outputs]).init(kinds, scale=scales, rng=7)
    return la.train(start, X, Y, lr="auto", steps=20_000, tol=1e-20 * np.sum(Y**2))


# %%
began = time.perf_counter()
X, Y, truth, deviations = problem(500, 0)
shallow = np.linalg.pinv(X) @ Y
alphas = np.geomspace(0.01, 1.0, 7)
runs = [deep(X, Y, alpha, width=800) for alpha in alphas]
print(runs[0].plan)
print(f"seven networks of {runs[0].network.size:,} parameters: {time.perf_counter() - began:.1f} s")

# %%
dimensions = [150, 200, 400, 800, 1600, 3200]
curves = np.empty((len(dimensions), 3))
for i, p in enumerate(dimensions):
    data = problem(p, 1)
    curves[i, 0] = risk((np.linalg.pinv(data[0]) @ data[1]).T, *data[2:])
    for j, alpha in enumerate((0.05, 1.0), start=1):
        curves[i, j] = risk(deep(data[0], data[1], alpha, width=400).network.matrix(), *data[2:])

# %%
figure, (left, right) = plt.subplots(1, 2, figsize=(10, 4.2), layout="constrained")
left.semilogx(alphas, [risk(run.network.matrix(), truth, deviations) for run in runs], "o-", label="three layers")
left.axhline(risk(shallow.T, truth, deviations), color="C3", linestyle="--", label=r"least $\ell_2$ norm")
left.set(xlabel=r"size of the first layer, $\alpha$", ylabel="excess risk, 1 is to predict zero", title="500 inputs, 100 samples")
for curve, style, text in zip(curves.T, ("C3-", "C0o-", "C1s-"), (r"least $\ell_2$ norm", "deep, 0.05", "deep, 1"), strict=True):
    width = 6 if style == "C3-" else 1.5
    right.loglog(
        dimensions,
        curve,
        style,
        markersize=4,
        linewidth=width,
        alpha=0.35 if width > 2 else 1,
        label=text.replace("deep,", r"deep, $\alpha =$"),
    )
right.set_xticks(dimensions, dimensions)
right.set_yticks([0.2, 0.5, 1, 2], [0.2, 0.5, 1, 2])
right.minorticks_off()
right.set(xlabel="number of inputs, 100 samples", ylabel="excess risk", title="More weak directions")
for ax in (left, right):
    ax.legend(frameon=False)
    ax.grid(True)
plt.show()

# %%
# The number
# ----------
# On the rows of X the networks are the least-norm solution, whatever :math:`\alpha`: the loss was brought to 1e-20 of the targets, a
# relative error of 1e-10 in the outputs, times the condition number of X in the map.
condition = np.linalg.cond(X)
P = np.linalg.pinv(X) @ X
for alpha, run in zip(alphas, runs, strict=True):
    gap = np.linalg.norm(run.network.matrix() @ P - shallow.T) / np.linalg.norm(shallow)
    assert gap < 1e-10 * condition * 10, (alpha, gap)
at_small = risk(runs[0].network.matrix(), truth, deviations)
print(f"excess risk {at_small:.6f} at alpha = {alphas[0]:g}, least norm {risk(shallow.T, truth, deviations):.6f}")
