r"""
Diagonal networks, from the kernel to the rich regime
=====================================================

Paper: Woodworth, Gunasekar, Lee, Moroshko, Savarese, Golan, Soudry and Srebro, *Kernel and rich regimes in overparametrized models*,
COLT 2020, `arXiv:2002.09277 <https://arxiv.org/abs/2002.09277>`_.

The model is a linear regression, :math:`f(x) = \beta^\top x`, written as :math:`\beta = u^2 - v^2` and started at :math:`u = v = \alpha 1`.
Of all :math:`\beta` that fit the data, gradient flow finds the one that minimises

.. math:: \sum_i \alpha^2\, q(\beta_i/\alpha^2), \qquad q(z) = 2 - \sqrt{4+z^2} + z\,\operatorname{arcsinh}(z/2),

which is the :math:`\ell_2` norm for large :math:`\alpha` (the kernel regime) and the :math:`\ell_1` norm for small :math:`\alpha`
(the rich regime).

**What to see.** Left, two weights and one equation: the solution slides along the line from the point of least :math:`\ell_2` norm to
that of least :math:`\ell_1` norm. Right, a sparse truth in 60 dimensions from 25 samples: only small starts find it.
"""

import matplotlib.pyplot as plt
import numpy as np

import linalign as la

# sphinx_gallery_start_ignore
plt.rcParams.update({"axes.spines.top": False, "axes.spines.right": False, "axes.axisbelow": True, "grid.color": "0.9"})
# sphinx_gallery_end_ignore


def diagonal_network(d: int, alpha: float) -> la.Network:
    """`x -> (x, -x)`, a weight each, and a sum with the same weights: `beta = u^2 - v^2`."""
    twice = la.Fixed(np.vstack([np.eye(d), -np.eye(d)]))
    weights = np.full(2 * d, alpha)
    return la.Network([twice, la.Diagonal(2 * d), la.Dense(2 * d, 1)], [np.zeros(0), weights, weights[None]])


# %%
# Two weights: gradient flow, and the paper's penalty fixes its limit for every alpha.
X, y = np.array([[1.0, 2.0]]), np.array([4.214461])


def limit(alpha: float) -> np.ndarray:
    """Where gradient flow ends: at a gradient that is small, but above the rounding of the integrator, which grows with alpha."""
    return la.flow(diagonal_network(2, alpha), X, y, times=[0, 1e6], steady=1e-6 * max(1, 2 * alpha**3)).network.matrix()[0]


alphas = np.geomspace(0.01, 10, 25)
path = np.array([limit(alpha) for alpha in alphas])

# %%
# Sixty weights, three of them not zero: gradient descent with a learning rate far below the edge, which follows the flow.
rng = np.random.default_rng(0)
truth = np.zeros(60)
truth[[3, 17, 42]] = [1.0, -1.5, 2.0]
A = rng.standard_normal((25, 60))
b = A @ truth
many = np.geomspace(0.003, 10, 13)
found = [
    la.train(diagonal_network(60, alpha), A, b, lr=0.02 / (np.linalg.norm(A, 2) ** 2 * max(alpha**2, 2)), steps=150_000, tol=1e-8)
    for alpha in many
]
solutions = np.array([run.network.matrix()[0] for run in found])
error = np.linalg.norm(solutions - truth, axis=1) / np.linalg.norm(truth)
least_norm = np.linalg.lstsq(A, b, rcond=None)[0]

# %%
figure, (left, right) = plt.subplots(1, 2, figsize=(10, 4.3), layout="constrained")
line = np.array([-0.5, 1.6])
left.plot(line, (y - line) / 2, color="0.6", linewidth=1, label="all that fit")
shown = left.scatter(*path.T, c=np.log10(alphas), cmap="viridis", zorder=3, s=30)
l_2 = np.linalg.lstsq(X, y, rcond=None)[0]
left.plot(*l_2, "s", color="C3", markersize=8, zorder=2, label=r"least $\ell_2$ norm")
left.plot(0, y[0] / 2, "^", color="C1", markersize=9, zorder=2, label=r"least $\ell_1$ norm")
left.set(xlabel=r"$\beta_1$", ylabel=r"$\beta_2$", title="One equation, two weights", xlim=(-0.1, 1.1), ylim=(1.5, 2.2))
left.legend(frameon=False)
figure.colorbar(shown, ax=left, label=r"$\log_{10}\alpha$")
right.semilogx(many, error, "o-", label="gradient flow")
right.axhline(np.linalg.norm(least_norm - truth) / np.linalg.norm(truth), color="C3", linestyle="--", label=r"least $\ell_2$ norm")
right.set(xlabel=r"size of the start, $\alpha$", ylabel="relative error of the weights", title="A sparse truth from 25 of 60", ylim=(0, 1))
right.annotate("rich", (0.0035, 0.1))
right.annotate("kernel", (4, 0.66))
right.legend(frameon=False)
for ax in (left, right):
    ax.grid(True)
plt.show()

# %%
# The numbers
# -----------
# At :math:`\alpha = 1/2` the stationarity of the paper's penalty, :math:`\beta_i = 2\alpha^2\sinh(c\,x_i)` with c such that the equation
# holds, gives (0.587601, 1.813430) at c = 1. The flow ends where its gradient is 1e-6, and six decimals were given.
beta = limit(0.5)
print("beta at alpha = 1/2:", beta.round(6), "least norm:", l_2.round(6))
assert np.all(np.abs(beta - 0.5 * np.sinh([1.0, 2.0])) < 2e-6)
assert np.all(np.abs(beta - [0.587601, 1.813430]) < 2e-6)
