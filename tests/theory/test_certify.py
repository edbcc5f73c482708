"""The certificate of a whole network: rates and steps against gradient descent on the matrices, and what it must refuse."""

import math

import numpy as np
import pytest

from linalign import Affine, Circulant, Dense, Network, Residual, Scaled, losses, theory, train
from tests.oracles.theory_cases import descend, diagonal_net, gradients, joint_data, off_diagonal, orthogonal, product, scalar_step


def random_problem(rng, rank=None, opposite=False):
    """Data that satisfy the condition and an aligned start on them: X, Y, matrices, bases, (d, r) factors, eigenvalues, targets."""
    d, k = int(rng.integers(2, 5)), int(rng.integers(2, 5))
    widths = [k, *(int(w) for w in rng.integers(k, 7, d - 1)), k]
    lam, q = rng.uniform(0.3, 2.0, k), rng.uniform(0.4, 2.0, k)
    X, Y, U, V = joint_data(rng, 12, lam, lam * q, k)
    bases = [V, *(orthogonal(rng, w) for w in widths[1:-1]), U]
    factors = rng.uniform(0.2, 1.2, (d, rank or k))
    if opposite:
        factors[0, 0] *= -1
    return X, Y, diagonal_net(bases, factors), bases, factors, lam, q


def half_squares(Ws, X, Y):
    return 0.5 * np.linalg.norm(X @ product(Ws).T - Y) ** 2


def test_certified_rate_bounds_every_step_of_200_problems():
    """The scalar certificate on the scalar recursion: error per mode, loss, and steps; the certified rate is safe in every step."""
    rng = np.random.default_rng(0)
    for trial in range(200):
        X, Y, Ws, _, factors, lam, q = random_problem(rng, opposite=trial % 3 == 0)
        proof = theory.certify(Ws, X, Y)
        assert proof.certified
        assert proof.lr_matrix <= proof.lr
        assert proof.loss == pytest.approx(half_squares(Ws, X, Y), rel=1e-12)
        assert proof.global_minimum
        assert {mode.case for mode in proof.modes} <= {"grows", "shrinks", "crosses"}
        rate = proof.rate * proof.lr / proof.lr_matrix
        now = factors.T.copy()
        crossing = any(mode.case == "crosses" for mode in proof.modes)
        epsilon = 1e-6 * (proof.loss - proof.limit)
        promised = None if crossing else proof.steps(epsilon, lr=proof.lr)
        e = np.abs(q - now.prod(axis=1))
        first = e.copy()
        reached = None
        for t in range(60):
            if reached is None and 0.5 * np.sum(lam * e**2) <= epsilon:
                reached = t
            now = np.array([scalar_step(s, a, b, proof.lr) for s, a, b in zip(now, lam, q, strict=True)])
            after = np.abs(q - now.prod(axis=1))
            assert (after <= e + 1e-12 * q).all()
            if not crossing:
                assert (after <= (1 - rate) ** (t + 1) * first + 1e-12 * q).all()
            e = after
        if promised is not None and reached is not None:
            assert reached <= promised


def test_robust_rate_converges_on_matrices_in_the_promised_steps():
    rng = np.random.default_rng(1)
    for trial in range(40):
        X, Y, Ws, bases, *_ = random_problem(rng, opposite=trial % 4 == 0)
        proof = theory.certify(Network.from_matrices(Ws), X, Y)
        epsilon = 1e-4 * (proof.loss - proof.limit)
        steps = proof.steps(epsilon)
        if steps > 3000:
            continue
        C, M = X.T @ X, Y.T @ X
        end = descend(Ws, C, M, [proof.lr_matrix] * steps)
        assert half_squares(end, X, Y) - proof.limit <= epsilon * (1 + 1e-9)
        assert off_diagonal(end, bases) < 1e-9


def test_warning_example():
    """T4.7: lambda = (20, 1, 1), q = (.05, 3, 1). Matrices lose their bases at the scalar rate and converge at the robust one."""
    rng = np.random.default_rng(2)
    lam, q = np.array([20.0, 1.0, 1.0]), np.array([0.05, 3.0, 1.0])
    X, Y, U, V = joint_data(rng, 12, lam, lam * q, 3)
    bases = [V, orthogonal(rng, 3), orthogonal(rng, 3), U]
    start = np.array([[0.3, 0.5, 0.5]] * 3)
    Ws = diagonal_net(bases, start)
    proof = theory.certify(Ws, X, Y)
    assert proof.certified
    assert proof.lr == pytest.approx(0.077, abs=5e-4)
    assert 2 * proof.lr_matrix == pytest.approx(0.0216, abs=5e-5)
    C, M = X.T @ X, Y.T @ X
    with np.errstate(over="ignore", invalid="ignore"):
        lost = descend(Ws, C, M, [proof.lr] * 100)
        assert not off_diagonal(lost, bases) < 0.01  # or nan: it has diverged
    scalars = start.T.copy()
    for _ in range(100):  # in exact arithmetic, where zeros stay zeros, the scalar rate is right
        scalars = np.array([scalar_step(s, a, b, proof.lr) for s, a, b in zip(scalars, lam, q, strict=True)])
    assert np.all(np.abs(scalars.prod(axis=1) - q) <= 0.5)
    kept = descend(Ws, C, M, [proof.lr_matrix] * 3000)
    assert off_diagonal(kept, bases) < 1e-10
    assert np.linalg.norm(product(kept) @ C - M) < 1e-10
    # at the scalar rate the number of steps is the scalars', by default it is the matrices'
    assert proof.steps(1e-8, lr=proof.lr) < proof.steps(1e-8)


def test_hessian_at_a_fitted_minimum():
    """T4.7: its nonzero eigenvalues are lambda_l Gamma_jl over all ordered pairs, and the robust rate is one over the largest."""
    rng = np.random.default_rng(3)
    for _ in range(20):
        d, k = int(rng.integers(1, 5)), int(rng.integers(2, 4))
        bases = [orthogonal(rng, k) for _ in range(d + 1)]
        factors, lam = rng.uniform(0.3, 1.5, (d, k)), rng.uniform(0.2, 3, k)
        Ws = diagonal_net(bases, factors)
        X = np.sqrt(lam)[:, None] * bases[0].T
        Y = X @ product(Ws).T
        C = X.T @ X
        size = k * k * d
        H = np.empty((size, size))
        for j in range(size):  # exact at a fitted point: the gradient is linear along each direction to first order
            E = np.zeros(size)
            E[j] = 1e-6
            steps = np.split(E, d)
            two = [
                gradients(V, (product(V) - product(Ws)) @ C)
                for V in ([W + s * e.reshape(k, k) for W, e in zip(Ws, steps, strict=True)] for s in (1, -1))
            ]
            H[:, j] = np.concatenate([(a - b).ravel() for a, b in zip(*two, strict=True)]) / 2e-6
        got = np.sort(np.linalg.eigvalsh((H + H.T) / 2))[::-1][: k * k]
        y = factors**2
        pairs = [lam[l] * sum(np.prod(y[i + 1 :, j]) * np.prod(y[:i, l]) for i in range(d)) for j in range(k) for l in range(k)]
        # central differences with step 1e-6: an error of 1e-12 of the third derivative and 1e-10 of rounding
        np.testing.assert_allclose(got, np.sort(pairs)[::-1], atol=1e-7 * max(pairs))
        proof = theory.certify(Ws, X, Y)
        assert all(mode.case == "fitted" for mode in proof.modes)
        assert proof.lr == math.inf
        assert proof.lr_matrix == pytest.approx(1 / max(pairs), rel=1e-10)
        assert proof.steps(1e-3) == 0


def test_robust_rate_sees_inputs_and_outputs_outside_the_modes():
    """A wide input of large variance that no mode uses bends the loss all the same."""
    rng = np.random.default_rng(4)
    lam = np.array([1.0, 0.5, 50.0])
    X, Y, U, V = joint_data(rng, 12, lam, np.array([1.0, 0.5, 0.0])[:2], 2)
    bases = [V, orthogonal(rng, 4), U]
    Ws = diagonal_net(bases, np.full((2, 2), 0.7))
    proof = theory.certify(Ws, X, Y)
    assert proof.certified
    # the largest eigenvalue at the limit, where each factor is 1: lambda_3 times y of the upper layer alone
    assert proof.lr_matrix <= 1 / 50.0 * (1 + 1e-9)
    assert proof.lr > 0.1
    end = descend(Ws, X.T @ X, Y.T @ X, [proof.lr_matrix] * 2000)
    assert half_squares(end, X, Y) == pytest.approx(proof.optimum, rel=1e-9)


def test_losses_differ_by_their_factor():
    rng = np.random.default_rng(5)
    X, Y, Ws, *_ = random_problem(rng)
    plain = theory.certify(Ws, X, Y)
    entries = Y.size
    for loss, factor in (
        ("mse", 2 / entries),
        (losses.Squared(half=True, reduction="samples"), 1 / len(X)),
        (losses.Squared(half=False), 2.0),
    ):
        other = theory.certify(Ws, X, Y, loss=loss)
        assert other.lr == pytest.approx(plain.lr / factor, rel=1e-12)
        assert other.lr_matrix == pytest.approx(plain.lr_matrix / factor, rel=1e-12)
        assert other.loss == pytest.approx(plain.loss * factor, rel=1e-12)
        assert other.limit == pytest.approx(plain.limit * factor, rel=1e-12)
        assert other.optimum == pytest.approx(plain.optimum * factor, rel=1e-12)
        assert other.rate == pytest.approx(plain.rate, rel=1e-12)
        assert other.steps(factor * 1e-6) == plain.steps(1e-6)
    mse = theory.certify(Ws, X, Y, loss="mse")
    assert mse.loss == pytest.approx(np.mean((X @ product(Ws).T - Y) ** 2), rel=1e-12)


def test_factorisation_and_many_samples():
    rng = np.random.default_rng(6)
    target = rng.standard_normal((3, 4))
    U, s, Vt = np.linalg.svd(target)
    Ws = diagonal_net([Vt.T, orthogonal(rng, 5), U], np.full((2, 3), 0.5))
    proof = theory.certify(Ws, None, target)
    assert proof.certified
    np.testing.assert_allclose(sorted(mode.target for mode in proof.modes), np.sort(s), rtol=1e-10)
    np.testing.assert_allclose([mode.eigenvalue for mode in proof.modes], 1.0, rtol=1e-12)
    end = Ws
    for _ in range(proof.steps(1e-10)):
        end = [W - proof.lr_matrix * g for W, g in zip(end, gradients(end, product(end) - target), strict=True)]
    assert 0.5 * np.linalg.norm(product(end) - target) ** 2 <= 1e-10
    X, Y, Ws, *_ = random_problem(rng)
    once, often = theory.certify(Ws, X, Y), theory.certify(Ws, np.vstack([X] * 30), np.vstack([Y] * 30))
    assert often.lr == pytest.approx(once.lr / 30, rel=1e-10)


def test_low_rank_and_stuck_starts_do_not_promise_the_global_minimum():
    rng = np.random.default_rng(7)
    lam, q = np.array([1.0, 1.0, 1.0]), np.array([3.0, 2.0, 1.0])
    X, Y, U, V = joint_data(rng, 12, lam, lam * q, 3)
    bases = [V, orthogonal(rng, 3), orthogonal(rng, 3), U]
    for rank in (1, 2, 3):
        factors = np.full((3, 3), 0.5)
        factors[:, rank:] = 0.0
        proof = theory.certify(diagonal_net(bases, factors), X, Y)
        assert proof.certified
        assert sum(mode.case == "stuck" for mode in proof.modes) == 3 - rank
        assert proof.limit - proof.optimum == pytest.approx(0.5 * np.sum(q[rank:] ** 2), rel=1e-9, abs=1e-9)
        assert proof.global_minimum == (rank == 3)
    # a bottleneck of two that holds the two largest modes does reach its own optimum, one that holds others does not
    for kept, best in (([0, 1], True), ([0, 2], False)):
        order = kept + [j for j in range(3) if j not in kept]
        narrow = [V[:, order], orthogonal(rng, 2), U[:, order]]
        proof = theory.certify(diagonal_net(narrow, np.full((2, 2), 0.5)), X, Y)
        assert proof.certified
        assert proof.global_minimum == best


def test_one_zero_layer_is_no_saddle():
    """T4.2 with one zero factor: a zero first, interior or last layer is certified and trains."""
    rng = np.random.default_rng(8)
    X, Y, Ws, *_ = random_problem(rng)
    for i in range(len(Ws)):
        layers = [W * (j != i) for j, W in enumerate(Ws)]
        proof = theory.certify(layers, X, Y)
        assert proof.certified
        assert all(mode.case == "grows" and mode.start == 0.0 for mode in proof.modes)
        epsilon = 1e-3 * proof.loss
        end = descend(layers, X.T @ X, Y.T @ X, [proof.lr_matrix] * proof.steps(epsilon))
        assert half_squares(end, X, Y) - proof.limit <= epsilon


def test_nothing_is_offered_where_a_condition_fails():
    rng = np.random.default_rng(9)
    X, Y, Ws, bases, factors, *_ = random_problem(rng)
    generic = rng.standard_normal(X.shape)
    turned = [Ws[0], Ws[1] @ orthogonal(rng, Ws[1].shape[1]), *Ws[2:]]
    tied = np.full_like(factors, 0.5)
    tied[0, 0] = -0.5
    constrained = Network([Scaled(np.eye(2))] * 2, [np.ones(1), np.ones(1)])
    cases = [
        (Ws, generic, Y, r"no joint triple|singular vectors"),
        (turned, X, Y, "the start is not aligned"),
        (diagonal_net(bases, tied), X, Y, r"mode \d starts with the wrong sign, and its two smallest factors are equal"),
        (constrained, np.eye(2), np.eye(2), r"layers\[0\] is Scaled\(2 to 2\); the statements are proved for Dense layers"),
    ]
    for net, inputs, targets, reason in cases:
        proof = theory.certify(net, inputs, targets)
        assert not proof.certified
        assert proof.lr is proof.lr_matrix is proof.rate is proof.limit is None
        assert not proof.global_minimum
        assert str(proof).startswith("nothing is certified: ")
        with pytest.raises(ValueError, match="no number of steps is certified: .*" + reason):
            proof.steps(1e-3)


def test_affine_dense_layers_are_dense_ones_that_start_beside_their_offset():
    # T16.4: the same certificate, and the run keeps its promise
    rng = np.random.default_rng(8)
    X = np.linalg.qr(rng.standard_normal((20, 4)))[0]
    Y = X @ np.diag([2.0, 1.5, 1.0, 0.5])
    W = [np.diag(rng.uniform(-0.3, 0.3, 4)) for _ in range(2)]
    net = Network([Residual(Dense(4, 4)), Affine(Dense(4, 4), np.eye(4))], W)
    found, want = theory.certify(net, X, Y), theory.certify(Network.from_matrices([np.eye(4) + w for w in W]), X, Y)
    assert found.certified
    assert (found.lr_matrix, found.rate, found.limit) == (want.lr_matrix, want.rate, want.limit)
    run = train(net, X, Y, loss="squared", lr="certified", steps=found.steps(1e-6))
    assert run.loss[-1] <= found.limit + 1e-6
    # a structured layer beside an offset is no free matrix
    assert (
        "layers[0] is Residual(Circulant"
        in theory.certify(Network([Residual(Circulant(4)), Dense(4, 4)], [np.zeros(4), W[1]]), X, Y).reason
    )


def test_words():
    target = np.diag([2.0, 1.0, 0.0])
    text = str(theory.certify([0.5 * np.eye(3)] * 2, None, target)).split("\n")
    assert text[0].startswith("certified learning rate 0.25 for the modes in exact arithmetic, 0.25 for matrices in floating point")
    assert text[1] == "no linear rate: a mode fades"
    assert text[2].endswith("the global minimum")
    assert text[3] == "2 modes: grows monotonically to its target, no overshoot (T4.2)"
    assert text[4].startswith("1 mode: shrinks to its target 0 slower")
    proof = theory.certify(diagonal_net([np.eye(3)] * 3, np.array([[0.5, 0.4, 0.3]] * 2)), None, np.diag([2.0, 1.0, 0.5]))
    assert "errors shrink by a factor of" in str(proof)
    assert str(proof.modes[0]).startswith("lambda 1, from 0.25 to 2, lr <= 0.25")


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (
            lambda: theory.certify([np.eye(2)], np.eye(2), np.eye(2), loss="logistic"),
            ValueError,
            "loss is 'logistic'; only the squared loss",
        ),
        (lambda: theory.certify([np.eye(2)], np.eye(3), np.eye(3)), ValueError, "X has shape .3, 3.; 2 columns"),
        (lambda: theory.certify([np.eye(2)], np.eye(2), np.ones((2, 3))), ValueError, "Y has shape .2, 3.; 2 columns"),
        (lambda: theory.certify([np.eye(2)], np.eye(2), 2 * np.eye(2)).steps(0), ValueError, "epsilon is 0.0"),
        (
            lambda: theory.certify([np.eye(2)], np.eye(2), 2 * np.eye(2)).steps(1, lr=5),
            ValueError,
            "lr is 5; the certificate holds up to 1",
        ),
        (lambda: theory.certify([1e100 * np.eye(2)], None, np.eye(2)), ValueError, "net has layers whose norms multiply to 1e100"),
    ],
)
def test_errors(call, error, message):
    with pytest.raises(error, match=message):
        call()
