r"""
Alignment kept and lost
=======================

Paper: Radhakrishnan, Nichani, Bernstein and Uhler, *On alignment in deep linear neural networks*, 2020,
`arXiv:2003.06340 <https://arxiv.org/abs/2003.06340>`_.

Layers are aligned if each shares its singular vectors with the next, :math:`W_i = Q_i S_i Q_{i-1}^\top`. Descent on the squared loss
keeps every aligned start in the bases of the data, whatever the depth and the learning rate, exactly if

.. math:: \bigl[X^\top X,\; (Y^\top X)^\top (Y^\top X)\bigr] = 0 ,

as in autoencoding, matrix factorisation and with a single sample. Generic data do not satisfy it.

**What to see.** Left, three data sets on which the full matrices are trained from an aligned start: two keep their bases to rounding, the
third turns away. Right, targets that go from the inputs themselves to random ones: what turns follows the commutator.
"""

from itertools import pairwise

import matplotlib.pyplot as plt
import numpy as np

import linalign as la

# sphinx_gallery_start_ignore
plt.rcParams.update({"axes.spines.top": False, "axes.spines.right": False, "axes.axisbelow": True, "grid.color": "0.9"})
# sphinx_gallery_end_ignore

k, n, depth, strength = 8, 60, 3, 0.4
rng = np.random.default_rng(0)
X = rng.standard_normal((n, k)) * np.linspace(1.5, 0.5, k) / np.sqrt(n)
random_targets = rng.standard_normal((n, k)) * np.linspace(1.5, 0.5, k) / np.sqrt(n)


def aligned(X: np.ndarray | None, Y: np.ndarray) -> tuple[la.Network, list[np.ndarray]]:
    """A start in the bases that the data allow, or come nearest to, and these bases."""
    condition = la.theory.invariance_condition(X, Y)
    inner = [np.linalg.qr(np.random.default_rng(i).standard_normal((k, k)))[0] for i in range(depth - 1)]
    bases = [condition.inputs, *inner, condition.outputs]
    return la.Network.from_matrices([strength * Q @ P.T for P, Q in pairwise(bases)]), bases


def trained(X: np.ndarray | None, Y: np.ndarray, steps: int = 5000) -> la.Run:
    """The full matrices are trained, without any reduction, and what has left the bases is recorded."""
    net, bases = aligned(X, Y)

    def turned(net: la.Network) -> float:
        """The largest share of a layer that is off the diagonal in the bases of the start."""
        shares = []
        for W, (P, Q) in zip(net.matrices(), pairwise(bases), strict=True):
            inside = Q.T @ W @ P
            shares.append(np.linalg.norm(inside - np.diag(np.diag(inside))) / np.linalg.norm(inside))
        return max(shares)

    return la.train(net, X, Y, lr=0.05, steps=steps, record={turned: "log"}, reduce="none")


# %%
cases = {"autoencoding": (X, X), "factorisation of a matrix": (None, random_targets.T @ X), "generic data": (X, random_targets)}
runs = {name: trained(*data) for name, data in cases.items()}
for name, data in cases.items():
    print(f"{name}: {la.theory.invariance_condition(*data).commutator:.1e}, loss {runs[name].loss[0]:.4f} -> {runs[name].loss[-1]:.4f}")

# %%
# From one end to the other.
mixtures = np.concatenate([[0.0], np.geomspace(1e-7, 1.0, 15)])
commutators, turns = [], []
for t in mixtures:
    Y = (1 - t) * X + t * random_targets
    commutators.append(la.theory.invariance_condition(X, Y).commutator)
    turns.append(trained(X, Y, steps=1000).history["turned"].values.max())

# %%
figure, (left, right) = plt.subplots(1, 2, figsize=(10, 4.2), layout="constrained")
for name, run in runs.items():
    history = run.history["turned"]
    left.loglog(history.steps[1:], np.maximum(history.values[1:], 1e-17), linewidth=1.8, label=name)
left.set(
    xlabel="step of gradient descent", ylabel="largest share of a layer off its start's bases", title="Kept, kept, lost", ylim=(1e-17, 3)
)
left.legend(frameon=False, loc="center left")
right.loglog(np.maximum(commutators[1:], 1e-17), turns[1:], "o-", markersize=4)
right.set(xlabel="commutator of the data, 0 to 1", ylabel="most that turned in 1,000 steps", title="From autoencoding to generic data")
for ax in (left, right):
    ax.grid(True)
plt.show()

# %%
# The numbers
# -----------
# Where the condition holds, what is off the diagonal is rounding: 1e-16 a step, which the descent neither damps nor blows up by more than
# the size of the steps, so that 5,000 of them stay below 1e-10. One step of descent off the condition moves the bases by the learning rate
# times the commutator, to first order.
print("turned at most", {name: float(run.history["turned"].values.max()) for name, run in runs.items()})
assert runs["autoencoding"].history["turned"].values.max() < 1e-10
assert runs["factorisation of a matrix"].history["turned"].values.max() < 1e-10
assert runs["generic data"].history["turned"].values.max() > 0.01
assert turns[0] < 1e-10
slope = np.log(turns[9] / turns[4]) / np.log(commutators[9] / commutators[4])
print("slope in the right picture:", slope)
assert abs(slope - 1) < 0.05
