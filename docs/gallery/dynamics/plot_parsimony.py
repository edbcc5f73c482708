r"""
The law of parsimony: a deep network moves in 2r dimensions
===========================================================

Paper: Yaras, Wang, Hu, Zhu, Balzano and Qu, *The law of parsimony in gradient descent for learning deep linear networks*, 2023,
`arXiv:2306.01154 <https://arxiv.org/abs/2306.01154>`_.

Every layer starts as :math:`\epsilon` times an orthogonal matrix, and their product is to become a matrix :math:`\Phi` of rank r. Then, in
fixed bases :math:`U_l, V_l`, each layer is for all time

.. math:: W_l(t) = U_l \begin{pmatrix} \tilde W_l(t) & 0 \\ 0 & \rho(t) I \end{pmatrix} V_l^\top, \qquad
          \rho(t+1) = \rho(t)\,\bigl(1 - \eta\,\rho(t)^{2d-2}\bigr),

with :math:`\tilde W_l` of size 2r, and all other directions are one scalar.

**What to see.** Of the 60 singular values of a layer, at most 6 have a life of their own. The other 54 lie on one line, the scalar
recursion. linalign finds this by itself: the plan says which network really ran.
"""

import matplotlib.pyplot as plt
import numpy as np

import linalign as la

# sphinx_gallery_start_ignore
plt.rcParams.update({"axes.spines.top": False, "axes.spines.right": False, "axes.axisbelow": True, "grid.color": "0.9"})
# sphinx_gallery_end_ignore

d, depth, rank, scale, lr, steps = 60, 3, 3, 0.5, 0.02, 1500
rng = np.random.default_rng(0)
U, V = (np.linalg.qr(rng.standard_normal((d, rank)))[0] for _ in range(2))
target = U * [3.0, 2.0, 1.0] @ V.T

start = la.Network.dense([d] * (depth + 1)).init("orthogonal", scale=scale, rng=1)
run = la.train(start, None, target, lr=lr, steps=steps, reduce=["split"], record={"layer_singular_values": 5})
print(run.plan)

# %%
# The scalar recursion, and what is left of a layer without it.
rho = [scale]
for _ in range(steps):
    rho.append(rho[-1] * (1 - lr * rho[-1] ** (2 * depth - 2)))
rho = np.array(rho)
seen = run.history["layer_singular_values"]
middle = seen.values[:, 1]
moved = [W - rho[-1] / scale * W_0 for W, W_0 in zip(run.network.matrices(), start.matrices(), strict=True)]
spectra = [np.linalg.svd(M, compute_uv=False) for M in moved]

# %%
figure, (left, right) = plt.subplots(1, 2, figsize=(10, 4.2), layout="constrained", width_ratios=[1.4, 1])
left.plot(seen.steps, middle, color="C0", linewidth=1)
left.plot([], [], color="C0", linewidth=1, label="60 singular values of the middle layer")
left.plot(rho, color="C1", linewidth=2.5, linestyle=(0, (4, 3)), label=r"the scalar $\rho(t)$")
left.set(xlabel="step of gradient descent", ylabel="singular value", title="54 of 60 directions are one scalar")
left.legend(frameon=False, fontsize=9)
for i, values in enumerate(spectra):
    right.semilogy(range(1, 21), np.maximum(values[:20], 1e-17), "os^"[i], markersize=5, fillstyle="none", label=f"layer {i + 1}")
right.axvline(2 * rank + 0.5, color="0.4", linestyle="--", linewidth=1)
right.text(2 * rank + 0.8, 1e-3, f"2r = {2 * rank}", color="0.3")
right.set(xlabel="number of the singular value", ylabel=r"singular value of $W_l - (\rho/\epsilon)\,W_l(0)$")
right.set_title("What else moved has rank 2r")
right.legend(frameon=False, fontsize=9)
for ax in (left, right):
    ax.grid(True)
plt.show()

# %%
# The number
# ----------
# 60 - 2r = 54 singular values of each layer are :math:`\rho(t)`. Both sides round some 1500 times, errors of 1e-16 that do not grow, since
# the scalar contracts: far below 1e-12.
nearest = np.sort(np.abs(seen.values - rho[seen.steps][:, None, None]), axis=2)
print("54 singular values against the scalar:", nearest[:, :, : d - 2 * rank].max())
assert nearest[:, :, : d - 2 * rank].max() < 1e-12
assert all(values[2 * rank] < 1e-12 for values in spectra)
