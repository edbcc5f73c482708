"""T6.5: starts chosen after the data, one trainable constrained layer: found where they exist, refused where they do not."""

from __future__ import annotations

import numpy as np
import pytest

import linalign as la


def kept(layer, start, X, Y, F, B, steps=50):
    """How far the path of descent on the layer is from one pair of bases: the largest relative defect of two of its matrices."""
    theta = layer.project(layer.matrix(start))
    lr = 0.5 / (np.linalg.norm(F, 2) * np.linalg.norm(B @ X.T, 2)) ** 2
    first = layer.matrix(theta)
    worst, moved = 0.0, 0.0
    for _ in range(steps):
        W = layer.matrix(theta)
        G = F.T @ (F @ W @ B @ X.T - Y.T) @ X @ B.T
        theta = theta - lr * layer.project(G)
        W = layer.matrix(theta)
        outer, inner = W @ first.T, W.T @ first
        worst = max(
            worst,
            np.hypot(np.linalg.norm(outer - outer.T), np.linalg.norm(inner - inner.T)) / (2 * np.linalg.norm(W) * np.linalg.norm(first)),
        )
        moved = np.linalg.norm(W - first) / np.linalg.norm(first)
    return worst, moved


def mask(rng, n, a_row):
    found = np.zeros((n, n), bool)
    for row in found:
        row[rng.choice(n, a_row, replace=False)] = True
    return found


def structures(rng):
    return {
        "conv": la.Conv1d(8, 5),
        "blocks": la.BlockDiagonal(((3, 3), (3, 3))),
        "symmetric": la.Symmetric(5),
        "dense": la.Dense(5, 5),
        "masked": la.Masked(mask(rng, 6, 3)),
    }


@pytest.mark.parametrize("name", ["conv", "blocks", "symmetric", "dense", "masked"])
def test_scalar_read_out_one_sample_is_possible_two_are_not(name):
    """n k_d = 1: possible, the start parallel to the gradient; from two samples on it is not (note: 1e-17 against 1e-2 to 0.2)."""
    rng = np.random.default_rng(0)
    layer = structures(rng)[name]
    out, inputs = layer.shape
    for seed in range(3):
        rng = np.random.default_rng(seed)
        F, B = rng.standard_normal((1, out)), rng.standard_normal((inputs, inputs))
        X, Y = rng.standard_normal((4, inputs)), rng.standard_normal((4, 1))
        one = la.theory.lasting(layer, X[:1], Y[:1], F, B)
        assert one.possible
        assert one.defect < 1e-14
        worst, moved = kept(layer, one.start, X[:1], Y[:1], F, B)
        assert worst < 1e-12
        assert moved > 0.1  # it is no start that stands still
        more = la.theory.lasting(layer, X, Y, F, B)
        assert more.possible is False
        assert more.defect > 1e-4
        assert more.start is None


def test_full_output_convolutions_and_toeplitz_are_impossible_from_one_sample():
    rng = np.random.default_rng(1)
    for layer in (la.Conv1d(8, 3), la.Conv2d(5, 3), la.Toeplitz(6, 6)):
        out, inputs = layer.shape
        for n in (1, 3, 12):
            found = la.theory.lasting(layer, rng.standard_normal((n, inputs)), rng.standard_normal((n, out)))
            assert found.possible is False
            assert found.defect > 1e-3
            assert "no start that moves keeps its singular bases" in str(found)


def test_circulants_stay_possible_for_any_number_of_samples():
    """The constant and the alternating direction commute with everything (dim Z(S) = 2)."""
    rng = np.random.default_rng(2)
    layer = la.Circulant(8)
    for n in (1, 5, 40):
        X, Y = rng.standard_normal((n, 8)), rng.standard_normal((n, 8))
        # data that mix no frequencies: the motion of each is its own
        spread = np.concatenate([np.roll(X, j, axis=1) for j in range(8)]), np.concatenate([np.roll(Y, j, axis=1) for j in range(8)])
        found = la.theory.lasting(layer, *spread)
        assert found.possible
        worst, moved = kept(layer, found.start, *spread, np.eye(8), np.eye(8))
        assert worst < 1e-10
        assert moved > 0.01


def test_layers_without_obstruction_are_always_possible():
    rng = np.random.default_rng(3)
    found = la.theory.lasting(la.Diagonal(6), rng.standard_normal((9, 6)), rng.standard_normal((9, 6)))
    assert found.possible
    assert found.defect == 0.0
    assert found.reaches


def test_errors():
    layer = la.Toeplitz(4, 4)
    X, Y = np.ones((3, 4)), np.ones((3, 4))
    for call, error, message in [
        (lambda: la.theory.lasting(3, X, Y), TypeError, "layer is int, without shape"),
        (
            lambda: la.theory.lasting(la.Fixed(np.eye(4)), X, Y),
            ValueError,
            "which has no parameters: its singular bases never move; pass a",
        ),
        (lambda: la.theory.lasting(la.Residual(layer), X, Y), ValueError, "without offset or bias: pass Toeplitz"),
        (lambda: la.theory.lasting(la.Conv1d(4, 3, bias=True), X, Y), ValueError, "without offset or bias: pass Conv1d"),
        (lambda: la.theory.lasting(layer, np.ones((3, 5)), Y), ValueError, "X has"),
        (lambda: la.theory.lasting(layer, X, np.ones((2, 4))), ValueError, "Y has"),
        (lambda: la.theory.lasting(layer, X, Y, F=np.ones((4, 3))), ValueError, "F has"),
        (
            lambda: la.theory.lasting(la.Dense(50, 50), np.ones((3, 50)), np.ones((3, 50))),
            ValueError,
            "layer has 2500 parameters; at most 2000",
        ),
    ]:
        with pytest.raises(error, match=message):
            call()
