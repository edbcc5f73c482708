"""What a certificate promised of a run, beside what was measured."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

import linalign as la
from linalign import cli
from linalign.training import certified_run as promise
from linalign.training.certified_run import Promise, compare
from tests.oracles.theory_cases import diagonal_net, joint_data, orthogonal


def problem(rng, targets=(2.0, 1.5, 0.2), noise=1.0):
    lam = np.array([2.0, 1.0, 0.5])
    X, Y, U, V = joint_data(rng, 20, lam, np.array(targets), 3, noise=noise)
    net = la.Network.from_matrices(diagonal_net([V, orthogonal(rng, 5), U], rng.uniform(0.2, 0.6, (2, 3))))
    return net, X, Y


@pytest.mark.parametrize("loss", ["squared", "mse"])
def test_a_certified_run_says_what_was_promised_and_measured(loss, tmp_path):
    rng = np.random.default_rng(0)
    for _ in range(20):
        net, X, Y = problem(rng)
        proof = la.theory.certify(net, X, Y, loss)
        run = la.train(net, X, Y, loss=loss, lr="certified", steps=400)
        found = run.certificate
        assert found.kept
        assert found.lr == proof.lr_matrix
        assert found.limit == proof.limit
        assert found.rate == proof.rate
        assert found.measured >= found.rate
        above = run.loss - proof.limit
        # the rate in the form in which it was promised, in every step above rounding
        t = np.flatnonzero(above > 1e-10 * above[0])
        assert (above[t] <= (1 - found.rate) ** (2 * t) * above[0] * (1 + 1e-9)).all()
        for share, most, took in zip(found.shares[:2], found.promised, found.taken, strict=False):
            assert most == proof.steps(share * found.distance, proof.lr_matrix)
            if took is not None:
                assert above[took] <= share * above[0] * (1 + 1e-6) < above[took - 1] * (1 + 2e-6)
                assert took <= most
        assert la.load(run.save(tmp_path / "run.npz")).certificate == found
        assert f"measured {found.measured:.4g}" in str(found)


def test_other_runs_have_none(tmp_path):
    net, X, Y = problem(np.random.default_rng(1))
    run = la.train(net, X, Y, lr=1e-2, steps=5)
    assert run.certificate is None
    assert la.load(run.save(tmp_path / "run.npz")).certificate is None


def test_a_broken_promise_is_seen():
    """A run slower than promised, and one that reaches a share late."""
    net, X, Y = problem(np.random.default_rng(2))
    proof = la.theory.certify(net, X, Y)
    run = la.train(net, X, Y, lr=proof.lr_matrix / 50, steps=3000)
    assert not compare(proof, proof.lr_matrix, run.excess, run.floor).kept
    honest = la.train(net, X, Y, lr="certified", steps=300).certificate
    assert honest.kept
    assert not replace(honest, measured=honest.rate / 2).kept
    assert not replace(honest, taken=tuple(10**9 if t is not None else None for t in honest.taken)).kept


def test_a_start_that_crosses_zero_promises_steps_but_no_rate():
    rng = np.random.default_rng(3)
    X, Y, U, V = joint_data(rng, 20, np.array([2.0, 1.0, 0.5]), np.array([2.0, 1.5, 0.2]), 3)
    net = la.Network.from_matrices(diagonal_net([V, orthogonal(rng, 5), U], np.array([[-0.2, 0.3, 0.4], [0.5, 0.6, 0.7]])))
    found = la.train(net, X, Y, lr="certified", steps=2000).certificate
    assert found.rate is None
    assert found.kept
    assert found.taken[1] is not None


def test_nothing_moves():
    net, X, Y = problem(np.random.default_rng(4), noise=0.0)
    best = la.theory.aligned_minimum([3, 5, 3], X, Y).network
    found = la.train(best, X, Y, lr="certified", steps=3).certificate
    assert "nothing moves" in str(found)
    assert found.kept
    assert Promise.from_dict(found.to_dict()) == found


def test_the_command_line_prints_it(tmp_path, monkeypatch, capsys):
    pytest.importorskip("sklearn")
    monkeypatch.chdir(tmp_path)
    given = "train digits --autoencode --hidden 16 --init aligned --scale 1e-2 --lr certified --steps 3000 --no-plot"
    assert cli.main(given.split()) == 0
    out = capsys.readouterr().out
    run = la.load("digits.npz")
    assert run.certificate.kept
    assert f"promised   {str(run.certificate).splitlines()[0]}" in out
    assert cli.main(["train", "digits", "--lr", "certified", "--steps", "3", "--no-plot"]) == 2
    assert "nothing is certified: the start is not aligned" in capsys.readouterr().err


def test_the_command_line_certifies_once_and_prints_the_plan_that_runs(tmp_path, monkeypatch, capsys):
    pytest.importorskip("sklearn")
    monkeypatch.chdir(tmp_path)
    proofs, prove = [], promise.certify
    monkeypatch.setattr(promise, "certify", lambda *given: proofs.append(prove(*given)) or proofs[-1])
    given = "train digits --autoencode --hidden 16 --init aligned --scale 1e-2 --lr certified --steps 50 --no-plot"
    assert cli.main(given.split()) == 0
    capsys.readouterr()
    assert len(proofs) == 1
    run = la.load("digits.npz")
    assert run.lr.tolist() == [proofs[0].lr_matrix] * 2
    assert run.certificate == promise.compare(proofs[0], proofs[0].lr_matrix, run.excess, run.floor)
    for how in (["--momentum", "0.5"], ["--weight-decay", "0.1"], ["--update", "cyclic"]):
        assert cli.main([*given.split(), *how]) == 2
        assert "the certificate is for gradient descent without momentum and weight decay" in capsys.readouterr().err


@pytest.mark.parametrize("steps", [0, 1, 3, 1000])
def test_the_plan_that_is_printed_is_the_plan_that_runs(tmp_path, monkeypatch, capsys, steps):
    # a short run does not repay a search for reductions, a long one does
    pytest.importorskip("sklearn")
    monkeypatch.chdir(tmp_path)
    assert cli.main(["train", "digits", "--hidden", "40,30", "--steps", str(steps), "--no-plot"]) == 0
    assert str(la.load("digits.npz").plan) in capsys.readouterr().out
