"""Metrics: which one a run is in when nobody says so, where the two differ, and what says so."""

from __future__ import annotations

import inspect
import json

import numpy as np
import pytest

import linalign as la
from linalign.problem import metric
from linalign.sweeps.journal import line


def padded():
    """Two zero-padded convolutions between dense layers, and data."""
    rng = np.random.default_rng(0)
    layers = [la.Dense(6, 8), la.Conv1d(8, 3), la.Masked(np.eye(8, dtype=bool)), la.Conv1d(8, 5), la.Dense(8, 2)]
    return la.Network(layers).init("xavier", rng=rng), rng.standard_normal((9, 6)), rng.standard_normal((9, 2))


def dense():
    rng = np.random.default_rng(0)
    return la.Network.dense([6, 4, 2]).init("xavier", rng=rng), rng.standard_normal((9, 6)), rng.standard_normal((9, 2))


def same(a, b):
    return all(np.array_equal(x, y) for x, y in zip(a.network.params, b.network.params, strict=True))


def test_nobody_says_a_metric():
    """Every door has the same default."""
    for door in (la.train, la.explain, la.Objective):
        assert inspect.signature(door).parameters["metric"].default == "parameters"
    how = {"lr": 1e-2, "steps": 20}
    plain, parameters, matrix = (la.train(*padded(), **how, **{} if m is None else {"metric": m}) for m in (None, "parameters", "matrix"))
    assert same(plain, parameters)
    assert not same(plain, matrix)
    swept = la.sweep(lambda rng: padded()[0], *padded()[1:], grid={"rng": [0]}, keep_runs=True, **how)
    assert same(swept.runs[0], plain)


def test_autograd_agrees_where_nobody_says_a_metric():
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(1)
    net = la.Network([la.Conv2d((6, 5), 3), la.Conv2d((6, 5), 3, padding="valid")]).init("xavier", rng=rng)
    X, Y = rng.standard_normal((4, 30)), rng.standard_normal((4, 12))
    taps = [torch.tensor(np.array(theta), requires_grad=True) for theta in net.params]
    optimiser = torch.optim.Adam(taps, lr=1e-2)
    for _ in range(50):
        optimiser.zero_grad()
        images = torch.nn.functional.conv2d(torch.tensor(X.reshape(-1, 1, 6, 5)), taps[0], padding=1)
        out = torch.nn.functional.conv2d(images, taps[1])
        ((out.reshape(4, 12) - torch.tensor(Y)) ** 2).mean().backward()
        optimiser.step()
    run = la.train(net, X, Y, loss="mse", lr=1e-2, steps=50, optimizer="adam")
    for ours, theirs in zip(run.network.params, taps, strict=True):
        # 50 steps of 1e-2, whose signs and sizes are smooth in the gradients: roundings grow by few a step
        np.testing.assert_allclose(ours, theirs.detach().numpy(), rtol=0, atol=1e-11)


def test_plan_and_run_say_which_where_they_differ():
    net, X, Y = padded()
    rows = {m: [line for line in str(la.explain(net, X, Y, metric=m)).splitlines() if line.split()[0] == "metric"] for m in metric.METRICS}
    assert rows["parameters"][0].split(maxsplit=2)[1:] == [
        "parameters", "layers 2, 4: gradients sum a parameter's 6 to 8 entries, as autograd (T5.1); metric='matrix' averages them",
    ]  # fmt: skip
    assert rows["matrix"][0].split(maxsplit=2)[1:] == [
        "matrix", "layers 2, 4: gradients average a parameter's 6 to 8 entries (T5.1); metric='parameters' sums them, as autograd",
    ]  # fmt: skip
    for m in metric.METRICS:
        assert f", {m} metric, " in repr(la.train(net, X, Y, lr=1e-3, steps=1, metric=m))
    plain = la.train(*dense(), lr=1e-3, steps=1)
    assert "metric" not in repr(plain) + str(plain.plan)


def test_a_basis_has_a_gram_matrix():
    basis = np.array([[[1.0, 0], [0, 0]], [[0.6, 0.8], [0, 0]]])  # of norm one each, not orthogonal
    slanted, straight = la.Subspace(basis), la.Subspace(np.eye(4).reshape(4, 2, 2)[:3])
    assert not slanted.orthonormal
    assert straight.orthonormal
    net = la.Network([slanted, straight]).init("gaussian", rng=0)
    assert metric.differ(net) == [0]
    assert metric.sentence(net, "matrix").startswith("layer 1: gradients are solved with the bases' Gram matrix (T5.1)")
    X, Y = np.eye(2), np.array([[1.0, 2], [3, 4]])
    gradient = la.Objective(net, X, Y).value_and_grad(net.params)[1][0]
    solved = la.Objective(net, X, Y, metric="matrix").value_and_grad(net.params)[1][0]
    np.testing.assert_allclose(solved, np.linalg.solve([[1, 0.6], [0.6, 1]], gradient), rtol=1e-13)


def test_a_plan_of_the_other_metric_is_refused_where_they_differ():
    net, X, Y = padded()
    plan = la.explain(net, X, Y, metric="matrix")
    with pytest.raises(ValueError, match="plan is for metric matrix but the problem has parameters; make a new one"):
        la.train(net, X, Y, lr=1e-3, steps=1, plan=plan)
    net, X, Y = dense()
    assert la.train(net, X, Y, lr=1e-3, steps=1, plan=la.explain(net, X, Y, metric="matrix")).steps == 1


def test_runs_hold_their_metric_and_those_that_do_not_meant_matrix(tmp_path):
    net, X, Y = padded()
    for m in metric.METRICS:
        run = la.train(net, X, Y, lr=1e-3, steps=1, metric=m)
        assert la.load(run.save(tmp_path / "run.npz")).plan == run.plan
    fields = {name: value for name, value in run.plan.to_dict().items() if not name.startswith("metric")}
    assert la.Plan.from_dict(fields).metric == "matrix"


def test_journals_hold_their_metric_and_those_that_do_not_meant_matrix(tmp_path):
    """A sweep that was begun when "matrix" was the default, and before there was an option: only "matrix" may go on."""
    path = tmp_path / "sweep.jsonl"
    _, X, Y = padded()
    make = lambda rng: padded()[0]  # noqa: E731
    how = {"lr": 1e-3, "steps": 2, "grid": {"rng": [0, 1]}, "path": path}
    begun = la.sweep(make, X, Y, metric="matrix", **how)
    head, *lines = path.read_text().splitlines()
    for forget in (False, True):
        header = json.loads(head)
        assert header["options"]["metric"] == "matrix"
        if forget:
            del header["options"]["metric"]
        del header["check"]
        path.write_text(line(header).decode() + lines[0] + "\n")
        with pytest.raises(ValueError, match="holds a sweep with another metric"):
            la.sweep(make, X, Y, **how)
        resumed = la.sweep(make, X, Y, metric="matrix", **how)
        np.testing.assert_array_equal(resumed.loss, begun.loss)
    # a metric in the grid is no option of all runs
    grid = {"rng": [0], "metric": ["matrix", "parameters"]}
    both = la.sweep(make, X, Y, **how | {"grid": grid, "path": tmp_path / "both.jsonl"})
    again = la.sweep(make, X, Y, **how | {"grid": grid, "path": tmp_path / "both.jsonl"})
    np.testing.assert_array_equal(both.loss, again.loss)
    assert both.loss[0, 0] != both.loss[0, 1]
