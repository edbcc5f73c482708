"""The contract of a layer, over all structures, against the dense basis matrices."""

from __future__ import annotations

import copy
import io
import pickle
import re

import numpy as np
import pytest
from scipy import sparse

import linalign as la
from linalign import layers as structures
from linalign.layers import describe, from_description
from linalign.layers.axis import PADDINGS, Axis
from tests.oracles.layer_cases import FEW, GROUPED, LAYERS, NAMES, SHARED, Span, from_form

DTYPES = [np.float64, np.float32]
every_layer = pytest.mark.parametrize("layer", LAYERS, ids=NAMES)
every_dtype = pytest.mark.parametrize("dtype", DTYPES, ids=["float64", "float32"])


def drawn(layer, rows, dtype, whole=False):
    """Parameters, inputs and gradients in the outputs."""
    rng = np.random.default_rng([rows, layer.size])
    shapes = (layer.param_shape, (rows, layer.shape[1]), (rows, layer.shape[0]))
    return [(rng.integers(-4, 5, shape) if whole else rng.standard_normal(shape)).astype(dtype) for shape in shapes]


def is_within(found, exact, dtype):
    want, bound = exact
    assert found.dtype == dtype
    assert found.shape == want.shape
    assert np.all(np.abs(found - want) <= bound)


# ---- the three primitives --------------------------------------------------------------------------------------------------


def test_every_structure_is_here():
    beside = {la.Affine, la.Residual, structures.Biased}  # of other layers: test_biases.py
    assert {type(layer) for layer in LAYERS} == set(structures.STRUCTURES.values()) - beside


@every_dtype
@pytest.mark.parametrize("rows", [1, 2, 13])
@every_layer
def test_primitives_are_those_of_the_dense_matrix(layer, rows, dtype):
    span = Span(layer, dtype)
    theta, A, D = drawn(layer, rows, dtype)
    W, size = span.matrix(theta)
    is_within(layer.matrix(theta), (W, span.roundings(0) * size), dtype)
    is_within(layer.apply(theta, A), span.apply(theta, A), dtype)
    is_within(layer.adjoint(theta, D), span.adjoint(theta, D), dtype)
    is_within(layer.grad(D, A), span.grad(D, A), dtype)
    is_within(layer.coordinates(D.T @ A), span.coordinates(D.T @ A), dtype)
    # what comes back from a product that is not contiguous is the same
    assert np.array_equal(layer.apply(theta, np.asfortranarray(A)), layer.apply(theta, A))


@every_layer
def test_primitives_are_exact_for_small_whole_numbers(layer):
    if isinstance(layer, (la.Subspace, la.Fixed, la.Scaled)):
        pytest.skip("its matrices are no whole numbers")
    span = Span(layer)
    theta, A, D = drawn(layer, 3, np.float64, whole=True)
    assert np.array_equal(layer.matrix(theta), span.matrix(theta)[0])
    assert np.array_equal(layer.apply(theta, A), span.apply(theta, A)[0])
    assert np.array_equal(layer.adjoint(theta, D), span.adjoint(theta, D)[0])
    assert np.array_equal(layer.grad(D, A), span.grad(D, A)[0])
    assert np.array_equal(layer.project(layer.matrix(theta)), theta)


@every_layer
def test_sizes(layer):
    theta = np.ones(layer.param_shape)
    n_out, n_in = layer.shape
    assert layer.matrix(theta).shape == (n_out, n_in)
    assert layer.size == np.prod(layer.param_shape)
    assert all(isinstance(n, int) for n in (*layer.shape, *layer.param_shape, layer.size, layer.work))
    # a structure that the kernels work on entry by entry costs its entries; the others cost their matrix
    used = np.count_nonzero(Span(layer).matrix(theta)[1])
    whole = layer.form.kind in ("tied", "basis", "fixed")
    assert layer.work == (n_out * n_in if whole else used)
    assert la.Network([layer]).size == layer.size


# ---- Gram matrix and projection --------------------------------------------------------------------------------------------


@every_layer
def test_multiplicity_is_the_diagonal_of_the_gram_matrix(layer):
    gram = Span(layer).gram
    assert layer.multiplicity.shape == layer.param_shape
    assert layer.multiplicity.dtype == np.float64
    assert np.all(layer.multiplicity > 0)
    found = layer.multiplicity.ravel()
    if isinstance(layer, (la.Subspace, la.Scaled)):
        assert np.all(np.abs(found - np.diagonal(gram)) <= FEW * layer.work * np.finfo(float).eps * found)
    else:
        assert np.array_equal(gram, np.diag(found))  # the Gram matrix is diagonal
    assert layer.orthonormal == np.allclose(gram.astype(float), np.eye(layer.size), rtol=0, atol=1e-12)


def norm(M):
    return float(np.linalg.norm(np.asarray(M, dtype=float)))


@every_dtype
@every_layer
def test_project_is_the_orthogonal_projection(layer, dtype):
    span = Span(layer, dtype)
    rng = np.random.default_rng(layer.size)
    M, N = (rng.standard_normal(layer.shape).astype(dtype) for _ in range(2))
    theta = rng.standard_normal(layer.param_shape).astype(dtype)
    bound = FEW * span.roundings(M.size) * span.condition
    project = lambda M: layer.project(M)  # noqa: E731
    P, Q = (layer.matrix(project(G)) - span.constant for G in (M, N))
    # a layer that is not trained has the one member; the rest of the space is orthogonal to nothing
    again = project(layer.matrix(project(M)))
    assert again.shape == layer.param_shape
    assert again.dtype == dtype
    sizes = np.sqrt(layer.multiplicity)
    assert norm(sizes * (again - project(M))) <= bound * norm(M)
    assert norm(sizes * (project(layer.matrix(theta)) - theta)) <= bound * norm(layer.matrix(theta))
    residual = np.tensordot(span.basis, M - P, 2).astype(float)
    assert norm(residual / sizes.ravel()) <= bound * norm(M)
    assert abs(float(np.sum(P * N) - np.sum(M * Q))) <= bound * norm(M) * norm(N)
    assert norm(P) <= (1 + bound) * norm(M)


@every_dtype
@every_layer
def test_project_takes_stacks(layer, dtype):
    stack = np.random.default_rng(0).standard_normal((2, 3, *layer.shape)).astype(dtype)
    found = la.project(stack, layer)
    assert found.shape == (2, 3, *layer.param_shape)
    assert found.dtype == dtype
    for k in np.ndindex(2, 3):
        assert np.array_equal(found[k], layer.project(stack[k]))
        assert np.array_equal(found[k], la.project(stack[k], layer))
    assert la.project(stack[:0], layer).shape == (0, 3, *layer.param_shape)
    # nothing that came in or is kept can be changed through what comes out
    found[...] = 7
    assert not np.any(stack == 7)


def test_project_is_known_for_simple_matrices():
    M = np.array([[1, 2], [5, 3]])
    assert np.array_equal(la.project(M, la.Toeplitz(2, 2)), [5, 2, 2])
    assert np.array_equal(la.project(M, la.Hankel(2, 2)), [1, 3.5, 3])
    assert np.array_equal(la.project(M, la.Circulant(2)), [2, 3.5])
    assert np.array_equal(la.project(M, la.Symmetric(2)), [1, 3.5, 3])
    assert np.array_equal(la.project(M, la.Skew(2)), [-1.5])
    assert np.array_equal(la.project(M, la.Diagonal(2)), [1, 3])
    assert np.array_equal(la.project(M, la.Masked(M > 2)), [5, 3])
    assert np.array_equal(la.project(M, la.Tied([[0, 0], [-1, 0]])), [2])
    assert np.array_equal(la.project(M, la.Scaled(np.eye(2))), [2])
    assert np.array_equal(la.project(M, la.Fixed(M)), [])
    assert np.array_equal(la.project(M, la.Dense(2, 2)), M)
    assert np.allclose(la.project(M, la.Subspace([np.eye(2), np.ones((2, 2))])), [-1.5, 3.5], rtol=0, atol=1e-14)


@pytest.mark.parametrize(
    ("M", "layer", "error", "message"),
    [
        (np.eye(3), la.Toeplitz(2, 2), ValueError, "M has shape (3, 3); Toeplitz(n_in=2, n_out=2) projects matrices of shape (2, 2), or a stack of them"),
        (np.ones(2), la.Diagonal(2), ValueError, "M has shape (2,); Diagonal(n=2) projects matrices of shape (2, 2), or a stack of them"),
        (np.ones((2, 3)), la.Dense(2, 3), ValueError, "M has shape (2, 3); Dense(n_in=2, n_out=3) projects matrices of shape (3, 2), or a stack of them"),
        ([[1, np.nan]], la.Dense(2, 1), ValueError, "M[0, 1] is nan; every entry must be finite: drop or fill such rows"),
        (np.eye(2) * 1j, la.Diagonal(2), TypeError, "M is complex128; linalign is real: pass M.real, or real and imaginary parts stacked"),
        (np.eye(2), "Toeplitz", TypeError, "layer is str; a layer such as linalign.Toeplitz(64, 10) was wanted"),
    ],
)  # fmt: skip
def test_project_refuses(M, layer, error, message):
    with pytest.raises(error, match="^" + re.escape(message) + "$"):
        la.project(M, layer)


# ---- how the kernels see it ------------------------------------------------------------------------------------------------


@every_dtype
@every_layer
def test_the_form_says_the_same_matrix(layer, dtype):
    theta = drawn(layer, 1, dtype)[0]
    assert np.array_equal(from_form(layer.form, theta, layer.shape), layer.matrix(theta))


@every_layer
def test_forms_are_of_whole_numbers_and_read_only(layer):
    form = layer.form
    assert all(type(n) is int for n in form.numbers)
    for name, array in form.arrays.items():
        if array is not None:
            assert array.flags.c_contiguous
            wanted = {"index": np.int32, "cols": np.int32, "indptr": np.int32, "sign": np.int8}.get(name, np.float64)
            assert array.dtype == wanted
    kinds = {
        "Dense": "dense", "Diagonal": "diagonal", "BlockDiagonal": "blocks", "Masked": "sparse", "Subspace": "basis", "Scaled": "basis",
        "Conv1d": "conv", "Conv2d": "conv", "Fixed": "fixed",
    }  # fmt: skip
    if type(layer) is la.Tied:
        assert form.kind == ("sparse" if np.mean(layer.index >= 0) < 0.25 else "tied")
    else:
        assert form.kind == kinds.get(type(layer).__name__, "tied")
    if form.kind == "basis":
        pairs = np.einsum("kij,lij->kl", form.arrays["basis"], form.arrays["dual"])
        assert np.abs(pairs - np.eye(layer.size)).max() <= FEW * layer.work * np.finfo(float).eps * Span(layer).condition


def test_a_large_mask_stays_sparse():
    n = 200_000  # as a dense matrix of bools, 40 GB
    rng = np.random.default_rng(0)
    layer = la.Masked(sparse.csr_array((np.ones(500), (rng.integers(n, size=500), rng.integers(n, size=500))), shape=(n, n)))
    assert layer.shape == (n, n)
    assert layer.size == layer.work <= 500
    assert layer.form.arrays["indptr"].shape == (n + 1,)
    theta, A = np.ones(layer.size), np.ones((1, n))
    assert layer.apply(theta, A).sum() == layer.size
    assert layer.adjoint(theta, A).sum() == layer.size
    assert np.array_equal(layer.grad(A, A), theta)
    assert layer == from_description(describe(layer))


# ---- values ----------------------------------------------------------------------------------------------------------------


def through_a_file(layer):
    """As `Run.save` keeps it: arrays in an npz, the rest as JSON-like values."""
    described = describe(layer)
    buffer = io.BytesIO()
    np.savez(buffer, **{name: value for name, value in described.items() if isinstance(value, np.ndarray)})
    buffer.seek(0)
    with np.load(buffer, allow_pickle=False) as file:
        return from_description({**described, **{name: file[name] for name in file.files}})


@pytest.mark.parametrize(
    "make",
    [through_a_file, copy.copy, copy.deepcopy, lambda layer: pickle.loads(pickle.dumps(layer))],
    ids=["file", "copy", "deepcopy", "pickle"],
)
@every_layer
def test_copies_are_equal(layer, make):
    again = make(layer)
    assert type(again) is type(layer)
    assert again == layer
    assert hash(again) == hash(layer)
    assert repr(again) == repr(layer)
    assert (again.shape, again.param_shape, again.work) == (layer.shape, layer.param_shape, layer.work)
    theta = drawn(layer, 1, np.float64)[0]
    assert np.array_equal(again.matrix(theta), layer.matrix(theta))
    for value in describe(again).values():
        assert not isinstance(value, np.ndarray) or not value.flags.writeable


def test_layers_differ():
    for i, one in enumerate(LAYERS):
        for j, other in enumerate(LAYERS):
            assert (one == other) == (i == j)
    mask = np.eye(3, dtype=bool)
    assert la.Masked(mask) == la.Masked(sparse.eye(3)) == la.Masked(sparse.coo_matrix(mask))
    assert la.Masked(mask) != la.Masked(mask[::-1])
    assert la.Masked(mask) != la.Diagonal(3)
    assert la.Fixed(np.eye(2)) != la.Scaled(np.eye(2))
    assert la.Fixed(np.eye(2)) == la.Fixed(np.eye(2, dtype=np.float32))
    assert la.Conv2d(5, 3, stride=2) == la.Conv2d((5, 5), [3, 3], stride=(2, 2))
    assert la.BlockDiagonal([[1, 2]]) == la.BlockDiagonal(((1, 2),))
    assert la.Fixed([[0.0]]) == la.Fixed([[-0.0]])
    assert hash(la.Fixed([[0.0]])) == hash(la.Fixed([[-0.0]]))


@pytest.mark.parametrize(
    ("make", "array"),
    [
        (la.Masked, np.eye(3, dtype=bool)),
        (la.Masked, sparse.csr_array(np.eye(3))),
        (la.Tied, SHARED.copy()),
        (la.Subspace, np.eye(4).reshape(4, 2, 2)),
        (la.Fixed, np.eye(3)),
        (la.Scaled, np.eye(3)),
    ],
)
def test_arrays_are_copied(make, array):
    layer, before = make(array), make(array)
    array[1, 1] = 0
    assert layer == before
    for value in describe(layer).values():
        if isinstance(value, np.ndarray):
            with pytest.raises(ValueError, match="read-only"):
                value[...] = 0


@pytest.mark.parametrize(
    ("layer", "text"),
    [
        (la.Toeplitz(4, 3), "Toeplitz(n_in=4, n_out=3)"),
        (la.AntiCirculant(4), "AntiCirculant(n=4)"),
        (la.BlockDiagonal([(2, 3), (1, 1)]), "BlockDiagonal(blocks=((2, 3), (1, 1)))"),
        (la.Masked(np.tri(3, 4, dtype=bool)), "Masked(4 to 3, 6 of 12 entries)"),
        (la.Tied(GROUPED), "Tied(9 to 6, 6 parameters in 18 entries)"),
        (la.Subspace(np.ones((1, 2, 3))), "Subspace(3 to 2, 1 basis matrices)"),
        (la.Conv1d(9, 3), "Conv1d(length=9, kernel_size=3, in_channels=1, out_channels=1, padding='same', stride=1)"),
        (la.Conv2d(9, 3), "Conv2d(image=(9, 9), kernel_size=(3, 3), in_channels=1, out_channels=1, padding='same', stride=(1, 1))"),
        (la.Fixed(np.ones((2, 3))), "Fixed(3 to 2)"),
        (la.Scaled(np.ones((2, 3))), "Scaled(3 to 2)"),
    ],
    ids=str,
)
def test_reprs(layer, text):
    assert repr(layer) == text


# ---- one axis of a convolution ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("padding", PADDINGS)
def test_the_closed_formula_of_the_multiplicities(padding):
    """T5.1's table, against the taps counted one by one, for every axis up to 9."""
    for size, kernel, stride in np.ndindex(10, 10, 6):
        if 0 < kernel <= size and stride:
            axis = Axis(size, kernel, stride, padding)
            assert axis.out == len(range(0, size - kernel + 1 if padding == "valid" else size, stride))
            for tap in range(kernel):
                outputs, inputs = axis.meets(tap)
                positions = [(o, o * stride - axis.left + tap) for o in range(axis.out)]
                if padding == "circular":
                    positions = [(o, i % size) for o, i in positions]
                assert list(zip(outputs, inputs, strict=True)) == [(o, i) for o, i in positions if 0 <= i < size]
                assert axis.counts[tap] == len(outputs)
                assert len(set(inputs)) == len(inputs)


# ---- refusals --------------------------------------------------------------------------------------------------------------

LEAST = "a whole number of at least 1 was wanted"
DEPENDENT = np.array([np.eye(2), np.ones((2, 2)), np.ones((2, 2)) - 2 * np.eye(2)])


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: la.Toeplitz(0, 3), ValueError, f"n_in is 0; {LEAST}"),
        (lambda: la.Toeplitz(3, 2.0), TypeError, f"n_out is 2.0; {LEAST}"),
        (lambda: la.Hankel(3, -1), ValueError, f"n_out is -1; {LEAST}"),
        (lambda: la.Hankel("3", 1), TypeError, f"n_in is '3'; {LEAST}"),
        (lambda: la.Circulant(0), ValueError, f"n is 0; {LEAST}"),
        (lambda: la.AntiCirculant(True), TypeError, f"n is True; {LEAST}"),
        (lambda: la.Diagonal(0), ValueError, f"n is 0; {LEAST}"),
        (lambda: la.Symmetric(0), ValueError, f"n is 0; {LEAST}"),
        (lambda: la.Skew(1), ValueError, "n is 1; a whole number of at least 2 was wanted"),
        (lambda: la.BlockDiagonal([]), ValueError, "blocks is empty; at least one pair (n_in, n_out) was wanted, such as [(4, 2), (3, 3)]"),
        (lambda: la.BlockDiagonal(4), TypeError, "blocks is 4; a list of pairs (n_in, n_out) was wanted, such as [(4, 2), (3, 3)]"),
        (lambda: la.BlockDiagonal([(2, 2), (0, 1)]), ValueError, f"blocks[1][0] is 0; {LEAST}"),
        (lambda: la.BlockDiagonal([(2, 2), (1, 0)]), ValueError, f"blocks[1][1] is 0; {LEAST}"),
        (lambda: la.BlockDiagonal([2, 2]), TypeError, "blocks[0] is 2; a pair (n_in, n_out) was wanted"),
        (lambda: la.BlockDiagonal([(2, 2), (1, 2, 3)]), TypeError, "blocks[1] is (1, 2, 3); a pair (n_in, n_out) was wanted"),
        (lambda: la.Masked(np.zeros((2, 3), bool)), ValueError, "mask is False everywhere, so the layer has no parameters; at least one entry must be True"),
        (lambda: la.Masked(sparse.csr_array((2, 3))), ValueError, "mask is False everywhere, so the layer has no parameters; at least one entry must be True"),
        (lambda: la.Masked(np.ones((2, 3))), TypeError, "mask has dtype float64; bool was wanted, True for a parameter: pass mask != 0"),
        (lambda: la.Masked(np.ones(3, bool)), ValueError, "mask has shape (3,); a matrix (out, in) was wanted"),
        (lambda: la.Masked(np.ones((0, 3), bool)), ValueError, "mask has shape (0, 3); a matrix (out, in) was wanted"),
        (lambda: la.Tied(np.ones((2, 2))), TypeError, "index has dtype float64; whole numbers were wanted, one a parameter and -1 for a zero"),
        (lambda: la.Tied([0, 1]), ValueError, "index has shape (2,); a matrix (out, in) was wanted"),
        (lambda: la.Tied([[0, -2]]), ValueError, "index has the entry -2; -1, a structural zero, is the least"),
        (lambda: la.Tied([[-1, -1]]), ValueError, "index is -1 everywhere, so the layer has no parameters; use linalign.Fixed for a matrix that is not trained"),
        (lambda: la.Tied([[0, 2], [3, -1]]), ValueError, "index goes up to 3 but 1 is not used; number the parameters 0, 1, 2, ... without gaps"),
        (lambda: la.Tied([[1, 2], [3, 4]]), ValueError, "index goes up to 4 but 0 is not used; number the parameters 0, 1, 2, ... without gaps"),
        (lambda: la.Tied([[0, 2**40]]), ValueError, f"index goes up to {2**40} but 1 is not used; number the parameters 0, 1, 2, ... without gaps"),
        (lambda: la.Subspace(np.eye(2)), ValueError, "basis has shape (2, 2); (r, out, in) was wanted"),
        (lambda: la.Subspace(np.zeros((0, 2, 2))), ValueError, "basis has shape (0, 2, 2); (r, out, in) was wanted"),
        (lambda: la.Subspace(np.full((1, 2, 2), np.inf)), ValueError, "basis[0, 0, 0] is inf; every entry must be finite: drop or fill such rows"),
        (lambda: la.Subspace([np.eye(2), np.zeros((2, 2))]), ValueError, "basis[1] is zero; leave it out"),
        (lambda: la.Subspace(np.ones((3, 1, 2))), ValueError, "basis has 3 matrices of 2 entries, so they are dependent; at most 2 can be independent"),
        (lambda: la.Fixed(np.ones(3)), ValueError, "weight has shape (3,); a matrix (out, in) was wanted"),
        (lambda: la.Fixed([[np.nan]]), ValueError, "weight[0, 0] is nan; every entry must be finite: drop or fill such rows"),
        (lambda: la.Fixed([["a"]]), TypeError, "weight holds text; numbers were wanted: convert it with .astype(float)"),
        (lambda: la.Scaled(np.zeros((2, 2))), ValueError, "weight is zero, so its scale changes nothing; use linalign.Fixed"),
        (lambda: la.Scaled(np.zeros((0, 2))), ValueError, "weight has shape (0, 2); a matrix (out, in) was wanted"),
        (lambda: la.Conv1d(4, 5), ValueError, "kernel_size is 5 but the image has 4 entries; the kernel must fit: use at most 4, or a larger image"),
        (lambda: la.Conv1d(4, 5, padding="circular"), ValueError, "kernel_size is 5 but the image has 4 entries; the kernel must fit: use at most 4, or a larger image"),
        (lambda: la.Conv2d((9, 4), 5), ValueError, "kernel_size is 5 but axis 1 of the image has 4 entries; the kernel must fit: use at most 4, or a larger image"),
        (lambda: la.Conv2d((2, 9), (3, 3), padding="valid"), ValueError, "kernel_size is 3 but axis 0 of the image has 2 entries; the kernel must fit: use at most 2, or a larger image"),
        (
            lambda: la.Conv1d(3, 3, stride=3), ValueError,
            "tap 0 of the kernel never meets the image: kernel_size 3, stride 3, 3 entries; use a smaller stride or kernel, or padding='valid'",
        ),
        (
            lambda: la.Conv2d((5, 2), (1, 2), stride=2, in_channels=2).param_shape and la.Conv2d((6, 4), (3, 4), stride=(1, 4)), ValueError,
            "tap 0 of the kernel never meets axis 1 of the image: kernel_size 4, stride 4, 4 entries; use a smaller stride or kernel, or padding='valid'",
        ),
        (lambda: la.Conv1d(0, 1), ValueError, f"length is 0; {LEAST}"),
        (lambda: la.Conv1d(4, (3,)), TypeError, f"kernel_size is (3,); {LEAST}"),
        (lambda: la.Conv1d(4, 3, 0), ValueError, f"in_channels is 0; {LEAST}"),
        (lambda: la.Conv1d(4, 3, 1, 2.5), TypeError, f"out_channels is 2.5; {LEAST}"),
        (lambda: la.Conv1d(4, 3, stride=0), ValueError, f"stride is 0; {LEAST}"),
        (lambda: la.Conv1d(4, 3, padding="full"), ValueError, "padding is 'full'; one of 'same', 'valid', 'circular' was wanted"),
        (lambda: la.Conv1d(4, 3, padding=1), ValueError, "padding is 1; one of 'same', 'valid', 'circular' was wanted"),
        (lambda: la.Conv2d((4, 4, 4), 3), ValueError, "image has 3 entries; one number or 2 were wanted"),
        (lambda: la.Conv2d((4, 0), 3), ValueError, f"image[1] is 0; {LEAST}"),
        (lambda: la.Conv2d(4, "3"), TypeError, f"kernel_size is '3'; {LEAST}"),
        (lambda: la.Conv2d(4, 3, stride=(1, 1.5)), TypeError, f"stride[1] is 1.5; {LEAST}"),
        (lambda: la.Network([la.Circulant(3)], [np.ones((3, 3))]), ValueError, "params[0] has shape (3, 3); Circulant(n=3) takes parameters of shape (3,)"),
        (lambda: la.Network([la.Fixed(np.eye(2))], [np.ones(1)]), ValueError, "params[0] has shape (1,); Fixed(2 to 2) takes parameters of shape (0,)"),
    ],
)  # fmt: skip
def test_refusals(make, error, message):
    with pytest.raises(error, match="^" + re.escape(message) + "$"):
        make()


@pytest.mark.parametrize("scale", [1.0, 1e-150, 1e150])
def test_dependent_bases_are_refused_and_one_is_named(scale):
    with pytest.raises(ValueError, match=r"^basis\[\d\] is a combination of the others, up to \de-\d\d of its norm; leave it out$"):
        la.Subspace(scale * DEPENDENT)
    # a basis matrix may be small, or close to another
    la.Subspace([scale * np.eye(2), np.ones((2, 2))])
    layer = la.Subspace([np.eye(2), np.diag([1.0, 1.0 + 1e-7])])
    theta = np.array([2.0, -1.0])
    # of the condition 1e7 the dual loses its first power, the Gram matrix would lose the second, which is everything
    assert np.abs(layer.project(layer.matrix(theta)) - theta).max() <= 10 * 1e7 * np.finfo(float).eps


# ---- in a network ----------------------------------------------------------------------------------------------------------


def mixed():
    """Dense and constrained layers, and some that have nothing to train."""
    rng = np.random.default_rng(4)
    return la.Network(
        [
            la.Fixed(rng.standard_normal((16, 5)) / 3),
            la.Conv2d((4, 4), 3, 1, 2),
            la.Fixed(rng.standard_normal((6, 32)) / 6),
            la.Masked(np.tri(6, dtype=bool)),
            la.Toeplitz(6, 4),
            la.Dense(4, 3),
        ]
    ).init("gaussian", rng=0)


@every_dtype
def test_layers_mix_in_a_network(dtype):
    net = mixed().astype(dtype)
    assert net.dtype == dtype
    assert [theta.shape for theta in net.params][:3] == [(0,), (2, 1, 3, 3), (0,)]
    rng = np.random.default_rng(0)
    X, Y = rng.standard_normal((7, 5)).astype(dtype), rng.standard_normal((7, 3)).astype(dtype)
    eps = float(np.finfo(dtype).eps)
    assert np.abs(net(X) - X @ net.matrix().T).max() <= 200 * eps * np.abs(X).max() * np.linalg.norm(net.matrix())
    value, grads = la.value_and_grad(net, X, Y, implementation="reference")
    assert [g.shape for g in grads] == [theta.shape for theta in net.params]
    assert value == pytest.approx(0.5 * np.sum((net(X) - Y) ** 2), rel=100 * eps)


@pytest.mark.parametrize("metric", ["matrix", "parameters"])
@pytest.mark.parametrize("update", ["simultaneous", "cyclic"])
def test_a_mixed_network_trains(metric, update, tmp_path):
    rng = np.random.default_rng(0)
    X, Y = rng.standard_normal((7, 5)), rng.standard_normal((7, 3))
    run = la.train(
        mixed(), X, Y, lr=1e-3, steps=20, metric=metric, update=update, momentum=0.5, weight_decay=0.01, implementation="reference"
    )  # fmt: skip
    assert run.loss[-1] < run.loss[0]
    again = la.load(run.save(tmp_path / "run.npz"))
    assert again.network.layers == run.network.layers
    for mine, theirs in zip(run.network.params, again.network.params, strict=True):
        assert np.array_equal(mine, theirs)


@every_layer
def test_every_layer_is_saved_with_its_run(layer, tmp_path):
    net = la.Network([layer]).init("gaussian", rng=0)
    rng = np.random.default_rng(0)
    X, Y = rng.standard_normal((4, layer.shape[1])), rng.standard_normal((4, layer.shape[0]))
    run = la.train(net, X, Y, lr=1e-3, steps=2, implementation="reference")
    again = la.load(run.save(tmp_path / "run.npz")).network
    assert again.layers == (layer,)
    assert np.array_equal(again.params[0], run.network.params[0])
    assert isinstance(layer, la.Fixed) == (run.loss[-1] == run.loss[0])


@every_layer
def test_gradients_are_those_of_finite_differences(layer):
    """`dL/dtheta_k` of a quadratic loss between two dense layers, by central differences, which are exact for it."""
    rng = np.random.default_rng(1)
    n_out, n_in = layer.shape
    net = la.Network([la.Dense(2, n_in), layer, la.Dense(n_out, 2)]).init("gaussian", rng=1)
    X, Y = rng.standard_normal((3, 2)), rng.standard_normal((3, 2))
    found = la.value_and_grad(net, X, Y, implementation="reference")[1][1].ravel()
    below, theta, above = net.params

    def loss(vector):
        there = net.with_params([below, vector.reshape(layer.param_shape), above])
        return 0.5 * float(np.sum((there(X) - Y) ** 2))

    for k, step in enumerate(np.eye(layer.size)):
        slope = (loss(theta.ravel() + step) - loss(theta.ravel() - step)) / 2
        assert found[k] == pytest.approx(slope, rel=1e-9, abs=1e-9)


# ---- in the kernels --------------------------------------------------------------------------------------------------------


@every_dtype
@pytest.mark.parametrize("metric", ["matrix", "parameters"])
@pytest.mark.parametrize("layer", LAYERS, ids=NAMES)
def test_the_kernels_compute_what_the_reference_does(layer, metric, dtype):
    rng = np.random.default_rng(2)
    net = la.Network([la.Dense(3, layer.shape[1]), layer, la.Dense(layer.shape[0], 2)]).init("gaussian", rng=0, dtype=dtype)
    for rows in (1, 7):
        X, Y = rng.standard_normal((rows, 3)).astype(dtype), rng.standard_normal((rows, 2)).astype(dtype)
        exact = la.value_and_grad(net.astype(np.float64), X.astype(float), Y.astype(float), implementation="reference")[1]
        for pivot in range(4):
            grads = la.value_and_grad(net, X, Y, pivot=pivot)[1]
            for mine, theirs in zip(grads, exact, strict=True):
                # sums of at most 4 * 200 terms each; interior pivots may lose a digit
                assert np.abs(mine - theirs).max(initial=0) <= 800 * np.finfo(dtype).eps * max(1.0, np.abs(theirs).max(initial=0))
        for update in ("simultaneous", "cyclic"):
            options = {"lr": 1e-4, "steps": 20, "metric": metric, "update": update, "momentum": 0.3, "weight_decay": 0.01}
            mine = la.train(net, X, Y, **options).network
            theirs = la.train(net.astype(np.float64), X.astype(float), Y.astype(float), implementation="reference", **options).network
            for a, b in zip(mine.params, theirs.params, strict=True):
                assert np.abs(a - b).max(initial=0) <= 800 * np.finfo(dtype).eps * np.abs(b).max(initial=0)
