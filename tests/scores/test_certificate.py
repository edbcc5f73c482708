"""The certificate of alignment: chains that are aligned, chains that only look it, and how far the rest is."""

import itertools

import numpy as np
import pytest

from linalign.problem.network import Network
from linalign.scores.certificate import alignment_certificate
from linalign.scores.lanes import pack

EPS = np.finfo(float).eps


def orthogonal(rng, k):
    q, r = np.linalg.qr(rng.standard_normal((k, k)))
    return q * np.where(np.diag(r) < 0, -1.0, 1.0)


def links_of(rng, widths):
    """Random intervals: one boolean matrix a layer with at most one True a row and a column."""
    d = len(widths) - 1
    free = [list(rng.permutation(k)) for k in widths]
    links = [np.zeros((widths[i + 1], widths[i]), bool) for i in range(d)]
    for a in range(d):
        while free[a]:
            j, i = free[a].pop(), a
            while i < d and free[i + 1] and rng.random() < 0.75:
                l = free[i + 1].pop()
                links[i][l, j] = True
                j, i = l, i + 1
    return links


def aligned_chain(rng, widths, levels=(2.0, 1.0, 0.5), turn=True):
    """A chain of random intervals with few distinct values: heavily degenerate, often rank deficient."""
    links = links_of(rng, widths)
    Q = [orthogonal(rng, k) if turn else np.eye(k) for k in widths]
    return [Q[i + 1] @ (L * rng.choice(levels, L.shape) * rng.choice([-1, 1], L.shape)) @ Q[i].T for i, L in enumerate(links)]


def random_widths(rng, low=1, depths=(1, 6)):
    return [int(k) for k in rng.integers(low, 8, rng.integers(*depths, endpoint=True) + 1)]


def noisy(rng, chain, size):
    """Every layer off by exactly `size` of its norm."""
    out = []
    for W in chain:
        E = rng.standard_normal(W.shape)
        out.append(W + size * np.linalg.norm(W) * E / np.linalg.norm(E))
    return out


def check_bases(certificate, chain):
    """What the certificate says it is: orthogonal bases, one entry at most a row and a column, and the stated residual."""
    worst = 0.0
    for Q in certificate.bases:
        assert np.linalg.norm(Q.T @ Q - np.eye(len(Q))) <= 20 * len(Q) * EPS
    for i, (W, S) in enumerate(zip(chain, certificate.diagonals, strict=True)):
        assert (np.count_nonzero(S, axis=0) <= 1).all()
        assert (np.count_nonzero(S, axis=1) <= 1).all()
        if certificate.strict:
            assert np.count_nonzero(S - np.diag(np.diag(S)) if S.shape[0] == S.shape[1] else np.triu(S, 1) + np.tril(S, -1)) == 0
        if W.any():
            worst = max(worst, np.linalg.norm(W - certificate.bases[i + 1] @ S @ certificate.bases[i].T) / np.linalg.norm(W))
    assert worst == pytest.approx(certificate.residual, abs=50 * max(map(len, certificate.bases)) * EPS, rel=1e-6)


def test_exactly_aligned_degenerate_chains():
    """T1.2: residual at most 1e-13 and (E) at rounding level in 200 cases, whatever the scales of the layers."""
    rng = np.random.default_rng(0)
    for _ in range(200):
        chain = [W * 10.0 ** rng.integers(-20, 20) for W in aligned_chain(rng, random_widths(rng))]
        certificate = alignment_certificate(chain)
        assert certificate.aligned
        assert certificate.residual <= 1e-13
        assert certificate.commutator <= 1e-13
        assert certificate.distance == 0.0
        assert certificate.worst is None
        check_bases(certificate, chain)


def test_neighbours_that_commute_do_not_make_a_chain_aligned():
    """The counterexample after T1.2, with any number of identities between: no window can be left out."""
    for between in (1, 2, 3, 10):
        chain = [np.diag([2.0, 1.0]), *[np.eye(2)] * between, np.array([[1.0, 1.0], [0.0, 1.0]])]
        for lower, upper in itertools.pairwise(chain):
            A, B = lower @ lower.T, upper.T @ upper
            assert not (A @ B - B @ A).any()
        certificate = alignment_certificate(chain)
        assert not certificate.aligned
        assert certificate.worst == (1, between + 2)
        assert certificate.commutator == pytest.approx(6 / np.sqrt(119), rel=1e-12)  # sqrt2 3 sqrt2 / (sqrt17 sqrt7)
        assert certificate.distance > 1e-3
        assert certificate.residual >= certificate.distance
        check_bases(certificate, chain)


def test_counterexample_with_a_repeated_singular_value_that_is_no_identity():
    rng = np.random.default_rng(1)
    O, turn = orthogonal(rng, 4), np.eye(4)
    turn[:2, :2] = [[np.cos(0.4), -np.sin(0.4)], [np.sin(0.4), np.cos(0.4)]]
    W2 = O @ np.diag([2.0, 2.0, 1.0, 1.0]) @ O.T
    W1, W3 = O @ np.diag([3.0, 2.0, 1.0, 0.5]), np.diag([1.0, 2.0, 3.0, 4.0]) @ turn.T @ O.T
    for pair in ([W1, W2], [W2, W3]):
        assert alignment_certificate(pair).aligned
    certificate = alignment_certificate([W1, W2, W3])
    assert not certificate.aligned
    assert certificate.worst == (1, 3)
    assert certificate.distance > 1e-4


def test_neighbours_suffice_where_interior_singular_values_are_simple():
    """The remark after T1.2: 60 rank-deficient chains, null spaces turned at random."""
    rng = np.random.default_rng(2)
    for _ in range(60):
        widths = [int(k) for k in rng.integers(2, 7, rng.integers(3, 6) + 1)]
        basis, chain = orthogonal(rng, widths[0]), []
        for i, (k, m) in enumerate(itertools.pairwise(widths)):
            r = int(rng.integers(1, min(k, m) + 1))
            values = rng.choice([1.0, 2.0], r) if i in (0, len(widths) - 2) else 0.5 + np.arange(r) + rng.random(r) / 2
            U = orthogonal(rng, m)
            chain.append(U[:, :r] * values @ basis[:, rng.permutation(k)][:, :r].T)
            basis = np.hstack([U[:, :r], U[:, r:] @ orthogonal(rng, m - r)])
        certificate = alignment_certificate(chain)
        assert certificate.aligned
        assert certificate.residual <= 1e-13


def test_the_mirror_image_gives_the_same_verdict():
    """T1.2 (i): (E) of the transposed and reversed chain vanishes together with (E)."""
    rng = np.random.default_rng(3)
    for _ in range(40):
        chain = aligned_chain(rng, random_widths(rng, depths=(2, 5)))
        if rng.random() < 0.5:
            chain = noisy(rng, chain, 0.1)
        one, two = alignment_certificate(chain), alignment_certificate([W.T for W in chain[::-1]])
        assert one.aligned == two.aligned
        assert one.strict == two.strict
        assert (one.commutator < 1e-12) == (two.commutator < 1e-12)


def test_generic_chains_are_excluded():
    rng = np.random.default_rng(4)
    for _ in range(30):
        widths = random_widths(rng, low=2, depths=(2, 4))
        certificate = alignment_certificate([rng.standard_normal((b, a)) for a, b in itertools.pairwise(widths)])
        assert not certificate.aligned
        assert certificate.strict is False
        assert certificate.tol < certificate.distance <= certificate.residual


@pytest.mark.parametrize("size", [1e-12, 1e-8, 1e-4, 1e-2])
def test_distance_and_residual_enclose_the_truth(size):
    """An aligned chain at relative distance `size` is known. The lower bound must not pass it; the note's residual stays below it."""
    rng = np.random.default_rng(5)
    for _ in range(15):
        chain = noisy(rng, aligned_chain(rng, random_widths(rng, low=2, depths=(2, 5))), size)
        certificate = alignment_certificate(chain, tol=min(2 * size, 0.5))
        assert certificate.distance <= size
        # Gauss-Newton stops within second order of a nearest aligned chain in the mean square over the layers, and the
        # largest of at most five layers is at most sqrt(5) times that mean
        assert certificate.residual <= np.sqrt(5) * size
        assert alignment_certificate(chain, tol=size / 100).aligned is False


def test_singular_values_graded_over_twelve_decades():
    """The note's figures: median 6e-16, largest 6e-11."""
    rng = np.random.default_rng(6)
    levels = tuple(10.0 ** -np.arange(0, 13, 2.0))
    residuals = [alignment_certificate(aligned_chain(rng, random_widths(rng, low=2, depths=(2, 5)), levels)).residual for _ in range(60)]
    assert np.median(residuals) < 1e-14
    assert np.quantile(residuals, 0.95) < 1e-12
    # whether a value near sqrt(eps) of its layer is zero cannot always be told: leaving it out costs no more than that
    assert max(residuals) < np.sqrt(EPS)


def test_balanced_and_circulant_chains_are_strictly_aligned():
    """Corollary of T1.3, and T6.6."""
    rng = np.random.default_rng(7)
    for _ in range(20):
        widths = random_widths(rng, depths=(2, 5))
        r = int(rng.integers(0, min(widths) + 1))
        values = rng.choice([2.0, 1.0, 0.3], r)
        Q = [orthogonal(rng, k) for k in widths]
        balanced = [Q[i + 1][:, :r] * values @ Q[i][:, :r].T for i in range(len(widths) - 1)]
        certificate = alignment_certificate(balanced)
        assert certificate.strict
        check_bases(certificate, balanced)
    for N in (5, 6, 8):
        circulants = [sum(c * np.roll(np.eye(N), j, 1) for j, c in enumerate(rng.standard_normal(N))) for _ in range(4)]
        certificate = alignment_certificate(circulants)
        assert certificate.strict
        assert certificate.residual <= 1e-13


def test_commuting_does_not_imply_strict():
    """The counterexample after T1.1: rank [W_1, W_2^T] = 2 exceeds max(k_0, k_2) = 1."""
    certificate = alignment_certificate([np.array([[1.0], [0.0]]), np.array([[0.0, 1.0]])])
    assert certificate.aligned
    assert certificate.strict is False
    # the note's figure: over all orthogonal bases of the plane the squared off-diagonal part is never below 1, of 2
    W1, W2 = np.array([[1.0], [0.0]]), np.array([[0.0, 1.0]])
    smallest = np.inf
    for angle in np.linspace(0, np.pi, 721):
        for side in (1, -1):
            Q = np.array([[np.cos(angle), -side * np.sin(angle)], [np.sin(angle), side * np.cos(angle)]])
            smallest = min(smallest, (Q.T @ W1)[1, 0] ** 2 + (W2 @ Q)[0, 1] ** 2)
    assert smallest == pytest.approx(1.0, abs=1e-5)


def test_two_layers_are_strict_exactly_by_the_rank():
    """T1.1, over widths with and without an interior peak."""
    rng = np.random.default_rng(8)
    seen = set()
    for _ in range(150):
        widths = [int(rng.integers(1, 4)), int(rng.integers(1, 7)), int(rng.integers(1, 4))]
        W1, W2 = chain = aligned_chain(rng, widths)
        certificate = alignment_certificate(chain)
        wanted = np.linalg.matrix_rank(np.hstack([W1, W2.T])) <= max(widths[0], widths[2])
        assert certificate.strict == wanted
        check_bases(certificate, chain)
        seen.add((wanted, widths[1] > max(widths[0], widths[2])))
    assert {(True, True), (False, True), (True, False)} <= seen
    assert (False, False) not in seen


def strict_by_brute_force(links):
    """Some orders of the interior and end spaces make every link diagonal."""
    widths = [links[0].shape[1], *(L.shape[0] for L in links)]

    def extend(i, order):
        if i == len(links):
            return True
        moved = links[i][:, order]
        for rows in itertools.permutations(range(widths[i + 1])):
            turned = moved[list(rows)]
            r, c = np.nonzero(turned)
            if (r == c).all() and extend(i + 1, list(rows)):
                return True
        return False

    return any(extend(0, list(order)) for order in itertools.permutations(range(widths[0])))


def test_packing_against_brute_force():
    rng = np.random.default_rng(9)
    answers = []
    for _ in range(80):
        links = links_of(rng, [int(k) for k in rng.integers(1, 5, 4)])
        orders = pack(links)
        answers.append(orders is not None)
        assert answers[-1] == strict_by_brute_force(links)
        if orders is not None:
            for i, L in enumerate(links):
                assert sorted(orders[i].tolist()) == list(range(L.shape[1]))
                r, c = np.nonzero(L[orders[i + 1]][:, orders[i]])
                assert (r == c).all()
    assert len(answers) - sum(answers) > 3


def test_widths_without_an_interior_peak_are_always_strict():
    """T1.3: non-increasing, then non-decreasing."""
    rng = np.random.default_rng(10)
    for _ in range(100):
        widths = sorted(random_widths(rng, depths=(2, 7)), reverse=True)
        cut = int(rng.integers(0, len(widths)))
        widths[cut:] = sorted(widths[cut:])
        assert pack(links_of(rng, widths)) is not None
    assert pack([np.eye(400, dtype=bool)[:300], np.eye(300, dtype=bool), np.eye(350, 300, dtype=bool)]) is not None


def test_sharp_bound_of_the_commutator():
    """T1.4: the score never exceeds 1, and rank one at 45 degrees attains it."""
    rng = np.random.default_rng(11)
    largest = 0.0
    for _ in range(300):
        k, a, b = rng.integers(1, 5, 3)
        largest = max(largest, alignment_certificate([rng.standard_normal((k, a)), rng.standard_normal((b, k))]).commutator)
    assert 0.9 < largest <= 1 + 100 * EPS
    extreme = [np.array([[1.0], [0.0]]), np.array([[1.0, 1.0]])]
    assert alignment_certificate(extreme).commutator == pytest.approx(1.0, abs=10 * EPS)


def test_words():
    rng = np.random.default_rng(12)
    assert str(alignment_certificate([np.eye(2), np.diag([3.0, 1.0])])).startswith(
        "aligned: orthogonal bases make every layer rectangular diagonal, up to"
    )
    assert "no order of these makes all rectangular diagonal" in str(
        alignment_certificate([np.array([[1.0], [0.0]]), np.array([[0.0, 1.0]])])
    )
    bad = str(alignment_certificate([np.diag([2.0, 1.0]), np.eye(2), np.array([[1.0, 1.0], [0.0, 1.0]])]))
    assert bad.startswith("not aligned: W_1 W_1^T and (W_3 W_2)^T (W_3 W_2) do not commute, 5.5e-01 on a scale of 0 to 1")
    long = str(alignment_certificate([np.diag([2.0, 1.0]), np.eye(2), np.eye(2), np.array([[1.0, 1.0], [0.0, 1.0]])]))
    assert "(W_4 ... W_2)^T (W_4 ... W_2)" in long
    assert "W_2^T W_2 do not" in str(alignment_certificate([rng.standard_normal((3, 3)), rng.standard_normal((3, 3))]))
    near = noisy(rng, aligned_chain(rng, [4, 4, 4]), 1e-6)
    certificate = alignment_certificate(near, tol=1.05 * alignment_certificate(near).distance)
    assert not certificate.aligned
    assert certificate.distance < certificate.tol
    assert str(certificate).startswith("not shown to be aligned: the nearest aligned chain found")


def test_inputs():
    rng = np.random.default_rng(13)
    chain = aligned_chain(rng, [5, 4, 6, 3])
    singles = [W.astype(np.float32) for W in chain]
    certificate = alignment_certificate(singles)
    assert certificate.aligned
    assert certificate.tol == 1e-5
    assert certificate.residual < 1e-5
    assert alignment_certificate(Network.from_matrices(chain)).aligned
    one = alignment_certificate([rng.standard_normal((3, 5))])
    assert one.strict
    assert one.worst is None
    zeros = alignment_certificate([np.zeros((3, 2)), np.ones((4, 3))])
    assert zeros.strict
    assert not zeros.diagonals[0].any()


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: alignment_certificate([]), ValueError, "net is empty"),
        (lambda: alignment_certificate([np.eye(2)], tol=0), ValueError, "tol is 0.0; it must be greater than 0"),
        (lambda: alignment_certificate([np.eye(2)], tol=1), ValueError, "tol is 1.0; it must be less than 1"),
        (lambda: alignment_certificate([np.eye(2)], tol="x"), TypeError, "tol is 'x'"),
        (lambda: alignment_certificate([np.ones((3, 2)), np.ones((2, 4))]), ValueError, r"net\[1\] takes 4 inputs"),
    ],
)
def test_errors(call, error, message):
    with pytest.raises(error, match=message):
        call()
