"""Obstruction of constrained layers: the criterion on known families, and what it says of training, tried."""

import numpy as np
import pytest

from linalign import Dense, Fixed, theory
from linalign.scores.certificate import alignment_certificate
from tests.oracles.theory_cases import EPS, gradients, orthogonal, product


class Span:
    """The span of some matrices: all that `obstruction` needs of a layer."""

    def __init__(self, basis, name="Span()"):
        self.basis = np.array(basis, dtype=float)
        self.shape, self.param_shape, self.name = self.basis.shape[1:], (len(basis),), name

    def matrix(self, theta):
        return np.tensordot(theta, self.basis, 1)

    def project(self, W):
        B = self.basis.reshape(len(self.basis), -1)
        return self.matrix(np.linalg.lstsq(B.T, W.ravel(), rcond=None)[0])

    def __repr__(self):
        return self.name


def unit(i, j, m, k):
    E = np.zeros((m, k))
    E[i, j] = 1
    return E


def taps(N, k):
    """Zero-padded convolution of length N with k taps."""
    return [np.eye(N, k=a - k // 2) for a in range(k)]


def circulant(N):
    return [np.roll(np.eye(N), a, axis=1) for a in range(N)]


def symmetric_circulant(N):
    return [c + c.T for c in circulant(N)[: N // 2 + 1]]


SPARSE = [(i, j) for i in range(6) for j in ((2 * i + 1) % 6, (3 * i) % 6, (i + 4) % 6)]

# name, basis, diagonalisable, least number of samples with which the gradient can be any member (L6.4; None: not known in closed form)
FAMILIES = [
    ("full", [unit(i, j, 4, 4) for i in range(4) for j in range(4)], False, 4),
    ("convolution", taps(6, 3), False, 1),
    ("convolution of 5 taps", taps(8, 5), False, 1),
    ("convolution in the plane", [np.kron(a, b) for a in taps(4, 3) for b in taps(4, 3)], False, 1),
    ("Toeplitz", [np.eye(6, k=o) for o in range(-5, 6)], False, 2),
    ("Toeplitz 4 x 7", [np.eye(4, 7, o) for o in range(-3, 7)], False, 3),
    ("sparse", [unit(i, j, 6, 6) for i, j in sorted(set(SPARSE))], False, 3),
    ("block diagonal", [np.kron(unit(b, b, 2, 2), unit(i, j, 3, 3)) for b in range(2) for i in range(3) for j in range(3)], False, 3),
    ("symmetric", [(unit(i, j, 4, 4) + unit(j, i, 4, 4)) / 2 for i in range(4) for j in range(i, 4)], False, 4),
    ("circulant", circulant(6), False, 1),
    ("symmetric circulant", symmetric_circulant(6), True, 1),
    ("diagonal", [unit(i, i, 5, 5) for i in range(5)], True, 1),
    ("symmetric taps", [np.eye(6), np.eye(6, k=1) + np.eye(6, k=-1)], True, 1),
]


@pytest.mark.parametrize(("name", "basis", "free", "samples"), FAMILIES, ids=[family[0] for family in FAMILIES])
def test_known_families(name, basis, free, samples):
    """L6.1 and L6.4 on the note's families."""
    found = theory.obstruction(Span(basis, name))
    assert found.diagonalisable == free
    assert found.score <= 1e-14 if free else found.score > 0.02
    assert found.dimension == len(basis)
    assert found.samples == (None if free else 1)
    assert found.reaching == (samples, samples)
    # L6.4: between ceil(r / rank F) and rank B
    assert -(-len(basis) // basis[0].shape[0]) <= samples <= basis[0].shape[1]
    if free:
        U, V = found.bases
        for A in basis:
            E = U.T @ A @ V
            np.fill_diagonal(E, 0.0)
            assert np.linalg.norm(E) < 1e-12
        assert found.witness is None
    else:
        A, B = (np.tensordot(theta, basis, 1) for theta in found.witness)
        assert np.linalg.norm(A @ B.T - B @ A.T) + np.linalg.norm(A.T @ B - B.T @ A) > 1e-2 * np.linalg.norm(A) * np.linalg.norm(B)
        assert found.bases is None
    assert found.commuting == ("circulant" in name or name in ("diagonal", "symmetric taps"))


def test_planted_families():
    """L6.1: 200 families that one pair of bases diagonalises, with ties, opposite ties and zeros; and the same, spoiled."""
    rng = np.random.default_rng(0)
    for _ in range(200):
        m, k = (int(n) for n in rng.integers(2, 7, 2))
        U, V = orthogonal(rng, m), orthogonal(rng, k)
        r = int(rng.integers(1, min(m, k) + 1))
        basis = [U[:, : min(m, k)] * rng.choice([-1, 0, 1, 2], min(m, k)) @ V[:, : min(m, k)].T for _ in range(r)]
        basis = [A for A in basis if A.any()]
        if not basis:
            continue
        found = theory.obstruction(Span(basis))
        assert found.diagonalisable
        assert found.score <= 1e-14
        assert found.residual <= 1e-12
        spoiled = theory.obstruction(Span([*basis, rng.standard_normal((m, k))]))
        assert not spoiled.diagonalisable


def train(layers, thetas, X, Y, lr, steps):
    """Projected gradient descent on the mean squared error."""
    Ws = [layer.matrix(theta) for layer, theta in zip(layers, thetas, strict=True)]
    for _ in range(steps):
        G = (X @ product(Ws).T - Y).T @ X / len(X)
        Ws = [W - lr * layer.project(g) for W, layer, g in zip(Ws, layers, gradients(Ws, G), strict=True)]
    return Ws


def test_layers_without_obstruction_keep_their_bases_on_any_data():
    """T6.2: symmetric circulants, generic data."""
    rng = np.random.default_rng(1)
    layer = Span(symmetric_circulant(6))
    U, V = theory.obstruction(layer).bases
    X, Y = rng.standard_normal((9, 6)), rng.standard_normal((9, 6))
    for W in train([layer] * 3, [rng.standard_normal(4) / 3 for _ in range(3)], X, Y, 0.02, 200):
        E = U.T @ W @ V
        np.fill_diagonal(E, 0.0)
        assert np.linalg.norm(E) < 1e-12


def test_layers_with_obstruction_lose_their_bases_with_one_sample():
    """T6.3: from any start of their own and n = 1 on, the first projected step leaves the singular bases."""
    rng = np.random.default_rng(2)
    for _, basis, free, _ in FAMILIES:
        layer = Span(basis)
        m, k = layer.shape
        for n in (1, 4):
            W = layer.matrix(rng.standard_normal(len(basis)))
            U, _, Vt = np.linalg.svd(W)
            X, Y = rng.standard_normal((n, k)), rng.standard_normal((n, m))
            E = U.T @ layer.project((X @ W.T - Y).T @ X) @ Vt.T
            size = np.linalg.norm(E)
            np.fill_diagonal(E, 0.0)
            left = np.linalg.norm(E) / size
            assert left < 1e-11 if free else left > 1e-3


def test_an_aligned_convolution_loses_alignment_with_one_sample():
    """T6.3, the weak form: one instance with (E) above rounding proves it for almost all data."""
    rng = np.random.default_rng(3)
    layer = Span(taps(8, 3))
    theta = rng.standard_normal(3)
    start = [theta, theta[::-1]]
    assert alignment_certificate([layer.matrix(t) for t in start]).aligned
    for n in (1, 8, 64):
        X, Y = rng.standard_normal((n, 8)), rng.standard_normal((n, 8))
        certificate = alignment_certificate(train([layer] * 2, start, X, Y, 0.01, 100), 1e-8)
        assert not certificate.aligned
        assert certificate.distance > 1e-8
    # exceptional data: mirrored samples keep symmetric taps symmetric, hence diagonal in the sine basis
    X, Y = rng.standard_normal((64, 8)), rng.standard_normal((64, 8))
    X, Y = np.vstack([X, X[:, ::-1]]), np.vstack([Y, Y[:, ::-1]])
    ends = train([layer] * 2, [np.array([0.3, 0.7, 0.3]), np.array([-0.2, 0.5, -0.2])], X, Y, 0.01, 100)
    i = np.arange(1, 9)
    S = np.sqrt(2 / 9) * np.sin(np.pi * np.outer(i, i) / 9)
    for W in ends:
        E = S @ W @ S
        np.fill_diagonal(E, 0.0)
        assert np.linalg.norm(E) < 1e-12


def test_circulants_stay_aligned_in_moving_bases():
    """T6.6: aligned at every instant for generic data, though not in fixed bases."""
    rng = np.random.default_rng(4)
    layer = Span(circulant(6))
    start = [rng.standard_normal(6) / 2 for _ in range(3)]
    first = [layer.matrix(theta) for theta in start]
    ends = train([layer] * 3, start, rng.standard_normal((9, 6)), rng.standard_normal((9, 6)), 0.05, 200)
    assert alignment_certificate(ends).strict
    bases = alignment_certificate(first).bases
    E = bases[1].T @ ends[0] @ bases[0]
    np.fill_diagonal(E, 0.0)
    assert np.linalg.norm(E) > 1e-3


def test_the_gradient_reaches_every_member_from_that_many_samples_on():
    """L6.4 by its meaning: the projected gradients of all targets span the space, and with one sample fewer they do not."""
    rng = np.random.default_rng(5)
    for _, basis, _, samples in FAMILIES:
        layer = Span(basis)
        for n in (samples - 1, samples):
            if n == 0:
                continue
            X = rng.standard_normal((n, layer.shape[1]))
            reached = [layer.project(rng.standard_normal((n, layer.shape[0])).T @ X).ravel() for _ in range(len(basis) + 3)]
            assert (np.linalg.matrix_rank(np.array(reached), tol=1e-8) == len(basis)) == (n == samples)


def test_large_layers_are_not_expanded():
    found = theory.obstruction(Dense(784, 200))
    assert not found.diagonalisable
    assert found.dimension is None
    assert found.reaching == (784, 784)
    assert theory.obstruction(Span([np.eye(3)])).diagonalisable
    # dependent parameters count once
    twice = theory.obstruction(Span([*circulant(4), *circulant(4)]))
    assert twice.dimension == 4


def test_score_is_that_of_the_definition_and_seeded():
    rng = np.random.default_rng(6)
    layer = Span(taps(6, 3))
    found = theory.obstruction(layer, rng=7)
    A, B = (layer.matrix(theta) for theta in found.witness)
    gap = np.linalg.norm(A @ B.T - B @ A.T) ** 2 + np.linalg.norm(A.T @ B - B.T @ A) ** 2
    assert found.score == pytest.approx(np.sqrt(gap) / (2 * np.linalg.norm(A) * np.linalg.norm(B)), rel=100 * EPS)
    assert theory.obstruction(layer, rng=7).score == found.score
    assert theory.obstruction(layer, rng=rng).score != found.score


def test_words():
    assert str(theory.obstruction(Span([np.eye(3)], "Multiple()"))).startswith("Multiple(): no obstruction (score ")
    lines = str(theory.obstruction(Dense(5, 4))).split("\n")
    assert lines[0].startswith("Dense(n_in=5, n_out=4): obstructed (score ")
    assert "from 1 sample on" in lines[1]
    assert lines[2] == "from 5 samples on the gradient can be any matrix of the layer (L6.4)"
    assert "in moving bases (T6.6)" in str(theory.obstruction(Span(circulant(5))))


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: theory.obstruction(3), TypeError, "layer is int, without shape; a layer such as"),
        (
            lambda: theory.obstruction(Fixed(np.eye(2))),
            ValueError,
            "Fixed.2 to 2., which has no parameters: its singular bases never move; pass",
        ),
        (lambda: theory.obstruction(Dense(2, 2, bias=True)), ValueError, "without offset or bias: pass Dense"),
        (lambda: theory.obstruction(Dense(2, 2), rng=None), ValueError, "rng is None"),
        (lambda: theory.obstruction(Dense(2, 2), tol=0), ValueError, "tol is 0.0"),
    ],
)
def test_errors(call, error, message):
    with pytest.raises(error, match=message):
        call()
