r"""
Neural collapse with free features
==================================

Papers: Mixon, Parshall and Pi, *Neural collapse with unconstrained features*, 2020, `arXiv:2011.11619
<https://arxiv.org/abs/2011.11619>`_; Dang, Tran, Osher, Tran-The, Ho and Nguyen, *Neural collapse in deep linear networks: from balanced to
imbalanced data*, ICML 2023, `arXiv:2301.00437 <https://arxiv.org/abs/2301.00437>`_.

What precedes the last layers of a network is replaced by free features, a matrix H with a column a sample, and all is trained with decay:

.. math:: \min \; \frac1{2N}\lVert W_2 W_1 H - Y\rVert^2 + \frac{\mu}{2}\bigl(\lVert W_2\rVert^2 + \lVert W_1\rVert^2\bigr)
          + \frac{\nu}{2}\lVert H\rVert^2 .

At the minimum all features of a class are one vector, and these vectors are orthogonal and of one length. A singular value p of
:math:`W_2W_1H` minimises :math:`\frac1{2N}(p-\sqrt{N/K})^2 + \frac{\mu}{2}(a^2+b^2) + \frac\nu2c^2` over :math:`abc = p`.

**What to see.** Features start as noise. Within a class they contract to a point, at the speed of the decay; the class means become an
orthogonal frame, and stay so in the layer above.
"""

import matplotlib.pyplot as plt
import numpy as np
import scipy.optimize

import linalign as la

# sphinx_gallery_start_ignore
plt.rcParams.update({"axes.spines.top": False, "axes.spines.right": False, "axes.axisbelow": True, "grid.color": "0.9"})
# sphinx_gallery_end_ignore

classes, each, width = 4, 20, 16
N = classes * each
labels = np.repeat(np.arange(classes), each)
Y = np.eye(classes)[labels].T  # (classes, N)
mu = nu = 5e-4

# %%
# Without inputs, `X=None`, the loss is of the product: the first "layer" of N inputs is the matrix of features.
start = la.Network.dense([N, width, width, classes]).init("gaussian", scale=0.5, rng=0)


def within(net: la.Network) -> float:
    """Spread of the features within classes, over that of the class means."""
    H = net.matrices()[0].T
    means = np.array([H[labels == k].mean(axis=0) for k in range(classes)])
    return float(np.sum((H - means[labels]) ** 2) / np.sum((means[labels] - means.mean(axis=0)) ** 2))


def angles(net: la.Network) -> np.ndarray:
    """How far the class means are from an orthogonal frame: of the features, and after the first layer."""
    H, W = net.matrices()[:2]
    found = []
    for features in (H, W @ H):
        means = np.array([features[:, labels == k].mean(axis=1) for k in range(classes)])
        gram = means @ means.T
        found.append(np.linalg.norm(gram / np.linalg.norm(gram) - np.eye(classes) / np.sqrt(classes)))
    return np.array(found)


# the loss of linalign is 1/2 |.|^2: with everything times N it is the paper's
run = la.train(
    start,
    None,
    Y,
    lr=0.03,
    steps=60_000,
    weight_decay=[N * nu, N * mu, N * mu],
    record={within: "log", angles: "log", "singular_values": "log"},
)
print(run)

# %%
figure = plt.figure(figsize=(11.5, 4), layout="constrained")
left, right = figure.subfigures(1, 2, width_ratios=[1.1, 1])
ax = left.subplots()
ax.loglog(run.history["within"].steps, np.maximum(run.history["within"].values, 1e-30), label="spread within classes")
ax.loglog(run.history["angles"].steps, run.history["angles"].values[:, 0], label="features: distance from an orthogonal frame")
ax.loglog(run.history["angles"].steps, run.history["angles"].values[:, 1], "--", label="after the first layer")
ax.set(xlabel="step of gradient descent", title="Three measures of collapse", ylim=(1e-20, 30))
ax.legend(frameon=False, fontsize=8)
ax.grid(True)
for ax, net, text in zip(right.subplots(1, 2), (start, run.network), ("start", "end"), strict=True):
    H = net.matrices()[0]
    H = H / np.linalg.norm(H, axis=0)
    image = ax.imshow(H.T @ H, cmap="RdBu_r", vmin=-1, vmax=1)
    ax.set_title(f"features at the {text}", fontsize=10)
    ax.set_xlabel("sample, by class")
    ax.set_xticks([each * k + each / 2 for k in range(classes)], range(1, classes + 1))
    ax.set_yticks([])
right.colorbar(image, ax=right.axes, shrink=0.7, label="cosine of two features")
plt.show()

# %%
# The numbers
# -----------
# All K singular values of the product are one number, the minimum of a function of one variable: of given product p the decay is least
# where :math:`\mu a^2 = \mu b^2 = \nu c^2`, at :math:`\frac32(\mu^2\nu p^2)^{1/3}`. Descent has converged to rounding, the search to 1e-8.
least = scipy.optimize.minimize_scalar(
    lambda p: (p - np.sqrt(N / classes)) ** 2 / (2 * N) + 1.5 * (mu**2 * nu * p**2) ** (1 / 3),
    bounds=(1.0, np.sqrt(N / classes)),
    method="bounded",
    options={"xatol": 1e-10},
).x
values = run.history["singular_values"].values[-1]
print("singular values", values, "closed form", least)
assert np.abs(values[:classes] - least).max() < 1e-6
assert run.history["within"].values[-1] < 1e-12
assert run.history["angles"].values[-1].max() < 1e-6
