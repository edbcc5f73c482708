r"""
Deep matrix completion: depth recovers what the nuclear norm misses
===================================================================

Paper: Arora, Cohen, Hu and Luo, *Implicit regularization in deep matrix factorization*, NeurIPS 2019,
`arXiv:1905.13655 <https://arxiv.org/abs/1905.13655>`_.

A matrix of rank 5 is to be found from a fifth of its entries. The product :math:`W = W_d\cdots W_1` of full square layers could have any
rank; descent from a small start prefers a low one, since under the flow of a balanced start the singular values obey

.. math:: \dot\sigma_r = -d\,\bigl(\sigma_r^2\bigr)^{1-1/d}\, \bigl\langle \nabla \ell(W),\; u_r v_r^\top \bigr\rangle .

The factor :math:`\sigma^{2-2/d}` keeps small values small and lets large ones grow, the more so the deeper the network.

**What to see.** Two layers and the least nuclear norm leave a large error; three and four layers find the matrix, one singular value after
another.
"""

import time

import matplotlib.pyplot as plt
import numpy as np

import linalign as la

# sphinx_gallery_start_ignore
plt.rcParams.update({"axes.spines.top": False, "axes.spines.right": False, "axes.axisbelow": True, "grid.color": "0.9"})
# sphinx_gallery_end_ignore

n, rank, observed = 100, 5, 2000
rng = np.random.default_rng(0)
truth = rng.standard_normal((n, rank)) @ rng.standard_normal((rank, n))
truth *= n / np.linalg.norm(truth)  # entries of variance 1
rows, cols = np.divmod(rng.choice(n * n, observed, replace=False), n)
loss = la.losses.Entries(rows, cols, truth[rows, cols], half=True, reduction="mean")


def error(net: la.Network) -> float:
    """Over all entries, those that were not seen too."""
    return float(np.linalg.norm(net.matrix() - truth) / n)


# %%
# Descent with one learning rate for all layers, divided by the size of the gradient, as the authors have it: that keeps the plateaus short.
rule = la.optim.GroupRMSprop(eps=1e-4)
runs, seconds = {}, {}
for depth in (2, 3, 4):
    start = la.Network.dense([n] * (depth + 1)).init("gaussian", scale=1e-3, rng=1)
    began = time.perf_counter()
    runs[depth] = la.train(start, None, None, loss=loss, lr=0.05, steps=3000, optimizer=rule, record={error: 50, "singular_values": 50})
    seconds[depth] = time.perf_counter() - began
print({depth: f"{value:.1f} s" for depth, value in seconds.items()})


# %%
# The least nuclear norm that fits: singular values are thresholded ever less (soft-impute).
def least_nuclear_norm() -> np.ndarray:
    W = np.zeros((n, n))
    for threshold in np.geomspace(20, 1e-2, 12):
        for _ in range(40):
            W[rows, cols] = truth[rows, cols]
            U, s, Vt = np.linalg.svd(W, full_matrices=False)
            W = U * np.maximum(s - threshold, 0) @ Vt
    return W


nuclear = np.linalg.norm(least_nuclear_norm() - truth) / n

# %%
figure, (left, right) = plt.subplots(1, 2, figsize=(10.5, 4.3), layout="constrained")
for depth, run in runs.items():
    left.semilogy(run.history["error"].steps, run.history["error"].values, label=f"{depth} layers")
left.axhline(nuclear, color="0.3", linestyle="--", label="least nuclear norm")
left.set(xlabel="step", ylabel="relative error of the whole matrix", title=f"Rank {rank} from {observed} of {n * n} entries")
left.legend(frameon=False)
seen = runs[3].history["singular_values"]
right.plot(seen.steps, seen.values[:, :10], color="C1", linewidth=1)
for value in np.linalg.svd(truth, compute_uv=False)[:rank]:
    right.axhline(value, color="0.4", linestyle=":", linewidth=1)
right.plot([], [], color="0.4", linestyle=":", label="of the matrix that is to be found")
right.plot([], [], color="C1", label="of the product, the ten largest")
right.set(xlabel="step", ylabel="singular value", title="Three layers: one after another")
right.legend(frameon=False, fontsize=9)
for ax in (left, right):
    ax.grid(True)
plt.show()

# %%
# The numbers
# -----------
# The equation for :math:`\dot\sigma_r`, tried on the flow of the same loss from a balanced start of size 1: the difference quotient of
# singular values over :math:`\pm h` against the formula in the middle. Here they change in times of 0.01 or more, so that the quotient is
# off by :math:`(h/0.01)^2/6`, below 1e-4; the integrator's error of 1e-8 over h adds as much. Recovery to 5 % is what the picture shows.
h, t = 2e-4, 0.05
first = rng.standard_normal((n, n)) / np.sqrt(n)
start = la.Network.dense([n] * 4).init("balanced", matrix=first, rng=2)
sharp = la.losses.Entries(rows, cols, truth[rows, cols])
found = la.flow(start, None, None, loss=sharp, times=[t - h, t, t + h], record={"product": (1, lambda net: net.matrix())})
before, W, after = found.history["product"].values
U, s, Vt = np.linalg.svd(W)
gradient = np.zeros((n, n))
gradient[rows, cols] = W[rows, cols] - truth[rows, cols]
formula = -3 * s ** (2 - 2 / 3) * np.einsum("ir,ij,rj->r", U, gradient, Vt)
measured = (np.linalg.svd(after, compute_uv=False) - np.linalg.svd(before, compute_uv=False)) / (2 * h)
print("five largest, formula ", formula[:5].round(4))
print("five largest, measured", measured[:5].round(4))
print(
    "final errors",
    {depth: round(float(run.history["error"].values[-1]), 4) for depth, run in runs.items()},
    "nuclear norm",
    round(nuclear, 4),
)
assert np.abs(measured[:5] / formula[:5] - 1).max() < 1e-3
assert runs[3].history["error"].values[-1] < 0.05 < nuclear
