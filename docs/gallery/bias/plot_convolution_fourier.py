r"""
Circular convolutions are sparse in Fourier space
=================================================

Paper: Gunasekar, Lee, Soudry and Srebro, *Implicit bias of gradient descent on linear convolutional networks*, NeurIPS 2018,
`arXiv:1806.00468 <https://arxiv.org/abs/1806.00468>`_.

Networks of :math:`d-1` full-width circular convolutions and a dense output classify separable signals with the exponential loss. All of
them can represent every linear classifier :math:`\beta`. But the direction to which descent drives it is a stationary point of

.. math:: \min_\beta \; \lVert \hat\beta \rVert_{2/d} \quad\text{subject to}\quad y_k\, x_k^\top\beta \ge 1 ,

with :math:`\hat\beta` the Fourier transform: :math:`\ell_2` for the dense network alone, :math:`\ell_1` with one convolution,
:math:`\ell_{2/3}` with two.

**What to see.** The same data, three depths: the spectrum of the classifier is full, then sparse, then sparser still.
"""

import matplotlib.pyplot as plt
import numpy as np
import scipy.optimize

import linalign as la

# sphinx_gallery_start_ignore
plt.rcParams.update({"axes.spines.top": False, "axes.spines.right": False, "axes.axisbelow": True, "grid.color": "0.9"})
# sphinx_gallery_end_ignore

n, length = 8, 64
rng = np.random.default_rng(2)
X = rng.standard_normal((n, length))
y = rng.choice([-1.0, 1.0], n)

# %%
# The exponential loss only ends at infinity. Steps of one length, along the gradient, get there fast.
runs = {}
for depth in (1, 2, 3):
    layers = [la.Circulant(length)] * (depth - 1) + [la.Dense(length, 1)]
    start = la.Network(layers).init("gaussian", scale=1e-2, rng=1)
    runs[depth] = la.train(start, X, y, loss="exponential", lr=0.002, steps=16_000, optimizer="normalized_gd", metric="parameters")
    print(runs[depth])


def spectrum(net: la.Network) -> np.ndarray:
    """The Fourier transform of the classifier, unitary, over its largest entry."""
    transform = np.fft.fft(net.matrix()[0], norm="ortho")
    return np.abs(transform) / np.abs(transform).max()


# %%
figure, axes = plt.subplots(2, 3, figsize=(10.5, 5), layout="constrained", sharex="row", sharey="row")
for column, (depth, run) in zip(axes.T, runs.items(), strict=True):
    beta = run.network.matrix()[0]
    above, below = column
    above.plot(beta / np.linalg.norm(beta), color="C0", linewidth=1.2)
    kind = {1: "dense layer alone", 2: "one convolution", 3: "two convolutions"}[depth]
    above.set(xlabel="place in the signal", title=rf"{kind}: $\ell_{{{['2', '1', '2/3'][depth - 1]}}}$ in Fourier")
    below.vlines(range(length // 2 + 1), 0, spectrum(run.network)[: length // 2 + 1], color="C1", linewidth=2)
    below.plot(range(length // 2 + 1), spectrum(run.network)[: length // 2 + 1], "o", color="C1", markersize=3)
    below.set(xlabel="frequency", ylim=(0, 1.05))
    for ax in column:
        ax.grid(True)
axes[0, 0].set_ylabel(r"classifier $\beta/\Vert\beta\Vert$")
axes[1, 0].set_ylabel(r"$|\hat\beta|$ over its largest")
plt.show()

# %%
# The numbers
# -----------
# For depth 2 the problem is convex, and duality bounds every classifier: for weights :math:`\alpha_k \ge 0` of sum 1 none has a larger
# margin than :math:`\lVert \sum_k \alpha_k y_k \hat x_k \rVert_\infty`, the least of which is a linear program once each absolute value is
# the largest of 64 projections (within a factor of :math:`1/\cos(\pi/64)`, 0.12 %). Descent gets there like the inverse of the logarithm of
# its loss, and ends at a loss of 1e-163, where the squares of its gradient leave double precision: within 5 % of the bound.
signed = np.fft.fft(y[:, None] * X, norm="ortho")[:, : length // 2 + 1]
turns = np.exp(-2j * np.pi * np.arange(64) / 64)
projected = np.real(turns[:, None, None] * signed.T).reshape(-1, n)
program = scipy.optimize.linprog(
    np.append(np.zeros(n), 1.0),
    A_ub=np.hstack([projected, -np.ones((len(projected), 1))]),
    b_ub=np.zeros(len(projected)),
    A_eq=np.append(np.ones(n), 0.0)[None],
    b_eq=[1.0],
)
most = np.abs(program.x[:n] @ signed).max()
beta = runs[2].network.matrix()[0]
reached = (y * (X @ beta)).min() / np.linalg.norm(np.fft.fft(beta, norm="ortho"), 1)
print(f"one convolution: margin {reached:.5f}, none has more than {most:.5f}: {reached / most:.4f}")
assert 0.95 < reached / most <= 1 + 1e-12
counts = [int(np.sum(spectrum(run.network) > 0.05)) for run in runs.values()]
print("frequencies above 5 % of the largest:", counts)
assert counts[0] > counts[1] > counts[2]
