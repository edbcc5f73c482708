r"""
Residual networks: identity starts, depth, and what they cannot learn
=====================================================================

Papers: Hardt and Ma, *Identity matters in deep learning*, ICLR 2017, `arXiv:1611.04231 <https://arxiv.org/abs/1611.04231>`_; Bartlett,
Helmbold and Long, *Gradient descent with identity initialization efficiently learns positive definite linear transformations by deep
residual networks*, ICML 2018, `arXiv:1802.06093 <https://arxiv.org/abs/1802.06093>`_.

Layers :math:`I + A_i` start at :math:`A_i = 0` and are to have the product :math:`\Phi`, a symmetric matrix with eigenvalues
:math:`\varphi_j`. All layers stay equal, and end at :math:`\Phi^{1/d}`:

.. math:: \lVert A_i \rVert = \max_j \lvert \varphi_j^{1/d} - 1 \rvert \approx \frac{\max_j \lvert\log\varphi_j\rvert}{d},

which is small in deep networks. But if one :math:`\varphi_j` is negative, its mode can only go to zero, and the loss stays at
:math:`\varphi_j^2/2`, at any depth.

**What to see.** Left, the residual part of a layer falls as 1/depth. Right, the positive target is learned at every depth; with one
eigenvalue of the other sign every depth comes to rest at the same plateau. It is a saddle: in exact arithmetic the layers stay equal and
never leave it, while rounding, which makes them differ by 1e-16, grows and frees a shallow network hundreds of steps later.
"""

import matplotlib.pyplot as plt
import numpy as np

import linalign as la

# sphinx_gallery_start_ignore
plt.rcParams.update({"axes.spines.top": False, "axes.spines.right": False, "axes.axisbelow": True, "grid.color": "0.9"})
# sphinx_gallery_end_ignore

k = 8
rng = np.random.default_rng(0)
Q = np.linalg.qr(rng.standard_normal((k, k)))[0]
eigenvalues = np.geomspace(0.3, 4.0, k)
signs = np.ones(k)
signs[4] = -1.0
positive, indefinite = Q * eigenvalues @ Q.T, Q * (eigenvalues * signs) @ Q.T
plateau = eigenvalues[4] ** 2 / 2


def learn(target: np.ndarray, depth: int) -> la.Run:
    """A stack of residual layers; the learning rate is a quarter of what the strongest mode bears."""
    net = la.Network([la.Residual(la.Dense(k, k))] * depth).init("zero")
    return la.train(net, None, target, lr=rate(depth), steps=steps)


def rate(depth: int) -> float:
    return 0.5 / (depth * eigenvalues[-1] ** (2 - 2 / depth))


# %%
depths = [2, 4, 8, 16, 32, 64, 128]
steps = 12_000
runs = {depth: learn(positive, depth) for depth in depths}
stuck = {depth: learn(indefinite, depth) for depth in depths}
norms = np.array([np.linalg.norm(runs[depth].network.matrices()[0] - np.eye(k), 2) for depth in depths])
theory = np.array([np.abs(eigenvalues ** (1 / depth) - 1).max() for depth in depths])

# %%
figure, (left, right) = plt.subplots(1, 2, figsize=(10, 4.2), layout="constrained")
left.loglog(depths, norms, "o", label="trained")
left.loglog(depths, theory, "k-", linewidth=1, label=r"$\max_j|\varphi_j^{1/d}-1|$")
left.loglog(depths, np.abs(np.log(eigenvalues)).max() / np.array(depths), "k:", linewidth=1, label=r"$\max_j|\log\varphi_j|/d$")
left.set_xticks(depths, depths)
left.minorticks_off()
left.set(xlabel="depth $d$", ylabel=r"norm of the residual part, $\Vert A_1\Vert$", title="Deep layers stay near the identity")
left.legend(frameon=False)
for depth, colour in ((2, "C0"), (8, "C1"), (128, "C2")):
    right.semilogy(np.maximum(runs[depth].loss, 1e-34), color=colour, label=f"positive definite, depth {depth}")
    right.semilogy(np.maximum(stuck[depth].loss, 1e-34), "--", color=colour, label=f"one eigenvalue negative, depth {depth}")
right.axhline(plateau, color="0.4", linewidth=1, linestyle=":")
right.text(300, plateau / 80, r"$\varphi_j^2/2$", ha="right")
right.set(xlabel="step of gradient descent", ylabel="loss", title="A negative eigenvalue is out of reach", xlim=(0, 900), ylim=(1e-32, 1e3))
right.legend(frameon=False, fontsize=8, loc="lower left")
for ax in (left, right):
    ax.grid(True)
plt.show()

# %%
# The numbers
# -----------
# The positive runs have converged to rounding. With the eigenvalue :math:`-\varphi` the mode falls from 1 by
# :math:`\dot p = -d\,p^{2-2/d}(\varphi + p)`, faster than :math:`\dot p = -d\,p^2\varphi`, so that it is below
# :math:`\bar p = 1/(1 + d\varphi\,\eta t)`, and the loss less than :math:`\varphi\bar p + \bar p^2/2` above the plateau; the other
# modes have not all converged after the 300 steps at which we look, and add what the positive runs still have.
print("norms", norms, "closed form", theory)
print("plateau", plateau, "reached", [round(float(run.loss[300]), 6) for run in stuck.values()])
assert np.abs(norms / theory - 1).max() < 1e-9
assert all(run.loss[-1] < 1e-20 for run in runs.values())
phi, at = eigenvalues[4], 300
for depth, run in stuck.items():
    most = 1 / (1 + depth * phi * rate(depth) * at)
    assert -1e-6 < run.loss[at] - plateau < phi * most + most**2 / 2 + runs[depth].loss[at]
