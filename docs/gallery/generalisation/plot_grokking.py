r"""
Grokking of a linear estimator
==============================

Paper: Levi, Beck and Bar-Sinai, *Grokking in linear estimators -- a solvable model that groks without understanding*, ICLR 2024,
`arXiv:2310.16441 <https://arxiv.org/abs/2310.16441>`_.

A student learns a linear teacher from N Gaussian samples of dimension :math:`d < N`. With the eigenvalues :math:`\nu` of the samples'
covariance, of the law of Marchenko and Pastur for :math:`\lambda = d/N`, the losses decay as

.. math:: L_{train}(t) = L_0 \int \nu\,e^{-4\eta\nu t}\,d\mu_\lambda, \qquad L_{test}(t) = L_0 \int e^{-4\eta\nu t}\,d\mu_\lambda(\nu) .

An accuracy counts predictions that are off by less than :math:`\epsilon`:
:math:`A = \operatorname{erf}\sqrt{\epsilon^2/2L}` of either loss.

**What to see.** Near :math:`\lambda = 1` the training accuracy is perfect long before the test accuracy begins to rise, and then that
rises fast. Both losses decay all the while: the jump is in the measure. Curves are the integrals, dots a run.
"""

import matplotlib.pyplot as plt
import numpy as np
import scipy.special

import linalign as la

# sphinx_gallery_start_ignore
plt.rcParams.update({"axes.spines.top": False, "axes.spines.right": False, "axes.axisbelow": True, "grid.color": "0.9"})
# sphinx_gallery_end_ignore

d, epsilon, lr, steps = 800, 0.03, 0.1, 100_000


def marchenko_pastur(ratio: float, points: int = 4000) -> tuple[np.ndarray, np.ndarray]:
    """Nodes and weights for integrals over the law, by the substitution that takes its square roots away."""
    low, high = (1 - np.sqrt(ratio)) ** 2, (1 + np.sqrt(ratio)) ** 2
    angle = (np.arange(points) + 0.5) * np.pi / points
    nu = (high + low) / 2 + (high - low) / 2 * np.cos(angle)
    weight = (high - low) ** 2 / 4 * np.sin(angle) ** 2 / (2 * np.pi * ratio * nu) * np.pi / points
    return nu, weight


def theory(ratio: float, t: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Losses by the integrals, with the factor of a step of descent in place of the exponential."""
    nu, weight = marchenko_pastur(ratio)
    left = (1 - 2 * lr * nu[:, None]) ** (2 * t[None])
    return (weight * nu) @ left, weight @ left


def accuracy(loss: np.ndarray) -> np.ndarray:
    return scipy.special.erf(epsilon / np.sqrt(2 * np.maximum(loss, 1e-300)))


# %%
# Two ratios: far from 1, and near it. The teacher has unit length, the student starts at zero.
rng = np.random.default_rng(0)
teacher = rng.standard_normal(d)
teacher /= np.linalg.norm(teacher)
times = np.unique(np.geomspace(1, steps, 60).astype(int))
runs, losses = {}, {}
for ratio in (0.5, 0.95):
    samples = int(d / ratio)
    X = rng.standard_normal((samples, d))
    runs[ratio] = la.train(
        la.Network.dense([d, 1]).init("zero"),
        X,
        X @ teacher,
        loss="mse",
        lr=lr,
        steps=steps,
        record={"loss": times, "distance": (times, lambda net: float(np.sum((net.matrix()[0] - teacher) ** 2)))},
    )
    history = runs[ratio].history
    losses[ratio] = history["loss"].values, history["distance"].values
print(runs[0.95])
print(runs[0.95].plan)

# %%
figure, axes = plt.subplots(2, 2, figsize=(10, 6.4), layout="constrained", sharex=True, sharey="row")
for (above, below), ratio in zip(axes.T, (0.5, 0.95), strict=True):
    train_loss, test_loss = theory(ratio, times.astype(float))
    for curve, dots, colour, name in ((train_loss, losses[ratio][0], "C0", "training"), (test_loss, losses[ratio][1], "C1", "test")):
        above.loglog(times, curve, color=colour, label=f"{name}, integral")
        above.loglog(times, dots[: len(times)], "o", color=colour, markersize=3, label=f"{name}, run")
        below.semilogx(times, 100 * accuracy(curve), color=colour, label=name)
        below.semilogx(times, 100 * accuracy(dots[: len(times)]), "o", color=colour, markersize=3)
    above.set(title=rf"$\lambda = d/N = {ratio}$", ylim=(1e-9, 2))
    below.set(xlabel="step of gradient descent", ylim=(-3, 103))
axes[0, 0].set_ylabel("loss")
axes[1, 0].set_ylabel(r"predictions within $\epsilon$, %")
axes[0, 0].legend(frameon=False, fontsize=8)
axes[1, 1].legend(frameon=False, loc="center left")
for ax in axes.flat:
    ax.grid(True)
plt.show()

# %%
# The number
# ----------
# At the finite dimension the run follows the eigenvalues of its own samples, every mode falling by :math:`1 - 2\eta\nu` a step. The weights
# have length 1 and are rounded in 800 entries, so that their distance from the teacher, the root of the test loss, agrees to some 1e-14.
# The integral differs by what the smallest eigenvalue of the samples does from the edge of the law.
nu, vectors = np.linalg.eigh(X.T @ X / len(X))
exact = ((1 - 2 * lr * nu[:, None]) ** (2 * times[None])).T @ (vectors.T @ teacher) ** 2
found = losses[0.95][1][: len(times)]
print("largest difference of the distances", np.abs(np.sqrt(found) - np.sqrt(exact)).max())
edge = (1 - np.sqrt(0.95)) ** 2
print(f"smallest eigenvalue {nu[0]:.2e}, edge of the law {edge:.2e}")
assert np.abs(np.sqrt(found) - np.sqrt(exact)).max() < 1e-12
generalised = times[np.argmax(accuracy(found) > 0.95)]
print(f"95 % accuracy: training step {times[np.argmax(accuracy(losses[0.95][0]) > 0.95)]}, test step {generalised}")
