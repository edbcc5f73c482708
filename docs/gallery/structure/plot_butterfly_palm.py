r"""
A fast transform from its matrix: PALM finds the butterflies of Hadamard
========================================================================

Papers: Le Magoarou and Gribonval, *Flexible multilayer sparse approximations of matrices and applications*, 2016,
`arXiv:1506.07300 <https://arxiv.org/abs/1506.07300>`_; Zheng, Riccietti and Gribonval, *Efficient identification of butterfly sparse matrix
factorizations*, 2023, `arXiv:2110.01230 <https://arxiv.org/abs/2110.01230>`_.

The Hadamard matrix of size :math:`n = 2^d` has :math:`n^2` entries, but is a product of d factors with two entries a row:

.. math:: H_{n} = B_d \cdots B_1, \qquad B_l = I_{n/2^l} \otimes \begin{pmatrix} 1 & 1 \\ 1 & -1 \end{pmatrix} \otimes I_{2^{l-1}} .

Given H and where the factors may have entries, ``update="cyclic"`` in the matrix metric is PALM, the first paper's algorithm: every factor
in turn takes a projected gradient step. Both papers split the matrix into two factors, the rest into two again, and so on, where supports
are to be found too or a guarantee is wanted. Where they are known, all five factors can be trained at once, from a random start.

**What to see.** The 1,024 entries of H at the left are 320 at the right, with the same product to rounding: a multiplication by H costs
320 multiplications now. The loss falls to rounding from each of eight starts. The factors are not all :math:`\pm1`: scales that cancel
between neighbours are free.
"""

import matplotlib.pyplot as plt
import numpy as np

import linalign as la

# sphinx_gallery_start_ignore
plt.rcParams.update({"axes.spines.top": False, "axes.spines.right": False, "axes.axisbelow": True, "grid.color": "0.9"})
# sphinx_gallery_end_ignore

levels = 5
n = 2**levels
two = np.array([[1.0, 1.0], [1.0, -1.0]])
H = np.ones((1, 1))
for _ in range(levels):
    H = np.kron(two, H)
H /= np.sqrt(n)


def support(first: int, last: int) -> np.ndarray:
    """Where the product of the butterflies first, ..., last has entries."""
    block = np.ones((2 ** (last - first + 1),) * 2)
    return np.kron(np.kron(np.eye(2 ** (levels - last)), block), np.eye(2 ** (first - 1))) > 0


# %%
# Five masked layers, eight starts.
net = la.Network([la.Masked(support(level, level)) for level in range(1, levels + 1)])
runs = [la.train(net.init("gaussian", rng=seed), None, H, lr=0.1, steps=3000, update="cyclic", metric="matrix") for seed in range(8)]
print(f"{net.size} entries in place of {H.size}")

# %%
figure = plt.figure(figsize=(11, 5.4), layout="constrained")
above, below = figure.subfigures(2, 1, height_ratios=[1.15, 1])
panels = above.subplots(1, levels + 1)
factors = [W / np.abs(W).max() for W in runs[0].network.matrices()[::-1]]
shown = [H * np.sqrt(n), *factors]
for ax, matrix, title in zip(panels, shown, ["$H$", *(f"$B_{level}$" for level in range(levels, 0, -1))], strict=True):
    ax.imshow(matrix, cmap="RdBu_r", vmin=-1.2, vmax=1.2)
    ax.set_title(f"{title}: {np.count_nonzero(np.abs(matrix) > 1e-9)} entries", fontsize=9)
    ax.set_xticks([])
    ax.set_yticks([])
ax = below.subplots()
for seed, run in enumerate(runs):
    ax.semilogy(np.maximum(run.loss, 1e-33), color="C0", alpha=0.7, linewidth=1, label="eight random starts" if seed == 0 else None)
ax.set(xlabel="sweep of PALM", ylabel="loss", title="The product becomes $H$", ylim=(1e-31, 1e3))
ax.legend(frameon=False)
ax.grid(True)
plt.show()

# %%
# The numbers
# -----------
# pyfaust's hierarchical algorithm gives five factors of 64 entries and an error of the order of 1e-16. Here the sweeps end where an entry,
# a product of five numbers that add up to nothing but itself, rounds: some 1e-15 in the relative error.
errors = [np.linalg.norm(run.network.matrix() - H) / np.linalg.norm(H) for run in runs]
print("relative errors", np.array(errors))
assert net.size == levels * 2 * n == 320
assert max(errors) < 1e-14
