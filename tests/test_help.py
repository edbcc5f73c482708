"""What help shows: names, the page to begin with, what can be recorded, formulas of losses."""

from __future__ import annotations

import types

import numpy as np
import pytest

import linalign as la
from linalign.losses import NAMED
from linalign.record import QUANTITIES


def test_dir_is_what_is_public():
    shown = [name for name in dir(la) if not name.startswith("__")]
    assert shown == sorted(la.__all__)
    modules = [name for name in shown if isinstance(getattr(la, name), types.ModuleType)]
    assert modules == ["curvature", "data", "interop", "kernels", "layers", "losses", "optim", "record", "theory"]
    with pytest.raises(AttributeError, match="module 'linalign' has no attribute 'trian'"):
        _ = la.trian


def test_ten_names_to_begin_with():
    lines = la.__doc__.splitlines()
    first = lines.index("") + 3
    names = [line.split()[0] for line in lines[first : first + 10]]
    assert len(set(names)) == 10
    assert lines[first + 10] == ""
    assert all(hasattr(la, name) for name in names)
    assert max(map(len, lines)) <= 140


def test_help_has_every_quantity_with_its_shape():
    for page in (la.train.__doc__, la.record.__doc__):
        for name in QUANTITIES:
            assert [line for line in page.splitlines() if line.split()[:1] == [name] and line.split(maxsplit=1)[1].startswith("(")], name
    assert "NAMES" not in la.train.__doc__


def test_help_has_every_loss_before_anything_else():
    head = la.losses.__doc__.split("\n\n")[2]
    for name in NAMED:
        assert f'"{name}"' in head
    product = la.losses.__doc__.split("\n\n")[4]
    for name in ("Entries", "Sensing", "BuresWasserstein", "EndToEnd"):
        assert f"`{name}(" in product


def test_norms_that_are_built_in():
    rng = np.random.default_rng(0)
    X, Y = rng.standard_normal((9, 4)), rng.standard_normal((9, 3))
    net = la.Network([la.Dense(4, 5), la.Toeplitz(5, 5), la.Dense(5, 3)]).init("xavier", rng=rng)
    run = la.train(net, X, Y, lr=1e-3, steps=4, record={"nuclear_norm": 2, "layer_gradient_norms": 4, "gradient_norm": 4})
    for kept, network in ((0, net), (-1, run.network)):
        want = [np.linalg.norm(gradient) for gradient in la.value_and_grad(network, X, Y)[1]]
        np.testing.assert_allclose(run.history["layer_gradient_norms"].values[kept], want, rtol=1e-12)
        np.testing.assert_allclose(run.history["gradient_norm"].values[kept], np.linalg.norm(want), rtol=1e-12)
        np.testing.assert_allclose(run.history["nuclear_norm"].values[kept], np.linalg.norm(network.matrix(), "nuc"), rtol=1e-12)
