"""The scalar dynamics of one mode: T4.1 to T4.6 against the recursion itself, step by step."""

import math

import numpy as np
import pytest
from scipy.optimize import brentq

from linalign.theory.modes import certify_mode, crossing_steps, gamma, simple_lr, steps_within, tau_star
from tests.oracles.theory_cases import EPS, scalar_step


def random_factors(rng, d, spread):
    return 10 ** rng.uniform(-spread, 0.3, d)


def test_gamma_and_tau_star():
    rng = np.random.default_rng(0)
    assert gamma(np.array([3.0])) == 1.0
    assert gamma(np.array([2.0, 5.0])) == 7.0
    assert gamma(np.array([0.0, 2.0, 3.0])) == 6.0
    for _ in range(200):
        d = int(rng.integers(1, 10))
        y = random_factors(rng, d, 2) ** 2
        assert gamma(y) == pytest.approx(np.prod(y) * np.sum(1 / y), rel=1e-12)
        q = np.sqrt(np.prod(y)) * 10 ** rng.uniform(-2, 2)
        tau = tau_star(y, q)
        assert tau > -y.min()
        # each factor of the product is known to a few roundings of its larger part
        slack = np.sum((np.abs(y) + abs(tau)) / (y + tau)) * 20 * EPS
        assert np.sum(np.log(y + tau)) == pytest.approx(2 * np.log(q), abs=slack + 1e-13)
        if q * q > np.prod(y):
            independent = brentq(lambda t, y=y, q=q: np.sum(np.log(y + t)) - 2 * np.log(q), 0, q ** (2 / d) + 1, xtol=1e-15)
            assert tau == pytest.approx(independent, abs=1e-12 * (1 + independent))
    # balanced: Gamma_star = d q^(2 - 2/d)
    for d in (1, 2, 3, 7):
        y = np.full(d, 0.09)
        assert gamma(y + tau_star(y, 1.7)) == pytest.approx(d * 1.7 ** (2 - 2 / d), rel=1e-12)


def test_growth_is_monotone_without_overshoot_and_between_its_rates():
    """T4.2: 1/(lambda Gamma_star), up to 1/100 of it, one zero factor in ten."""
    rng = np.random.default_rng(1)
    for trial in range(400):
        d = int(rng.integers(1, 11))
        sigma = random_factors(rng, d, rng.choice([0.2, 1.0, 2.0]))
        if trial % 10 == 0:
            sigma[0] = 0.0
        lam = 10 ** rng.uniform(-2, 2)
        q = np.prod(sigma) * 10 ** rng.uniform(0, 3) if sigma[0] else 10 ** rng.uniform(-1, 1)
        signs = rng.choice([-1, 1], d)
        mode = certify_mode(lam, q * np.prod(signs), sigma * signs)
        assert mode.case == "grows"
        lr = mode.lr * rng.choice([1.0, 0.5, 0.01])
        start = gamma(sigma**2)
        limit = 1 / (lam * mode.lr)
        p = np.prod(sigma)
        first = q - p
        now = sigma
        for t in range(80):
            current = gamma(now**2)
            following = scalar_step(now, lam, q, lr)
            after = np.prod(following)
            slack = 1e-12 * q
            assert p - slack <= after <= q + slack
            assert (following >= now * (1 - 1e-12)).all()
            assert start * (1 - 1e-12) <= current <= limit * (1 + 1e-9)
            assert (1 - lr * lam * limit) * (q - p) - slack <= q - after <= (1 - lr * lam * current) * (q - p) + slack
            assert q - after <= (1 - lr * lam * mode.speed) ** (t + 1) * first + slack
            now, p = following, after
            if q - p < 1e-11 * q:
                break


def test_growth_rate_is_the_largest_that_never_overshoots():
    """T4.2, best possible: a hundredth more overshoots from close by."""
    for d in (2, 3, 5):
        sigma = np.ones(d)
        mode = certify_mode(1.0, 1.0001, sigma)
        assert np.prod(scalar_step(sigma, 1.0, 1.0001, mode.lr)) <= 1.0001
        assert np.prod(scalar_step(sigma, 1.0, 1.0001, 1.01 * mode.lr)) > 1.0001


def test_simple_certificate_is_true_and_never_larger():
    """T4.1: monotone, no overshoot, e_t <= (1 - lr lambda Gamma(0))^t e_0; T4.2 gives at least as much."""
    rng = np.random.default_rng(2)
    gains = []
    for _ in range(200):
        d = int(rng.integers(1, 8))
        sigma, lam = random_factors(rng, d, 1.0), 10 ** rng.uniform(-1, 1)
        q = np.prod(sigma) * 10 ** rng.uniform(0, 2)
        lr = simple_lr(lam, q, sigma)
        mode = certify_mode(lam, q, sigma)
        assert lr <= mode.lr * (1 + 1e-12)
        gains.append(mode.lr / lr)
        first, speed, now = q - np.prod(sigma), gamma(sigma**2), sigma
        for t in range(30):
            before = np.prod(now)
            now = scalar_step(now, lam, q, lr)
            assert before * (1 - 1e-13) <= np.prod(now) <= q * (1 + 1e-13)
            assert q - np.prod(now) <= (1 - lr * lam * speed) ** (t + 1) * first + 1e-13 * q
    assert np.median(gains) > 2


def test_shrinking_is_monotone_without_undershoot():
    """T4.3, its rate included."""
    rng = np.random.default_rng(3)
    for _ in range(300):
        d = int(rng.integers(2, 9))
        sigma, lam = random_factors(rng, d, 0.7), 10 ** rng.uniform(-1, 1)
        q = np.prod(sigma) * 10 ** rng.uniform(-3, -0.01)
        mode = certify_mode(lam, q, sigma)
        assert mode.case == "shrinks"
        lr = mode.lr * rng.choice([1.0, 0.5])
        now, p, largest = sigma, np.prod(sigma), np.prod(sigma)
        for _ in range(60):
            following = scalar_step(now, lam, q, lr)
            after = np.prod(following)
            slack = 1e-12 * largest
            assert q - slack <= after <= p + slack
            assert (following > 0).all()
            assert (following <= now * (1 + 1e-12)).all()
            assert after - q <= (1 - lr * lam * mode.speed) * (p - q) + slack
            now, p = following, after


def test_vanishing_is_linear_without_a_tie_and_slower_with_one():
    """T4.4."""
    rng = np.random.default_rng(4)
    for _ in range(200):
        d = int(rng.integers(2, 7))
        sigma = random_factors(rng, d, 0.7)
        mode = certify_mode(2.0, 0.0, sigma)
        assert mode.case == "vanishes"
        now = sigma
        for _ in range(50):
            before = np.prod(now)
            now = scalar_step(now, 2.0, 0.0, mode.lr)
            assert -1e-15 <= np.prod(now) <= before * (1 - mode.lr * 2.0 * mode.speed) * (1 + 1e-12) + 1e-290
    tied = certify_mode(1.0, 0.0, np.array([0.5, 0.5, 1.2]))
    assert tied.case == "fades"
    assert tied.speed == 0.0
    now, seen = np.array([0.5, 0.5, 1.2]), {}
    for t in range(4001):
        seen[t] = np.prod(now)
        now = scalar_step(now, 1.0, 0.0, 0.5 * tied.lr)
    # twice the time, half the product: no linear rate
    assert seen[4000] / seen[2000] == pytest.approx(0.5, abs=0.05)
    for share in (0.5, 0.1, 1e-2, 1e-3):
        proved = steps_within([tied], 0.5 * tied.lr, 0.5 * (share * 0.3) ** 2)
        took = next(t for t, p in seen.items() if p <= share * 0.3)
        assert took <= proved
    assert certify_mode(1.0, 0.0, np.array([0.5])).case == "grows"  # one layer: linear at once


def test_crossing():
    """T4.5: the smallest factor crosses within the certified number of steps, the others never; then T4.2 holds."""
    rng = np.random.default_rng(5)
    done = 0
    for _ in range(400):
        d = int(rng.integers(2, 8))
        sigma = np.sort(random_factors(rng, d, 0.5))
        q = -(10 ** rng.uniform(-2, 2)) * np.prod(sigma)
        lam = 10 ** rng.uniform(-1, 1)
        mode = certify_mode(lam, q, sigma)
        assert mode.case == "crosses"
        bound = crossing_steps(mode, mode.lr)
        if bound > 2000:
            continue
        done += 1
        now, steps = sigma, 0
        while now[0] > 0:
            before = np.prod(now)
            now = scalar_step(now, lam, q, mode.lr)
            steps += 1
            assert steps <= bound
            assert (now[1:] >= (sigma[1:] - sigma[0]) * (1 - 1e-12)).all()
            assert np.prod(now) <= before
        assert np.prod(now) >= q * (1 + 1e-12)
        for _ in range(60):
            before = np.prod(now)
            now = scalar_step(now, lam, q, mode.lr)
            assert q * (1 + 1e-12) <= np.prod(now) <= before + 1e-14 * abs(q)
            assert q - np.prod(now) >= (1 - mode.lr * lam * mode.speed) * (q - before) * (1 + 1e-12) - 1e-13 * abs(q)
    assert done > 150


def test_what_is_stuck_is_not_certified():
    """T4.5, ties and two zero factors: the target is never reached."""
    tied = certify_mode(1.0, -1.0, np.array([0.7, 0.7, 1.1]))
    assert tied.case == "undecided"
    assert math.isnan(tied.lr)
    now = np.array([0.7, 0.7, 1.1])
    for _ in range(20000):
        now = scalar_step(now, 1.0, -1.0, 0.1)
    assert 0 <= np.prod(now) < 1e-6
    dead = certify_mode(1.0, 1.0, np.array([0.0, 0.0, 1.1]))
    assert dead.case == "stuck"
    assert np.array_equal(scalar_step(np.array([0.0, 0.0, 1.1]), 1.0, 1.0, 0.1), [0.0, 0.0, 1.1])
    # a rounding error is no difference
    assert certify_mode(1.0, -1.0, np.array([0.7, 0.7 * (1 + EPS), 1.1])).case == "undecided"
    for fitted in (certify_mode(1.0, 1.0, np.array([2.0, 0.5])), certify_mode(0.0, 0.0, np.array([2.0, 0.5]))):
        assert fitted.case == "fitted"
        assert fitted.lr == math.inf


def steps_taken(sigma, lam, q, lr, excess, most):
    now = np.array(sigma)
    for t in range(most + 1):
        if 0.5 * lam * (q - np.prod(now)) ** 2 <= excess:
            return t
        now = scalar_step(now, lam, q, lr)
    return most + 1


def test_steps_to_a_given_loss():
    """T4.6: never fewer than it takes, for every case of a mode; for growth not much more (the note: 1.18 in the median)."""
    rng = np.random.default_rng(6)
    ratios, cases = [], set()
    for _ in range(300):
        d = int(rng.integers(1, 7))
        sigma, lam = random_factors(rng, d, 0.5), 10 ** rng.uniform(-1, 1)
        p = np.prod(sigma)
        q = rng.choice([p * 10 ** rng.uniform(0.1, 2), p * rng.uniform(0, 1), 0.0, -p * 10 ** rng.uniform(-1, 1)])
        if rng.random() < 0.1:
            sigma[0] = 0.0
        mode = certify_mode(lam, q, sigma)
        lr = mode.lr * rng.choice([1.0, 0.3])
        excess = 0.5 * lam * (q - np.prod(sigma)) ** 2 * 10 ** rng.uniform(-12, -1)
        proved = steps_within([mode], lr, excess)
        if proved > 3000:
            continue
        took = steps_taken(sigma, lam, q, lr, excess, proved)
        assert took <= proved
        cases.add(mode.case)
        if mode.case == "grows" and took:
            ratios.append(proved / took)
    assert cases - {"fitted"} == {"grows", "shrinks", "vanishes", "crosses"}
    assert np.median(ratios) < 1.3


@pytest.mark.parametrize(("d", "actual", "recursion"), [(2, 8, 8), (3, 14, 15), (5, 69, 72)])
def test_steps_of_the_note(d, actual, recursion):
    """Balanced factors .3, q = 1, to 1e-10: the note's 8/14/69 steps, and 8/15/72 by the F-iteration."""
    sigma = np.full(d, 0.3)
    mode = certify_mode(1.0, 1.0, sigma)
    excess = 0.5 * 1e-20
    assert steps_taken(sigma, 1.0, 1.0, mode.lr, excess, 1000) == actual
    assert recursion <= steps_within([mode], mode.lr, excess) <= math.ceil(1.1 * recursion)


def test_steps_of_many_modes_and_tiny_starts():
    """Modes that arrive one after the other; and a plateau of a million steps, counted without walking it."""
    factors = [np.full(3, 0.3), np.array([0.02, 0.03, 0.05]), np.array([1.5, 1.2, 0.9])]
    modes = [certify_mode(lam, q, f) for lam, q, f in zip((1.0, 2.0, 0.5), (1.0, 2.0, 0.4), factors, strict=True)]
    lr = min(mode.lr for mode in modes)
    for excess in (1.0, 1e-3, 1e-12):
        proved = steps_within(modes, lr, excess)
        now = [f.copy() for f in factors]
        took = 0
        while sum(0.5 * m.eigenvalue * (m.target - np.prod(f)) ** 2 for m, f in zip(modes, now, strict=True)) > excess:
            now = [scalar_step(f, m.eigenvalue, m.target, lr) for m, f in zip(modes, now, strict=True)]
            took += 1
        # no more than by the single rate of the slowest mode, the first form of T4.6
        whole = sum(0.5 * mode.eigenvalue * mode.error**2 for mode in modes)
        slowest = min(lr * mode.eigenvalue * mode.speed for mode in modes)
        assert took <= proved <= max(0, math.ceil(math.log(whole / excess) / (-2 * math.log1p(-slowest))))
    plateau = certify_mode(1.0, 1.0, np.full(3, 1e-6))
    # gradient flow leaves sigma = 1e-6 after a time of about 1/sigma
    assert 1e6 < steps_within([plateau], plateau.lr, 1e-6) * plateau.lr < 1.5e6
    assert steps_within([], 0.1, 1e-3) == 0
    assert steps_within([certify_mode(1.0, 1.0, np.ones(2))], 0.1, 1e-30) == 0
    with pytest.raises(OverflowError, match="underflows"):
        steps_within([certify_mode(1.0, 1.0, np.full(3, 1e-170))], 0.1, 1e-6)


def test_certified_rate_against_the_largest_stable_one():
    """Never larger than the first rate that fails, and not absurdly smaller (the note: 0.500 balanced, medians above 0.4)."""

    def converges(sigma, q, lr):
        for _ in range(2000):
            sigma = scalar_step(sigma, 1.0, q, lr)
            if not np.isfinite(sigma).all() or abs(np.prod(sigma)) > 1e8:
                return False
        return abs(np.prod(sigma) - q) < 1e-6

    rng = np.random.default_rng(7)
    for d in (2, 3, 5):
        mode = certify_mode(1.0, 1.0, np.full(d, 0.5))
        assert converges(np.full(d, 0.5), 1.0, 1.99 * mode.lr)
        assert not converges(np.full(d, 0.5), 1.0, 2.02 * mode.lr)
        sigma = rng.uniform(0.5, 1.5, d)
        mode = certify_mode(1.0, 2 * np.prod(sigma), sigma)
        assert converges(sigma, 2 * np.prod(sigma), mode.lr)
        assert not converges(sigma, 2 * np.prod(sigma), 12 * mode.lr)
