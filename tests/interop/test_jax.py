"""JAX: an objective under jit, grad, scan and vmap gives what the objective gives."""

from __future__ import annotations

import doctest
import subprocess
import sys

import numpy as np
import pytest

import linalign as la

jax = pytest.importorskip("jax")
as_function = pytest.importorskip("linalign.interop.jax").as_function


@pytest.fixture(autouse=True)
def in_float64():
    before = jax.config.jax_enable_x64
    jax.config.update("jax_enable_x64", True)
    yield
    jax.config.update("jax_enable_x64", before)


def bound(dtype=np.float64, **options):
    r = np.random.default_rng(0)
    net = la.Network([la.Dense(5, 4, bias=True), la.Symmetric(4), la.Dense(4, 3)]).init("xavier", rng=0, dtype=dtype)
    return net, la.Objective(net, r.standard_normal((20, 5)).astype(dtype), r.standard_normal((20, 3)).astype(dtype), loss="mse", **options)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("kind", [list, tuple, "flat"])
@pytest.mark.parametrize("jit", [False, True])
def test_values_and_gradients(jit, kind, dtype):
    net, objective = bound(dtype)
    loss = as_function(objective)
    params = objective.flat if kind == "flat" else kind(net.params)
    given = jax.numpy.asarray(params) if kind == "flat" else kind(jax.numpy.asarray(theta) for theta in net.params)
    wrap = jax.jit if jit else lambda function: function
    value, gradient = objective.value_and_grad(params)
    assert wrap(loss)(given) == np.asarray(value, dtype)
    found, slopes = wrap(jax.value_and_grad(lambda theta: 3 * loss(theta)))(given)
    # three times a number that was rounded once
    assert found == 3 * np.asarray(value, dtype)
    for a, b in zip([slopes] if kind == "flat" else slopes, [gradient] if kind == "flat" else gradient, strict=True):
        assert a.dtype == dtype
        assert np.array_equal(a, np.asarray(3, dtype) * b)


def test_a_descent_in_a_scan_is_that_of_train():
    net, objective = bound()
    slope = jax.grad(as_function(objective))

    def step(params, _):
        return [theta - 0.1 * g for theta, g in zip(params, slope(params), strict=True)], None

    found = jax.jit(lambda params: jax.lax.scan(step, params, length=50)[0])(list(net.params))
    X, Y = objective._given[1:3]
    run = la.train(net, X, Y, loss="mse", lr=0.1, steps=50, metric="parameters")
    for a, b in zip(found, run.network.params, strict=True):
        assert np.abs(a - b).max() < 1e-12


def test_vmap_takes_one_after_the_other():
    net, objective = bound()
    several = jax.numpy.stack([jax.numpy.asarray(objective.flat * k) for k in (1, 2, 3)])
    found = jax.vmap(as_function(objective))(several)
    assert found.tolist() == [objective.value(np.asarray(row)) for row in several]


def test_bad_input_is_named():
    net, objective = bound()
    loss = as_function(objective)
    with pytest.raises(TypeError, match=r"^objective is Network; a linalign\.Objective was wanted$"):
        as_function(net)
    with pytest.raises(ValueError, match=r"^params has shape \(3,\); \(46,\) was wanted"):
        jax.jit(loss)(jax.numpy.ones(3))
    with pytest.raises(ValueError, match=r"^params has 1 arrays but the network has 3 layers; pass one array a layer$"):
        loss([jax.numpy.ones(3)])
    with pytest.raises(ValueError, match=r"^params\[0\] has shape \(3,\); \(24,\) was wanted$"):
        loss([jax.numpy.ones(3)] * 3)
    with pytest.raises(TypeError, match=r"^params is float32 but the objective is float64; pass params\.astype\('float64'\)$"):
        loss(jax.numpy.ones(46, dtype="float32"))
    jax.config.update("jax_enable_x64", False)
    with pytest.raises(TypeError, match=r"^objective is float64 but JAX is set to float32; call jax\.config\.update"):
        as_function(objective)


def test_without_jax_one_line_says_what_is_missing():
    code = "import sys; sys.modules['jax'] = None\nimport linalign.interop.jax"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (
        found.stderr.strip().splitlines()[-1] == "ImportError: linalign.interop.jax needs JAX; install it with: pip install 'linalign[jax]'"
    )


def test_the_example_of_the_docstring():
    assert doctest.testmod(sys.modules[as_function.__module__]).failed == 0
