"""Rules, rates, batches and rows that do not fit: one line each, that names the option, what came, what was wanted and the fix."""

import re

import numpy as np
import pytest

import linalign as la
from tests.training.test_resume import problem

CASES = [
    ({"batch": 31, "rng": 0}, ValueError, "batch is 31 but X has 30 rows; a batch has at most so many"),
    ({"batch": [1, 2], "rng": 0}, ValueError, "batch has the sizes of 2 steps but steps is 20; pass one size a step"),
    ({"order": np.full((20, 2), 30)}, ValueError, "order holds the row 30 but X has 30 rows; rows run from 0 to 29"),
    ({"order": np.full((20, 2), -1)}, ValueError, "order holds the row -1 but X has 30 rows; rows run from 0 to 29"),
    ({"order": np.zeros((10, 2), dtype=int)}, ValueError, "order has the rows of 10 steps but steps is 20; pass one line a step"),
    ({"order": np.zeros((20, 2))}, ValueError,
     "order has shape (20, 2) and dtype float64; 'shuffle', 'replacement' or an array (steps, batch) of row numbers was wanted"),
    ({"batch": 3}, ValueError,
     "rng is None but order is 'shuffle'; pass a seed such as rng=0, so that the batches can be drawn again"),
    ({"lr": np.full((10, 1), 1e-3)}, ValueError, "lr has the rates of 10 steps but steps is 20; pass one row a step"),
    ({"lr": np.full(20, np.nan)}, ValueError, "lr[0] is nan; a finite number was wanted"),
    ({"lr": np.full((20, 2), 1e-3)}, ValueError, "lr has shape (20, 2) but the network has 3 layers; pass (steps,) or (steps, 3)"),
    ({"lr": lambda t: np.nan}, ValueError, "lr(0) is nan; a finite number was wanted"),
    ({"lr": lambda t: -1.0}, ValueError, "lr(0) is -1.0; it must be at least 0"),
    ({"lr": lambda t: None}, TypeError, "lr(0) is None; a number was wanted"),
    ({"lr": lambda t: np.ones(7)}, ValueError, "lr(0) has 7 entries but the network has 3 layers; pass one number or one a layer"),
    ({"update": "cyclic", "optimizer": "muon"}, ValueError,
     "update is 'cyclic' but muon needs the gradients of all layers at once; use update='simultaneous'"),
    ({"optimizer": 3}, TypeError,
     "optimizer is 3; a name such as 'adam' or a rule such as linalign.optim.SGD(momentum=0.9) was wanted"),
    ({"average": 1.0}, ValueError, "average is 1.0; it must be less than 1"),
    ({"clip_norm": 0}, ValueError, "clip_norm is 0.0; it must be greater than 0"),
]  # fmt: skip


@pytest.mark.parametrize(("options", "kind", "message"), CASES, ids=[message for _, _, message in CASES])
def test_one_line_before_any_work(options, kind, message):
    net, X, Y = problem()
    with pytest.raises(kind, match=f"^{re.escape(message)}$") as caught:
        la.train(net, X, Y, **{"lr": 1e-3, "steps": 20, **options})
    assert not hasattr(caught.value, "run")


@pytest.mark.parametrize(
    ("options", "kind", "message"),
    [
        ({"batch": lambda t: 31 if t == 5 else 2, "rng": 0}, ValueError, "batch(5) is 31 but X has 30 rows; a batch has at most so many"),
        ({"lr": lambda t: np.nan if t == 5 else 1e-3}, ValueError, "lr(5) is nan; a finite number was wanted"),
        ({"lr": lambda t: None if t == 5 else 1e-3}, TypeError, "lr(5) is None; a number was wanted"),
    ],
    ids=["batch", "nan", "None"],
)
def test_what_a_function_returns_on_the_way(options, kind, message):
    net, X, Y = problem()
    with pytest.raises(kind, match=f"^{re.escape(message)}$") as caught:
        la.train(net, X, Y, **{"lr": 1e-3, "steps": 20, **options})
    # it is asked for many steps at a time, and all before the one that fails are taken
    assert caught.value.run.steps == 5


def test_rules_and_metrics_that_do_not_go_together():
    _, X, Y = problem()
    net = la.Network([la.Circulant(8), la.Dense(8, 3)]).init("gaussian", rng=0)
    for name in ("adam", "adamw", "rmsprop", "adagrad", "sign"):
        message = f"metric is 'matrix' but {name} means something for 'parameters' alone; pass metric='parameters'"
        with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
            la.train(net, X, Y, lr=1e-3, steps=5, optimizer=name, metric="matrix")
    message = "layer 1 is Circulant(n=8) but muon turns matrices of dense layers; choose another optimizer"
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        la.train(net, X, Y, lr=1e-3, steps=5, optimizer="muon")
