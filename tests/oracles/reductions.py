"""What the tests of the reductions share: starts, problems, and the comparison of a reduced run with the full one.

Both runs take the same steps in exact arithmetic, so they differ by rounding alone. A step rounds each weight by `eps`, and
what is rounded travels on with the dynamics: over t steps the difference is at most `eps * sum_s ||J_s||`, J_s the derivative
of the later steps in the earlier. Where training contracts or is neutral the sum is t, `2,000 * 2.2e-16 = 4e-13`; the starts
here leave no saddle slowly, so it stays below 1e-10. In float32 the same sum is 2,000 * 1.2e-7.
"""

from __future__ import annotations

import warnings
from itertools import pairwise

import numpy as np
import pytest
import scipy.linalg

import linalign as la
from linalign.record.quantities import QUANTITIES

ALL = ("samples", "inputs", "width", "split")
TOLERANCE = 1e-10
# scores of singular vectors: where singular values meet, vectors turn by `rounding / gap`, so no bound on weights bounds them;
# they are compared where the spectrum of every layer is simple
VECTORS = ("alignment_svd", "alignment_top", "invariance", "top_invariance")


def haar(rng, k):
    Q, R = np.linalg.qr(rng.standard_normal((k, k)))
    return Q * np.sign(np.diag(R))


def semi(rng, b, a):
    return haar(rng, max(a, b))[:b, :a]


def gaussian(rng, k):
    return [rng.standard_normal((b, a)) / np.sqrt(a) for a, b in pairwise(k)]


def orthogonal(rng, k):
    return [0.8 * semi(rng, b, a) for a, b in pairwise(k)]


def identity_middle(rng, k):
    ends = gaussian(rng, k)
    return [ends[0], *(np.eye(b, a) for a, b in list(pairwise(k))[1:-1]), ends[-1]]


def low_rank_layer(rng, k):
    W = gaussian(rng, k)
    i = len(W) // 2
    U, s, Vt = np.linalg.svd(W[i])
    r = max(1, len(s) // 3)
    W[i] = (U[:, :r] * s[:r]) @ Vt[:r]
    return W


def zero_first(rng, k):
    W = gaussian(rng, k)
    return [np.zeros_like(W[0]), *W[1:]]


def balanced(rng, k):
    r = min(k)
    Q = [haar(rng, n)[:, :r] for n in k]
    s = rng.uniform(0.5, 1.0, r)
    return [(above * s) @ below.T for below, above in pairwise(Q)]


def block_diagonal(rng, k):
    W = gaussian(rng, k)
    for V in W:
        V[: len(V) // 2, V.shape[1] // 2 :] = 0
        V[len(V) // 2 :, : V.shape[1] // 2] = 0
    return W


STARTS = {
    "gaussian": gaussian, "orthogonal": orthogonal, "identity middle": identity_middle, "low rank layer": low_rank_layer,
    "zero first layer": zero_first, "balanced": balanced, "block diagonal": block_diagonal,
}  # fmt: skip


def unit(A):
    """A with spectral norm one: then a rate of 0.02 is stable for every start here, and no rounding is amplified."""
    return A / np.linalg.norm(A, 2)


def data(rng, n, k_0, rank):
    """Samples of this rank."""
    return unit(rng.standard_normal((n, rank)) @ rng.standard_normal((rank, k_0)))


def direct_sum(rng, blocks, copies=1):
    """Layers and target in rotated bases: the direct sum of gaussian blocks with these widths, each so many times."""
    widths = [copies * sum(b[i] for b in blocks) for i in range(len(blocks[0]))]
    Q = [haar(rng, n) for n in widths]
    W = []
    for i in range(len(widths) - 1):
        parts = [rng.standard_normal((b[i + 1], b[i])) / np.sqrt(b[i]) for b in blocks]
        W.append(Q[i + 1] @ scipy.linalg.block_diag(*parts * copies) @ Q[i].T)
    parts = [unit(rng.standard_normal((b[-1], b[0]))) for b in blocks]
    return W, Q[-1] @ scipy.linalg.block_diag(*parts * copies) @ Q[0].T


def problem(loss, rng, k, n=None, rank=None):
    """X, Y, loss. n None: factorisation where the loss has data."""
    if loss == "entries":
        at = rng.choice(k[0] * k[-1], max(1, k[0] * k[-1] // 2), replace=False)
        return None, None, la.losses.Entries(at // k[0], at % k[0], rng.standard_normal(len(at)))
    X = None if n is None else data(rng, n, k[0], rank or min(n, k[0]))
    rows = k[0] if n is None else n
    if loss == "cross_entropy":
        return X, rng.integers(k[-1], size=rows), loss
    Y = unit(rng.standard_normal((rows, k[-1])))
    if loss in ("logistic", "exponential"):
        Y = np.where(Y < 0, -1.0, 1.0)
    return X, Y.T if n is None else Y, loss


def applied(run):
    """The reductions in use; that biases run beside a constant coordinate is no choice."""
    plan = run.plan if isinstance(run, la.Run) else run
    return tuple(r.name for r in plan.reductions if r.applied and r.name != "biases")


def row(run, name):
    """What the plan says of one reduction."""
    plan = run.plan if isinstance(run, la.Run) else run
    return next(r for r in plan.reductions if r.name == name)


def both(net, X, Y, *, reduce=ALL, steps=2000, record=(), lr=0.02, **options):
    """The full run and the reduced one."""
    at = {name: [0, 1, steps // 2, steps] for name in record}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        full = la.train(net, X, Y, lr=lr, steps=steps, record=at, reduce="none", **options)
        less = la.train(net, X, Y, lr=lr, steps=steps, record=at, reduce=reduce, **options)
    assert applied(full) == ()
    return full, less


def distance(full, less):
    """The largest relative difference in a weight matrix or the losses."""
    found = [0.0]
    start = max(np.linalg.norm(W) for W in full.network.params)
    for W, V in zip(full.network.params, less.network.params, strict=True):
        # a layer near zero is compared beside the others: its rounding comes from them
        found.append(np.linalg.norm(W.astype(float) - V) / max(np.linalg.norm(W), 1e-3 * start))
    # cross-entropy over one class is zero
    found.append(np.max(np.abs(full.loss - less.loss)) / (np.max(np.abs(full.loss)) or 1.0))
    return max(found)


def simple_spectra(full):
    """Whether the singular values of every layer, where recorded, are 1e-3 of the largest from each other and from zero."""
    for s in np.concatenate(full.history["layer_singular_values"].values):
        s = s[~np.isnan(s)]
        if np.min(-np.diff([*s, 0.0])) < 1e-3 * s[0]:
            return False
    return True


def recorded_distance(name, full, less):
    """The largest difference of a recorded quantity, on the scale where it means something."""
    a, b = full.history[name], less.history[name]
    np.testing.assert_array_equal(a.steps, b.steps)
    u, v = np.asarray(a.values, dtype=float), np.asarray(b.values, dtype=float)
    np.testing.assert_array_equal(np.isnan(u), np.isnan(v))
    u, v = np.nan_to_num(u), np.nan_to_num(v)
    # scores in [0, 1] are compared on that scale; norms and values on their largest along the run, for at a perfect fit the
    # gradient, and for balanced starts the imbalance, is nothing but rounding
    scale = 1.0 if name in SCORES else max(np.max(np.abs(u), initial=0.0), LEAST.get(name, lambda run: 0.0)(full))
    return float(np.max(np.abs(u - v), initial=0.0)) / (scale or 1.0)


SCORES = ("alignment", "misalignment", "alignment_svd", "alignment_top", "invariance", "top_invariance")
LEAST = {"balancedness": lambda run: max(float(np.sum(W**2)) for W in run.network.matrices())}


def both_or_neither(net, X, Y, *, reduce, lr=0.02, **options):
    """`both`; None where both diverge, as from a large start with the exponential loss, within a step of each other."""
    try:
        return both(net, X, Y, reduce=reduce, lr=lr, **options)
    except la.DivergenceError:
        steps = []
        for chosen in ("none", reduce):
            with pytest.raises(la.DivergenceError) as error:
                la.train(net, X, Y, lr=lr, reduce=chosen, **options)
            steps.append(error.value.run.steps)
        assert abs(steps[0] - steps[1]) <= 1
        return None


def assert_same_up_to_rounding(net, X, Y, full, less, *, lr=0.02, **options):
    """`assert_same` for any problem: of one at the edge of stability, or falling into a saddle, the derivation above says nothing.

    There the runs may differ by what rounding does to the full run alone: by 100 times the most that one rounding of the start does,
    as there are 200 steps of them and few draws.
    """
    if distance(full, less) <= TOLERANCE:
        assert_same(full, less)
        return
    most = 0.0
    for seed in range(3):
        rng = np.random.default_rng(seed)
        moved = net.with_params([theta * (1 + 2.0**-52 * rng.choice([-1, 0, 1], theta.shape)).astype(theta.dtype) for theta in net.params])
        try:
            most = max(most, distance(full, la.train(moved, X, Y, lr=lr, reduce="none", **options)))
        except la.DivergenceError:
            return
    assert_same(full, less, max(TOLERANCE, 100 * most))


def assert_same(full, less, tolerance=TOLERANCE):
    """Weights, losses, and all that was recorded."""
    assert less.steps == full.steps
    off = distance(full, less)
    assert off <= tolerance, f"weights or losses differ by {off:.1e}"
    for name in full.history:
        if name not in VECTORS or simple_spectra(full):
            off = recorded_distance(name, full, less)
            assert off <= tolerance, f"{name} differs by {off:.1e}"


# of the network as given, by searches of their own: tests/record/test_curvature.py has them under every kind of plan
CURVATURE = ("sharpness", "edge", "hessian_eigenvalues", "gauss_newton_top", "ntk_trace", "kernel_distance")
EVERYTHING = tuple(name for name in QUANTITIES if name not in ("validation_loss", *CURVATURE))
