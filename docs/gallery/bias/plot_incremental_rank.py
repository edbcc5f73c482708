r"""
Incremental learning: one singular value at a time, the deeper the sharper
==========================================================================

Papers: Gidel, Bach and Lacoste-Julien, *Implicit regularization of discrete gradient dynamics in linear neural networks*, NeurIPS 2019,
`arXiv:1904.13262 <https://arxiv.org/abs/1904.13262>`_; Gissin, Shalev-Shwartz and Daniely, *The implicit bias of depth: how incremental
learning drives generalization*, ICLR 2020, `arXiv:1909.12051 <https://arxiv.org/abs/1909.12051>`_.

A deep factorisation :math:`W_d\cdots W_1` is to become a matrix with the singular values 5, 4, 3, 2, 1, from a small balanced start.
Every mode follows

.. math:: \dot p = d\,p^{2-2/d}\,(q - p),

so that from :math:`p_0 \ll q` it waits for :math:`1/(d-2)\;p_0^{2/d-1}/q`, up to constants (two layers: :math:`\ln(q/p_0)/(2q)`), and then
moves in a time that does not depend on :math:`p_0`.

**What to see.** One layer learns all modes together. With more layers they come in order of size, with plateaus between them at which
the product has nearly rank 1, 2, 3, ...: the dashed line counts it, as the exponential of the entropy of the singular values.
"""

import matplotlib.pyplot as plt
import numpy as np

import linalign as la

# sphinx_gallery_start_ignore
plt.rcParams.update({"axes.spines.top": False, "axes.spines.right": False, "axes.axisbelow": True, "grid.color": "0.9"})
# sphinx_gallery_end_ignore

q = np.array([5.0, 4.0, 3.0, 2.0, 1.0])
rng = np.random.default_rng(0)
U, V = (np.linalg.qr(rng.standard_normal((len(q), len(q))))[0] for _ in range(2))
target = U * q @ V.T
p_0 = 1e-3


def half_way(depth: int) -> np.ndarray:
    """When each mode has come to half of its value, by the closed form."""
    if depth == 1:  # p = q + (p_0 - q) exp(-t), the same for all
        return np.log(2 * (1 - p_0 / q))
    return np.array([la.theory.flow.balanced_time(depth, p_0, value / 2, target=value, eigenvalue=1.0) for value in q])


# %%
# Gradient flow for four depths, each until the weakest mode is learned.
flows = {}
for depth in (1, 2, 3, 4):
    net = la.Network.dense([len(q)] * (depth + 1)).init("aligned", Y=target, singular_values=p_0 ** (1 / depth), rng=1)
    last = 1.35 * half_way(depth)[-1] if depth > 1 else 6.0
    flows[depth] = la.flow(net, None, target, times=np.linspace(0, last, 401), record={"modes": 1, "effective_rank": 1})

# %%
figure, axes = plt.subplots(2, 2, figsize=(9, 6.4), layout="constrained")
for ax, (depth, found) in zip(axes.flat, flows.items(), strict=True):
    for j, value in enumerate(q):
        ax.plot(found.times, found.history["modes"].values[:, j], color=f"C{j}", linewidth=2, label=f"$q = {value:g}$")
        ax.plot(half_way(depth)[j], value / 2, "o", color=f"C{j}", markeredgecolor="black", markersize=6)
    other = ax.twinx()
    other.plot(found.times, found.history["effective_rank"].values, color="0.45", linestyle="--", linewidth=1)
    other.set_ylim(0.9, 5.4)
    other.set_yticks(range(1, 6))
    other.set_ylabel("effective rank (dashed)", color="0.35", fontsize=9)
    other.spines["right"].set_visible(True)
    ax.set(xlabel="time of gradient flow", ylabel="singular value of the product", title=f"{depth} layer{'s' if depth > 1 else ''}")
    ax.set_ylim(0, 5.4)
    ax.grid(True)
handles = axes[0, 0].get_legend_handles_labels()[0]
figure.legend(handles, [f"$q = {value:g}$" for value in q], frameon=False, loc="outside upper center", ncols=5)
plt.show()

# %%
# The number
# ----------
# Each dot is where the closed form has the mode at half its value. A flow to that time has :math:`q/2` there: the integrator's relative
# error of 1e-8 a step has been carried by a mode that grows from 1e-3 to q/2, at most a thousandfold.
for depth in (2, 3, 4):
    net = la.Network.dense([len(q)] * (depth + 1)).init("aligned", Y=target, singular_values=p_0 ** (1 / depth), rng=1)
    found = la.flow(net, None, target, times=np.sort(half_way(depth)), rtol=1e-10, record={"modes": 1})
    reached = np.diagonal(found.history["modes"].values)
    print(f"{depth} layers: half-way at {half_way(depth).round(4)}, there {reached.round(7)}")
    assert np.abs(reached / (q / 2) - 1).max() < 1e-5
