"""Filters: chains of convolutions and circulants as chains on moves; alone, over paddings, strides, channels, metrics and updates."""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import linalign as la
from linalign.plan import budget, cost, machine, planner
from linalign.problem.problem import make_problem
from linalign.reduce import filters
from linalign.reduce.filters import compose
from tests.examples import examples
from tests.oracles.extended import LD
from tests.oracles.reductions import EVERYTHING, applied, assert_same, assert_same_up_to_rounding, both, distance, row, unit

pytestmark = pytest.mark.usefixtures("whatever_holds")


def convs(image, *layers, axes=2):
    """Convolutions that fit on each other: `(kernel, channels out, padding, stride)` of each."""
    found, channels = [], 1
    for kernel_size, c_out, padding, stride in layers:
        kind = la.Conv1d if axes == 1 else la.Conv2d
        found.append(kind(image, kernel_size, channels, c_out, padding, stride))
        h, w = found[-1].axes
        image, channels = (w.out if axes == 1 else (h.out, w.out)), c_out
    return found


CHAINS = {
    "same": convs((6, 5), (3, 1, "same", 1), (3, 1, "same", 1), (3, 1, "same", 1)),
    "valid": convs((9, 8), (3, 1, "valid", 1), (3, 1, "valid", 1), (3, 1, "valid", 1)),
    "circular": convs((6, 7), (3, 1, "circular", 1), (3, 1, "circular", 1)),
    "even kernels": convs((6, 7), (2, 1, "same", 1), ((4, 1), 1, "circular", 1), (2, 1, "same", 1)),
    "strides": convs((11, 10), (3, 1, "valid", (2, 1)), (2, 1, "valid", 2)),
    "padded strides": convs((7, 8), (3, 1, "same", 2), (3, 1, "same", (1, 2))),
    "circular strides": convs((8, 6), (3, 1, "circular", 2), (2, 1, "circular", 1)),
    "channels": convs((5, 6), (2, 2, "same", 1), (3, 3, "same", 1), (2, 2, "same", 1)),
    "channels, valid": convs((6, 6), (3, 3, "valid", 1), (2, 2, "valid", 1)),
    "paddings mixed": convs((7, 7), (3, 1, "same", 1), (3, 2, "valid", 1), (2, 1, "circular", 1)),
    "one layer": convs((6, 5), (3, 2, "same", 1)),
    "whole kernels": convs((4, 3), ((4, 3), 1, "circular", 1), ((4, 3), 1, "circular", 1)),
    "one tap": convs((4, 4), (1, 3, "same", 1), (1, 1, "same", 1)),
    "1-d": convs(12, (3, 1, "same", 1), (3, 2, "same", 2), (2, 1, "same", 1), axes=1),
    "1-d valid": convs(15, (4, 2, "valid", 2), (3, 1, "valid", 1), axes=1),
    "a line": convs((1, 12), ((1, 3), 1, "same", 1), ((1, 4), 1, "circular", 1)),
    "circulants": [la.Circulant(6), la.AntiCirculant(6), la.Circulant(6)],
    "anti-circulants": [la.AntiCirculant(5), la.AntiCirculant(5)],
    "circulant and convolution": [la.Conv1d(7, 3, padding="circular"), la.Circulant(7), la.Conv1d(7, 3)],
}
chains = pytest.mark.parametrize("layers", CHAINS.values(), ids=CHAINS)
OPTIONS = {
    "plain": {"metric": "matrix"},
    "momentum and decay": {"metric": "matrix", "momentum": 0.8, "weight_decay": 0.01},
    "parameters": {"metric": "parameters", "momentum": 0.5},
    "cyclic": {"update": "cyclic", "metric": "matrix", "weight_decay": 0.01, "momentum": 0.3},
    "cyclic, parameters": {"update": "cyclic", "metric": "parameters"},
}


def drawn(layers, n=7, dtype=np.float64, seed=0):
    """A start, images and targets of norm one."""
    rng = np.random.default_rng(seed)
    net = la.Network(layers).init("gaussian", rng=rng, dtype=dtype)
    X, Y = unit(rng.standard_normal((n, net.widths[0]))), unit(rng.standard_normal((n, net.widths[-1])))
    return net, X.astype(dtype), Y.astype(dtype)


def rate(net, metric="matrix"):
    """A rate that is stable: a parameter moves the matrix as often as it stands there."""
    return 0.02 if metric == "matrix" else 0.02 / max(float(np.max(layer.multiplicity)) for layer in net.layers)


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
@chains
def test_filters_alone(layers, options):
    net, X, Y = drawn(layers)
    full, less = both(net, X, Y, reduce=["filters"], lr=rate(net, options["metric"]), record=EVERYTHING, **options)
    assert applied(less) == ("filters",)
    assert full.loss[-1] < 0.999 * full.loss[0]
    assert_same(full, less)


@pytest.mark.parametrize("loss", ["mse", la.losses.Squared(half=False, reduction="samples")], ids=["mse", "samples"])
def test_normalisations_and_every_reduction(loss):
    net, X, Y = drawn(CHAINS["paddings mixed"], 30)
    full, less = both(net, X, Y, reduce=planner.REDUCTIONS, lr=0.1, loss=loss, record=EVERYTHING, metric="matrix")
    assert applied(less)[0] == "filters"
    assert_same(full, less)


@chains
def test_single_precision(layers):
    # 2,000 steps of rounding 6e-8 in each run
    net, X, Y = drawn(layers, dtype=np.float32)
    full, less = both(net, X, Y, reduce=["filters"], metric="matrix")
    assert less.network.dtype == np.float32
    assert distance(full, less) <= 2000 * 2 * 2.0**-24


@chains
def test_gradients(layers):
    net, X, Y = drawn(layers)
    value, wanted = la.value_and_grad(net, X, Y)
    problem = make_problem(net, X, Y, "squared")
    smaller, done = filters.reduce(problem, compose(net))
    assert done.residual < 1e-13
    found, gradients = la.value_and_grad(smaller.net, smaller.X, smaller.T)
    assert found + smaller.floor == pytest.approx(value, rel=1e-13)
    for mine, theirs in zip(gradients, wanted, strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=0, atol=1e-12 * np.abs(theirs).max())


# ---- moves -----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("padding", "moves"), [("same", 169), ("valid", 49), ("circular", 49)])
def test_moves_of_three_kernels(padding, moves):
    # composed taps go from -3 to 3; with zeros in between, what left the image at one layer does not come back, so that an axis
    # has 13 different moves: 7 steps, and 6 more that lose pixels on the way
    for image in ((28, 28), (9, 40)):
        chain = compose(la.Network(convs(image, *[(3, 1, padding, 1)] * 3)))
        assert chain.moves == moves
        assert [layer.shape for layer in chain.layers[1:]] == ([(9, 49), (1, 9)] if padding == "same" else [(9, 25), (1, 9)])


def brute_force(layers):
    """The different products of 0/1 matrices, one tap a layer (single channel)."""
    found = {np.eye(layers[-1].shape[0]).tobytes(): np.eye(layers[-1].shape[0])}
    for layer in reversed(layers):
        units = np.eye(layer.size).reshape(layer.size, *layer.param_shape)
        products = [M @ layer.matrix(unit) for M in found.values() for unit in units]
        found = {M.tobytes(): M for M in products if M.any()}
    return list(found.values())


@pytest.mark.parametrize(
    "name", [name for name, layers in CHAINS.items() if "channels" not in name and all(getattr(a, "out_channels", 1) == 1 for a in layers)]
)
def test_moves_are_the_products_of_taps(name):
    layers = CHAINS[name]
    chain = compose(la.Network(layers))
    # the moves of each axis are told apart, which only makes more of them where an axis has lost all its pixels
    wanted = brute_force(layers)
    assert chain.moves == len(wanted)
    # the composed filter times the moves is the product of the layers
    net = la.Network(layers).init("gaussian", rng=0)
    z = np.eye(1)
    for layer, theta in zip(reversed(chain.layers), reversed(net.params), strict=True):
        z = z @ layer.matrix(theta)
    moved = np.zeros(net.matrix().shape)
    for q, weight in enumerate(z[0]):
        heights, widths = np.array(chain.heights[q // len(chain.widths)]), np.array(chain.widths[q % len(chain.widths)])
        at = heights[:, None] * chain.image[1] + widths
        at = np.where((heights[:, None] >= 0) & (widths >= 0), at, -1).ravel()
        moved[np.flatnonzero(at >= 0), at[at >= 0]] += weight
    np.testing.assert_allclose(moved, net.matrix(), atol=1e-14)


# ---- the data: triangular factor or Gram matrix ----------------------------------------------------------------------------


def exact_loss(net, X, Y):
    """In 80 bits."""
    W = np.eye(X.shape[1], dtype=LD)
    for V in net.matrices():
        W = V.astype(LD) @ W
    return float(np.sum((X.astype(LD) @ W.T - Y.astype(LD)) ** 2) / 2)


@pytest.mark.parametrize("noise", [0.0, 1e-8, 1e-4])
@pytest.mark.parametrize("name", ["same", "valid", "circular", "channels", "padded strides", "circulants"])
def test_targets_that_a_map_of_the_moves_fits(name, noise):
    """Four digits of a loss of 1e-16 of the data, where the Gram matrix would have none."""
    rng = np.random.default_rng(1)
    teacher, X, _ = drawn(CHAINS[name], 40)
    Y = teacher(X)
    Y += noise * np.linalg.norm(Y) * unit(rng.standard_normal(Y.shape))
    gaps = [rng.standard_normal(theta.shape) for theta in teacher.params]
    problem = make_problem(teacher, X, Y, "squared")
    smaller, _ = filters.reduce(problem, compose(teacher))
    for size in (1e-3, 1e-6, 1e-8):
        net = teacher.with_params([theta + size * gap for theta, gap in zip(teacher.params, gaps, strict=True)])
        wanted = exact_loss(net, X, Y)
        data = float(np.sum(Y**2)) / 2
        found = exact_loss(la.Network(smaller.net.layers, net.params), smaller.X, smaller.T) + smaller.floor
        kept = la.train(net, X, Y, lr=1e-6, steps=1, reduce=["filters"]).loss[0]
        assert wanted < 1e-2 * data
        for value in (found, kept):
            # |R| dR + dR^2, dR the rounding of a sum over the moves in the outputs
            assert abs(value - wanted) <= 1e-4 * wanted + 1e-20 * data, (size, value, wanted)


def test_the_floor_is_what_no_filter_fits():
    net, X, Y = drawn(CHAINS["valid"], 40)
    run = la.train(net, X, Y, lr=0.02, steps=5, metric="matrix", reduce=["filters"])
    # least squares over the 49 moves, pixel by pixel
    chain = compose(net)
    image = X.reshape(-1, 9, 8)
    moved = np.stack([image[:, h][:, :, w].ravel() for h in map(list, chain.heights) for w in map(list, chain.widths)], axis=1)
    left = np.linalg.lstsq(moved, Y.ravel(), rcond=None)[1]
    assert run.floor == pytest.approx(float(left[0]) / 2, rel=1e-12)
    np.testing.assert_allclose(run.excess, run.loss - run.floor, rtol=1e-12)
    half = la.train(net, X, Y, lr=0.02, steps=5, metric="matrix", reduce=["filters"], loss="mse")
    assert half.floor == pytest.approx(run.floor * 2 / Y.size, rel=1e-12)


def constant(rng, n, shape):
    return np.ones((n, *shape)) * rng.standard_normal((n, 1, 1))


def zero_border(rng, n, shape):
    X = np.zeros((n, *shape))
    X[:, 2:-2, 2:-2] = rng.standard_normal(X[:, 2:-2, 2:-2].shape)
    return X


def smooth(rng, n, shape):
    # moves of such images differ by 1e-8: their Gram matrix has eigenvalues of 1e-16
    return constant(rng, n, shape) + 3e-8 * rng.standard_normal((n, *shape))


def smoother(rng, n, shape):
    y, x = np.indices(shape)
    return np.array([np.exp(-((y - a) ** 2 + (x - b) ** 2) / 60) for a, b in rng.uniform(0, 7, (n, 2))])


def one_pixel(rng, n, shape):
    X = np.zeros((n, *shape))
    X[:, 3, 3] = 1.0
    return X


def zero(rng, n, shape):
    return np.zeros((n, *shape))


IMAGES = {f.__name__: f for f in (constant, zero_border, smooth, smoother, one_pixel, zero)}


@pytest.mark.parametrize("n", [1, 2, 30])
@pytest.mark.parametrize("fits", [True, False])
@pytest.mark.parametrize("images", IMAGES.values(), ids=IMAGES)
@pytest.mark.parametrize("padding", ["same", "valid", "circular"])
def test_images_whose_moves_are_dependent(padding, images, fits, n):
    rng = np.random.default_rng(2)
    net = la.Network(convs((8, 7), (3, 1, padding, 1), (3, 1, padding, 1))).init("gaussian", rng=0)
    X = images(rng, n, (8, 7)).reshape(n, -1)
    X = X / (np.linalg.norm(X, 2) or 1.0)
    Y = net.init("gaussian", rng=5)(X) if fits else unit(rng.standard_normal((n, net.widths[-1])))
    full, less = both(net, X, Y, reduce=["filters"], steps=500, momentum=0.5, metric="matrix")
    assert applied(less) == ("filters",)
    assert row(less, "filters").residual <= 1e-12
    assert_same(full, less)


def test_compressed_data():
    net, X, Y = drawn(CHAINS["same"], 100)
    full = la.train(net, X, Y, lr=0.02, steps=200, metric="matrix", reduce="none")
    less = la.train(net, la.compress([(X[:50], Y[:50]), (X[50:], Y[50:])]), lr=0.02, steps=200, metric="matrix", reduce=["filters"])
    assert applied(less) == ("filters",)
    np.testing.assert_allclose(less.loss, full.loss, rtol=1e-12)


# ---- any chain -------------------------------------------------------------------------------------------------------------

layer = st.tuples(
    st.tuples(st.integers(1, 4), st.integers(1, 4)), st.integers(1, 2), st.sampled_from(["same", "valid", "circular"]),
    st.tuples(st.integers(1, 3), st.integers(1, 3)),
)  # fmt: skip


@given(
    st.tuples(st.integers(1, 7), st.integers(1, 7)), st.lists(layer, min_size=1, max_size=3), st.integers(1, 5), st.booleans(),
    st.sampled_from(["matrix", "parameters"]), st.sampled_from([0.0, 0.6]), st.integers(0, 99),
)  # fmt: skip
@examples(60)
def test_any_chain(image, wanted, n, cyclic, metric, momentum, seed):
    layers, channels = [], 1
    for kernel_size, c_out, padding, stride in wanted:
        size = tuple(min(k, side) for k, side in zip(kernel_size, image, strict=True))
        try:
            layers.append(la.Conv2d(image, size, channels, c_out, padding, stride))
        except ValueError:  # a tap that never meets the image
            layers.append(la.Conv2d(image, size, channels, c_out, "valid", stride))
        h, w = layers[-1].axes
        image, channels = (h.out, w.out), c_out
    net, X, Y = drawn(layers, n, seed=seed)
    update = "cyclic" if cyclic else "simultaneous"
    options = {"steps": 200, "update": update, "metric": metric, "momentum": momentum, "lr": rate(net, metric)}
    full, less = both(net, X, Y, reduce=["filters"], **options)
    assert applied(less) == ("filters",)
    assert_same_up_to_rounding(net, X, Y, full, less, **options)


# ---- refusals --------------------------------------------------------------------------------------------------------------


def why(layers, n=5, loss="squared", **options):
    rng = np.random.default_rng(0)
    net = la.Network(layers).init("gaussian", rng=0)
    Y = rng.standard_normal((n, net.widths[-1]))
    return row(
        la.explain(net, rng.standard_normal((n, net.widths[0])), np.sign(Y) if loss == "logistic" else Y, loss=loss, **options), "filters"
    ).why


def test_refusals_are_said(monkeypatch):
    chain = convs((6, 5), (3, 1, "same", 1), (3, 1, "same", 1))
    assert why([*chain, la.Dense(30, 2)]) == "layer 3 is Dense, no convolution"
    assert why([la.Masked(np.eye(30, dtype=bool)), *chain]) == "layer 1 is Masked, no convolution"
    assert why(chain, loss="logistic") == "needs a quadratic loss, logistic is not"
    assert why(chain, reduce="none") == "switched off"
    assert why([la.Conv2d((4, 4), 3), la.Circulant(16)]) == "layer 2 takes images of another shape than layer 1 gives"
    assert why([la.Conv2d((4, 4), 3, 1, 2), la.Conv2d((4, 8), 3)]) == "layer 2 takes images of another shape than layer 1 gives"
    net = la.Network(chain).init("gaussian", rng=0)
    assert row(la.explain(net, None, np.eye(30)), "filters").why == "there are no samples: the loss is on the product"
    # a chain whose moves are more than can be looked through, and one where they are more work than the images
    many = convs((28, 28), *[(5, 1, "same", 1)] * 9)
    assert why(many, n=1) == "the taps compose to more than 4,096 different moves"
    monkeypatch.setattr(budget, "GAIN", 0.95)
    assert re.fullmatch(r"saves too little: [\d,]+ multiply-adds instead of [\d,]+", why(CHAINS["whole kernels"], n=1))
    # the triangular factor of many moves, for a run of a few steps
    assert why(convs((28, 28), *[(3, 1, "same", 1)] * 3), n=40, steps=2) == "the run is too short to repay the search"
    assert why(convs((28, 28), *[(3, 1, "same", 1)] * 3), n=40, steps=1000).startswith("T9.1")
    # asked for by name, it is done
    assert why(convs((28, 28), *[(3, 1, "same", 1)] * 3), n=40, steps=2, reduce=["filters"]).startswith("T9.1")


def test_dense_networks_do_not_speak_of_filters():
    net = la.Network.dense([4, 3]).init("gaussian", rng=0)
    assert "filters" not in str(la.explain(net, np.eye(4), np.eye(4, 3)))
    assert la.train(net, np.eye(4), np.eye(4, 3), lr=0.1, steps=2, reduce=["filters"]).steps == 2


def test_a_check_that_fails_is_a_refusal(monkeypatch):
    net, X, Y = drawn(CHAINS["same"])
    true = filters._data
    monkeypatch.setattr(filters, "_data", lambda *a: (lambda found, done: (found, filters.Filters(7, 7, 1, 1e-9)))(*true(*a)))
    assert row(la.explain(net, X, Y, reduce=["filters"]), "filters").why == "refused: its check is off by 1e-09, more than 1e-10"


# ---- the plan --------------------------------------------------------------------------------------------------------------


def test_the_whole_text_of_a_plan(monkeypatch):
    monkeypatch.setattr(machine, "ISA", "avx2")
    monkeypatch.setattr(machine, "TILE", 24)
    monkeypatch.setattr(machine, "PANELS", 0)
    monkeypatch.setattr(budget, "GAIN", 0.95)
    net, X, Y = drawn(convs((28, 28), *[(3, 1, "same", 1)] * 3), 50)
    plan = la.explain(net, X, Y)
    assert row(plan, "filters").residual <= 1e-12
    assert re.sub(r"checked to \S+", "checked to E", str(plan)) == TEXT
    # mixed with dense layers the plan says what it is
    mixed = la.explain(
        la.Network([*convs((6, 6), (3, 2, "same", 1)), la.Dense(72, 9), la.Dense(9, 4)]).init("gaussian", rng=0),
        np.ones((1, 36)),
        np.ones((1, 4)),
    )
    assert str(mixed).splitlines()[2].split() == ["layers", "Conv2d,", "2", "Dense", "702", "parameters"]


TEXT = """\
plan: 58,688 multiply-adds a step; backpropagation as given takes 2,822,400, 48.1 times as many
  given     784-784-784-784, 50 rows            squared loss, simultaneous updates, float64
  layers    3 Conv2d                            27 parameters
  metric    parameters                          layers 1, 2, 3: gradients sum a parameter's 729 to 784 entries, as autograd (T5.1); metric='matrix' averages them
  filters   50 images -> 169 rows of 169 moves  T9.1: the taps of all layers compose to few moves of the image; checked to E
  samples   not used                            the 169 rows are independent
  inputs    not used                            layer 1 is Conv2d, not dense
  width     not used                            layer 1 is Conv2d, not dense
  split     not used                            layer 1 is Conv2d, not dense
  run       169-49-9-1, 169 rows                58,688 multiply-adds a step
  pivot     3 of 3, 1 rows in flight            fewest multiply-adds
  kernel    constrained, avx2                   products of their own for sparse layers; workspace 5,880 bytes
  not used  other pivots                        multiply-adds a step: 0 (194,688), 1 (2,825,144), 2 (530,568)"""


def test_a_plan_is_followed():
    net, X, Y = drawn(CHAINS["same"], 30)
    plan = la.explain(net, X, Y, reduce=["filters"])
    assert applied(plan) == ("filters",)
    assert type(plan).from_dict(plan.to_dict()) == plan
    run = la.train(net, X, Y, lr=0.02, steps=20, plan=plan)
    assert replace(run.plan, pivot_why=plan.pivot_why) == plan
    np.testing.assert_array_equal(run.loss, la.train(net, X, Y, lr=0.02, steps=20, reduce=["filters"]).loss)
    off = la.train(net, X, Y, lr=0.02, steps=20, plan=la.explain(net, X, Y, reduce="none"))
    assert applied(off) == ()


def test_a_plan_for_other_layers_is_refused():
    net, X, Y = drawn(CHAINS["same"], 30)
    for other in ("circular", "dense"):
        layers = [la.Dense(30, 30)] * 3 if other == "dense" else convs((6, 5), *[(3, 1, other, 1)] * 3)
        plan = la.explain(la.Network(layers).init("gaussian", rng=0), X, Y, reduce="none")
        with pytest.raises(
            ValueError, match=r"plan is for layer 1 (Dense|Conv2d)\(.*\) but the problem has Conv2d\(image=\(6, 5\), .*make a new one"
        ):
            la.train(net, X, Y, lr=0.02, steps=2, plan=plan)
    # and one for fewer layers of the same widths at the ends
    with pytest.raises(ValueError, match="plan is for widths"):
        la.train(net, X, Y, lr=0.02, steps=2, plan=la.explain(la.Network(net.layers[:2]).init("gaussian", rng=0), X, Y))


def test_long_chains_are_repaid_by_the_search(monkeypatch):
    """A search may take a share of the run, and at most SEARCH_STEPS steps of backpropagation; filters are made at a higher rate."""
    monkeypatch.setattr(budget, "GAIN", 0.95)
    net, X, Y = drawn(convs((28, 28), *[(3, 1, "same", 1)] * 3), 40)
    whole = la.explain(net, X, Y, reduce="none")
    search = len(X) * compose(net).search / filters.SEARCH_RATE
    assert search < budget.SEARCH_STEPS * whole.macs_before
    rate = cost.MACHINES[machine.ISA][1].rate
    repaid = int(np.ceil((search / rate + budget.SEARCH_CALL) / budget.SEARCH_SHARE / whole.pivot.nanoseconds))
    assert repaid > 1
    assert applied(la.explain(net, X, Y, steps=repaid + 1)) == ("filters",)
    assert applied(la.explain(net, X, Y, steps=repaid - 1)) == ()
    # beyond SEARCH_STEPS steps of backpropagation no run repays it
    monkeypatch.setattr(budget, "SEARCH_STEPS", search / whole.macs_before / 2)
    assert applied(la.explain(net, X, Y, steps=10**6)) == applied(la.explain(net, X, Y)) == ()
