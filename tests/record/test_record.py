"""What is recorded, when, and that recording is looking only."""

from __future__ import annotations

import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import linalign as la
from linalign import losses
from linalign.record.curvature import TOLERANCE
from linalign.record.quantities import QUANTITIES
from linalign.record.schedule import schedule
from tests.oracles.checks import U64

WAYS = {"as given": {"reduce": "none"}, "reduced": {}, "reference": {"implementation": "reference"}}
way = pytest.mark.parametrize("options", WAYS.values(), ids=WAYS)


def problem(widths=(4, 5, 3), n=20, seed=0, start="gaussian", **options):
    rng = np.random.default_rng(seed)
    net = la.Network.dense(widths).init(start, rng=seed, **options)
    return net, rng.standard_normal((n, widths[0])), rng.standard_normal((n, widths[-1]))


def snapshots(net, history):
    """The networks whose parameters were recorded."""
    sizes = np.cumsum([theta.size for theta in net.params])[:-1]
    return [
        net.with_params([part.reshape(theta.shape) for part, theta in zip(np.split(row, sizes), net.params, strict=True)])
        for row in history["params"].values
    ]


# ---- when ------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("every", "steps", "at"),
    [
        (1, 4, [0, 1, 2, 3, 4]),
        (3, 10, [0, 3, 6, 9, 10]),
        (3, 9, [0, 3, 6, 9]),
        (100, 7, [0, 7]),
        (5, 0, [0]),
        ([], 6, [6]),
        ([4, 2, 2, 0], 6, [0, 2, 4, 6]),
        (np.array([1, 5]), 6, [1, 5, 6]),
        (range(2, 5), 6, [2, 3, 4, 6]),
        ([3, 50], 6, [3, 6]),  # steps that never come are left out
        (np.int64(2), 4, [0, 2, 4]),
        ("log", 1, [0, 1]),
        ("log", 0, [0]),
    ],
    ids=str,
)
@way
def test_steps_at_which_things_are_recorded(options, every, steps, at):
    net, X, Y = problem()
    run = la.train(net, X, Y, lr=1e-3, steps=steps, record={"loss": every}, **options)
    history = run.history["loss"]
    assert history.steps.tolist() == at
    assert history.steps.dtype == np.int64
    assert len(history) == len(history.values) == len(at)
    # to the bit the loss of the run there
    assert np.array_equal(history.values, run.loss[at])


def test_log_is_about_twenty_a_decade():
    at = schedule("loss", "log", 10**6).within(0, 10**6 + 1)
    assert at[0] == 0
    assert at[-1] == 10**6
    assert (np.diff(at) > 0).all()
    late = at[at >= 100]
    ratios = late[1:] / late[:-1]
    # 10^(1/20) = 1.122, rounded to whole steps
    assert abs(ratios.max() - 10**0.05) < 0.01
    assert abs(ratios.min() - 10**0.05) < 0.01
    assert {1, 10, 100, 1000} <= set(at.tolist())


def test_quantities_have_schedules_of_their_own():
    net, X, Y = problem()
    run = la.train(net, X, Y, lr=1e-3, steps=12, record={"loss": 5, "alignment": "log", "balancedness": [3], "params": 12})
    assert run.history["loss"].steps.tolist() == [0, 5, 10, 12]
    assert run.history["balancedness"].steps.tolist() == [3, 12]
    assert run.history["params"].steps.tolist() == [0, 12]
    assert list(run.history) == ["loss", "alignment", "balancedness", "params"]


@way
def test_a_run_that_ends_early_records_where_it_ends(options):
    net, X, Y = problem()
    tol = float(la.train(net, X, Y, lr=1e-2, steps=8, **options).loss[8]) * (1 + 1e-12)
    run = la.train(net, X, Y, lr=1e-2, steps=10**4, tol=tol, record={"loss": 1000, "singular_values": "log"}, **options)
    assert run.converged
    assert run.steps == 8
    assert run.history["loss"].steps.tolist() == [0, 8]
    assert run.history["singular_values"].steps[-1] == 8


# ---- what ------------------------------------------------------------------------------------------------------------------

PUBLIC = {
    "alignment": la.alignment,
    "misalignment": la.misalignment,
    "alignment_svd": la.alignment_svd,
    "alignment_top": la.alignment_top,
    "balancedness": la.balancedness,
    "singular_values": la.singular_values,
    "effective_rank": la.effective_rank,
}


def test_every_quantity_is_tested_here():
    others = {"loss", "validation_loss", "gradient_norm", "invariance", "top_invariance", "layer_singular_values", "modes", "params"}
    others |= {"nuclear_norm", "layer_gradient_norms"}  # tests/test_help.py
    # tests/record/test_curvature.py
    curvature = {"sharpness", "edge", "hessian_eigenvalues", "gauss_newton_top", "ntk_trace", "kernel_distance"}
    norms = {"nuclear_norm", "layer_gradient_norms"}  # tests/test_help.py
    assert set(QUANTITIES) == set(PUBLIC) | others | curvature | norms


def test_the_documentation_has_the_names_and_shapes_of_all():
    net, X, Y = problem((6, 5, 4, 3), 15)
    run = la.train(net, X, Y, lr=1e-2, steps=1, record=dict.fromkeys(QUANTITIES, 1), validation=(X, Y))
    sizes = {"d": 3, "r": 3, "m": 5, "size": sum(p.size for p in net.params)}
    listed = re.findall(r"^(\w+) +\(([^)]*)\)  ", la.record.__doc__, re.MULTILINE)
    assert [name for name, _ in listed] == list(QUANTITIES)
    for name, shape in listed:
        parts = [part for part in shape.split(",") if part.strip()]
        wanted = tuple(int(part) if part.isdigit() else sizes[part.split()[0]] - ("- 1" in part) for part in parts)
        assert run.history[name].values.shape[1:] == wanted, name


def test_values_are_those_of_the_public_functions():
    net, X, Y = problem((6, 5, 4, 3), 15)
    run = la.train(net, X, Y, lr=1e-2, steps=20, record=dict.fromkeys(QUANTITIES, 5), validation=(X, Y), reduce="none")
    along = snapshots(net, run.history)
    assert len(along) == 5
    for name, function in PUBLIC.items():
        found, wanted = run.history[name].values, np.array([function(there) for there in along])
        # the loop takes these two on its way: sums of at most 36 terms, in another order
        off = 100 * U64 if name in ("alignment", "misalignment") else 0.0
        assert np.abs(found - wanted).max() <= off, name
    for name in ("invariance", "top_invariance"):
        assert np.array_equal(run.history[name].values, [getattr(la, name)(there, net) for there in along]), name
    for j, there in enumerate(along):
        table = run.history["layer_singular_values"].values[j]
        assert table.shape == (3, 5)
        for row, W in zip(table, there.matrices(), strict=True):
            s = np.linalg.svd(W, compute_uv=False)
            assert row[: len(s)] == pytest.approx(s, rel=1e-12)
            assert np.isnan(row[len(s) :]).all()
        value, grads = la.value_and_grad(there, X, Y)
        assert run.history["loss"].values[j] == pytest.approx(value, rel=1e-13)
        assert run.history["gradient_norm"].values[j] == pytest.approx(np.sqrt(sum(np.sum(g**2) for g in grads)), rel=1e-12)
        U, _, Vt = np.linalg.svd(Y.T @ X, full_matrices=False)
        # the bases are those of Y^T X up to a sign of each pair, which the product does not see
        assert run.history["modes"].values[j] == pytest.approx(np.diag(U.T @ there.matrix() @ Vt.T), abs=1e-12)
    assert np.array_equal(along[-1].params[0], run.network.params[0])


STARTS = {
    "gaussian": {},
    "more inputs than samples": {"widths": (30, 6, 5, 3), "n": 8},
    "few inputs": {"widths": (3, 12, 9, 2), "n": 30},
    "orthogonal": {"widths": (12, 12, 12, 2), "start": "orthogonal"},
    "identity": {"widths": (7, 7, 7, 3), "start": "identity"},
    "rank one data": {"widths": (6, 7, 5, 4), "rank": 1},
    "one output": {"widths": (9, 8, 7, 1)},
    "one layer": {"widths": (5, 3)},
    "one layer, rank one data": {"widths": (5, 3), "rank": 1},
    "one sample": {"widths": (6, 8, 4, 4), "n": 1, "start": "orthogonal"},
    "narrow inputs": {"widths": (2, 5, 7), "n": 4, "start": "orthogonal"},
    "wide hidden": {"widths": (4, 6, 5, 7, 5), "n": 3, "start": "orthogonal"},
    "aligned": {"widths": (6, 6, 6), "aligned": True},
}


@pytest.mark.parametrize(
    "how", [{}, {"momentum": 0.5, "weight_decay": 0.1}, {"update": "cyclic"}], ids=["plain", "momentum and decay", "cyclic"]
)
@pytest.mark.parametrize("start", STARTS.values(), ids=STARTS)
def test_values_do_not_depend_on_the_reductions(start, how):
    settings = {"widths": (6, 5, 4, 3), "n": 15, **start}
    aligned, rank = settings.pop("aligned", False), settings.pop("rank", None)
    net, X, Y = problem(**settings)
    if rank:
        X = X[:, :rank] @ np.random.default_rng(1).standard_normal((rank, X.shape[1]))
    if aligned:
        net = la.Network.dense(settings["widths"]).init("aligned", X=X, Y=Y, rng=0)
    record = dict.fromkeys(QUANTITIES, 4)
    everything = ["samples", "inputs", "width", "split"]
    plain, reduced = (
        la.train(net, X, Y, lr=1e-3, steps=12, record=record, reduce=reduce, validation=(X, Y), **how) for reduce in ("none", everything)
    )
    size = np.prod([max(np.linalg.norm(W), 1) for W in net.matrices()])
    for name, kept in plain.history.items():
        found = reduced.history[name]
        assert np.array_equal(found.steps, kept.steps)
        assert found.values.shape == kept.values.shape
        # scores lie in [0, 1]; the rest is made of products of the layers. Angles are quotients of small products, which may
        # magnify rounding by a few thousand here; where singular values repeat, single vectors are anybody's (alignment_top and _svd)
        if name in ("alignment_top", "alignment_svd", "invariance", "top_invariance") and (
            aligned or settings.get("start") in ("orthogonal", "identity")
        ):
            continue
        tolerance = 1e-10 * max(size, np.abs(plain.loss[0]))
        if name in ("sharpness", "edge", "hessian_eigenvalues", "gauss_newton_top"):
            # each run searches for itself, to this share of the largest
            tolerance = 2 * TOLERANCE * np.abs(kept.values).max()
        assert np.allclose(found.values, kept.values, rtol=1e-10, atol=tolerance, equal_nan=True), name


@given(
    widths=st.lists(st.integers(1, 8), min_size=2, max_size=5),
    n=st.integers(1, 12),
    seed=st.integers(0, 10**6),
    start=st.sampled_from(["gaussian", "orthogonal", "identity"]),
    ranks=st.tuples(st.booleans(), st.booleans()),
    decay=st.sampled_from([0.0, 0.1]),
)
def test_values_do_not_depend_on_the_reductions_whatever_the_shape(widths, n, seed, start, ranks, decay):
    net, X, Y = problem(widths, n, seed, start)
    if ranks[0]:
        X = X[:, :1] @ np.ones((1, widths[0]))
    if ranks[1]:
        Y = Y[:, :1] @ np.ones((1, widths[-1]))
    record = dict.fromkeys(["loss", "gradient_norm", "balancedness", "singular_values", "effective_rank", "modes", "params"], 3)
    how = {"lr": 1e-4, "steps": 6, "weight_decay": decay, "record": record}
    plain, reduced = (la.train(net, X, Y, reduce=reduce, **how) for reduce in ("none", ["samples", "inputs", "width", "split"]))
    size = max(np.prod([max(np.linalg.norm(W), 1) for W in net.matrices()]), np.abs(plain.loss[0]))
    for name, kept in plain.history.items():
        assert np.allclose(reduced.history[name].values, kept.values, rtol=1e-10, atol=1e-10 * size), name


def test_modes_of_a_loss_that_does_not_move_are_the_corner():
    net = problem((3, 4, 2))[0]
    run = la.train(net, None, loss=losses.EndToEnd(lambda P: (0.0, np.zeros_like(P))), lr=0.1, steps=1, record={"modes": 1})
    # of a gradient that is zero, every basis is one of singular vectors: the coordinates are taken
    wanted = np.sort(np.abs(np.diag(net.matrix())))
    assert np.sort(np.abs(run.history["modes"].values[0])) == pytest.approx(wanted, rel=1e-13)


@pytest.mark.parametrize("update", ["simultaneous", "cyclic"])
@pytest.mark.parametrize("loss", ["squared", "logistic", "cross_entropy"])
def test_the_gradient_norm_is_that_of_the_loss_alone(loss, update):
    # not of momentum, not of decay, and of the point where it is recorded also when the sweep is cyclic
    net, X, Y = problem((4, 5, 3), 9)
    Y = np.where(Y < 0, -1.0, 1.0) if loss == "logistic" else np.argmax(Y, axis=1) if loss == "cross_entropy" else Y
    run = la.train(
        net, X, Y, loss=loss, lr=0.01, steps=4, momentum=0.9, weight_decay=1.0, update=update,
        record={"gradient_norm": 1, "params": 1}, reduce="none",
    )  # fmt: skip
    for there, norm in zip(snapshots(net, run.history), run.history["gradient_norm"].values, strict=True):
        grads = la.value_and_grad(there, X, Y, loss=loss)[1]
        assert norm == pytest.approx(np.sqrt(sum(np.sum(g**2) for g in grads)), rel=1e-13)


# ---- functions -------------------------------------------------------------------------------------------------------------


@way
def test_a_function_of_the_network_is_recorded_under_its_name(options):
    def first_entry(net):
        assert isinstance(net, la.Network)
        return net.matrix()[0, 0]

    def layer(net):
        return net.params[0]

    net, X, Y = problem()
    run = la.train(net, X, Y, lr=1e-3, steps=6, record={first_entry: 2, layer: [3]}, **options)
    assert list(run.history) == ["first_entry", "layer"]
    assert run.history["first_entry"].steps.tolist() == [0, 2, 4, 6]
    assert run.history["first_entry"].values[0] == pytest.approx(net.matrix()[0, 0], rel=1e-13)
    assert run.history["first_entry"].values[-1] == run.network.matrix()[0, 0]
    assert run.history["layer"].values.shape == (2, 5, 4)
    # a snapshot, and no view of what moves on
    assert not np.array_equal(*run.history["layer"].values)


def test_functions_of_one_name_are_refused():
    net, X, Y = problem()
    with pytest.raises(ValueError, match=re.escape("record has two entries named '<lambda>'; name the functions: ")):
        la.train(net, X, Y, lr=1e-3, steps=2, record={(lambda n: 1.0): 1, (lambda n: 2.0): 2})

    def loss(net):
        return 0.0

    with pytest.raises(ValueError, match="record has two entries named 'loss'; name the functions: "):
        la.train(net, X, Y, lr=1e-3, steps=2, record={"loss": 1, loss: 1})


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (lambda: None, "the recorded function 'odd' returned NoneType; a number or an array of numbers was wanted"),
        (lambda: "text", "the recorded function 'odd' returned str; a number or an array of numbers was wanted"),
        (lambda: [[1.0], [1.0, 2.0]], "the recorded function 'odd' returned list; a number or an array of numbers was wanted"),
    ],
    ids=["none", "text", "ragged"],
)
def test_a_function_that_answers_no_numbers_is_refused_at_once(answer, message):
    # and not after a long run, when its values are gathered or saved
    def odd(net):
        return answer()

    net, X, Y = problem()
    with pytest.raises(TypeError, match=re.escape(message)):
        la.train(net, X, Y, lr=1e-3, steps=2, record={odd: 1})


def test_a_function_whose_answers_change_shape_is_refused():
    def growing(net, calls=[]):  # noqa: B006
        calls.append(0)
        return np.zeros(len(calls))

    net, X, Y = problem()
    with pytest.raises(ValueError, match=re.escape("the recorded function 'growing' returned shape (2,), before (1,); keep to one shape")):
        la.train(net, X, Y, lr=1e-3, steps=2, record={growing: 1})


# ---- recording is looking only ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "how",
    [{}, {"momentum": 0.9}, {"update": "cyclic"}, {"update": "cyclic", "momentum": 0.9, "weight_decay": 0.1}, {"loss": "mse"}],
    ids=str,
)
@pytest.mark.parametrize("widths", [(4, 5, 3), (8, 8, 8), (70, 3, 66), (5, 1, 4)], ids=str)
@way
def test_recording_does_not_change_the_trajectory(options, widths, how):
    net, X, Y = problem(widths, 12)
    how = {"lr": 1e-4, "steps": 30, **how, **options}
    silent = la.train(net, X, Y, **how)
    watched = la.train(net, X, Y, record=dict.fromkeys(QUANTITIES, 1), validation=(X, Y), **how)
    sparse = la.train(net, X, Y, record={"gradient_norm": 7, "loss": "log"}, **how)
    for run in (watched, sparse):
        assert np.array_equal(run.loss, silent.loss)
        assert all(np.array_equal(a, b) for a, b in zip(run.network.params, silent.network.params, strict=True))
    assert np.array_equal(watched.history["loss"].values, watched.loss)


@given(st.integers(0, 10**6), st.integers(0, 40), st.lists(st.integers(0, 50), max_size=5), st.integers(1, 60))
def test_any_schedule_gives_its_steps(seed, steps, listed, every):
    net, X, Y = problem((2, 3, 2), 4, seed)
    run = la.train(net, X, Y, lr=1e-3, steps=steps, record={"loss": listed, "balancedness": every}, reduce="none")
    assert run.history["loss"].steps.tolist() == sorted({*(s for s in listed if s <= steps), steps})
    assert run.history["balancedness"].steps.tolist() == sorted({*range(0, steps + 1, every), steps})
    assert np.array_equal(run.history["loss"].values, run.loss[run.history["loss"].steps])


# ---- refusals --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("record", "error", "message"),
    [
        ("loss", TypeError, 'record is str; a dict of names and intervals was wanted, such as {"alignment": 100}'),
        (["loss"], TypeError, 'record is list; a dict of names and intervals was wanted, such as {"alignment": 100}'),
        ({"speed": 1}, ValueError, "record is 'speed'; one of 'loss', 'validation_loss', 'gradient_norm', "),
        ({3: 1}, ValueError, "record is 3; one of 'loss', "),
        ({"loss": 0}, ValueError, "record['loss'] is 0; a whole number of at least 1 was wanted"),
        ({"loss": 2.5}, TypeError, "record['loss'] is 2.5; a whole number of at least 1 was wanted"),
        ({"loss": True}, TypeError, "record['loss'] is True; a whole number of at least 1 was wanted"),
        ({"loss": None}, TypeError, "record['loss'] is None; a whole number of at least 1 was wanted"),
        ({"loss": "often"}, ValueError, "record['loss'] is 'often'; one of 'log' was wanted"),
        ({"loss": [1, -2]}, ValueError, "record['loss'][1] is -2; a whole number of at least 0 was wanted"),
        ({"loss": [0.5]}, TypeError, "record['loss'][0] is 0.5; a whole number of at least 0 was wanted"),
        ({"loss": np.array(3)}, TypeError, "record['loss'] is array(3); a whole number of at least 1 was wanted"),
    ],
    ids=str,
)
def test_refusals(record, error, message):
    net, X, Y = problem()
    with pytest.raises(error, match="^" + re.escape(message)):
        la.train(net, X, Y, lr=1e-3, steps=2, record=record)


def test_a_scalar_of_numpy_is_a_number_of_steps():
    assert schedule("loss", np.int32(2), 5).within(0, 6).tolist() == [0, 2, 4, 5]
    assert np.finfo(float).eps / 2 == U64


# ---- scores that the loop takes by itself ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("widths", "rows", "reduce"),
    [
        ((5, 5, 5, 5), 5, ("samples",)),
        ((40, 3, 64, 7), 50, ("samples",)),
        ((60, 1, 1), 8, ("samples",)),
        ((70, 4, 1), 8, ("samples", "inputs")),  # constant columns beside the first layer
        ((70, 4, 3, 2), 8, ("samples", "inputs")),
    ],
)
@pytest.mark.parametrize("options", [{}, {"update": "cyclic"}, {"momentum": 0.5}], ids=["plain", "cyclic", "momentum"])
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_the_loop_scores_as_python_does(widths, rows, reduce, options, dtype):
    rng = np.random.default_rng(0)
    net = la.Network.dense(widths).init("xavier", rng=1, dtype=dtype)
    X, Y = rng.standard_normal((rows, widths[0])).astype(dtype), rng.standard_normal((rows, widths[-1])).astype(dtype)
    how = {"lr": 1e-4, "steps": 60, "reduce": list(reduce), **options}
    record = {"alignment": 7, "misalignment": "log"}
    alone = la.train(net, X, Y, record=record, **how)
    # functions are asked by Python, so at each of these steps the loop comes back
    asked = {"alignment": (7, la.alignment), "misalignment": ("log", la.misalignment)}
    beside = la.train(net, X, Y, record={"his " + name: one for name, one in asked.items()}, **how)
    assert all(np.array_equal(a, b) for a, b in zip(alone.network.params, beside.network.params, strict=True))
    for name in record:
        mine, theirs = alone.history[name], beside.history["his " + name]
        assert np.array_equal(mine.steps, theirs.steps)
        assert mine.values.shape == (len(mine.steps), len(widths) - 2)
        # K has norms of at most one after scaling, and sums of 128 terms twice over; in K, twice in each norm, are the entries that
        # are rounded once more where a smaller network is lifted to that which Python sees
        lifted = 8 * np.finfo(dtype).eps if "inputs" in reduce else 0.0
        assert np.abs(mine.values - theirs.values).max() <= 4 * 128 * np.finfo(np.float64).eps + lifted


@pytest.mark.parametrize("size", [1e-80, 1e80])
def test_the_loop_scores_networks_of_any_size(size):
    net = la.Network.dense([4, 4, 4]).init("gaussian", rng=0)
    scaled = net.with_params([net.params[0] * size, net.params[1] / size])
    how = {"lr": [1e-300, 1e-300], "steps": 3, "record": {"alignment": 1, "misalignment": 1}, "reduce": "none"}
    plain, extreme = (la.train(which, None, np.eye(4), **how).history for which in (net, scaled))
    for name in plain:
        assert np.abs(plain[name].values - extreme[name].values).max() <= 1e-14


@pytest.mark.parametrize("size", [2.0**-1074, 2.0**-1050])
def test_the_loop_scores_networks_of_numbers_that_are_hardly_there(size):
    # whole numbers, so that those that are subnormal have all their digits
    start = [np.random.default_rng(i).integers(-9, 10, (4, 4)).astype(float) for i in range(2)]
    how = {"lr": 1e-300, "steps": 3, "record": {"alignment": 1, "misalignment": 1}, "reduce": "none"}
    layers = la.Network.dense([4, 4, 4]).layers
    plain, tiny = (la.train(la.Network(layers, [W * by for W in start]), None, np.eye(4), **how).history for by in (1.0, size))
    for name in plain:
        assert np.abs(plain[name].values[0] - tiny[name].values[0]).max() <= 1e-14


def test_the_loop_keeps_its_scores_when_a_run_ends_early():
    net = la.Network.dense([4, 4, 4]).init("gaussian", rng=0)
    Y = np.eye(4)
    free = la.train(net, None, Y, lr=0.05, steps=400, record={"alignment": 10})
    run = la.train(net, None, Y, lr=0.05, steps=400, tol=float(free.loss[205]), record={"alignment": 10})
    assert run.converged
    assert run.steps == 205
    assert run.history["alignment"].steps.tolist() == [*range(0, 201, 10), 205]
    assert np.abs(run.history["alignment"].values[:21] - free.history["alignment"].values[:21]).max() <= 1e-14


@pytest.mark.parametrize("middle", ["gaussian", "orthogonal"])
@pytest.mark.parametrize("coupled", [True, False])
def test_scores_of_large_reduced_networks_are_those_of_the_full(coupled, middle):
    # what is run is wide enough to be scored by sums of squares; inputs that the data miss couple the first subspace with the rest
    rng = np.random.default_rng(8)
    k = (100 if coupled else 70, 300, 90 if middle == "gaussian" else 300, 5)
    net = la.Network.dense(k).init(["gaussian", middle, "gaussian"], rng=1)
    X, Y = rng.standard_normal((70, k[0])), rng.standard_normal((70, 5))
    at, reductions = {"alignment": 5, "misalignment": 5}, ["samples", "inputs", "width"]
    full, less = (la.train(net, X, Y, lr=1e-3, steps=20, record=at, reduce=reduce, loss="mse") for reduce in ("none", reductions))
    assert less.plan.widths_after[1] in range(64, 200)
    for name in at:
        assert np.allclose(full.history[name].values, less.history[name].values, rtol=1e-11, atol=1e-13)


def test_gradients_of_single_precision_have_norms_that_their_squares_have_not():
    net = la.Network.dense([2, 2]).init("gaussian", rng=0).astype(np.float32)
    big = np.full((3, 2), 1e11, dtype=np.float32)
    run = la.train(net, big, big, lr=1e-30, steps=1, record={"layer_gradient_norms": 1, "gradient_norm": 1}, reduce="none")
    norms = run.history["layer_gradient_norms"].values[:, 0]
    # the entries are some 1e22, their squares beyond float32
    assert norms.min() > 1e20
    np.testing.assert_allclose(norms, run.history["gradient_norm"].values, rtol=1e-6)
