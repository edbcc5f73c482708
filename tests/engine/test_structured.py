"""The compiled step of constrained layers against exact arithmetic: every kind of `Form`, place in the chain, pivot, loss, update."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import linalign as la
from linalign.engine.engines import ChainEngine
from linalign.layers.axis import PADDINGS
from linalign.layers.homogeneous import Homogeneous
from linalign.optim import SGD
from linalign.plan import cost, machine, structures
from linalign.problem.descent import make_descent
from linalign.problem.problem import make_problem
from linalign.record.quantities import QUANTITIES
from linalign.training import loop
from tests.examples import examples
from tests.oracles.checks import DTYPES, check_gradients, check_integer_gradients, check_integer_steps, check_steps, isas
from tests.oracles.draws import gaussian, mask
from tests.oracles.layer_cases import GROUPED, LAYERS, SHARED
from tests.oracles.structured_cases import descent_of, integer_structured_case, structured_case, structured_engine

# beside those of the contract: images with one row or column, kernels of one tap and of the whole image, strides that leave pixels
# over, numbers of channels around the blocks of the kernels (4 outputs at a time, then 1; gradients 3 at a time), lines of less
# and more than a vector, many blocks, runs up and down and of both signs
MORE = [
    *(la.Conv2d((4, 3), 3, c, 1) for c in (2, 3, 4)),
    *(la.Conv2d((3, 4), 2, 1, c) for c in (2, 3, 4, 5, 8)),
    la.Conv2d((3, 3), 3, 5, 4, "circular"),
    la.Conv2d((4, 4), 2, 3, 3, "valid"),
    la.Conv2d((2, 3), 2, 16, 6, "valid"),
    la.Conv2d((3, 2), 2, 2, 16),
    la.Conv2d((1, 9), (1, 4), 2, 2),
    la.Conv2d((9, 1), (3, 1), 1, 3, "circular", (2, 1)),
    la.Conv2d((1, 1), 1),
    la.Conv2d((6, 7), (6, 7), 1, 1, "valid"),
    la.Conv2d((4, 5), (4, 5), 1, 2),
    la.Conv2d((4, 5), (4, 5), 2, 1, "circular"),
    la.Conv2d((8, 7), (2, 3), 1, 1, "valid", (3, 3)),
    la.Conv2d((7, 8), (3, 2), 1, 2, "valid", (3, 5)),
    la.Conv2d((7, 8), (5, 4), 1, 1, "same", (3, 2)),
    la.Conv2d((5, 17), 3),
    la.Conv2d((3, 33), (2, 5), 1, 1, "circular"),
    la.Conv1d(40, 11),
    la.Conv1d(37, 2, 1, 1, "valid", 5),
    la.Conv1d(1, 1, 3, 5),
    la.Toeplitz(17, 16),
    la.Circulant(33),
    la.Diagonal(17),
    la.BlockDiagonal([(1, 1)] * 5 + [(16, 17), (2, 1)]),
    la.Masked(mask(9, 0.15, 17, 31)),
    la.Masked(np.arange(24).reshape(1, 24) % 5 == 0),
    la.Tied(np.where(np.eye(24, dtype=bool), np.arange(24) % 7, -1)),
    la.Tied(np.array([[0, 1, 2, 1, 0, 3], [3, 2, 1, 0, 1, 2], [-1, 0, -1, 1, 2, -1]])),
    la.Subspace(gaussian(1, 4, 6, 5)),
    la.Scaled(gaussian(2, 1, 6)),
    la.Fixed(gaussian(3, 5, 1)),
]
# what stands beside the products: a skip connection, the constant coordinate, biases of an output and of a channel
BORDERED = [
    la.Residual(la.Conv2d((3, 4), 3, 2, 2)),
    la.Residual(la.Masked(mask(12, 0.2, 9, 9))),
    Homogeneous(la.Conv2d((4, 5), 3, 2, 3, bias=True), False),
    Homogeneous(la.Conv2d((4, 4), 2, 1, 2, "circular", 2, bias=True), True),
    Homogeneous(la.Conv1d(9, 3), False),
    Homogeneous(la.Residual(la.Conv2d((3, 6), (1, 3), bias=True)), False),
    Homogeneous(la.layers.Biased(la.Masked(mask(13, 0.3, 6, 7))), False),
    Homogeneous(la.Tied(np.where(np.eye(9, dtype=bool), np.arange(9) // 2, -1)), False),
    Homogeneous(la.layers.Biased(la.Diagonal(9)), True),
    Homogeneous(la.layers.Biased(la.BlockDiagonal([(2, 4), (1, 1), (5, 2)])), False),
    Homogeneous(la.layers.Biased(la.Residual(la.Diagonal(5))), False),
    Homogeneous(la.Dense(4, 3, bias=True), False),
]
EVERY = [*LAYERS, *MORE, *BORDERED]
NAMES = [f"{k}-{layer!r}" for k, layer in enumerate(EVERY)]


def alone(layer):
    return [layer]


def between(layer):
    n_out, n_in = layer.shape
    return [la.Dense(3, n_in), layer, la.Dense(n_out, 2)]


def at_both_ends(layer):
    n_out, n_in = layer.shape
    # the basis matrices of a large dense layer would take minutes; this one has a matrix too
    back = la.Dense(n_out, n_in) if n_in * n_out <= 400 else la.Tied(np.add.outer(np.arange(n_in), 2 * np.arange(n_out)) % 5)
    return [layer, back, layer]


def twice(layer):
    n_out, n_in = layer.shape
    back = la.Masked(np.eye(n_in, n_out, dtype=bool) | np.eye(n_in, n_out, -1, dtype=bool))
    return [layer, back, layer]


PLACES = {"alone": alone, "between": between, "at both ends": at_both_ends, "beside one that is sparse": twice}
# a mixture of every kind, in two orders
MIXED = {
    "conv, tied, sparse, dense": [la.Conv2d((3, 4), 2, 1, 2), la.Tied(np.arange(120).reshape(5, 24) % 7), la.Masked(np.tri(6, 5, dtype=bool)), la.Dense(6, 3)],
    "dense, blocks, diagonal, conv": [la.Dense(4, 6), la.BlockDiagonal([(2, 3), (4, 4)]), la.Diagonal(7), la.Conv1d(7, 3, stride=2)],
    "basis, fixed, toeplitz": [la.Subspace(gaussian(4, 3, 5, 4)), la.Fixed(gaussian(5, 4, 5) / 4), la.Toeplitz(4, 3)],
    "circulant, skew, scaled": [la.Circulant(5), la.Skew(5), la.Scaled(gaussian(6, 3, 5) / 4)],
    "diagonal, conv, diagonal": [la.Diagonal(6), la.Conv1d(6, 3, padding="circular"), la.Diagonal(6)],
    "one sparse": [la.Tied(np.where(np.eye(5, dtype=bool), 0, -1))],
}  # fmt: skip

every_layer = pytest.mark.parametrize("layer", EVERY, ids=NAMES)
isa = pytest.mark.parametrize("isa", isas())
dtype = pytest.mark.parametrize("dtype", DTYPES)
update = pytest.mark.parametrize("update", ["simultaneous", "cyclic"])
metric = pytest.mark.parametrize("metric", ["parameters", "matrix"])


@cache
def case_of(place, layer, n, dtype, metric="parameters"):
    return structured_case(PLACES[place](layer), n, "squared", dtype, metric)


@cache
def mixed_case(name, n, loss, dtype, metric):
    return structured_case(MIXED[name], n, loss, dtype, metric)


def pivots_of(case, update="simultaneous"):
    return range(case.depth + 1) if update == "simultaneous" else [0]


def test_every_kind_is_here():
    assert {layer.form.kind for layer in EVERY} == set(structures.KINDS)


@dtype
@pytest.mark.parametrize("place", PLACES)
@every_layer
def test_gradients_of_every_layer(layer, place, dtype):
    # few rows, a panel and more of sparse products; the threads that convolutions are shared by are more than the rows of one
    for n in (2, 19):
        case = case_of(place, layer, n, dtype)
        for pivot in pivots_of(case):
            for isa in isas():
                check_gradients(structured_engine(isa, pivot), case)
            check_gradients(structured_engine(isa, pivot, threads=3), case)


@metric
@dtype
@every_layer
def test_steps_of_every_layer(layer, dtype, metric):
    case = case_of("between", layer, 6, dtype, metric)
    for isa in isas():
        check_steps(structured_engine(isa, 1), case, descent_of(case, momentum=0.5, weight_decay=0.3), steps=2)
        check_steps(structured_engine(isa, 0), case, descent_of(case, weight_decay=0.3, update="cyclic"), steps=2)


ROWS = [
    la.Conv2d((8, 9), 3),
    la.Conv2d((6, 6), 2, 2, 3, "circular", 2),
    la.Masked(mask(10, 0.1, 5, 75)),
    la.Tied(np.where(mask(11, 0.05, 71, 71), np.arange(71 * 71).reshape(71, 71) % 4, -1)),
    la.Diagonal(71),
    la.BlockDiagonal([(40, 2), (31, 3)]),
    Homogeneous(la.Residual(la.Conv2d((7, 5), 3, 2, 2, bias=True)), False),
]


@dtype
@isa
@pytest.mark.parametrize("layer", ROWS, ids=repr)
def test_every_number_of_rows(layer, isa, dtype):
    # panels of sparse products have 8 to 64 rows; a convolution is shared by more threads than there are rows, and fewer
    small = [la.Masked(np.eye(4, layer.shape[0], dtype=bool))]
    for n in range(1, 71):
        case = structured_case([layer, *small], n, "squared", dtype)
        check_gradients(structured_engine(isa), case)
        check_gradients(structured_engine(isa, threads=3), case)


@dtype
@isa
def test_dense_layers_beside_a_constant_coordinate(isa, dtype, monkeypatch):
    # from a size on, and with few rows, they have a product of their own; here all have
    layers = [
        Homogeneous(la.Dense(70, 7, bias=True), False),
        Homogeneous(la.Dense(7, 5), False),
        Homogeneous(la.Dense(5, 3, bias=True), True),
    ]
    bound, true = [], structures.parts
    monkeypatch.setattr(structures, "BESIDE_WORTH", 0)
    monkeypatch.setattr(structures, "parts", lambda *args: bound.append(true(*args)) or bound[-1])
    for n in (1, 2, 19, 70):
        for loss in ("squared", "logistic"):
            case = structured_case(layers, n, loss, dtype)
            for threads in (1, 3):
                bound.clear()
                check_gradients(structured_engine(isa, threads=threads), case)
                own = {"blocks"} if threads == 1 or n <= structures.BESIDE_ROWS else {"tied"}
                assert {name for name, kind in machine.KINDS.items() for S in bound if S.kind == kind} == own
            check_steps(structured_engine(isa), case, descent_of(case, momentum=0.5, weight_decay=0.3), steps=2)
            # an identity meets the layer elsewhere
            check_gradients(structured_engine(isa, 1), case)


LOSSES = (
    "squared", "mse", "logistic", "exponential", "cross_entropy-labels", "factorisation", "entries", "sensing", "end_to_end",
)  # fmt: skip


@dtype
@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("name", MIXED)
def test_gradients_of_every_loss(name, loss, dtype):
    for n in (3, 11):
        case = mixed_case(name, n, loss, dtype, "parameters")
        for pivot in pivots_of(case):
            for isa in ("base", list(isas())[-1]):
                check_gradients(structured_engine(isa, pivot, threads=2), case)


@update
@metric
@dtype
@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("name", MIXED)
def test_steps_of_every_loss(name, loss, dtype, metric, update):
    case = mixed_case(name, 11, loss, dtype, metric)
    for pivot in pivots_of(case, update):
        check_steps(structured_engine("base", pivot), case, descent_of(case, momentum=0.5, weight_decay=0.3, update=update), steps=2)


HOW = {
    "plain": {},
    "rates and decays a layer": {"lr": "a layer", "weight_decay": "a layer"},
    "momentum": {"momentum": 0.9},
    "all a layer": {"lr": "a layer", "momentum": 0.9, "weight_decay": "a layer"},
    # the old parameters vanish: 1 - lr * decay = 0
    "forgetting": {"lr": 2.0**-7, "weight_decay": 2.0**7},
}


@update
@metric
@dtype
@pytest.mark.parametrize("how", HOW)
def test_steps_of_every_update(how, dtype, metric, update):
    for name, layers in MIXED.items():
        rates = {key: np.linspace(0.004, 0.016, len(layers)) if value == "a layer" else value for key, value in HOW[how].items()}
        # the instruction sets take turns: test_steps_of_every_layer has them all
        for n, isa in zip((1, 11, 11), ("base", "base", list(isas())[-1]), strict=True):
            case = mixed_case(name, n, "squared", dtype, metric)
            for pivot in pivots_of(case, update):
                check_steps(structured_engine(isa, pivot, threads=2), case, descent_of(case, update=update, **rates), steps=2)


# ---- integers: equal to the bit --------------------------------------------------------------------------------------------

WHOLE = {
    "conv": [la.Conv2d((3, 3), 2), la.Conv2d((3, 3), 3, 1, 2, "circular", 2)],
    "tied": [la.Toeplitz(5, 3), la.Hankel(3, 4)],
    "signs": [la.Skew(4), la.Symmetric(4)],
    "sparse": [la.Masked(np.tri(4, dtype=bool)), la.Tied(np.where(np.eye(4, 9, dtype=bool).T, 0, -1))],
    "blocks": [la.Diagonal(4), la.BlockDiagonal([(1, 2), (3, 1)])],
    "shared": [la.Tied(SHARED), la.Tied(GROUPED[:, :3])],
}  # fmt: skip


@dtype
@isa
@pytest.mark.parametrize("name", WHOLE)
def test_integer_gradients_are_exact(name, isa, dtype):
    for n in (1, 5, 40):
        case = integer_structured_case(WHOLE[name], n, dtype)
        for pivot in pivots_of(case):
            check_integer_gradients(structured_engine(isa, pivot, threads=2), case)


@update
@isa
@pytest.mark.parametrize("name", WHOLE)
def test_integer_steps_are_exact(name, isa, update):
    case = integer_structured_case(WHOLE[name], 2, np.float64)
    how = descent_of(case, lr=2.0**-4, momentum=0.5, weight_decay=0.25, update=update)
    for pivot in pivots_of(case, update):
        check_integer_steps(structured_engine(isa, pivot), case, how, 1)


# ---- any convolution, any network --------------------------------------------------------------------------------------------


@given(
    image=st.tuples(st.integers(1, 9), st.integers(1, 20)),
    kernel=st.tuples(st.integers(1, 5), st.integers(1, 7)),
    channels=st.tuples(st.integers(1, 5), st.integers(1, 5)),
    padding=st.sampled_from(PADDINGS),
    stride=st.tuples(st.integers(1, 4), st.integers(1, 4)),
    n=st.integers(1, 9),
    dtype=st.sampled_from(DTYPES),
    isa=st.sampled_from(sorted(isas())),
    threads=st.integers(1, 3),
)
@examples(100)
def test_any_convolution(image, kernel, channels, padding, stride, n, dtype, isa, threads):
    kernel = tuple(min(k, side) for k, side in zip(kernel, image, strict=True))
    if np.prod(image) * max(channels) > 150:
        channels = (1, min(2, channels[1]))
    try:
        layer = la.Conv2d(image, kernel, *channels, padding, stride)
    except ValueError:  # a tap that never meets the image
        layer = la.Conv2d(image, kernel, *channels, padding)
    case = structured_case([layer], n, "squared", dtype)
    for pivot in (0, 1):
        check_gradients(structured_engine(isa, pivot, threads), case)


@given(
    index=st.integers(1, 8).flatmap(lambda a: st.integers(1, 8).flatmap(lambda b: st.lists(
        st.lists(st.integers(-1, 5), min_size=b, max_size=b), min_size=a, max_size=a))),
    n=st.integers(1, 9), dtype=st.sampled_from(DTYPES), isa=st.sampled_from(sorted(isas())), metric=st.sampled_from(["matrix", "parameters"]),
)  # fmt: skip
@examples(100)
def test_any_index(index, n, dtype, isa, metric):
    table = np.array(index)
    used = np.unique(table[table >= 0])
    if not used.size:
        table[0, 0], used = 0, np.array([0])
    table = np.where(table >= 0, np.searchsorted(used, table), -1)
    case = structured_case([la.Tied(table), la.Dense(len(table), 2)], n, "squared", dtype, metric)
    for pivot in range(3):
        check_gradients(structured_engine(isa, pivot), structured_case([la.Tied(table), la.Dense(len(table), 2)], n, "squared", dtype))
        check_steps(structured_engine(isa, pivot), case, descent_of(case, momentum=0.3), steps=1)


# ---- what surrounds the loop: the way back, files, records, sweeps ----------------------------------------------------------

TRAINED = {
    "conv": [la.Conv2d((5, 4), 3, 1, 2), la.Conv2d((5, 4), 2, 2, 1, "circular", 2)],
    "tied": [la.Toeplitz(6, 5), la.Dense(5, 4), la.Skew(4)],
    "sparse": [la.Masked(np.tri(7, dtype=bool)), la.Tied(np.where(np.eye(7, dtype=bool), np.arange(7) % 2, -1))],
    "basis": [la.Subspace(gaussian(7, 3, 4, 5)), la.Fixed(np.eye(4)[:3]), la.Scaled(gaussian(8, 2, 3))],
    "blocks": [la.BlockDiagonal([(2, 3), (3, 1)]), la.Diagonal(4), la.Circulant(4)],
}
trained = pytest.mark.parametrize("layers", TRAINED.values(), ids=TRAINED)


def drawn(layers, n=12):
    net = la.Network(layers).init("gaussian", rng=0)
    rng = np.random.default_rng(3)
    return net, rng.standard_normal((n, net.widths[0])), rng.standard_normal((n, net.widths[-1]))


@trained
@pytest.mark.parametrize("update", ["simultaneous", "cyclic"])
def test_a_restored_engine_repeats_its_steps(layers, update):
    # the matrices that tied layers keep beside their parameters must come back with them
    net, X, Y = drawn(layers)
    problem = make_problem(net, X, Y, "squared")
    for metric, pivots in (("matrix", range(net.depth + 1)), ("parameters", [0])):
        how = make_descent(net.depth, 1e-3, SGD(0.5, weight_decay=0.1), update, metric)
        for at in pivots if update == "simultaneous" else [0]:
            engine = ChainEngine(problem, how, cost.pivots(problem)[at])
            first, again = np.empty(7), np.empty(7)
            engine.advance(2, first, -np.inf)
            kept = engine.snapshot()
            engine.advance(7, first, -np.inf)
            after = engine.snapshot()
            engine.advance(5, again, -np.inf)
            engine.restore(kept)
            assert engine.value(-np.inf) == (0, first[0])
            engine.advance(7, again, -np.inf)
            np.testing.assert_array_equal(first, again)
            for a, b in zip(after, engine.snapshot(), strict=True):
                np.testing.assert_array_equal(a, b)


@trained
@pytest.mark.parametrize("reduce", ["none", "auto"])
@pytest.mark.parametrize("slice_seconds", [0.05, 1e-9])
def test_divergence_comes_back_to_the_last_finite_loss(layers, reduce, slice_seconds, monkeypatch):
    monkeypatch.setattr(loop, "SLICE_SECONDS", slice_seconds)
    monkeypatch.setattr(loop, "SNAPSHOT_SECONDS", slice_seconds)
    net, X, Y = drawn(layers)
    with pytest.raises(la.DivergenceError, match="not finite after it, with lr=") as caught:
        la.train(net, X, Y, lr=3.0, steps=3000, momentum=0.5, metric="matrix", reduce=reduce, record={"params": 1})
    run = caught.value.run
    assert len(run.loss) == run.steps + 1
    assert np.isfinite(run.loss).all()
    assert all(np.isfinite(theta).all() for theta in run.network.params)
    # the network that is returned is that of the last loss, and the steps to it are the same steps
    for steps in (run.steps, max(run.steps - 1, 0)):
        same = la.train(net, X, Y, lr=3.0, steps=steps, momentum=0.5, metric="matrix", reduce=reduce)
        np.testing.assert_array_equal(same.loss, run.loss[: steps + 1])
        if steps == run.steps:
            for a, b in zip(same.network.params, run.network.params, strict=True):
                np.testing.assert_array_equal(a, b)


@trained
def test_runs_are_saved_and_loaded(layers, tmp_path):
    net, X, Y = drawn(layers)
    run = la.train(net, X, Y, lr=1e-3, steps=20, record={"alignment": 5, "params": 10, "layer_singular_values": 10})
    again = la.load(run.save(tmp_path / "run.npz"))
    assert again.network.layers == net.layers
    assert again.plan == run.plan
    assert str(again.plan) == str(run.plan)
    np.testing.assert_array_equal(again.loss, run.loss)
    for a, b in zip(again.network.params, run.network.params, strict=True):
        np.testing.assert_array_equal(a, b)
    for name, kept in run.history.items():
        np.testing.assert_array_equal(again.history[name].values, kept.values)


@trained
def test_records_are_those_of_the_matrices(layers):
    # what is recorded along a run is what the same run, stopped there, has
    net, X, Y = drawn(layers)
    names = [name for name in QUANTITIES if name not in ("params", "validation_loss")]
    seen = la.train(net, X, Y, lr=1e-3, steps=20, momentum=0.5, record={name: [0, 7, 20] for name in names})
    bare = la.train(net, X, Y, lr=1e-3, steps=20, momentum=0.5)
    np.testing.assert_array_equal(seen.loss, bare.loss)
    for j, step in enumerate((0, 7, 20)):
        there = la.train(net, X, Y, lr=1e-3, steps=step, momentum=0.5).network
        matrices = there.matrices()
        values = {name: seen.history[name].values[j] for name in names}
        for name in ("alignment", "misalignment", "alignment_top", "balancedness", "singular_values", "effective_rank", "alignment_svd"):
            np.testing.assert_allclose(values[name], getattr(la, name)(matrices), rtol=1e-9, atol=1e-12, err_msg=name)
        for mine, W in zip(values["layer_singular_values"], matrices, strict=True):
            exact = np.linalg.svd(W, compute_uv=False)
            np.testing.assert_allclose(mine[: len(exact)], exact, atol=1e-12 * exact[0])
        np.testing.assert_allclose(values["invariance"], la.invariance(matrices, net.matrices()), rtol=1e-9)
        value, grads = la.value_and_grad(there, X, Y)
        assert values["loss"] == pytest.approx(value, rel=1e-12)
        assert values["gradient_norm"] == pytest.approx(np.sqrt(sum(np.sum(g**2) for g in grads)), rel=1e-12)


@trained
def test_sweeps_are_the_runs_one_by_one(layers):
    _, X, Y = drawn(layers)

    def make(rng):
        return la.Network(layers).init("gaussian", rng=rng)

    found = la.sweep(make, X, Y, grid={"rng": [0, 1], "lr": [1e-3, 2e-3]}, steps=30, metric="parameters", threads=2, keep_runs=True)
    assert len(found) == 4
    for row, kept in zip(found.rows, found.runs, strict=True):
        run = la.train(make(row["rng"]), X, Y, lr=row["lr"], steps=30, metric="parameters")
        assert row["error"] is None
        assert row["loss"] == pytest.approx(run.loss[-1], rel=1e-12)
        assert kept.network.layers == run.network.layers


@pytest.mark.parametrize("update", ["simultaneous", "cyclic"])
@pytest.mark.parametrize("k", [64, 128, 136])
def test_large_tied_matrices_are_shared_out(update, k):
    # filled by all threads from 64 x 64 on, and transposed from 128 x 128 on
    rng = np.random.default_rng(0)
    net = la.Network([la.Toeplitz(k, k)] * 3).init("gaussian", rng=1)
    Y = rng.standard_normal((k, k)) / np.sqrt(k)
    options = {"lr": 1e-3, "steps": 20, "update": update, "reduce": "none"}
    ours, one = (la.train(net, None, Y, threads=threads, **options) for threads in (2, 1))
    plain = la.train(net, None, Y, implementation="reference", **options)
    for theta, alone, wanted in zip(ours.network.params, one.network.params, plain.network.params, strict=True):
        assert np.allclose(theta, wanted, rtol=0, atol=1e-12 * np.abs(wanted).max())
        assert np.allclose(theta, alone, rtol=0, atol=1e-13 * np.abs(alone).max())
