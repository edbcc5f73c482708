"""What the tests of the layers share: one list of all structures, and the dense matrices that they stand for.

`Span` is the oracle: the basis matrices `A_k` of a layer, one after another, with which every primitive is a plain sum in 80-bit
arithmetic. Its bounds are derived: a sum of m products in any order is off by at most `(m + few) eps` times the sum of their
absolute values; the few are the roundings of the entries of `W` themselves.
"""

from __future__ import annotations

import numpy as np
from scipy import sparse

import linalign as la
from tests.oracles.draws import gaussian, mask
from tests.oracles.extended import LD

FEW = 4


GROUPED = np.kron(np.eye(3, dtype=int), np.arange(1, 7).reshape(2, 3)) - 1  # I_3 (x) B
SHARED = np.array([[0, 1, 2, 0], [1, 1, -1, 3], [2, -1, 4, 4]])

LAYERS = [
    la.Dense(4, 3),
    la.Dense(1, 1),
    la.Toeplitz(5, 5),
    la.Toeplitz(3, 7),
    la.Toeplitz(7, 2),
    la.Toeplitz(1, 4),
    la.Hankel(5, 5),
    la.Hankel(6, 3),
    la.Hankel(2, 5),
    la.Circulant(1),
    la.Circulant(6),
    la.Circulant(7),
    la.AntiCirculant(1),
    la.AntiCirculant(6),
    la.AntiCirculant(7),
    la.Diagonal(1),
    la.Diagonal(9),
    la.BlockDiagonal([(3, 3)]),
    la.BlockDiagonal([(2, 4), (1, 1), (5, 2)]),
    la.Symmetric(1),
    la.Symmetric(6),
    la.Skew(2),
    la.Skew(6),
    la.Masked(mask(8, 0.4, 6, 6)),
    la.Masked(mask(9, 0.2, 3, 11)),
    la.Masked(np.ones((2, 3), dtype=bool)),
    la.Masked(sparse.random(12, 5, density=0.1, random_state=3)),
    la.Masked(np.tri(5, 3, -2, dtype=bool)),  # rows and a column without an entry
    la.Tied(SHARED),
    la.Tied(GROUPED),
    la.Tied(np.where(np.eye(9, dtype=bool), np.arange(9) // 2, -1)),
    la.Tied(np.zeros((3, 5), dtype=int)),
    la.Subspace(gaussian(1, 3, 4, 4)),
    la.Subspace(gaussian(2, 5, 2, 3) + 1),
    la.Subspace(np.eye(6).reshape(6, 3, 2)),
    la.Conv1d(8, 3),
    la.Conv1d(7, 4, 2, 3, "same", 2),
    la.Conv1d(7, 4, 2, 3, "valid", 2),
    la.Conv1d(7, 4, 3, 2, "circular", 2),
    la.Conv1d(5, 5, padding="circular"),
    la.Conv1d(5, 5, padding="valid"),
    la.Conv1d(4, 1, 2, 1, "same", 3),
    la.Conv2d((5, 4), 3),
    la.Conv2d((5, 4), (2, 3), 2, 3, "same", (1, 2)),
    la.Conv2d(5, (3, 2), 1, 2, "valid", 2),
    la.Conv2d((4, 6), (4, 3), 2, 1, "circular"),
    la.Conv2d((4, 5), 3, 2, 2, "circular", (3, 2)),
    la.Conv2d(3, 1, 3, 2),
    la.Fixed(gaussian(3, 3, 4)),
    la.Scaled(gaussian(4, 4, 3)),
]
NAMES = [f"{k}-{layer!r}" for k, layer in enumerate(LAYERS)]


class Span:
    """The basis matrices of a layer, and what does not depend on the parameters (a layer that is not trained)."""

    def __init__(self, layer, dtype=np.float64):
        units = np.eye(layer.size, dtype=dtype).reshape(layer.size, *layer.param_shape)
        self.layer = layer
        self.constant = layer.matrix(np.zeros(layer.param_shape, dtype=dtype)).astype(LD)
        self.basis = np.array([layer.matrix(unit).astype(LD) - self.constant for unit in units], dtype=LD).reshape(-1, *layer.shape)
        self.eps = float(np.finfo(dtype).eps)

    @property
    def gram(self):
        return np.einsum("kij,lij->kl", self.basis, self.basis)

    @property
    def condition(self):
        """Of the Gram matrix, its diagonal scaled to one: what the projection may lose."""
        G = self.gram.astype(float)
        if not G.size:
            return 1.0
        size = np.sqrt(np.diagonal(G))
        return float(np.linalg.cond(G / np.outer(size, size)))

    def matrix(self, theta):
        """W and the bound of its rounding."""
        W = self.constant + np.tensordot(theta.ravel().astype(LD), self.basis, 1)
        size = np.abs(self.constant) + np.tensordot(np.abs(theta).ravel().astype(LD), np.abs(self.basis), 1)
        return W, size

    def roundings(self, terms):
        return (terms + len(self.basis) + FEW) * self.eps

    def apply(self, theta, A):
        W, size = self.matrix(theta)
        return A.astype(LD) @ W.T, self.roundings(A.shape[1]) * (np.abs(A).astype(LD) @ size.T)

    def adjoint(self, theta, D):
        W, size = self.matrix(theta)
        return D.astype(LD) @ W, self.roundings(D.shape[1]) * (np.abs(D).astype(LD) @ size)

    def coordinates(self, M, size=None, terms=0):
        found = np.tensordot(self.basis, M.astype(LD), 2)
        size = np.abs(M) if size is None else size
        bound = self.roundings(terms + M.size) * np.tensordot(np.abs(self.basis), size.astype(LD), 2)
        return found.reshape(self.layer.param_shape), bound.reshape(self.layer.param_shape)

    def grad(self, D, A):
        return self.coordinates(D.astype(LD).T @ A.astype(LD), np.abs(D).astype(LD).T @ np.abs(A).astype(LD), len(A))


def from_form(form, theta, shape):
    """The matrix of a layer from its form alone, its offset left out: what the kernels are told, read literally."""
    skip, column, carried, biases, places = form.border
    flat, inner = theta.ravel(), (shape[0] - carried, shape[1] - column)
    W = np.zeros(shape, dtype=theta.dtype)
    W[: inner[0], : inner[1]] = inside(form, flat[: flat.size - biases], inner) + skip * np.eye(*inner, dtype=theta.dtype)
    for k in range(biases):
        W[k * places : (k + 1) * places, -1] = flat[flat.size - biases + k]
    if carried:
        W[-1, -1] = 1
    return W


def inside(form, theta, shape):
    """The same without what stands beside the products."""
    arrays, flat = form.arrays, theta.ravel()
    W = np.zeros(shape, dtype=theta.dtype)
    if form.kind == "dense":
        return flat.reshape(shape)
    if form.kind == "diagonal":
        return np.diag(flat)
    if form.kind == "blocks":
        row = column = used = 0
        for n_in, n_out in zip(form.numbers[::2], form.numbers[1::2], strict=True):
            W[row : row + n_out, column : column + n_in] = flat[used : used + n_in * n_out].reshape(n_out, n_in)
            row, column, used = row + n_out, column + n_in, used + n_in * n_out
        return W
    if form.kind == "tied":
        for at in np.ndindex(shape):
            if arrays["index"][at] >= 0:
                W[at] = flat[arrays["index"][at]] * (1 if arrays["sign"] is None else arrays["sign"][at])
        return W
    if form.kind == "sparse":
        for i in range(shape[0]):
            for k in range(arrays["indptr"][i], arrays["indptr"][i + 1]):
                W[i, arrays["cols"][k]] = flat[arrays["index"][k]] * (1 if arrays["sign"] is None else arrays["sign"][k])
        return W
    if form.kind == "basis":
        return np.tensordot(flat, arrays["basis"].astype(theta.dtype), 1)
    if form.kind == "fixed":
        return arrays["matrix"].astype(theta.dtype)
    assert form.kind == "conv"
    g = form.numbers
    K, W = flat.reshape(g.c_out, g.c_in, g.kh, g.kw), W.reshape(g.c_out, g.h_out, g.w_out, g.c_in, g.h_in, g.w_in)
    for y, x, a, b in np.ndindex(g.h_out, g.w_out, g.kh, g.kw):
        i, j = y * g.stride_h - g.top + a, x * g.stride_w - g.left + b
        if g.circular:
            i, j = i % g.h_in, j % g.w_in
        if 0 <= i < g.h_in and 0 <= j < g.w_in:
            W[:, y, x, :, i, j] += K[:, :, a, b]
    return W.reshape(shape)
