r"""
Logistic loss: layers align, and the margin grows to its maximum
================================================================

Paper: Ji and Telgarsky, *Gradient descent aligns the layers of deep linear networks*, ICLR 2019,
`arXiv:1810.02032 <https://arxiv.org/abs/1810.02032>`_.

On data that a hyperplane separates, descent on the logistic loss of a deep linear network with one output drives the loss to zero and the
weights to infinity. Every layer, divided by its norm, tends to rank one, neighbours align, and the network's direction tends to that of
largest margin:

.. math:: \lvert v_{i+1}^\top u_i \rvert \to 1, \qquad \frac{W_d\cdots W_1}{\lVert W_d\rVert\cdots\lVert W_1\rVert} \to
          \bar u^\top, \quad \bar u = \arg\max_{\lVert u\rVert = 1} \min_k y_k\, u^\top x_k .

**What to see.** Left, the decision boundary turns until it is as far from both classes as it can be. Right, alignment of both
interfaces and margin tend to one; the ratio of two singular values of the middle layer to zero.
"""

import matplotlib.pyplot as plt
import numpy as np
import scipy.optimize

import linalign as la

# sphinx_gallery_start_ignore
plt.rcParams.update({"axes.spines.top": False, "axes.spines.right": False, "axes.axisbelow": True, "grid.color": "0.9"})
# sphinx_gallery_end_ignore

rng = np.random.default_rng(5)
true = np.array([np.cos(1.1), np.sin(1.1)])
X = rng.uniform(-2, 2, (400, 2))
X = X[np.abs(X @ true) > 0.45][:80]
y = np.sign(X @ true)

# the direction of largest margin: least |w|^2 with y_k w.x_k >= 1, by its dual
signed = X * y[:, None]
dual = scipy.optimize.nnls(np.vstack([signed.T, np.ones(len(X))]), np.array([0.0, 0.0, 1.0]))[0]
support = signed.T @ dual
best = support / np.linalg.norm(support)
largest = (signed @ best).min()


def margin(net: la.Network) -> float:
    """Of the product over its norm, relative to the largest that there is."""
    w = net.matrix()[0]
    return float((signed @ w).min() / np.linalg.norm(w) / largest)


def second(net: la.Network) -> float:
    """How far the middle layer is from rank one."""
    s = np.linalg.svd(net.matrices()[1], compute_uv=False)
    return float(s[1] / s[0])


def direction(net: la.Network) -> np.ndarray:
    return net.matrix()[0] / np.linalg.norm(net.matrix())


# %%
# The weights grow like a root of ln t, so that constant learning rates would need ages. The rate is divided by the size of the gradient
# instead, which keeps the direction of every step and so the statement.
steps, lr = 30_000, 0.002
start = la.Network.dense([2, 8, 6, 1]).init("gaussian", scale=1e-3, rng=2)
rates = la.optim.NormalizedGD()
run = la.train(
    start,
    X,
    y,
    loss="logistic",
    lr=lr,
    steps=steps,
    optimizer=rates,
    record={"alignment_top": "log", margin: "log", second: "log", direction: "log"},
)

# %%
figure, (left, right) = plt.subplots(1, 2, figsize=(10.5, 4.4), layout="constrained")
for label, marker, colour in ((1, "o", "C0"), (-1, "s", "C1")):
    left.plot(*X[y == label].T, marker, color=colour, markersize=4, alpha=0.8, label=f"$y = {label:+d}$")
turned = run.history["direction"]
across = np.array([-2.6, 2.6])
shown = [0, np.searchsorted(turned.steps, 100), np.searchsorted(turned.steps, 400), len(turned.steps) - 1]
for shade, i in zip((0.75, 0.55, 0.35, 0.0), shown, strict=True):
    w = turned.values[i]
    left.plot(-w[1] * across, w[0] * across, color=str(shade), linewidth=1.5, label=f"boundary, step {turned.steps[i]:,}")
for side in (-largest, largest):
    left.plot(side * best[0] - best[1] * across, side * best[1] + best[0] * across, color="C3", linestyle=":", linewidth=1.2)
left.plot([], [], color="C3", linestyle=":", label="largest margin")
left.set(xlabel="$x_1$", ylabel="$x_2$", title="The boundary turns", xlim=(-2.2, 2.2), ylim=(-2.2, 3.9))
left.legend(frameon=False, fontsize=8, loc="upper left", ncols=2)
alignment = run.history["alignment_top"]
for i in range(2):
    right.semilogx(alignment.steps, alignment.values[:, i], color=f"C{i}", label=f"alignment of layers {i + 1} and {i + 2}")
right.semilogx(run.history["margin"].steps, run.history["margin"].values, color="C2", label="margin over the largest")
right.semilogx(run.history["second"].steps, run.history["second"].values, color="C3", label=r"$\sigma_2/\sigma_1$ of layer 2")
right.set(xlabel="step", ylabel="ratio", title="Alignment and margin", xlim=(1, 30_000), ylim=(-0.02, 1.08))
right.legend(frameon=False, fontsize=8, loc="center left")
for ax in (left, right):
    ax.grid(True)
plt.show()

# %%
# The numbers
# -----------
# Alignment tends to 1 and the margin to its maximum, but only as the logarithm of the loss goes to infinity, which floating point bounds:
# 0.9999 and 99 % are reached at a loss of some 1e-164. That the middle layer tends to rank one has a bound: the last layer has rank one
# and the flow keeps :math:`D = W_3^\top W_3 - W_2 W_2^\top`, so that :math:`\sigma_2(W_2)^2 \le \lVert D \rVert`. A step of length at most
# :math:`\eta` changes D by at most :math:`\eta^2`.
D = start.matrices()[2].T @ start.matrices()[2] - start.matrices()[1] @ start.matrices()[1].T
bound = np.linalg.norm(D, 2) + steps * lr**2
sigma = np.linalg.svd(run.network.matrices()[1], compute_uv=False)
print("alignment", alignment.values[-1], "margin", run.history["margin"].values[-1])
print(f"singular values of layer 2: {sigma[0]:.3f}, {sigma[1]:.4f}, bound of the second {np.sqrt(bound):.4f}")
assert np.all(alignment.values[-1] > 0.9999)
assert run.history["margin"].values[-1] > 0.99
assert sigma[1] ** 2 <= bound
