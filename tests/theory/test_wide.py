"""Few samples of many inputs or outputs: in the range of data and layers every answer is what it was, and nothing square is made."""

from __future__ import annotations

from dataclasses import fields
from itertools import pairwise

import numpy as np
import pytest

import linalign as la
from linalign import linear_algebra, theory
from tests.oracles.theory_cases import diagonal_net, joint_data, orthogonal
from tests.test_memory import peak

EPS = np.finfo(np.float64).eps


def generic(n, k_0, k_d, rank=None, seed=0):
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((n, k_0)) if rank is None else rng.standard_normal((n, rank)) @ rng.standard_normal((rank, k_0))
    return X, rng.standard_normal((n, k_d))


def joint(k_0, k_d, modes, seed=0):
    """Few rows of data whose inputs and targets share their vectors."""
    rng = np.random.default_rng(seed)
    V, U = orthogonal(rng, k_0)[:, :modes], orthogonal(rng, k_d)[:, :modes]
    A = orthogonal(rng, modes + 1)[:, :modes]
    s = np.arange(modes, 0.0, -1)
    return (A * s) @ V.T, (A * s[::-1]) @ U.T, V, U


def aligned(k_0, k_1, k_d, modes, seed=0):
    X, Y, V, U = joint(k_0, k_d, modes, seed)
    rng = np.random.default_rng(seed + 1)
    Q = orthogonal(rng, k_1)[:, :modes]
    return X, Y, [(Q * rng.uniform(0.5, 1, modes)) @ V.T, (U * rng.uniform(0.5, 1, modes)) @ Q.T]


def random_net(*widths, seed=0):
    return la.Network.dense(widths).init("xavier", rng=seed).matrices()


def case(name):
    """Data and layers, small enough to be judged with and without a frame."""
    makers = {
        "generic": lambda: (*generic(4, 30, 3), random_net(30, 4, 3)),
        "deficient": lambda: (*generic(6, 40, 3, rank=2), random_net(40, 3, 3)),
        "one sample": lambda: (*generic(1, 25, 2), random_net(25, 3, 2)),
        "many outputs": lambda: (*generic(4, 3, 30), random_net(3, 4, 30)),
        "both": lambda: (*generic(3, 40, 36), random_net(40, 4, 36)),
        "autoencoding": lambda: (generic(3, 40, 2)[0], generic(3, 40, 2)[0], random_net(40, 4, 40)),
        "aligned": lambda: aligned(40, 5, 4, 3),
        "aligned, many outputs": lambda: aligned(40, 5, 30, 3),
        "aligned with an idle mode": lambda: (*aligned(40, 5, 4, 3)[:2], aligned(40, 5, 4, 2)[2]),
        "classes": lambda: (np.repeat(np.eye(3), 2, 0) @ generic(3, 40, 2)[0], np.repeat(np.eye(3), 2, 0), random_net(40, 4, 3)),
        "zero": lambda: (np.zeros((2, 30)), np.ones((2, 2)), random_net(30, 3, 2)),
        "zero targets": lambda: (generic(2, 30, 2)[0], np.zeros((2, 2)), random_net(30, 3, 2)),
        "factorisation": lambda: (None, generic(3, 40, 2)[0], random_net(40, 3, 3)),
        "factorisation, aligned": lambda: (None, *_factorised()),
        "single precision": lambda: (*map(np.float32, generic(3, 40, 2)), [W.astype(np.float32) for W in random_net(40, 3, 2)]),
    }  # fmt: skip
    return makers[name]()


def _factorised():
    rng = np.random.default_rng(0)
    V, Q, U = (orthogonal(rng, k)[:, :2] for k in (40, 4, 3))
    return (U * [2.0, 1.0]) @ V.T, [(Q * [0.5, 0.7]) @ V.T, (U * [0.6, 0.8]) @ Q.T]


CASES = ["generic", "deficient", "one sample", "many outputs", "both", "autoencoding", "aligned", "aligned, many outputs",
         "aligned with an idle mode", "classes", "zero", "zero targets", "factorisation", "factorisation, aligned", "single precision"]  # fmt: skip


@pytest.fixture
def both(monkeypatch):
    """Whatever it is given, with frames wherever they are smaller, and without any."""

    def judged(judge):
        asked = []
        plain = linear_algebra.frame
        monkeypatch.setattr(linear_algebra, "WIDE", 0)
        monkeypatch.setattr(linear_algebra, "GAIN", 1.0)
        monkeypatch.setattr(linear_algebra, "frame", lambda *given: asked.append(plain(*given)) or asked[-1])
        framed = judge()
        assert any(Z is not None for Z in asked), "no frame was used"
        monkeypatch.setattr(linear_algebra, "frame", lambda blocks, width: None)
        return framed, judge()

    return judged


def same(a, b, tol):
    """Numbers to within `tol`, everything else exactly."""
    if isinstance(a, (bool, str, type(None), tuple, np.bool_)) or (isinstance(a, int) and not isinstance(a, float)):
        assert a == b
    else:
        np.testing.assert_allclose(a, b, atol=tol, rtol=0)


@pytest.mark.parametrize("name", CASES)
def test_the_condition_on_the_data_is_the_same(name, both):
    X, Y, W = case(name)
    framed, plain = both(lambda: theory.invariance_condition(X, Y, W))
    eps = EPS if Y.dtype == np.float64 else float(np.finfo(np.float32).eps)
    k_0 = W[0].shape[1]
    C, M = (np.eye(k_0) if X is None else X.T @ X), (Y if X is None else Y.T @ X)
    # commutators and residuals are relative; what rounding leaves of them is a few eps a dimension
    tol = 100 * k_0 * eps
    for name in ("holds", "cases", "triples", "any_loss", "weak", "tol"):
        same(getattr(framed, name), getattr(plain, name), 0)
    same(framed.commutator, plain.commutator, tol)
    if plain.holds:
        same(framed.residual, plain.residual, tol)
        same(np.sort(framed.eigenvalues), np.sort(plain.eigenvalues), tol * max(np.linalg.norm(C), 1))
        same(framed.targets, plain.targets, tol * max(np.linalg.norm(M), 1))
    same(np.sum(framed.eigenvalues), np.trace(C), tol * max(np.linalg.norm(C), 1))
    assert framed.eigenvalues.shape == plain.eigenvalues.shape
    assert framed.targets.shape == plain.targets.shape
    # the bases are orthogonal, whole, and leave off the diagonals what the residual says
    V, U = framed.inputs, framed.outputs
    for Q, B in ((V, plain.inputs), (U, plain.outputs)):
        assert Q.shape == B.shape
        same(Q.T @ Q, np.eye(len(Q)), tol)
    off = [A - np.diag(np.diag(A)) if A.shape[0] == A.shape[1] else A * ~np.eye(*A.shape, dtype=bool) for A in (V.T @ C @ V, U.T @ M @ V)]
    sizes = (np.linalg.norm(C) or 1.0, max(np.linalg.norm(M), 1e-5 * np.linalg.norm(1 if X is None else X) * np.linalg.norm(Y)) or 1.0)
    found = max(np.linalg.norm(A) / size for A, size in zip(off, sizes, strict=True))
    assert found <= framed.residual + tol
    if framed.weak_inputs is not None:
        assert framed.weak_inputs.shape == plain.weak_inputs.shape
    same(framed.start.separates, plain.start.separates, 0)
    same(framed.start.aligned, plain.start.aligned, 0)
    assert framed.start.reason.split(" ")[0] == plain.start.reason.split(" ")[0]
    assert framed.start.inputs.shape[0] == k_0


@pytest.mark.parametrize("name", CASES)
def test_what_is_certified_is_the_same(name, both):
    X, Y, W = case(name)
    framed, plain = both(lambda: theory.certify(W, X, Y))
    eps = EPS if Y.dtype == np.float64 else float(np.finfo(np.float32).eps)
    same(framed.certified, plain.certified, 0)
    size = plain.loss + 0.5 * float(np.linalg.norm(Y)) ** 2
    tol = 1000 * len(W[0][0]) * eps
    for name in ("loss", "optimum", "limit", "lr", "lr_matrix", "rate"):
        a, b = getattr(framed, name), getattr(plain, name)
        same(a, b, tol * max(size, abs(b or 0.0))) if b is not None and np.isfinite(b) else same(a, b, 0)
    if plain.certified:
        assert [mode.case for mode in framed.modes] == [mode.case for mode in plain.modes]


@pytest.mark.parametrize("widths", [(40, 5, 3), (3, 40, 3), (40, 4, 50, 2), (3, 4, 40), (6, 60, 5, 70, 4)])
@pytest.mark.parametrize("kind", ["aligned", "random", "zero", "nearly", "low rank"])
def test_certificates_of_alignment_are_the_same(widths, kind, both):
    rng = np.random.default_rng(0)
    if kind == "random":
        W = random_net(*widths)
    elif kind == "zero":
        W = [np.zeros((b, a)) for a, b in pairwise(widths)]
    else:
        modes = 1 if kind == "low rank" else min(widths)
        W = diagonal_net([orthogonal(rng, k) for k in widths], rng.uniform(0.5, 2, (len(widths) - 1, modes)))
    if kind == "nearly":
        W = [A + 1e-6 * rng.standard_normal(A.shape) for A in W]
    framed, plain = both(lambda: la.alignment_certificate(W))
    tol = 1000 * max(widths) * EPS
    for name in ("aligned", "strict", "worst", "tol"):
        same(getattr(framed, name), getattr(plain, name), 0)
    same(framed.commutator, plain.commutator, tol)
    assert framed.distance == pytest.approx(plain.distance, rel=1e-3, abs=1e-10)
    if kind in ("aligned", "zero", "low rank"):
        same(framed.residual, plain.residual, tol)
    else:
        # the nearest chain is searched for: as near, within a factor
        assert framed.residual <= 2 * plain.residual
    for i, A in enumerate(W):
        P, Q, S = framed.bases[i], framed.bases[i + 1], framed.diagonals[i]
        assert S.shape == A.shape
        same(Q.T @ Q, np.eye(len(Q)), tol)
        assert np.count_nonzero(S, axis=0).max(initial=0) <= 1
        assert np.count_nonzero(S, axis=1).max(initial=0) <= 1
        assert np.linalg.norm(A - Q @ S @ P.T) <= framed.residual * np.linalg.norm(A) * (1 + 1e-6) + tol * np.linalg.norm(A)
        if framed.strict:
            assert not (S * ~np.eye(*S.shape, dtype=bool)).any()


@pytest.mark.parametrize("name", ["generic", "deficient", "one sample", "both", "autoencoding", "zero", "factorisation"])
def test_minima_are_the_least_and_aligned(name):
    X, Y, W = case(name)
    widths = [W[0].shape[1], *(A.shape[0] for A in W)]
    found = theory.aligned_minimum(widths, X, Y)
    assert abs(found.gap) <= 1000 * max(widths) * EPS
    certificate = la.alignment_certificate(found.network)
    assert certificate.aligned
    assert certificate.strict
    fit = found.network.matrix() - Y if X is None else X @ found.network.matrix().T - Y
    assert found.loss == pytest.approx(0.5 * np.sum(fit**2), rel=1e-9, abs=1000 * EPS * np.sum(Y**2))
    # of the least rank-m approximation of what the data can reach
    reach = Y if X is None else (lambda U: U @ (U.T @ Y))(np.linalg.svd(X, full_matrices=False)[0][:, : np.linalg.matrix_rank(X)])
    s = np.linalg.svd(reach, compute_uv=False)[min(widths) :]
    assert found.optimum == pytest.approx(0.5 * (np.sum((Y - reach) ** 2) + np.sum(s**2)), rel=1e-9, abs=1000 * EPS * np.sum(Y**2))


@pytest.mark.parametrize("X_given", [True, False])
@pytest.mark.parametrize("k_d", [3, 700])
def test_aligned_starts_on_wide_data(X_given, k_d):
    X, Y, *_ = joint(600, k_d, 3)
    data = {"X": X, "Y": Y} if X_given else {"Y": Y.T @ X}
    net = la.Network.dense([600, 5, k_d]).init("aligned", singular_values=0.5, rng=0, **data)
    assert la.alignment_certificate(net).aligned
    r = min(5, k_d)
    for W in net.matrices():
        s = np.linalg.svd(W, compute_uv=False)
        np.testing.assert_allclose(s[:r], 0.5, rtol=1e-12)
        np.testing.assert_allclose(s[r:], 0, atol=1e-12)
    start = theory.certify(net, data.get("X"), data["Y"])
    assert start.certified, start.reason


def test_memory_is_of_the_order_of_the_data():
    X, Y = generic(20, 6000, 3)
    net = la.Network.dense([6000, 16, 3]).init("xavier", rng=0)
    data = X.nbytes + net.params[0].nbytes
    judges = {
        "minimum": lambda: theory.aligned_minimum(net.widths, X, Y),
        "condition": lambda: theory.invariance_condition(X, Y, net),
        "certificate": lambda: la.alignment_certificate(net),
        "certify": lambda: theory.certify(net, X, Y),
        "init": lambda: net.init("aligned", X=X, Y=Y, rng=0),
        "factorisation": lambda: theory.invariance_condition(None, Y.T @ X),
    }
    for name, judge in judges.items():
        most = peak(judge)[1]
        assert most < 16 * data, f"{name}: {most / data:.1f} times the data"


def test_what_has_no_room_is_refused_before_any_work(monkeypatch):
    monkeypatch.setattr(linear_algebra.os, "sysconf", lambda name: 1 if name == "SC_PAGE_SIZE" else 10**8)
    X, Y = generic(2, 3000, 1)
    condition = theory.invariance_condition(X, Y)
    with pytest.raises(
        MemoryError, match=r"^inputs as a whole, an orthogonal matrix of 3,000 x 3,000, takes 0.201 GiB but this machine has"
    ):
        _ = condition.inputs
    assert condition.input_basis.columns.shape == (3000, 3)
    with pytest.raises(MemoryError, match=r"^layer, 2,000 x 2,000, and the products of two of its matrices, takes"):
        theory.obstruction(la.Circulant(2000))
    with pytest.raises(MemoryError, match=r"^net takes .* GiB but this machine has .*; score it with linalign.alignment"):
        la.alignment_certificate([np.eye(600), np.eye(600)])


def test_fields_that_tests_and_papers_name_are_there():
    names = {field.name for field in fields(theory.InvarianceCondition)}
    assert {"input_basis", "output_basis", "eigenvalues", "targets"} <= names
    X, Y, _, _ = joint_data(np.random.default_rng(0), 9, np.array([3.0, 2.0, 1.0]), np.array([2.0, 1.0]), 2)
    condition = theory.invariance_condition(X, Y)
    assert condition.inputs is condition.inputs
    assert condition.inputs.shape == (3, 3)
