r"""
Label noise finds the sparse solution
=====================================

Papers: HaoChen, Wei, Lee and Ma, *Shape matters: understanding the implicit bias of the noise covariance*, COLT 2021,
`arXiv:2006.08680 <https://arxiv.org/abs/2006.08680>`_; Pillaud-Vivien, Reygner and Flammarion, *Label noise (stochastic) gradient descent
implicitly solves the Lasso for quadratic parametrisation*, COLT 2022, `arXiv:2206.09841 <https://arxiv.org/abs/2206.09841>`_.

Linear regression with 100 weights, five of them not zero, from 40 samples, as :math:`\beta = u^2 - v^2` from a large start. Gradient
descent interpolates far from the truth (the kernel regime). Fresh noise of deviation :math:`\sigma` on the labels of every step adds, on
the way along the solutions, a slow descent on

.. math:: \tfrac12 \eta\sigma^2 \sum_j \lVert X_j \rVert^2 (u_j^2 + v_j^2) \;\ge\; \tfrac12 \eta\sigma^2 \sum_j \lVert X_j\rVert^2\,
          \lvert\beta_j\rvert,

a weighted :math:`\ell_1` norm: a Lasso, without a penalty in the loss.

**What to see.** Without noise the weights stay dense. With it the error falls to a plateau, on which the noise moves the weights about, and
once it is switched off the sparse solution is there.
"""

import matplotlib.pyplot as plt
import numpy as np
import scipy.optimize

import linalign as la

# sphinx_gallery_start_ignore
plt.rcParams.update({"axes.spines.top": False, "axes.spines.right": False, "axes.axisbelow": True, "grid.color": "0.9"})
# sphinx_gallery_end_ignore

n, d, sigma = 40, 100, 1.0
rng = np.random.default_rng(0)
truth = np.zeros(d)
truth[rng.choice(d, 5, replace=False)] = [1.5, -1.0, 2.0, 1.0, -1.5]
X = rng.standard_normal((n, d)) / np.sqrt(n)
y = X @ truth

twice = la.Fixed(np.vstack([np.eye(d), -np.eye(d)]))
weights = np.ones(2 * d)
start = la.Network([twice, la.Diagonal(2 * d), la.Dense(2 * d, 1)], [np.zeros(0), weights, weights[None]])


def error(net: la.Network) -> float:
    return float(np.linalg.norm(net.matrix()[0] - truth) / np.linalg.norm(truth))


# %%
# The same descent with and without noise, then both without.
lr, noisy_steps, quiet_steps = 0.03, 80_000, 30_000
seen = {error: 500}
quiet = la.train(start, X, y, lr=lr, steps=noisy_steps, record=seen)
noisy = la.train(start, X, y, lr=lr, steps=noisy_steps, label_noise=sigma, rng=1, record=seen)
cooled = la.train(noisy.network, X, y, lr=lr, steps=quiet_steps, record=seen)
print(quiet, noisy, cooled, sep="\n")

# %%
# The oracle: least weighted :math:`\ell_1` norm of all that fit, by linear programming.
cost = np.linalg.norm(X, axis=0) ** 2
program = scipy.optimize.linprog(np.concatenate([cost, cost]), A_eq=np.hstack([X, -X]), b_eq=y)
lasso = program.x[:d] - program.x[d:]

# %%
figure, (left, right) = plt.subplots(1, 2, figsize=(10.5, 4.2), layout="constrained", width_ratios=[1.1, 1])
left.semilogy(quiet.history["error"].steps, quiet.history["error"].values, label="no noise")
left.semilogy(noisy.history["error"].steps, noisy.history["error"].values, color="C1", label="noise on the labels")
left.semilogy(noisy_steps + cooled.history["error"].steps, cooled.history["error"].values, color="C2", label="noise switched off")
left.set(xlabel="step of gradient descent", ylabel="relative error of the weights", title="Noise on the labels")
left.legend(frameon=False)
order = np.argsort(-np.abs(truth), kind="stable")[:40]
places = np.arange(40)
right.plot(places, quiet.network.matrix()[0][order], "o", color="C0", markersize=4, fillstyle="none", label="no noise")
right.plot(places, cooled.network.matrix()[0][order], "s", color="C2", markersize=4, label="after label noise")
right.plot(places, truth[order], "_", color="black", markersize=9, label="truth")
right.axhline(0, color="0.6", linewidth=0.6)
right.set(xlabel="weight, the five of the truth first", ylabel="value", title="40 of the 100 weights")
right.legend(frameon=False)
for ax in (left, right):
    ax.grid(True)
plt.show()

# %%
# The numbers
# -----------
# The limit of long noise and small rates is the linear program's answer. Weights that it does not use fall like
# :math:`e^{-\eta^2\sigma^2\lVert X_j\rVert^2 t/2}`, here to :math:`e^{-36}`. What remains is the wandering of the noise, the plateau of the
# left picture, which goes once it is switched off but for what moves slowest: below :math:`\eta\sigma`, 3 %.
found = cooled.network.matrix()[0]
distance = np.linalg.norm(found - lasso) / np.linalg.norm(lasso)
dense = np.linalg.norm(quiet.network.matrix()[0] - lasso) / np.linalg.norm(lasso)
print(f"distance to the Lasso's solution {distance:.1e}; without noise {dense:.3f}")
assert distance < 0.03 < dense
