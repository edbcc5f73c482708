"""Weights by name in files, as NumPy and safetensors have them; a network as an operator of SciPy."""

from __future__ import annotations

import json

import numpy as np
import pytest
import scipy.sparse.linalg

import linalign as la
from tests.oracles.layer_cases import LAYERS, NAMES

ENDINGS = [".npz", ".safetensors"]


def mixed(dtype=np.float64):
    layers = [la.Conv1d(6, 3, 1, 2, bias=True), la.Dense(12, 5, bias=True), la.Symmetric(5), la.Fixed(np.ones((4, 5))), la.Dense(4, 2)]
    r = np.random.default_rng(0)
    return la.Network(layers, [r.standard_normal(layer.param_shape).astype(dtype) for layer in layers])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("ending", ENDINGS)
def test_there_and_back(tmp_path, ending, dtype):
    net = mixed(dtype)
    path = tmp_path / f"weights{ending}"
    assert net.save_weights(path) == path
    for layers in (net, la.Network(net.layers)):
        back = layers.load_weights(path)
        assert back.dtype == dtype
        assert all(np.array_equal(a, b) for a, b in zip(back.params, net.params, strict=True))
    names = ["a", "b", "c", "d", "e"]
    net.save_weights(path, names)
    assert all(np.array_equal(a, b) for a, b in zip(net.load_weights(str(path), names).params, net.params, strict=True))
    assert list(tmp_path.iterdir()) == [path]


def test_the_library_of_the_format_reads_and_writes_the_same(tmp_path):
    safetensors = pytest.importorskip("safetensors.numpy")
    net, path = mixed(), tmp_path / "weights.safetensors"
    net.save_weights(path)
    found = safetensors.load_file(path)
    assert sorted(found) == ["0.bias", "0.weight", "1.bias", "1.weight", "2.weight", "3.weight", "4.weight"]
    assert np.array_equal(found["1.weight"], net.params[1][:60].reshape(5, 12))
    assert np.array_equal(found["1.bias"], net.params[1][60:])
    safetensors.save_file({**found, "more": np.ones(3, np.int64)}, path, metadata={"of": "tests"})
    with pytest.raises(TypeError, match=r"^'more' of .* is I64; F64 or F32 was wanted$"):
        net.load_weights(path)
    safetensors.save_file(found, path, metadata={"of": "tests"})
    assert all(np.array_equal(a, b) for a, b in zip(net.load_weights(path).params, net.params, strict=True))


def test_a_state_of_torch_is_read_by_its_names(tmp_path):
    path = tmp_path / "state.npz"
    net = la.Network([la.Dense(4, 3, bias=True), la.Dense(3, 2)])
    np.savez(path, **{"net.0.weight": np.ones((3, 4)), "net.0.bias": np.arange(3.0), "net.2.weight": np.ones((2, 3)), "epoch": np.array(7)})
    found = net.load_weights(path, ["net.0", "net.2"])
    assert np.array_equal(found.biases()[0], [0.0, 1.0, 2.0])
    with pytest.raises(ValueError, match=r"state\.npz has no '0\.weight', only 'net\.0\.weight', .*; pass names=, one a layer$"):
        net.load_weights(path)


@pytest.mark.parametrize("ending", ENDINGS)
def test_what_does_not_fit_is_named(tmp_path, ending):
    path = tmp_path / f"weights{ending}"
    net = la.Network.dense([4, 3, 2]).init("xavier", rng=0)
    net.save_weights(path)
    with pytest.raises(ValueError, match=r"has '1\.weight' too, which no layer wants; pass names= to take some of the arrays$"):
        la.Network.dense([4, 3]).load_weights(path)
    with pytest.raises(ValueError, match=r"^'1\.weight' of .* has shape \(2, 3\); \(5, 3\) was wanted$"):
        la.Network.dense([4, 3, 5]).load_weights(path)
    with pytest.raises(ValueError, match=r"^names has 1 entries but the network has 2 layers"):
        net.save_weights(path, ["a"])
    with pytest.raises(ValueError, match=r"^names holds 'a' twice"):
        net.load_weights(path, ["a", "a"])
    with pytest.raises(ValueError, match=r"^path is '.*weights\.pt'; a name that ends with \.npz or \.safetensors was wanted$"):
        net.save_weights(tmp_path / "weights.pt")
    with pytest.raises(ValueError, match="the network has no parameters yet"):
        la.Network.dense([4, 3]).save_weights(path)
    with pytest.raises(FileNotFoundError):
        net.load_weights(tmp_path / f"none{ending}")


def written(tmp_path, content):
    path = tmp_path / "broken.safetensors"
    path.write_bytes(content)
    return path


def with_header(header, data=b""):
    text = json.dumps(header).encode() if not isinstance(header, bytes) else header
    return len(text).to_bytes(8, "little") + text + data


ENTRY = {"dtype": "F32", "shape": [2, 4], "data_offsets": [0, 32]}
BROKEN = [
    (b"", r"is no \.safetensors file: 0 bytes cannot hold a header of 0$"),
    (b"\xff" * 40, r"is no \.safetensors file: 40 bytes cannot hold a header of"),
    (with_header(b"{not json"), r"is no \.safetensors file: its header cannot be read"),
    (with_header([1, 2]), r"its header cannot be read"),
    (with_header({"0.weight": 3}), r"its header cannot be read"),
    (with_header({"0.weight": ENTRY}, b"\0" * 31), r"is broken: '0\.weight' of shape \(2, 4\) cannot be its bytes 0 to 32 of 31$"),
    (with_header({"0.weight": {**ENTRY, "shape": [2, 3]}}, b"\0" * 32), r"is broken"),
    (with_header({"0.weight": {**ENTRY, "shape": [-2, -4]}}, b"\0" * 32), r"is broken"),
    (with_header({"0.weight": {**ENTRY, "shape": [2.0, 4]}}, b"\0" * 32), r"is broken"),
    (with_header({"0.weight": {**ENTRY, "data_offsets": [-32, 0]}}, b"\0" * 32), r"is broken"),
]


@pytest.mark.parametrize(("content", "message"), BROKEN, ids=[str(k) for k in range(len(BROKEN))])
def test_broken_files_are_refused(tmp_path, content, message):
    with pytest.raises(ValueError, match=message):
        la.Network.dense([4, 2]).load_weights(written(tmp_path, content))


@pytest.mark.parametrize("cut", [0, 3, 60, 200])
def test_a_cut_npz_is_refused(tmp_path, cut):
    path = tmp_path / "weights.npz"
    net = la.Network.dense([4, 3, 2]).init("xavier", rng=0)
    net.save_weights(path)
    path.write_bytes(path.read_bytes()[:cut])
    with pytest.raises(ValueError, match=r"is no \.npz file of arrays"):
        net.load_weights(path)


@pytest.mark.parametrize("layer", LAYERS, ids=NAMES)
def test_a_network_as_an_operator(layer):
    r = np.random.default_rng(1)
    net = la.Network([la.layers.Biased(layer), la.Dense(layer.shape[0], 3)])
    net = net.with_params([r.standard_normal(each.param_shape) for each in net.layers])
    A, P = net.linear_operator(), net.matrix()
    assert A.shape == P.shape
    assert A.dtype == P.dtype
    # as many terms as the widths add up to, each at most some tens
    bound = 200 * np.finfo(float).eps * max(1.0, np.abs(P).sum())
    assert np.allclose(A @ np.eye(P.shape[1]), P, rtol=0, atol=bound)
    assert np.allclose(A.T @ np.eye(P.shape[0]), P.T, rtol=0, atol=bound)
    x, y = r.standard_normal(P.shape[1]), r.standard_normal(P.shape[0])
    assert np.allclose(A @ x, P @ x, rtol=0, atol=bound * np.abs(x).max())
    assert np.allclose(A.rmatvec(y), P.T @ y, rtol=0, atol=bound * np.abs(y).max())


def test_singular_values_by_the_operator():
    net = la.Network.dense([30, 40, 20]).init("xavier", rng=0)
    found = np.sort(scipy.sparse.linalg.svds(net.linear_operator(), k=3, random_state=0, return_singular_vectors=False))
    assert np.allclose(found, np.sort(la.singular_values(net))[-3:], rtol=1e-10)
    with pytest.raises(ValueError, match="the network has no parameters yet"):
        la.Network.dense([3, 2]).linear_operator()
