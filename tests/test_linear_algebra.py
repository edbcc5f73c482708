"""Factorisations that several rooms share."""

from __future__ import annotations

import numpy as np
import pytest

from linalign.linear_algebra import complement, joint_eigenbasis, signed_qr

EPS = np.finfo(np.float64).eps


@pytest.mark.parametrize("shape", [(7, 3), (5, 5), (1, 1), (3, 6)])
def test_signed_qr_is_the_factorisation_with_a_positive_diagonal(shape):
    A = np.random.default_rng(1).standard_normal(shape)
    Q, lengths = signed_qr(A)
    R = Q.T @ A
    # backward error of Householder QR: a small multiple of the dimension
    np.testing.assert_allclose(Q @ R, A, atol=20 * max(shape) * EPS * np.linalg.norm(A))
    np.testing.assert_allclose(np.diagonal(R), lengths, atol=20 * max(shape) * EPS * np.linalg.norm(A))
    assert (lengths >= 0).all()
    np.testing.assert_allclose(np.tril(R[:, : len(R)], -1), 0, atol=20 * max(shape) * EPS * np.linalg.norm(A))


def test_signed_qr_completes_a_basis():
    A = np.random.default_rng(2).standard_normal((6, 2))
    Q, _ = signed_qr(A, "complete")
    np.testing.assert_array_equal(Q[:, :2], signed_qr(A)[0])
    np.testing.assert_allclose(Q.T @ Q, np.eye(6), atol=100 * EPS)
    np.testing.assert_array_equal(signed_qr(np.zeros((4, 0)), "complete")[0], np.eye(4))


@pytest.mark.parametrize("columns", [0, 1, 4, 6])
def test_complement_is_what_is_orthogonal(columns):
    Q = np.linalg.qr(np.random.default_rng(3).standard_normal((6, columns)))[0]
    rest = complement(Q)
    assert rest.shape == (6, 6 - columns)
    whole = np.hstack([Q, rest])
    np.testing.assert_allclose(whole.T @ whole, np.eye(6), atol=100 * EPS)


@pytest.mark.parametrize("tall", [0.0, 2.0])
def test_joint_eigenbasis_diagonalises_what_commutes(tall):
    rng = np.random.default_rng(4)
    V = np.linalg.qr(rng.standard_normal((5, 5)))[0]
    # values apart by a factor of ten in each block, so that no random stack brings two together
    blocks = [np.linalg.qr(rng.standard_normal((m, 5)))[0] @ np.diag(10.0 ** -np.arange(5)) @ V.T for m in (5, 8)]
    s, found = joint_eigenbasis(blocks, [np.linalg.norm(B) for B in blocks], rng, tall)
    assert (np.diff(s) < 0).all()
    for B in blocks:
        gram = found.T @ B.T @ B @ found
        # singular vectors are known to eps over the gaps of the values, 0.9e-4 at the least; small ones keep their own
        assert np.linalg.norm(gram - np.diag(np.diagonal(gram))) <= 1e4 * EPS * np.linalg.norm(gram)
