"""Cyclic projected gradient descent is PALM: 300 sweeps beside `palm4msa` of pyfaust, without its scale and its normalisation.

pyfaust writes a product from the left, so layer 1 is its last factor and comes first in its order "R2L". It runs in a child
process, because it may abort the interpreter.
"""

from __future__ import annotations

import numpy as np
import pytest

import linalign as la
from linalign.plan import structures
from tests.oracles import pyfaust_child
from tests.oracles.draws import mask

pytestmark = pytest.mark.oracle

SWEEPS = 300
LR = 0.05
MASK = mask(0, 0.4, 6, 6)
# of two factors or more: with one pyfaust 3.41 aborts
NETS = {
    "toeplitz": [la.Toeplitz(6, 6)] * 3,
    "toeplitz, by diagonals": [la.Toeplitz(40, 40)] * 3,
    "circulant": [la.Circulant(6)] * 3,
    "masked": [la.Masked(MASK), la.Masked(MASK.T), la.Masked(np.tri(6, dtype=bool))],
    "free": [la.Dense(5, 7), la.Dense(7, 4), la.Dense(4, 6)],
    "mixed": [la.Toeplitz(5, 6), la.Circulant(6), la.Masked(MASK), la.Dense(6, 4)],
    "rectangular": [la.Toeplitz(4, 7), la.Toeplitz(7, 3)],
}

CHILD = """
import sys, warnings
warnings.simplefilter("ignore")
import numpy as np
from pyfaust import proj
from pyfaust.fact import palm4msa
from pyfaust.factparams import ParamsPalm4MSA, StoppingCriterion




def projection(kind, M, mask):
    if kind == "Toeplitz":
        return proj.toeplitz(M.shape, normalized=False)
    if kind == "Circulant":
        return proj.circ(M.shape, normalized=False)
    # a factor that is free has every entry in its support
    return proj.supp(np.asfortranarray(mask if kind == "Masked" else np.ones(M.shape)), normalized=False)


given, found = dict(np.load(sys.argv[1])), {}
for name in given["names"]:
    kinds = given[name + "_kinds"]
    start = [np.asfortranarray(given[f"{name}_start_{i}"]) for i in range(len(kinds))]
    masks = [given[f"{name}_mask_{i}"] for i in range(len(kinds))]
    # pyfaust's first factor is the last layer
    order = range(len(kinds) - 1, -1, -1)
    params = ParamsPalm4MSA(
        [projection(kinds[i], start[i], masks[i]) for i in order], StoppingCriterion(num_its=int(given["sweeps"])),
        init_facts=[start[i] for i in order], is_update_way_R2L=True, init_lambda=1.0, step_size=float(given["lr"]),
        constant_step_size=True, no_normalization=True, no_lambda=True,
    )
    product, scale = palm4msa(np.asfortranarray(given[name + "_target"]), params, backend=2020, ret_lambda=True)
    assert scale == 1.0
    for place, i in enumerate(order):
        factor = product.factors(place)
        found[f"{name}_{i}"] = factor.toarray() if hasattr(factor, "toarray") else np.array(factor)
np.savez(sys.argv[2], **found)
"""


def start_of(name):
    net = la.Network(NETS[name]).init("gaussian", rng=len(name))
    rng = np.random.default_rng(len(name))
    target = rng.standard_normal((net.widths[-1], net.widths[0]))
    return net, target / np.linalg.norm(target, 2)


@pytest.fixture(scope="module")
def palm(tmp_path_factory):
    """The factors after all sweeps, by pyfaust."""
    given = {"names": list(NETS), "sweeps": SWEEPS, "lr": LR}
    for name in NETS:
        net, given[f"{name}_target"] = start_of(name)
        given[f"{name}_kinds"] = [type(layer).__name__ for layer in net.layers]
        for i, (layer, W) in enumerate(zip(net.layers, net.matrices(), strict=True)):
            given[f"{name}_start_{i}"] = W
            given[f"{name}_mask_{i}"] = layer.matrix(np.ones(layer.param_shape))
    return pyfaust_child.ask(CHILD, given, tmp_path_factory.mktemp("palm"))


@pytest.mark.parametrize("implementation", ["kernel", "kernel, by diagonals", "reference"])
@pytest.mark.parametrize("name", NETS)
def test_cyclic_descent_is_palm(palm, name, implementation, monkeypatch):
    if "diagonals" in implementation:
        # as matrices that are large enough
        monkeypatch.setattr(structures, "STRIPES_WORTH", 1)
        monkeypatch.setattr(structures, "STRIPES_BYTES", 1)
    net, target = start_of(name)
    run = la.train(
        net, None, target, lr=LR, steps=SWEEPS, update="cyclic", metric="matrix", reduce="none", implementation=implementation.split(",")[0],
    )  # fmt: skip
    assert run.loss[-1] < 0.9 * run.loss[0]
    for i, (mine, start) in enumerate(zip(run.network.matrices(), net.matrices(), strict=True)):
        theirs = palm[f"{name}_{i}"]
        assert np.abs(mine - theirs).max() <= 1e-13 * max(np.abs(mine).max(), 1.0)
        assert np.abs(mine - start).max() > 1e-2


def test_the_other_order_and_the_other_metric_are_another_method(palm):
    # what the agreement above would not see if the comparison were blind
    for name in ("toeplitz", "mixed"):
        net, target = start_of(name)
        for options in ({"update": "simultaneous"}, {"update": "cyclic", "metric": "parameters"}):
            other = la.train(net, None, target, **{"lr": LR / 10, "steps": SWEEPS, "reduce": "none", **options})
            off = max(np.abs(W - palm[f"{name}_{i}"]).max() for i, W in enumerate(other.network.matrices()))
            assert off > 1e-6
