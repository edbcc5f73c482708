"""Compressed data: the same loss, gradients and runs as the full data, from one pass over chunks of any size."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import linalign as la
from linalign.interop.dask import compress_dask
from linalign.losses import Squared
from linalign.problem.compressed import Compressed
from linalign.reduce import samples
from linalign.reduce.stream import compress, merge
from tests.oracles.extended import LD

EPS = np.finfo(np.float64).eps


def data(n=300, k=7, m=3, noise=1.0, rank=None, seed=0):
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((n, k))
    if rank is not None:
        X = X[:, :rank] @ rng.standard_normal((rank, k))
    P = rng.standard_normal((k, m))
    return X, X @ P + noise * rng.standard_normal((n, m)), P


def chunks(X, Y, size):
    return [(X[i : i + size], Y[i : i + size]) for i in range(0, len(X), size)]


def squares(X, Y, P):
    """`||X P - Y||^2` in 80 bits."""
    return float(np.sum((X.astype(LD) @ P.astype(LD) - Y) ** 2))


def bound(X, Y, P):
    """Of the squares: factorisations round X and Y by K eps in norm, K their columns a few times, and so the residual. The map that
    is taken out and added back has at most CENTRED ||Y|| / ||X|| a direction, and brings that many eps ||Y|| more."""
    k = X.shape[1]
    K = 8 * (k + Y.shape[1]) + 4 * samples.CENTRED * np.sqrt(k)
    return 2 * K * EPS * (np.linalg.norm(X) * np.linalg.norm(P, 2) + np.linalg.norm(Y)) * np.sqrt(squares(X, Y, P)) + EPS * K


@given(n=st.integers(1, 60), k=st.integers(1, 6), m=st.integers(1, 4), rank=st.integers(1, 6), size=st.integers(1, 70), once=st.booleans(),
       seed=st.integers(0, 99))  # fmt: skip
def test_the_same_squares_at_every_map(n, k, m, rank, size, once, seed):
    X, Y, P = data(n, k, m, rank=min(rank, k), seed=seed)
    parts = chunks(X, Y, size)
    c = compress(iter(parts) if once else parts)
    assert c.n == n
    assert c.X.shape == (min(n, rank, k), k)
    assert c.residual < 1e-10
    for at in (P, np.zeros_like(P), np.random.default_rng(seed).standard_normal(P.shape)):
        assert abs(squares(c.X, c.Y, at) + c.constant - squares(X, Y, at)) <= bound(X, Y, at)


@pytest.mark.parametrize("size", [7, 100, 4000])
@pytest.mark.parametrize("once", [False, True])
def test_small_residuals_keep_their_digits(size, once):
    # T7.1: residuals of 1e-8. What is left is the rounding of Y' (r rows), at most 2 eps ||Y'|| / ||E|| of the squares, where
    # the Gram matrix is wrong in the second digit
    X, Y, P = data(4000, 20, 3, noise=1e-8)
    parts = chunks(X, Y, size)
    c = compress(iter(parts) if once else parts)
    at = P + 1e-9 * np.random.default_rng(1).standard_normal(P.shape)
    full = squares(X, Y, at)
    allowed = 2 * 4 * EPS * np.linalg.norm(Y) / np.sqrt(full)
    assert allowed < 1e-6
    assert abs(squares(c.X, c.Y, at) + c.constant - full) <= allowed * full
    gram = np.trace(at.T @ (X.T @ X) @ at) - 2 * np.sum((Y.T @ X).T * at) + np.sum(Y * Y)
    assert abs(gram - full) > 1e-3 * full


def test_data_that_can_be_read_again_are_where_the_first_block_is_not_typical():
    # the first rows see five of twenty inputs: their map is far from that of all rows. The squares at the least-squares map
    # have relative error 2 eps ||Y|| / ||E|| in a factor of [X, Y] as it stands; centred, the constant has its own rounding only
    X, Y, P = data(4000, 20, 3, noise=1e-8)
    X[:200, 5:] = 0
    Y = X @ P + 1e-8 * np.random.default_rng(2).standard_normal(Y.shape)
    parts = chunks(X, Y, 100)
    reads = []

    def read():
        reads.append(1)
        return iter(parts)

    twice = compress(read)
    assert len(reads) == 2
    assert np.array_equal(compress(parts).Y, twice.Y)
    wanted = squares(X, Y, np.linalg.lstsq(X.astype(np.float64), Y, rcond=None)[0])
    assert abs(twice.constant - wanted) < 1e-8 * wanted
    assert abs(compress(iter(parts)).constant - wanted) < 1e-6 * wanted
    reads.clear()
    compress(lambda: reads.append(1) or iter(parts[2:]))
    assert len(reads) == 1


def test_rows_that_change_are_noticed():
    X, Y, P = data(400, 20, 2, noise=1e-8)
    X[:100, 5:] = 0
    Y = X @ P
    turns = iter([chunks(X, Y, 100), chunks(X[:300], Y[:300], 100)])
    with pytest.raises(ValueError, match="400 rows, and read again 300 other ones"):
        compress(lambda: next(turns))


def test_seven_blocks_merge():
    X, Y, _ = data(700, 12, 4)
    whole = compress([(X, Y)])
    parts = [compress([pair]) for pair in zip(np.array_split(X, 7), np.array_split(Y, 7), strict=True)]
    for merged in (merge(*parts), compress(parts), merge(merge(*parts[:3]), merge(*parts[3:]))):
        assert merged.n == 700
        # backward stable: the moments are those of the data up to K eps, K rows of the factors
        for a, b in ((merged.X.T @ merged.X, X.T @ X), (merged.Y.T @ merged.X, Y.T @ X)):
            assert np.linalg.norm(a - b) <= 64 * EPS * np.linalg.norm(X) * np.linalg.norm(np.hstack([X, Y]))
        assert merged.constant == pytest.approx(whole.constant, rel=1e-12)
        # iterates of the note: 1000 steps, 7e-16 measured; each carries at most a few eps a step that descent damps
        net = la.Network.dense([12, 5, 4]).init("gaussian", rng=0)
        a, b = (la.train(net, c, lr=1e-4, steps=1000).network.matrix() for c in (merged, whole))
        assert np.linalg.norm(a - b) <= 1e-13 * np.linalg.norm(b)


@pytest.mark.parametrize("loss", ["squared", "mse", Squared(half=False, reduction="samples")])
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("n", [5, 200])
def test_runs_are_those_of_the_full_data(loss, dtype, n):
    X, Y, _ = data(n)
    X, Y = X.astype(dtype), Y.astype(dtype)
    net = la.Network.dense([7, 6, 3]).init("gaussian", rng=0, dtype=dtype)
    c = compress(chunks(X, Y, 17))
    options = {"loss": loss, "lr": 1e-4, "steps": 300, "momentum": 0.5}
    full, small = la.train(net, X, Y, **options), la.train(net, c, **options)
    eps = float(np.finfo(dtype).eps)
    assert np.allclose(small.loss, full.loss, rtol=300 * eps, atol=0)
    assert small.floor == pytest.approx(full.floor, rel=300 * eps, abs=1e-12)
    assert np.linalg.norm(small.network.matrix() - full.network.matrix()) <= 300 * eps * np.linalg.norm(full.network.matrix())
    (value, gradients), (wanted, exact) = la.value_and_grad(net, c, loss=loss), la.value_and_grad(net, X, Y, loss=loss)
    for G, H in zip(gradients, exact, strict=True):
        assert np.linalg.norm(G - H) <= 100 * eps * np.linalg.norm(H)
    assert value == pytest.approx(wanted, rel=300 * eps)
    assert la.explain(net, c, loss=loss).macs == la.explain(net, X, Y, loss=loss).macs
    reference = la.train(net, c, implementation="reference", **options)
    assert np.allclose(reference.loss, full.loss, rtol=300 * eps, atol=0)


def test_one_block_is_the_reduction_itself():
    X, Y, _ = data()
    c = compress([(X, Y)])
    assert c.constant == pytest.approx(samples.compress(X, Y)[2], rel=1e-13)


def test_one_hot_integers_vectors_and_zeros():
    rng = np.random.default_rng(0)
    X = rng.integers(0, 5, (40, 4))
    c = compress([(X[:9], X[:9, 0]), (X[9:], X[9:, 0])])
    assert c.Y.shape == (4, 1)
    # Y is a column of X: nothing is left. ||Y - X P||^2 is the square of K eps ||Y||
    assert c.constant <= (100 * EPS * np.linalg.norm(X)) ** 2
    one_hot = np.eye(3)[rng.integers(3, size=40)]
    assert compress([(X, one_hot)]).Y.shape == (4, 3)
    zero = compress([(np.zeros((6, 2)), np.ones((6, 1)))])
    assert zero.constant == 6
    assert not zero.X.any()


def test_nothing_of_the_callers_changes_and_it_pickles():
    X, Y, _ = data()
    kept = X.copy(), Y.copy()
    c = compress([(X, Y)])
    assert np.array_equal(X, kept[0])
    assert np.array_equal(Y, kept[1])
    with pytest.raises(ValueError, match="read-only"):
        c.X[0, 0] = 1
    again = pickle.loads(pickle.dumps(c))
    assert np.array_equal(again.X, c.X)
    assert (again.constant, again.n) == (c.constant, c.n)
    assert repr(c) == "Compressed(300 rows -> 7, 7 inputs, 3 outputs)"


X, Y, _ = data()


@pytest.mark.parametrize(
    ("wrong", "error", "text"),
    [
        (7, TypeError, "chunks is int"),
        ([], ValueError, "chunks is empty"),
        ([X], TypeError, r"chunks\[0\] is ndarray; a pair"),
        ([(X, Y), (X[:, :5], Y)], ValueError, r"chunks\[1\] X has shape \(300, 5\); 7 columns"),
        ([(X, Y), (X, Y[:, :2])], ValueError, r"chunks\[1\] Y has shape \(300, 2\); 3 columns"),
        ([(X, Y[:9])], ValueError, r"chunks\[0\] Y has shape \(9, 3\); 300 rows"),
        ([(np.where(np.isin(X, X[3, 1]), np.nan, X), Y)], ValueError, r"chunks\[0\] X\[3, 1\] is nan"),
        ([compress([(X, Y)]), (X, Y)], TypeError, r"chunks\[1\] is tuple but chunks\[0\] is Compressed"),
        ([compress([(X, Y)]), compress([(X[:, :5], Y)])], ValueError, "part 1 has 5 inputs but part 0 has 7"),
    ],
)
def test_bad_chunks(wrong, error, text):
    with pytest.raises(error, match=text):
        compress(wrong)


def test_bad_use():
    c = compress([(X, Y)])
    net = la.Network.dense([7, 3]).init("gaussian", rng=0)
    for args, options, text in [
        ((net, c, Y), {}, "Y was given but X is Compressed"),
        ((net, c), {"loss": "cross_entropy"}, "'cross_entropy' is not quadratic"),
        ((la.Network.dense([6, 3]).init("gaussian", rng=0), c), {}, "7 inputs but the network has 6"),
        ((la.Network.dense([7, 2]).init("gaussian", rng=0), c), {}, "3 outputs but the network has 2"),
    ]:
        with pytest.raises(ValueError, match=text):
            la.train(*args, lr=0.1, steps=1, **options)
    with pytest.raises(ValueError, match="no parts"):
        merge()
    with pytest.raises(TypeError, match="part 1 is int"):
        merge(c, 3)


def test_dask():
    dask = pytest.importorskip("dask.array")
    import dask as scheduler

    X, Y, _ = data(1000, 6, 2)
    whole = compress([(X, Y)])
    with scheduler.config.set(scheduler="synchronous"):
        for rows, columns in ((1000, 6), (90, 4)):
            c = compress_dask(dask.from_array(X, chunks=(rows, columns)), dask.from_array(Y, chunks=(130, 1)))
            assert isinstance(c, Compressed)
            assert c.n == 1000
            assert np.linalg.norm(c.X.T @ c.X - X.T @ X) <= 64 * EPS * np.linalg.norm(X) ** 2
            assert c.constant == pytest.approx(whole.constant, rel=1e-12)
        vector = compress_dask(dask.from_array(X, chunks=(300, 6)), dask.from_array(Y[:, 0], chunks=300))
        assert vector.Y.shape == (6, 1)
    with pytest.raises(TypeError, match="X is ndarray"):
        compress_dask(X, Y)
    with pytest.raises(ValueError, match="1000 rows and Y 900"):
        compress_dask(dask.from_array(X), dask.from_array(Y[:900]))


def test_compressed_data_are_kept_in_a_file(tmp_path):
    X, Y, _ = data()
    small, path = compress(X, Y), tmp_path / "small.npz"
    assert small.save(path) == path
    again = Compressed.load(path)
    for name in ("X", "Y", "constant", "n", "residual"):
        np.testing.assert_array_equal(getattr(again, name), getattr(small, name))
    assert not again.X.flags.writeable
    net = la.Network.dense([7, 3]).init("xavier", rng=0)
    runs = [la.train(net, given, None, loss="mse", lr=1e-3, steps=20) for given in (small, again)]
    np.testing.assert_array_equal(runs[0].loss, runs[1].loss)


def test_other_files_are_no_compressed_data(tmp_path):
    path = tmp_path / "other.npz"
    path.write_bytes(b"a,b")
    with pytest.raises(ValueError, match=r"other\.npz holds no compressed data, it is no \.npz file; Compressed\.save writes one$"):
        Compressed.load(path)
    X, Y, _ = data()
    whole = compress(X, Y).save(path).read_bytes()
    arrays = dict(np.load(path))
    for change in (
        {"n": np.array(0)},
        {"X": X},
        {"format": np.array("another")},
        {"constant": np.array(np.nan)},
        {"Y": arrays["Y"].astype(int)},
    ):
        np.savez(path, **{**arrays, **change})
        with pytest.raises(
            ValueError, match=r"^[^\n]*other\.npz holds no compressed data, or is damaged: [^\n]*; compress the data again$"
        ):
            Compressed.load(path)
    for end in range(2, len(whole), 97):
        path.write_bytes(whole[:end])
        with pytest.raises(ValueError, match="holds no compressed data, or is damaged"):
            Compressed.load(path)


def test_compressed_data_are_validated_on():
    X, Y, _ = data()
    held, rest = compress(X[:100], Y[:100]), (X[100:], Y[100:])
    net = la.Network.dense([7, 5, 3]).init("xavier", rng=0)
    record = {"validation_loss": 5}
    seen = [la.train(net, *rest, loss="mse", lr=1e-2, steps=20, record=record, validation=on) for on in (held, (X[:100], Y[:100]))]
    values = [run.history["validation_loss"].values for run in seen]
    np.testing.assert_allclose(values[0], values[1], rtol=1e-12)
    run = la.train(net, compress(*rest), None, loss="mse", lr=1e-2, steps=20, record=record, validation=held)
    # the same steps on the same rows, which a run compresses by itself
    np.testing.assert_allclose(run.history["validation_loss"].values, values[0], rtol=1e-10)
