"""`linalign flow`: what it writes is what la.flow finds, and refusals are one line."""

from __future__ import annotations

import numpy as np
import pytest

import linalign as la
from linalign import cli, data

pytest.importorskip("sklearn")
SMALL = ["flow", "digits", "--limit", "60", "--hidden", "4", "--scale", "1", "--time", "0.02", "--points", "5"]


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_flow_is_written(here, capsys):
    pytest.importorskip("matplotlib")
    assert cli.main([*SMALL, "--record", "sharpness,singular_values"]) == 0
    out = capsys.readouterr().out
    assert "all of it" in out
    assert "conserved  differences" in out
    assert out.splitlines()[-1] == "written    digits-flow.npz digits-flow.png"
    with np.load("digits-flow.npz") as file:
        found = dict(file)
    X, Y = (part[:60] for part in (data.load("digits", limit=60).X, data.load("digits", limit=60).Y))
    net = la.Network.dense([64, 4, 10]).init("gaussian", rng=0, scale=1.0)
    same = la.flow(net, X, Y, times=np.linspace(0, 0.02, 5), record={"sharpness": 1})
    assert np.array_equal(found["times"], same.times)
    assert np.allclose(found["loss"], same.loss, rtol=1e-12)
    assert np.allclose(found["sharpness"], same.history["sharpness"].values, rtol=1e-5)
    assert found["singular_values"].shape == (5, 10)
    assert np.allclose(found["params_1"], same.network.params[1], rtol=1e-9)


def test_a_flow_that_goes_no_further_says_so(here, capsys):
    assert cli.main([*SMALL, "--max-steps", "2", "--time", "10", "--no-plot"]) == 1
    out = capsys.readouterr().out
    assert "the problem is stiff: --max-steps were taken, and what was done is written" in out
    with np.load("digits-flow.npz") as found:
        assert len(found["times"]) < 5
        assert 0 < found["time"] < 2.5
        assert f"to t = {found['time']:.6g} in" in out


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--time", "-1"], "--time is -1.0; a number above 0 was wanted"),
        (["--points", "1"], "--points is 1; a whole number of at least 2 was wanted"),
        (["--record", "spectrum"], "record is 'spectrum'"),
        (["--dtype", "float32"], "net is float32 but tolerances of a flow need float64"),
    ],
)
def test_refusals(here, capsys, options, message):
    assert cli.main([*SMALL, "--no-plot", *options]) == 2
    out, err = capsys.readouterr()
    assert err.count("\n") == 1
    assert err.startswith(f"linalign: {message}")
    assert not list(here.iterdir())
