"""When alignment lasts: T3.2 to T3.6 against gradient descent, with the conditions dropped one at a time."""

from itertools import pairwise

import numpy as np
import pytest

from linalign import theory
from linalign.problem.network import Network
from linalign.scores.certificate import alignment_certificate
from tests.oracles.theory_cases import EPS, descend, diagonal, diagonal_net, gradients, joint_data, off_diagonal, orthogonal, product


def random_joint(rng):
    """Data that satisfy the condition, with zero eigenvalues and repeated values now and then, and widths to go with them."""
    k_0, k_d, d = (int(k) for k in rng.integers(2, 6, 3))
    r = min(k_0, k_d)
    lam = rng.choice([0.3, 0.7, 1.5], k_0) if rng.random() < 0.3 else rng.uniform(0.3, 1.5, k_0)
    lam[rng.random(k_0) < 0.2] = 0
    s = rng.uniform(-1.5, 1.5, r) * (lam[:r] > 0)
    X, Y, U, V = joint_data(rng, 12, lam, s, k_d)
    widths = [k_0, *(int(k) for k in rng.integers(r, 8, d - 1)), k_d]
    bases = [V, *(orthogonal(rng, k) for k in widths[1:-1]), U]
    return X, Y, bases, r


def test_commuting_data_keep_every_aligned_start():
    """T3.2, sufficient: all step sizes, 200 steps, in the bases that the condition returns."""
    rng = np.random.default_rng(0)
    for _ in range(40):
        X, Y, bases, r = random_joint(rng)
        found = theory.invariance_condition(X, Y)
        assert found.holds
        assert found.residual < 1e-12
        assert found.commutator < 1e-12
        C, M = X.T @ X, Y.T @ X
        V, U = found.inputs, found.outputs
        np.testing.assert_allclose(V.T @ C @ V, np.diag(found.eigenvalues), atol=1e-12 * np.linalg.norm(C))
        np.testing.assert_allclose(U.T @ M @ V, diagonal(M.shape, found.targets), atol=1e-12 * np.linalg.norm(X) * np.linalg.norm(Y))
        assert (found.targets >= -1e-12 * np.linalg.norm(X) * np.linalg.norm(Y)).all()
        own = [V, *bases[1:-1], U]
        start = diagonal_net(own, rng.uniform(0.4, 1.2, (len(bases) - 1, r)) * rng.choice([-1, 1], (len(bases) - 1, r)))
        assert theory.invariance_condition(X, Y, net=start).start.holds
        # no step size matters: a different one each step. Rounding grows by at most 1 + lr |Hessian| a step, here below 1.1
        end = descend(start, C, M, rng.uniform(0.0, 0.02, 200))
        assert off_diagonal(end, own) < 1e-7
        assert off_diagonal(descend(start, C, M, [0.02] * 10), own) < 1e-13


def test_data_that_do_not_commute_lose_the_start():
    """T3.2, necessary for full rank: in no bases does a generic data set keep an aligned start, and the first two steps show it."""
    rng = np.random.default_rng(1)
    for _ in range(20):
        k = int(rng.integers(2, 6))
        X, Y = rng.standard_normal((12, k)), rng.standard_normal((12, k))
        found = theory.invariance_condition(X, Y)
        assert not found.holds
        assert found.commutator > 1e-3
        assert found.triples == 0
        bases = [found.inputs, orthogonal(rng, k), found.outputs]
        start = diagonal_net(bases, rng.uniform(0.4, 1.2, (2, k)))
        verdict = theory.invariance_condition(X, Y, net=start).start
        assert not verdict.holds
        assert verdict.aligned
        assert off_diagonal(descend(start, X.T @ X, Y.T @ X, [0.01] * 2), bases) > 1e-6


def test_commutator_is_that_of_the_sample_gram_matrices():
    """T3.2, sample side: [C, M^T M] = X^T [X X^T, Y Y^T] X, so two commuting sample Gram matrices suffice."""
    rng = np.random.default_rng(2)
    for _ in range(20):
        n, k_0, k_d = (int(k) for k in rng.integers(1, 7, 3))
        X, Y = rng.standard_normal((n, k_0)), rng.standard_normal((n, k_d))
        S, T = X @ X.T, Y @ Y.T
        C, M = X.T @ X, Y.T @ X
        expected = np.sqrt(2) * np.linalg.norm(X.T @ (S @ T - T @ S) @ X) / np.linalg.norm(C) / np.linalg.norm(M.T @ M)
        assert theory.invariance_condition(X, Y).commutator == pytest.approx(expected, abs=1e-13)
    O = orthogonal(rng, 6)
    X, Y = O[:, :5] * [1, 2, 3, 4, 5] @ orthogonal(rng, 5), O[:, :4] * [1, 1, 2, 0] @ orthogonal(rng, 4)
    assert theory.invariance_condition(X, Y).holds


def test_one_step_formula():
    """L3.1: in the bases of the start the gradient has entries a_j b_l (p_j A_jl - B_jl), partly dead lanes included."""
    rng = np.random.default_rng(3)
    for _ in range(30):
        d = int(rng.integers(2, 5))
        widths = [int(k) for k in rng.integers(2, 6, d + 1)]
        bases = [orthogonal(rng, k) for k in widths]
        r = min(widths)
        factors = rng.uniform(0.4, 1.2, (d, r)) * (rng.random((d, r)) < 0.85)
        X, Y = rng.standard_normal((7, widths[0])), rng.standard_normal((7, widths[-1]))
        C, M = X.T @ X, Y.T @ X
        A, B = bases[0].T @ C @ bases[0], bases[-1].T @ M @ bases[0]
        p = np.zeros(widths[-1])
        p[:r] = factors.prod(axis=0)
        got = gradients(diagonal_net(bases, factors), product(diagonal_net(bases, factors)) @ C - M)
        for i in range(d):
            a = np.zeros(widths[i + 1]) if i < d - 1 else np.ones(widths[d])
            b = np.zeros(widths[i]) if i else np.ones(widths[0])
            if i < d - 1:
                a[:r] = factors[i + 1 :].prod(axis=0)
            if i:
                b[:r] = factors[:i].prod(axis=0)
            wanted = np.zeros((widths[i + 1], widths[i]))
            for j in range(min(widths[i + 1], widths[-1])):
                for l in range(min(widths[i], widths[0])):
                    wanted[j, l] = a[j] * b[l] * (p[j] * (A[j, l] if j < widths[0] else 0.0) - B[j, l])
            scale = np.linalg.norm(C) + np.linalg.norm(M)
            assert np.linalg.norm(bases[i + 1].T @ got[i] @ bases[i] - wanted) <= 200 * EPS * scale


def block_data(rng, k_0, k_d, joint, couple=0.0):
    """C and M with `joint` joint triples in (V, U) and a generic rest; `couple` spoils the first triple. X is a root of C."""
    V, U = orthogonal(rng, k_0), orthogonal(rng, k_d)
    F = rng.standard_normal((k_0 - joint, k_0 - joint))
    A, B = np.zeros((k_0, k_0)), np.zeros((k_d, k_0))
    A[:joint, :joint] = np.diag(rng.uniform(0.3, 1.5, joint))
    A[joint:, joint:] = F @ F.T / 4 + 0.1 * np.eye(k_0 - joint)
    B[:joint, :joint] = np.diag(rng.uniform(0.3, 1.5, joint))
    B[joint:, joint:] = rng.standard_normal((k_d - joint, k_0 - joint))
    A[0, -1] = A[-1, 0] = couple
    values, vectors = np.linalg.eigh(V @ A @ V.T)
    X = np.sqrt(values)[:, None] * vectors.T
    Y = (vectors / np.sqrt(values)).T @ (U @ B @ V.T).T
    return X, Y, U, V, A, B


def test_low_rank_starts_need_only_their_own_triples():
    """T3.3: two joint triples of four keep a rank-two start, whatever the rest of the data; one spoiled triple loses it."""
    rng = np.random.default_rng(4)
    for depth in (2, 3, 4):
        for couple in (0.0, 0.1):
            X, Y, U, V, _, _ = block_data(rng, 5, 4, 2, couple)
            bases = [V, *(orthogonal(rng, k) for k in rng.integers(2, 7, depth - 1)), U]
            start = diagonal_net(bases, rng.uniform(0.5, 1.2, (depth, 2)))
            found = theory.invariance_condition(X, Y, net=start)
            assert not found.holds
            assert found.triples == (2 if couple == 0 else 1)
            assert found.start.holds == (couple == 0)
            left = off_diagonal(descend(start, X.T @ X, Y.T @ X, [0.02] * 30), bases)
            # 30 steps at lr |Hessian| < 0.2 grow rounding by less than 1.2^30 = 240
            assert left < 1e-11 if couple == 0 else left > 1e-4
    # a full-rank start on the same kind of data
    X, Y, U, V, _, _ = block_data(rng, 5, 4, 2)
    start = diagonal_net([V, np.eye(6), U], rng.uniform(0.5, 1.2, (2, 4)))
    assert not theory.invariance_condition(X, Y, net=start).start.holds


def test_fitted_modes_need_no_triple():
    """T3.3, the exception: two fitted modes stay and one triple moves, although C and M^T M do not commute."""
    rng = np.random.default_rng(5)
    A = np.diag([1.0, 0.7, 0.5])
    A[0, 1] = A[1, 0] = 0.3
    factors = rng.uniform(0.5, 1.0, (2, 3))
    p = factors.prod(axis=0)
    bases = [orthogonal(rng, 3) for _ in range(3)]
    X = np.linalg.cholesky(A).T @ bases[0].T
    for moved, holds in ((2, True), (1, False)):
        B = np.diag(p) @ A
        B[moved, moved] += 0.5
        M = bases[2] @ B @ bases[0].T
        Y = np.linalg.solve(X.T, M.T)
        start = diagonal_net(bases, factors)
        found = theory.invariance_condition(X, Y, net=start)
        assert not found.holds
        assert found.commutator > 0.01
        assert found.start.holds == holds
        left = off_diagonal(descend(start, X.T @ X, Y.T @ X, [0.05] * 100), bases)
        assert left < 1e-11 if holds else left > 1e-3


def test_fitted_modes_still_need_a_clean_column():
    """T3.3 (c), last condition: u_k^T M v_l = 0 for dead k and fitted l; the row of a fitted mode alone is not enough."""
    rng = np.random.default_rng(16)
    A = np.array([[1.0, 0.3, 0.0], [0.3, 0.8, 0.2], [0.0, 0.2, 0.5]])
    factors = np.array([[0.8], [0.7]])
    bases = [orthogonal(rng, 3) for _ in range(3)]
    start = diagonal_net(bases, factors)
    X = np.linalg.cholesky(A).T @ bases[0].T
    for spoiled in (0.0, 0.4):
        B = np.zeros((3, 3))
        B[0], B[1, 0] = 0.56 * A[0], spoiled
        B[1:, 1:] = rng.standard_normal((2, 2))
        Y = np.linalg.solve(X.T, (bases[2] @ B @ bases[0].T).T)
        assert theory.invariance_condition(X, Y, net=start).start.separates == (spoiled == 0)
        left = off_diagonal(descend(start, X.T @ X, Y.T @ X, [0.05] * 10), bases)
        assert left < 1e-13 if spoiled == 0 else left > 1e-3


def test_a_start_that_shares_nothing_with_its_data():
    rng = np.random.default_rng(17)
    X, Y, _, _ = random_joint(rng)
    for widths in ([X.shape[1], Y.shape[1]], [X.shape[1], 6, Y.shape[1]]):
        net = [rng.standard_normal((b, a)) for a, b in pairwise(widths)]
        verdict = theory.invariance_condition(X, Y, net=net).start
        assert not verdict.separates
        assert verdict.residual > 1e-3
    # aligned, but in other bases than the data's, where the data leave only one choice
    bases = [orthogonal(rng, k) for k in (4, 4, 4)]
    verdict = theory.invariance_condition(
        np.diag([1.0, 2, 3, 4]), np.diag([1.0, 3, 2, 4]), net=diagonal_net(bases, np.ones((2, 4)) + np.arange(4))
    ).start
    assert verdict.aligned
    assert not verdict.separates


def test_a_diagonal_product_is_not_enough():
    """The end-to-end matrix is diagonal in the data's bases but the layers are not: the first step leaves them."""
    rng = np.random.default_rng(18)
    X, Y, U, V = joint_data(rng, 12, np.array([1.0, 2.0, 0.5]), np.array([1.0, -0.5, 2.0]), 3)
    A = np.array([[1.0, 0.3, 0.2], [0.0, 0.6, 0.1], [0.0, 0.0, 0.3]])
    start = [A @ V.T, U @ np.diag([1.0, 0.2, 0.02]) @ np.linalg.inv(A)]
    verdict = theory.invariance_condition(X, Y, net=start).start
    assert not verdict.separates
    assert verdict.residual > 0.1
    P = U.T @ product(descend(start, X.T @ X, Y.T @ X, [0.05])) @ V
    assert np.linalg.norm(P - np.diag(np.diag(P))) > 1e-3


def test_a_single_layer_also_needs_its_dead_rows():
    """T3.3, d = 1: a row of the layer that is zero has a gradient of its own."""
    rng = np.random.default_rng(6)
    X, Y, U, V, _, _ = block_data(rng, 4, 4, 2)
    start = diagonal_net([V, U], np.array([[0.5, 0.7]]))
    assert not theory.invariance_condition(X, Y, net=start).start.holds
    two = diagonal_net([V, np.eye(4), U], np.array([[0.5, 0.7]] * 2))
    assert theory.invariance_condition(X, Y, net=two).start.holds


def test_starts_with_repeated_singular_values_take_the_bases_of_the_data():
    """An identity start is aligned in every basis: it stays aligned where the target is symmetric, and not elsewhere."""
    rng = np.random.default_rng(7)
    k = 5
    S = rng.standard_normal((k, k))
    V = orthogonal(rng, k)
    # the last one is only diagonal where eigenvalues 1 and -1 are told apart, which M^T M does not do
    for target, holds in ((S + S.T, True), (S, False), (V @ np.diag([1.0, -1.0, 1.0, -1.0, 2.0]) @ V.T, True)):
        for scale in (1.0, 1e-6):
            start = [scale * np.eye(k)] * 3
            verdict = theory.invariance_condition(None, target, net=start).start
            assert verdict.aligned
            assert verdict.holds == holds
    # the same with inputs: C and M must be diagonal in one orthogonal basis
    X, M = np.diag([1.0, 2, 3, 4, 5]) @ V.T, V @ np.diag([1.0, -1, 2, -2, 0]) @ V.T
    assert theory.invariance_condition(X, np.linalg.solve(X.T, M.T), net=[np.eye(k)] * 2).start.holds


def test_starts_with_zero_layers():
    """A zero first, interior or last layer leaves its neighbours' bases to pair by the data."""
    rng = np.random.default_rng(8)
    X, Y, U, V = joint_data(rng, 12, np.array([1.0, 2.0, 0.5, 3.0]), np.array([1.0, -0.5, 2.0]), 3)
    bases = [V, orthogonal(rng, 5), orthogonal(rng, 4), U]
    for zero in range(3):
        factors = rng.uniform(0.5, 1.2, (3, 3))
        factors[zero] = 0.0
        start = diagonal_net(bases, factors)
        verdict = theory.invariance_condition(X, Y, net=start).start
        assert verdict.holds
        np.testing.assert_allclose(np.sort(np.abs(verdict.factors), axis=1), np.sort(factors, axis=1), atol=1e-12)
        end = descend(start, X.T @ X, Y.T @ X, [0.01] * 20)
        assert alignment_certificate(end, 1e-9).aligned


def test_generic_data_allow_one_sample_only():
    """T3.4: for generic data a moving mode can keep its singular vectors only if min(n, k_0) = 1."""
    rng = np.random.default_rng(9)
    for k_0, k_d in ((2, 2), (3, 3), (5, 2)):
        one = theory.invariance_condition(rng.standard_normal((1, k_0)), rng.standard_normal((1, k_d)))
        assert one.holds
        assert "one_sample" in one.cases
        for n in (2, 3, 20):
            X, Y = rng.standard_normal((n, k_0)), rng.standard_normal((n, k_d))
            found = theory.invariance_condition(X, Y)
            assert not found.holds
            # what triples there are do not move: inputs that the data do not have
            missing = k_0 - np.linalg.matrix_rank(X)
            spare = k_d - np.linalg.matrix_rank(Y.T @ X)
            assert found.triples == min(missing, spare)
    assert theory.invariance_condition(rng.standard_normal((20, 1)), rng.standard_normal((20, 3))).holds


def logistic(P, X, y):
    return (-(y / (1 + np.exp(y * (X @ P.ravel())))) @ X / len(y))[None]


def test_one_output_keeps_rank_one_starts_for_any_loss():
    """T3.5: logistic loss, momentum, weight decay, generic data; only v_1 turns. With two outputs u_d turns too."""
    rng = np.random.default_rng(10)
    widths = [6, 5, 7, 4, 1]
    X, y = rng.standard_normal((30, 6)), rng.choice([-1.0, 1.0], 30)
    found = theory.invariance_condition(X, y)
    assert not found.holds
    assert found.any_loss
    assert found.cases == ("one_output",)
    vectors = [orthogonal(rng, k)[:, 0] for k in widths]
    start = [0.8 * np.outer(b, a) for a, b in pairwise(vectors)]
    Ws, speed = start, [0 * W for W in start]
    for _ in range(300):
        steps = gradients(Ws, logistic(product(Ws), X, y))
        speed = [0.9 * v + g + 1e-3 * W for v, g, W in zip(speed, steps, Ws, strict=True)]
        Ws = [W - 0.1 * v for W, v in zip(Ws, speed, strict=True)]
    certificate = alignment_certificate(Ws, 1e-12)
    assert certificate.aligned
    assert abs(np.linalg.svd(Ws[0])[2][0] @ vectors[0]) < 0.9
    for i in range(1, 4):
        rest = Ws[i] - np.outer(vectors[i + 1], vectors[i]) * (vectors[i + 1] @ Ws[i] @ vectors[i])
        assert np.linalg.norm(rest) < 1e-13
    X, Y = rng.standard_normal((30, 6)) / 5, rng.standard_normal((30, 2))
    assert not theory.invariance_condition(X, Y).any_loss
    vectors[-1] = orthogonal(rng, 2)[:, 0]
    start = [0.8 * np.outer(b, a) for a, b in pairwise(vectors)]
    last = descend(start, X.T @ X, Y.T @ X, [0.05] * 20)[-1]
    turned = np.linalg.norm(last - np.outer(vectors[-1], vectors[-1] @ last))
    assert turned > 0.01 * np.linalg.norm(last)


def class_data(rng, classes, per, count):
    """One-hot labels, classes in orthogonal subspaces, arbitrary covariance inside."""
    O = orthogonal(rng, classes * per)
    X = np.vstack([rng.standard_normal((count, per)) @ O[:, c * per : (c + 1) * per].T for c in range(classes)]) / 3
    return X, np.repeat(np.eye(classes), count, axis=0), O


def test_orthogonal_classes_keep_alignment_with_the_input_basis_free():
    """T3.6: weaker than T3.2; the starts of the condition stay aligned while V_1 moves, others do not."""
    rng = np.random.default_rng(11)
    for depth in (2, 3, 4):
        X, Y, _ = class_data(rng, 3, 3, 6)
        found = theory.invariance_condition(X, Y)
        assert not found.holds
        assert found.weak
        assert "orthogonal_classes" in found.cases
        assert found.commutator > 0.01
        widths = [9, *(int(k) for k in rng.integers(3, 8, depth - 1)), 3]
        for mixed in (False, True):
            inputs = found.weak_inputs if not mixed else orthogonal(rng, 9)[:, :3]
            V = np.linalg.qr(np.hstack([inputs, rng.standard_normal((9, 6))]))[0]
            V[:, :3] = inputs
            bases = [V, *(orthogonal(rng, k) for k in widths[1:-1]), found.weak_outputs]
            start = diagonal_net(bases, rng.uniform(0.5, 1.2, (depth, 3)))
            end = descend(start, X.T @ X, Y.T @ X, [0.01] * 300)
            certificate = alignment_certificate(end, 1e-6)
            assert certificate.aligned == (not mixed)
            if not mixed:
                assert off_diagonal(end[1:], bases[1:]) < 1e-9
                assert off_diagonal(end[:1], bases[:2]) > 1e-3
    # coupled classes
    X, Y, _ = class_data(rng, 3, 3, 6)
    assert theory.invariance_condition(X + 0.1 * rng.standard_normal(X.shape), Y).weak is False
    # a target of lower rank is left open, one that is not is decided by the family of all powers
    X, Y, _ = class_data(rng, 3, 3, 6)
    assert theory.invariance_condition(X, Y * [1.0, 1.0, 0.0]).weak is None
    C, M = X.T @ X, Y.T @ X
    for k in range(5):
        H = M @ np.linalg.matrix_power(C, k) @ M.T
        U = theory.invariance_condition(X, Y).weak_outputs
        E = U.T @ H @ U
        assert np.linalg.norm(E - np.diag(np.diag(E))) < 1e-12 * np.linalg.norm(H)


def test_special_cases():
    rng = np.random.default_rng(12)
    X, Y = rng.standard_normal((20, 5)), rng.standard_normal((20, 3))
    assert theory.invariance_condition(X, X).cases == ("autoencoding",)
    assert theory.invariance_condition(X, X).holds
    np.testing.assert_allclose(theory.invariance_condition(X, X).targets, np.sort(np.linalg.svd(X)[1] ** 2)[::-1], rtol=1e-12)
    white = theory.invariance_condition(np.linalg.qr(X)[0], Y)
    assert white.cases == ("whitened",)
    assert white.holds
    factor = theory.invariance_condition(None, Y)
    assert factor.cases == ("factorisation",)
    assert factor.holds
    assert factor.inputs.shape == (3, 3)
    assert factor.outputs.shape == (20, 20)
    # orthogonal samples with one-hot labels: exactly if the norms are equal inside each class (note: 3e-16 against 0.41)
    O, labels = orthogonal(rng, 8)[:6], np.repeat(np.eye(3), 2, axis=0)
    equal = theory.invariance_condition(O * np.array([[1], [1], [2], [2], [0.5], [0.5]]), labels)
    unequal = theory.invariance_condition(O * np.array([[1], [2], [2], [1], [0.5], [0.7]]), labels)
    assert equal.holds
    assert not unequal.holds
    assert unequal.weak
    assert equal.cases == unequal.cases == ("orthogonal_classes",)
    # one output: exactly if X^T y is an eigenvector of C, or 0
    vector = np.linalg.eigh(X.T @ X)[1][:, 2]
    assert theory.invariance_condition(X, X @ vector).holds
    away = Y[:, 0] - X @ np.linalg.lstsq(X, Y[:, 0])[0]
    assert theory.invariance_condition(X, away).holds
    assert not theory.invariance_condition(X, Y[:, 0]).holds
    assert theory.invariance_condition(X, np.zeros((20, 3))).holds


def test_scales_and_precisions():
    rng = np.random.default_rng(13)
    X, Y, bases, _ = random_joint(rng)
    for a, b in ((1e-12, 1e8), (1e10, 1e-14)):
        assert theory.invariance_condition(a * X, b * Y).holds
        assert not theory.invariance_condition(a * rng.standard_normal((9, 3)), b * rng.standard_normal((9, 3))).holds
    single = theory.invariance_condition(X.astype(np.float32), Y.astype(np.float32))
    assert single.holds
    assert single.tol == 1e-5
    # many samples are compressed first and change nothing
    tall, targets = np.vstack([X] * 50), np.vstack([Y] * 50)
    assert theory.invariance_condition(tall, targets).holds
    start = diagonal_net(bases, np.full((len(bases) - 1, 2), 0.5))
    assert theory.invariance_condition(X, Y, net=Network.from_matrices(start)).start.holds


def test_words():
    rng = np.random.default_rng(14)
    X, Y = rng.standard_normal((20, 5)), rng.standard_normal((20, 3))
    text = str(theory.invariance_condition(X, Y))
    assert text.startswith("alignment in fixed bases is no invariant here: C and M^T M do not commute (")
    text = str(theory.invariance_condition(X, X, net=[np.eye(5)] * 2)).split("\n")
    assert text[0].startswith("alignment can be an invariant here: C and M^T M commute (residual ")
    assert text[1] == "autoencoding: the targets are the inputs: M = C"
    assert text[2].startswith("this start stays aligned in fixed bases: every mode that moves is a joint triple of the data (5 modes")
    assert "(T3.5)" in str(theory.invariance_condition(X, Y[:, :1]))
    X, Y, _ = class_data(rng, 3, 3, 6)
    assert "M C^k M^T commute (T3.6" in str(theory.invariance_condition(X, Y))
    bad = theory.invariance_condition(X, Y, net=[rng.standard_normal((4, 9)), rng.standard_normal((3, 4))])
    assert "not known to stay aligned in fixed bases: the start is not aligned" in str(bad)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: theory.invariance_condition(np.ones((3, 2)), np.ones((4, 2))), ValueError, "Y has 4 rows but X has 3"),
        (lambda: theory.invariance_condition(np.ones((3, 2)), None), TypeError, "Y is NoneType; an array of numbers was wanted"),
        (lambda: theory.invariance_condition(np.full((3, 2), np.nan), np.ones((3, 2))), ValueError, r"X\[0, 0\] is nan"),
        (lambda: theory.invariance_condition(None, np.ones(3)), ValueError, "Y has 1 dimensions"),
        (lambda: theory.invariance_condition(np.eye(3), np.eye(3), tol=2), ValueError, "tol is 2.0"),
        (lambda: theory.invariance_condition(np.eye(3), np.eye(3), net=[np.eye(4)]), ValueError, "X has shape .3, 3.; 4 columns"),
        (lambda: theory.invariance_condition(1e100 * np.eye(2), np.eye(2)), ValueError, "X has entries of size 1e.100"),
    ],
)
def test_errors(call, error, message):
    with pytest.raises(error, match=message):
        call()
