"""Bad input: one line that names the argument, what came, what was wanted and the fix; odd but sound input: the right answer."""

from __future__ import annotations

import re
from fractions import Fraction

import numpy as np
import pytest

import linalign as la
from linalign import losses, validate
from tests.oracles.draws import gaussian

NET = la.Network.dense([3, 4, 2]).init("gaussian", rng=0)
X, Y = gaussian(0, 5, 3), gaussian(1, 5, 2)


def call(entry, **changes):
    """One of the entries with sound arguments but for `changes`."""
    arguments = {"net": NET, "X": X, "Y": Y, **changes}
    net, x, y = (arguments.pop(name) for name in ("net", "X", "Y"))
    if entry == "train":
        return la.train(net, x, y, **{"lr": 0.01, "steps": 2, **arguments})
    return {"value_and_grad": la.value_and_grad, "explain": la.explain}[entry](net, x, y, **arguments)


def refuse(entry, error, message, **changes):
    before = [A.copy() for A in (X, Y, *NET.params)]
    with pytest.raises(error, match="^" + re.escape(message) + "$"):
        call(entry, **changes)
    for A, B in zip((X, Y, *NET.params), before, strict=True):
        assert np.array_equal(A, B)


def poked(A, at, value):
    A = A.copy()
    A[at] = value
    return A


# ---- data ------------------------------------------------------------------------------------------------------------------

DATA = {
    "vector": ({"X": X[:, 0]}, ValueError, "X has 1 dimensions, shape (5,); a matrix was wanted: use X.reshape(rows, columns)"),
    "scalar": ({"X": 3.0}, ValueError, "X has 0 dimensions, shape (); a matrix was wanted: use X.reshape(rows, columns)"),
    "images": ({"X": np.zeros((5, 3, 3))}, ValueError, "X has 3 dimensions, shape (5, 3, 3); a matrix was wanted: use X.reshape(5, -1)"),
    "transposed": ({"X": X.T}, ValueError, "X has shape (3, 5); 3 columns were wanted, not 5: rows are samples, pass X.T"),
    "one row short": ({"Y": Y[:4]}, ValueError, "Y has shape (4, 2); 5 rows were wanted, not 4"),
    "one column more": ({"Y": np.zeros((5, 3))}, ValueError, "Y has shape (5, 3); 2 columns were wanted, not 3"),
    "Y a vector": ({"Y": Y[:, 0]}, ValueError, "Y has 1 dimensions, shape (5,); a matrix was wanted: use Y.reshape(rows, columns)"),
    "no rows": ({"X": X[:0], "Y": Y[:0]}, ValueError, "X is empty, shape (0, 3); at least one row and one column are needed"),
    "nan": ({"X": poked(X, (3, 1), np.nan)}, ValueError, "X[3, 1] is nan; every entry must be finite: drop or fill such rows"),
    "inf": ({"Y": poked(Y, (0, 1), -np.inf)}, ValueError, "Y[0, 1] is -inf; every entry must be finite: drop or fill such rows"),
    "complex": ({"X": X + 0j}, TypeError, "X is complex128; linalign is real: pass X.real, or real and imaginary parts stacked"),
    "objects": ({"X": X.astype(object)}, TypeError, "X has dtype object; numbers were wanted: convert it with .astype(float)"),
    "strings": ({"Y": Y.astype(str)}, TypeError, "Y has dtype <U32; numbers were wanted: convert it with .astype(float)"),
    "fractions": ({"Y": [[Fraction(1, 2)] * 2] * 5}, TypeError, "Y has dtype object; numbers were wanted: convert it with .astype(float)"),
    "times": ({"X": X.astype("m8[s]")}, TypeError, "X has dtype timedelta64[s]; numbers were wanted: convert it with .astype(float)"),
    "a dict": ({"X": {}}, TypeError, "X is dict; an array of numbers was wanted"),
    "ragged": ({"X": [[1.0, 2, 3], [1.0, 2]]}, ValueError, "X is ragged: its rows differ in length; pass a rectangular array"),
    "ragged Y": ({"Y": [[1.0], [1.0, 2]]}, ValueError, "Y is ragged: its rows differ in length; pass a rectangular array"),
    "half precision": (
        {"X": X.astype(np.float16)}, TypeError,
        "X is float16; linalign computes in float64 or float32: convert it with .astype(np.float64)",
    ),
    "extended precision": (
        {"X": X.astype(np.longdouble)}, TypeError,
        f"X is {np.dtype(np.longdouble)}; linalign computes in float64 or float32: convert it with .astype(np.float64)",
    ),
    "single precision X": (
        {"X": X.astype(np.float32)}, TypeError,
        "X is float32 but the network is float64; nothing is converted silently: pass X.astype(np.float64) or net.astype(np.float32)",
    ),
    "double precision Y": (
        {"net": NET.astype(np.float32), "X": X.astype(np.float32)}, TypeError,
        "Y is float64 but the network is float32; nothing is converted silently: pass Y.astype(np.float32) or net.astype(np.float64)",
    ),
    "no targets": ({"Y": None}, ValueError, "Y is None but the loss 'squared' needs targets; pass Y of shape (5, 2)"),
    "factorisation, transposed": ({"X": None, "Y": np.zeros((3, 2))}, ValueError, "Y has shape (3, 2); 2 rows were wanted, not 3: pass Y.T"),
    "factorisation, ragged": ({"X": None, "Y": [[1.0], [1.0, 2]]}, ValueError, "Y is ragged: its rows differ in length; pass a rectangular array"),
    "factorisation, nan": (
        {"X": None, "Y": poked(np.zeros((2, 3)), (1, 2), np.nan)}, ValueError,
        "Y[1, 2] is nan; every entry must be finite: to fit the others alone pass rows, cols = np.nonzero(~np.isnan(Y)) and "
        "loss=linalign.losses.Entries(rows, cols, Y[rows, cols]), Y=None",
    ),
    "factorisation, nothing": (
        {"X": None, "Y": None}, ValueError,
        "Y is None but the loss 'squared' needs targets; pass X, or Y of the shape of the product, (2, 3)",
    ),
    "ragged classes": (
        {"Y": [[1.0], [1.0, 2]], "loss": "cross_entropy"}, ValueError, "Y is ragged: its rows differ in length; pass a rectangular array",
    ),
    "no network": ({"net": [np.eye(3)]}, TypeError, "net is list; a linalign.Network was wanted, such as linalign.Network.dense([64, 10])"),
    "no parameters": (
        {"net": la.Network.dense([3, 2])}, ValueError,
        'the network has no parameters yet; call net.init("gaussian", rng=0) or pass params=',
    ),
}  # fmt: skip


@pytest.mark.parametrize("entry", ["train", "value_and_grad", "explain"])
@pytest.mark.parametrize("name", DATA)
def test_bad_data(entry, name):
    changes, error, message = DATA[name]
    refuse(entry, error, message, **changes)


LAYOUTS = {
    "lists": lambda A: A.tolist(),
    "tuples": lambda A: tuple(map(tuple, A.tolist())),
    "Fortran order": np.asfortranarray,
    "every other row": lambda A: np.repeat(A, 2, axis=0)[::2],
    "every other column": lambda A: np.repeat(A, 2, axis=1)[:, ::2],
    "backwards": lambda A: A[::-1, ::-1].copy()[::-1, ::-1],
    "transposed view": lambda A: np.ascontiguousarray(A.T).T,
    "big endian": lambda A: A.astype(">f8"),
    "not aligned": lambda A: np.frombuffer(b"\0" + A.tobytes(), dtype=np.uint8)[1:].view(float).reshape(A.shape),
    "read only": lambda A: (lambda B: (B.setflags(write=False), B)[1])(A.copy()),
    "matrix subclass": lambda A: A.view(type("Mine", (np.ndarray,), {})),
    "a copy of one row": lambda A: np.broadcast_to(A[0], A.shape),
}


@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)
def test_every_layout_gives_the_same_bits(layout):
    x, y = layout(X), layout(Y)
    plain = np.ascontiguousarray(np.asarray(x, dtype=float)), np.ascontiguousarray(np.asarray(y, dtype=float))
    for options in ({}, {"reduce": "none"}, {"implementation": "reference"}):
        mine, theirs = call("train", X=x, Y=y, **options), call("train", X=plain[0], Y=plain[1], **options)
        assert np.array_equal(mine.loss, theirs.loss)
        assert all(np.array_equal(a, b) for a, b in zip(mine.network.params, theirs.network.params, strict=True))
    assert call("value_and_grad", X=x, Y=y)[0] == call("value_and_grad", X=plain[0], Y=plain[1])[0]
    net = (
        NET.with_params([layout(theta) if theta.shape != (4, 3) else theta for theta in NET.params])
        if layout is not LAYOUTS["a copy of one row"]
        else NET
    )
    assert np.array_equal(net.matrix(), NET.matrix())


@pytest.mark.parametrize("kind", [int, np.int8, np.uint16, bool])
def test_whole_numbers_are_numbers_of_the_network(kind):
    x, y = (X > 0).astype(kind), (Y > 0).astype(kind)
    for dtype in (np.float64, np.float32):
        net = NET.astype(dtype)
        mine = la.value_and_grad(net, x, y)
        theirs = la.value_and_grad(net, x.astype(dtype), y.astype(dtype))
        assert mine[0] == theirs[0]
        assert all(np.array_equal(a, b) for a, b in zip(mine[1], theirs[1], strict=True))
        assert mine[1][0].dtype == dtype


def test_one_sample_and_one_of_everything():
    assert la.value_and_grad(NET, X[:1], Y[:1])[0] > 0
    one = la.Network.from_matrices([[[2.0]]])
    assert la.value_and_grad(one, [[3.0]], [[5.0]])[0] == 0.5
    assert la.train(one, [[3.0]], [5.0], lr=0.1, steps=1).loss[0] == 0.5


# ---- options ---------------------------------------------------------------------------------------------------------------

OPTIONS = {
    "lr 0": ({"lr": 0}, ValueError, "lr is 0.0; it must be greater than 0"),
    "lr negative": ({"lr": -0.1}, ValueError, "lr is -0.1; it must be greater than 0"),
    "lr nan": ({"lr": np.nan}, ValueError, "lr is nan; a finite number was wanted"),
    "lr inf": ({"lr": np.inf}, ValueError, "lr is inf; a finite number was wanted"),
    "lr text": ({"lr": "0.1"}, ValueError, "lr is '0.1'; one of 'auto', 'certified' was wanted"),
    "lr nothing": ({"lr": None}, TypeError, "lr is None; a number was wanted"),
    "lr boolean": ({"lr": True}, TypeError, "lr is True; a number was wanted"),
    "lr complex": ({"lr": 1j}, TypeError, "lr is 1j; a number was wanted"),
    "lr short": ({"lr": [0.1]}, ValueError, "lr has 1 entries but the network has 2 layers; pass one number or one a layer"),
    "lr long": ({"lr": np.ones(3)}, ValueError, "lr has 3 entries but the network has 2 layers; pass one number or one a layer"),
    "lr empty": ({"lr": []}, ValueError, "lr has 0 entries but the network has 2 layers; pass one number or one a layer"),
    "lr one negative": ({"lr": [0.1, -1]}, ValueError, "lr[1] is -1.0; it must be at least 0"),
    "lr one text": ({"lr": (0.1, "x")}, TypeError, "lr[1] is 'x'; a number was wanted"),
    "steps negative": ({"steps": -1}, ValueError, "steps is -1; a whole number of at least 0 was wanted"),
    "steps fractional": ({"steps": 2.0}, TypeError, "steps is 2.0; a whole number of at least 0 was wanted"),
    "steps boolean": ({"steps": True}, TypeError, "steps is True; a whole number of at least 0 was wanted"),
    "steps nothing": ({"steps": None}, TypeError, "steps is None; a whole number of at least 0 was wanted"),
    "tol negative": ({"tol": -1e-3}, ValueError, "tol is -0.001; it must be at least 0"),
    "tol nan": ({"tol": np.nan}, ValueError, "tol is nan; a finite number was wanted"),
    "tol text": ({"tol": "small"}, TypeError, "tol is 'small'; a number was wanted"),
    "momentum negative": ({"momentum": -0.1}, ValueError, "momentum is -0.1; it must be at least 0"),
    "momentum 1": ({"momentum": 1}, ValueError, "momentum is 1.0; it must be less than 1"),
    "momentum a layer": ({"momentum": [0.9, 0.9]}, TypeError, "momentum is [0.9, 0.9]; a number was wanted"),
    "decay negative": ({"weight_decay": -0.5}, ValueError, "weight_decay is -0.5; it must be at least 0"),
    "decay one negative": ({"weight_decay": [0, -0.5]}, ValueError, "weight_decay[1] is -0.5; it must be at least 0"),
    "decay short": (
        {"weight_decay": [0.1, 0.1, 0.1]}, ValueError,
        "weight_decay has 3 entries but the network has 2 layers; pass one number or one a layer",
    ),
    "update": ({"update": "both"}, ValueError, "update is 'both'; one of 'simultaneous', 'cyclic' was wanted"),
    "metric": ({"metric": "natural"}, ValueError, "metric is 'natural'; one of 'parameters', 'matrix' was wanted"),
    "implementation": ({"implementation": "gpu"}, ValueError, "implementation is 'gpu'; one of 'kernel', 'reference' was wanted"),
    "loss": ({"loss": "L1"}, ValueError, "loss is 'L1'; one of 'squared', 'mse', 'logistic', 'exponential', 'cross_entropy', 'huber', 'hinge', 'squared_hinge' was wanted"),
    "threads 0": ({"threads": 0}, ValueError, "threads is 0; a whole number of at least 1 was wanted"),
    "threads fractional": ({"threads": 1.5}, TypeError, "threads is 1.5; a whole number of at least 1 was wanted"),
    "pivot negative": ({"pivot": -1}, ValueError, "pivot is -1; a whole number of at least 0 was wanted"),
    "pivot too large": (
        {"pivot": 3}, ValueError,
        "pivot is 3 but the network has 2 layers; a pivot is 'auto' or a whole number from 0 to 2",
    ),
    "pivot text": ({"pivot": "first"}, ValueError, "pivot is 'first'; one of 'auto' was wanted"),
    "pivot fractional": ({"pivot": 0.5}, TypeError, "pivot is 0.5; a whole number of at least 0 was wanted"),
    "reduce": ({"reduce": "all"}, ValueError, "reduce is 'all'; one of 'auto', 'none' was wanted"),
}  # fmt: skip


@pytest.mark.parametrize("name", OPTIONS)
def test_bad_options(name):
    changes, error, message = OPTIONS[name]
    refuse("train", error, message, **changes)


@pytest.mark.parametrize("reduce", [["rows"], [3]], ids=str)
def test_unknown_reductions(reduce):
    with pytest.raises(ValueError, match=re.escape(f"reduce[0] is {reduce[0]!r}; one of 'filters', 'samples', ")):
        call("train", reduce=reduce)


def test_reduce_that_is_no_list():
    with pytest.raises(TypeError, match=re.escape("reduce is 3; 'auto', 'none' or a list of filters, samples, ")):
        call("train", reduce=3)


def test_lr_and_steps_are_asked_for():
    with pytest.raises(TypeError, match=r"lacks lr; train\(net, lr=\.\.\., steps=\.\.\., \.\.\.\) was wanted$"):
        la.train(NET, X, Y, steps=3)
    with pytest.raises(TypeError, match=r"lacks steps; train\(net, lr=\.\.\., steps=\.\.\., \.\.\.\) was wanted$"):
        la.train(NET, X, Y, lr=0.1)


def test_options_of_numpy_are_numbers():
    plain = call("train", lr=[0.5, 0.25], momentum=0.5, weight_decay=0.25, steps=2, tol=0.0, pivot=1)
    numpy = call(
        "train", lr=np.array([0.5, 0.25], dtype=np.float32), momentum=np.float32(0.5), weight_decay=np.float64(0.25),
        steps=np.uint8(2), tol=np.int64(0), pivot=np.int8(1),
    )  # fmt: skip
    assert np.array_equal(plain.loss, numpy.loss)


def test_bad_options_come_before_any_work(monkeypatch):
    # a function of the caller would be work
    def fn(P):
        raise AssertionError("called")

    for changes in ({"lr": 0}, {"steps": -1}, {"record": {"speed": 1}}, {"reduce": "all"}, {"pivot": 9}, {"update": "x"}):
        with pytest.raises(ValueError, match=" is "):
            call("train", X=None, Y=None, loss=losses.EndToEnd(fn), **changes)


# ---- the helpers -----------------------------------------------------------------------------------------------------------


def test_an_array_is_passed_on_without_a_copy_where_it_can_be():
    assert np.shares_memory(validate.matrix("X", X), X)
    assert validate.real_array("X", 3.0).shape == ()


@pytest.mark.parametrize(
    ("rng", "error", "message"),
    [
        (None, ValueError, "rng is None; pass a seed such as rng=0 or a numpy.random.Generator, so that the result can be had again"),
        (-1, ValueError, "rng is -1; a seed is a whole number of at least 0"),
        ("0", TypeError, "rng is '0'; a seed such as rng=0 or a numpy.random.Generator was wanted"),
        (0.5, TypeError, "rng is 0.5; a seed such as rng=0 or a numpy.random.Generator was wanted"),
        (True, TypeError, "rng is True; a seed such as rng=0 or a numpy.random.Generator was wanted"),
    ],
)
def test_seeds(rng, error, message):
    with pytest.raises(error, match="^" + re.escape(message) + "$"):
        validate.generator(rng)
