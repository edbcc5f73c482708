"""What a newcomer meets: each mistake says its fix in one line."""

from __future__ import annotations

import copy
import inspect
import pickle
import re

import numpy as np
import pytest
import scipy.sparse

import linalign as la
from linalign.calls import ELSEWHERE
from linalign.training.options import DEFAULTS

X, Y = np.sin(np.arange(80.0)).reshape(20, 4), np.cos(np.arange(60.0) ** 2).reshape(20, 3)
LABELS = np.arange(20) % 3
NAMES = np.array(["cat", "dog", "emu"])[LABELS]
HOLES = np.where(np.arange(12).reshape(3, 4) == 6, np.nan, 1.0)
FIX = "rows, cols = np.nonzero(~np.isnan(Y)) and loss=linalign.losses.Entries(rows, cols, Y[rows, cols]), Y=None"
LOSSES = f"one of {', '.join(map(repr, la.losses.NAMED))} was wanted"
RULES = f"one of {', '.join(map(repr, la.optim.RULES))} was wanted"
COMPRESSED = "batch or order is given but X is Compressed, whose rows are no samples; pass the full X and Y, or stream="
TEXT = "Y holds text; integer labels were wanted: names, Y = numpy.unique(Y, return_inverse=True)"


def net():
    return la.Network.dense([4, 3]).init("xavier", rng=0)


def train(x=X, y=Y, **options):
    return la.train(net(), x, y, **{"lr": 0.01, "steps": 1, **options})


CASES = {
    "samples as columns": (lambda: train(X.T), "X has shape (4, 20); 4 columns were wanted, not 20: rows are samples, pass X.T"),
    "targets as columns": (lambda: train(X, Y.T), "Y has shape (3, 20); 20 rows were wanted, not 3: pass Y.T"),
    "neither way": (lambda: train(X[:, :3]), "X has shape (20, 3); 4 columns were wanted, not 3"),
    "names of classes": (lambda: train(X, NAMES, loss="cross_entropy"), TEXT),
    "names in a list": (lambda: train(X, list(NAMES), loss="cross_entropy"), TEXT),
    "names as objects": (lambda: train(X, NAMES.astype(object), loss="cross_entropy"), TEXT),
    "names with mse": (
        lambda: train(X, NAMES, loss="mse"),
        "Y holds text; numbers were wanted: number classes with numpy.unique(Y, return_inverse=True)[1]",
    ),
    "labels as floats": (
        lambda: train(X, LABELS.astype(float), loss="cross_entropy"),
        "Y has shape (20,) and dtype float64; integer labels (n,) or probabilities (n, 3) were wanted: pass Y.astype(int)",
    ),
    "a column of labels": (
        lambda: train(X, LABELS[:, None], loss="cross_entropy"),
        "Y has shape (20, 1); integer labels (n,) or probabilities (n, 3) were wanted: pass Y[:, 0]",
    ),
    "labels with mse": (
        lambda: train(X, LABELS, loss="mse"),
        "Y has shape (20,); (20, 3) was wanted: if these are classes 0 to 2, pass np.eye(3)[np.ravel(Y).astype(int)], "
        "or loss='cross_entropy'",
    ),
    "a column of labels with mse": (
        lambda: train(X, LABELS[:, None].astype(float)),
        "Y has shape (20, 1); (20, 3) was wanted: if these are classes 0 to 2, pass np.eye(3)[np.ravel(Y).astype(int)], "
        "or loss='cross_entropy'",
    ),
    "labels with signs": (
        lambda: train(X, LABELS, loss="logistic"),
        "Y has shape (20,); (20, 3) was wanted: if these are classes 0 to 2, pass 2 * np.eye(3)[np.ravel(Y).astype(int)] - 1, "
        "or loss='cross_entropy'",
    ),
    "holes in a matrix": (
        lambda: train(None, HOLES),
        f"Y[1, 2] is nan; every entry must be finite: to fit the others alone pass {FIX}",
    ),
    "a reduction as text": (
        lambda: train(reduce="samples"), "reduce is 'samples'; 'auto', 'none' or a list was wanted: pass reduce=['samples']",
    ),
    "compress without targets": (
        lambda: la.compress(X), "chunks is ndarray but Y is missing; pass linalign.compress(X, Y), or an iterable of pairs (X, Y)",
    ),
    "torch's rate": (lambda: train(learning_rate=0.1), "train has no option 'learning_rate'; pass lr="),
    "epochs": (lambda: train(epochs=3), "train has no option 'epochs'; pass steps=; a step sees all rows, unless batch= is given"),
    "a batch": (lambda: train(batch_size=8), "train has no option 'batch_size'; pass batch="),
    "a slip": (lambda: train(momentun=0.9), "train has no option 'momentun'; did you mean 'momentum'?"),
    "another slip": (lambda: la.explain(net(), X, Y, pivots=1), "explain has no option 'pivots'; did you mean 'pivot'?"),
    "a slip of two": (lambda: la.value_and_grad(net(), X, Y, Loss="mse"), "value_and_grad has no option 'Loss'; did you mean 'loss'?"),
    "nothing like it": (
        lambda: la.value_and_grad(net(), X, Y, zebra=1),
        "value_and_grad has no option 'zebra'; its options are net, X, Y, loss, pivot, implementation",
    ),
    "in a sweep": (
        lambda: la.sweep(net, X, Y, grid={"lr": [0.1]}, epochs=3),
        "train has no option 'epochs'; pass steps=; a step sees all rows, unless batch= is given",
    ),
    "in its grid": (
        lambda: la.sweep(net, X, Y, grid={"learning_rate": [0.1]}, steps=3),
        "grid has the key 'learning_rate', no parameter of make_network; train has no option 'learning_rate'; pass lr=",
    ),
    "masked entries": (
        lambda: train(np.ma.masked_greater(X, 0.9)),
        f"X is masked in {(X > 0.9).sum()} entries; drop such rows, or pass X.filled(value)",
    ),
    "sparse data": (
        lambda: train(scipy.sparse.csr_matrix(X)), "X is a sparse matrix; a dense one was wanted: pass X.toarray()",
    ),
    "no array": (lambda: train(object()), "X is object; an array of numbers was wanted"),
    "images": (
        lambda: train(X.reshape(20, 2, 2)),
        "X has 3 dimensions, shape (20, 2, 2); a matrix was wanted: use X.reshape(20, -1)",
    ),
    "a name in capitals": (lambda: train(loss="MSE"), f"loss is 'MSE'; {LOSSES}: did you mean 'mse'?"),
    "torch's name": (lambda: train(loss="CrossEntropyLoss"), f"loss is 'CrossEntropyLoss'; {LOSSES}: did you mean 'cross_entropy'?"),
    "a class": (lambda: train(loss=la.losses.Huber), f"loss is {la.losses.Huber!r}; {LOSSES}: did you mean 'huber'?"),
    "a function as loss": (
        lambda: train(None, None, loss=len),
        f"loss is {len!r}; {LOSSES}: a function of the product goes into linalign.losses.EndToEnd(fn), one of the outputs into a Loss",
    ),
    "a rule in capitals": (lambda: train(optimizer="Adam"), f"optimizer is 'Adam'; {RULES}: did you mean 'adam'?"),
    "a class of rules": (
        lambda: train(optimizer=la.optim.Adam), "optimizer is linalign.optim.adam.Adam; pass optimizer=linalign.optim.Adam(...)",
    ),
    "rows as batch": (
        lambda: train(batch=np.zeros((1, 4), int)),
        "batch has shape (1, 4); sizes are one a step: pass the rows of every step as order=, batch=None",
    ),
    "batches of compressed data": (
        lambda: la.train(net(), la.compress(X, Y), lr=0.01, steps=1, batch=2, rng=0),
        COMPRESSED,
    ),
    "a plan of these": (lambda: la.explain(net(), la.compress(X, Y), order=np.zeros((1, 2), int)), COMPRESSED),
    "a sweep of these": (
        lambda: la.sweep(net, la.compress(X, Y), grid={"batch": [2]}, rng=0, lr=0.01, steps=1),
        COMPRESSED,
    ),
    "these after all rows": (lambda: la.resume(train(), la.compress(X, Y), steps=1, batch=2, rng=0), COMPRESSED),
    "a path to go on from": (
        lambda: la.resume("run.npz", X, Y, steps=1),
        "run is str; a linalign.Run was wanted, from train, resume or load: pass linalign.load('run.npz')",
    ),
    "a network for a function": (
        lambda: la.sweep(net(), X, Y, grid={"lr": [0.1]}, steps=1),
        "make_network is Network; a function that returns a linalign.Network was wanted",
    ),
    "a network for its parameters": (
        lambda: la.Objective(net(), X, Y).value_and_grad(net()), "params is a Network; one array a layer was wanted: pass net.params",
    ),
    "a seed": (
        lambda: la.Network.dense([4, 3]).init("gaussian", seed=0),
        "seed is no option of 'gaussian'; it has the options scale: pass rng=0",
    ),
    "a mask of entries": (
        lambda: la.losses.Entries(HOLES > 0, None, None),
        "rows is boolean; whole numbers were wanted, of a mask: rows, cols = np.nonzero(mask), values = M[mask]",
    ),
    "a matrix for a value": (
        lambda: train(None, None, loss=la.losses.EndToEnd(lambda P: (P, P))),
        "fn returned a value of shape (3, 4); a number was wanted, then its gradient",
    ),
    "a function without a schedule": (
        lambda: train(record={"size": len}), "record['size'] is a function; how often was wanted too: record={'size': (100, function)}",
    ),
}  # fmt: skip


D, TOEPLITZ = la.Network.dense, "Toeplitz(n_in, n_out) was wanted"
CALLS = {
    "one side": (lambda: la.Toeplitz(8), f"Toeplitz(8) lacks n_out; {TOEPLITZ}, such as Toeplitz(8, 8)"),
    "no side": (lambda: la.Toeplitz(), f"Toeplitz() lacks n_in and n_out; {TOEPLITZ}"),
    "two sides of a square": (
        lambda: la.Diagonal(8, 8),
        "Diagonal(8, 8) has 2 values by position; Diagonal(n) was wanted, with at most 1 by position, such as Diagonal(8)",
    ),
    "bias by position": (
        lambda: la.Dense(8, 8, True),
        "Dense(8, 8, True) has 3 values by position; Dense(n_in, n_out, ...) was wanted, with at most 2 by position: pass bias= by name",
    ),
    "widths one by one": (
        lambda: D(30, 30, 30),
        "Network.dense(30, 30, 30) has 3 values; one list was wanted: Network.dense([30, 30, 30])",
    ),
    "one width": (lambda: D(30), "widths is 30; a list was wanted, such as linalign.Network.dense([64, 32, 10])"),
    "a layer alone": (
        lambda: la.Network(la.Dense(4, 3)),
        "layers is Dense(n_in=4, n_out=3); a list was wanted, such as linalign.Network([linalign.Dense(64, 10)])",
    ),
    "a table as a side": (lambda: la.Circulant(X), "n is ndarray of shape (20, 4); a whole number of at least 1 was wanted"),
    "a rate of a rule": (lambda: la.optim.Adam(lr=0.1), "Adam has no option 'lr'; the learning rate is one of train: pass it there"),
    "an option of a flow": (lambda: la.flow(net(), X, Y, time=[1.0]), "flow has no option 'time'; did you mean 'times'?"),
    "no data": (
        lambda: la.train(net(), X, Y, lr=0.1),
        "train(Network(4-3, float64), ndarray of shape (20, 4), ndarray of shape (20, 3), lr=0.1) lacks steps; train(net, lr=..., steps=..., ...) was",
    ),
    "twice": (lambda: la.Diagonal(3, n=3), "Diagonal(3, n=3) gives n twice, by position and by name; pass it once"),
    "no network": (lambda: la.ntk(X, X), "net is ndarray; a linalign.Network was wanted, such as linalign.Network.dense([64, 10])"),
    "no file": (lambda: la.load(8), "path is int; the name of a file was wanted, such as 'run.npz'"),
    "a start by position": (lambda: net().init("xavier", 0), "Network.init('xavier', 0) has 2 values by position; "),
}


@pytest.mark.parametrize(("call", "message"), CALLS.values(), ids=CALLS)
def test_calls_that_do_not_fit(call, message):
    with pytest.raises(TypeError, match=f"^{re.escape(message)}") as caught:
        call()
    assert "\n" not in str(caught.value)


def test_attributes_from_elsewhere_say_what_is_here():
    run = train()
    for owner, name, fix in (
        (net(), "predict", "Network has no attribute 'predict'; use net(X)"),
        (net(), "zebra", "Network has no attribute 'zebra'"),
        (run, "losses", "Run has no attribute 'losses'; use run.loss"),
    ):
        with pytest.raises(AttributeError, match=f"^{re.escape(fix)}$"):
            getattr(owner, name)
    assert not hasattr(net(), "forward")
    copied = pickle.loads(pickle.dumps(net()))
    np.testing.assert_array_equal(copied.matrix(), net().matrix())
    assert copy.deepcopy(run).steps == run.steps


def test_errors_from_inside_a_call_are_left_alone():
    with pytest.raises(TypeError, match=r"^len\(\) of unsized|has no len|^broken$"):
        la.train(net(), X, Y, loss="mse", lr=0.1, steps=2, record={"own": (1, broken)})
    assert inspect.signature(la.Dense) == inspect.signature(la.Dense.__init__).replace(
        parameters=list(inspect.signature(la.Dense.__init__).parameters.values())[1:], return_annotation=inspect.Signature.empty
    )


def broken(network):
    raise TypeError("broken")


@pytest.mark.parametrize(("call", "message"), CASES.values(), ids=CASES)
def test_the_whole_line(call, message):
    with pytest.raises((TypeError, ValueError), match=f"^{re.escape(message)}$"):
        call()


def test_the_fixes_do():
    names, labels = np.unique(NAMES, return_inverse=True)
    assert list(names) == ["cat", "dog", "emu"]
    assert train(X, labels, loss="cross_entropy").steps == 1
    assert train(X, LABELS.astype(float).astype(int), loss="cross_entropy").steps == 1
    assert train(X, np.eye(3)[np.ravel(LABELS).astype(int)], loss="mse").steps == 1
    assert train(X, 2 * np.eye(3)[np.ravel(LABELS).astype(int)] - 1, loss="logistic").steps == 1
    rows, cols = np.nonzero(~np.isnan(HOLES))
    assert train(None, None, loss=la.losses.Entries(rows, cols, HOLES[rows, cols])).steps == 1
    pairs, plain = la.compress([(X, Y)]), la.compress(X, Y)
    np.testing.assert_array_equal(pairs.X, plain.X)
    np.testing.assert_array_equal(pairs.Y, plain.Y)


def test_the_nearest_name_is_the_one_that_was_meant():
    for name, meant in (("aligment", "alignment"), ("singular_value", "singular_values"), ("Sharpness", "sharpness")):
        with pytest.raises(ValueError, match=f"was wanted: did you mean '{meant}'\\?$"):
            train(record={name: 1})
    with pytest.raises(ValueError, match="'params' was wanted$"):
        train(record={"zebra": 1})


def test_what_is_masked_nowhere_is_an_array():
    assert np.array_equal(train(np.ma.masked_array(X)).loss, train().loss)


def test_what_is_long_is_shown_short():
    run = train(steps=200, record={"loss": 100, "alignment": 1})
    assert repr(run.history["loss"]) == f"History(values (3,) at steps 0, 100, 200, {run.loss[0]:.6g} -> {run.loss[-1]:.6g})"
    assert repr(run.history["alignment"]) == "History(values (201, 0) at steps 0, 1, ..., 200)"
    found = la.sweep(lambda rng: net(), X, Y, grid={"rng": range(3)}, lr=0.01, steps=2, record={"loss": 1})
    assert repr(found.histories["loss"]) == "History(values (3, 3), steps (3, 3))"
    entries = la.losses.Entries(*np.nonzero(HOLES > 0), HOLES[HOLES > 0])
    assert repr(entries) == "Entries(11 values, half=True, reduction='sum')"
    assert repr(la.losses.Sensing(HOLES[None] > 0, [1.0])) == "Sensing(1 values, half=True, reduction='sum')"


def test_a_run_that_diverged_did_not_take_all_steps():
    with pytest.raises(la.DivergenceError) as caught:
        train(lr=1e9, steps=2_000)
    assert ", ended early, " in repr(caught.value.run)
    assert ", all steps taken, " in repr(train())


def test_whole_numbers_of_the_right_shape_are_no_labels():
    assert train(X, np.round(Y)).steps == 1
    one = la.Network.dense([4, 1]).init("xavier", rng=0)
    assert la.train(one, X, LABELS, lr=0.01, steps=1).steps == 1


def test_a_text_file_is_no_run(tmp_path):
    path = tmp_path / "data.csv"
    path.write_text("a,b\n1,2\n")
    message = f"{path} holds no run, it is no .npz file; Run.save writes one, linalign.data.load reads data"
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        la.load(path)


def test_names_from_elsewhere_are_none_of_ours():
    ours = set(inspect.signature(la.train).parameters) | set(DEFAULTS)
    assert not ours & set(ELSEWHERE)
    for fix in ELSEWHERE.values():
        name = re.match(r"(\w+)=", fix)
        assert name is None or name[1] in ours
