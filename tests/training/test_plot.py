"""The picture of a run: what it shows is what was recorded."""

from __future__ import annotations

import builtins
import sys
from dataclasses import replace

import numpy as np
import pytest

import linalign as la
from linalign.record.recorder import History
from linalign.training import plot

pytest.importorskip("matplotlib")


def trained(widths=(4, 3, 3, 2), steps=40, n=12, record=("alignment", "singular_values"), lr=2e-3):
    rng = np.random.default_rng(0)
    X = rng.standard_normal((n, widths[0]))
    Y = X @ rng.standard_normal((widths[0], widths[-1])) + 0.1 * rng.standard_normal((n, widths[-1]))
    net = la.Network.dense(widths).init("gaussian", rng=0, scale=0.3)
    return la.train(net, X, Y, lr=lr, steps=steps, record=dict.fromkeys(record, 5))


@pytest.fixture(scope="module")
def run():
    return trained()


def lines(ax):
    """The lines with a label of their own."""
    return {line.get_label(): line for line in ax.get_lines() if not line.get_label().startswith("_")}


def legend(ax):
    return [text.get_text() for text in ax.get_legend().get_texts()]


def test_the_steps_are_those_of_the_rule_that_took_them():
    net, X, Y = la.Network.dense([3, 2]).init("xavier", rng=0), np.eye(3), np.eye(3)[:, :2]
    for options, words in (({"optimizer": "adam"}, "Adam"), ({"batch": 2, "rng": 0}, "gradient descent on batches")):
        figure = la.train(net, X, Y, lr=0.01, steps=3, **options).plot()
        assert [ax.get_xlabel() for ax in figure.axes] == [f"step of {words}"]


def test_the_limit_of_stability_is_that_of_the_rule():
    net, X, Y = la.Network.dense([3, 2]).init("xavier", rng=0), np.eye(3), np.eye(3)[:, :2]
    for options, named in (({"optimizer": "adam"}, None), ({"optimizer": la.optim.SGD(0.5)}, "2(1 + momentum)/lr, 300"), ({}, "2/lr, 200")):
        drawn = la.train(net, X, Y, lr=0.01, steps=3, record={"sharpness": 1}, **options).plot().axes[-1]
        assert (None if drawn.get_legend() is None else legend(drawn)[-1]) == named


def test_panels_show_the_record(run):
    figure = plot.plot_run(run, data="digits")
    loss, alignment, values = figure.axes
    assert figure.get_suptitle() == "4-3-3-2 deep linear network on digits, 40 steps"
    assert [ax.get_title(loc="left") for ax in figure.axes] == ["Loss", "Alignment of neighbouring layers", "Singular values, end to end"]
    assert all(ax.get_xlabel() == "step of gradient descent" for ax in figure.axes)
    assert [ax.get_ylabel() for ax in figure.axes] == ["loss", "alignment (1: aligned)", "singular value of the product of all layers"]

    assert loss.get_yscale() == "log"
    assert run.floor > 0
    shown = lines(loss)
    assert set(shown) == {"loss", f"least squares, {run.floor:.4g}", "loss above least squares"} == set(legend(loss))
    assert np.array_equal(shown["loss"].get_xydata(), np.column_stack([np.arange(41), run.loss]))
    assert np.array_equal(shown["loss above least squares"].get_ydata(), run.excess)
    assert set(shown[f"least squares, {run.floor:.4g}"].get_ydata()) == {run.floor}

    history = run.history["alignment"]
    assert legend(alignment) == ["layers 1 and 2", "layers 2 and 3"]
    for i, name in enumerate(legend(alignment)):
        assert np.array_equal(lines(alignment)[name].get_xydata(), np.column_stack([history.steps, history.values[:, i]]))
    low, high = alignment.get_ylim()
    assert low < history.values.min()
    assert high > 1

    history = run.history["singular_values"]
    assert legend(values) == ["largest", "2nd largest"]
    for j, name in enumerate(legend(values)):
        assert np.array_equal(lines(values)[name].get_xydata(), np.column_stack([history.steps, history.values[:, j]]))
    assert values.get_ylim()[0] == 0


def test_panels_that_were_not_recorded_are_left_out():
    assert [ax.get_title(loc="left") for ax in plot.plot_run(trained(record=())).axes] == ["Loss"]
    assert len(plot.plot_run(trained(record=("singular_values",))).axes) == 2
    assert len(plot.plot_run(trained(widths=(4, 2))).axes) == 2  # one layer has no interface


def test_titles(run):
    assert plot.title(run) == "4-3-3-2 deep linear network, 40 steps"
    assert plot.title(replace(run, steps=1_234_567, interrupted=True)) == "4-3-3-2 deep linear network, 1,234,567 steps, interrupted"
    assert plot.title(replace(run, converged=True), "d") == "4-3-3-2 deep linear network on d, 40 steps, converged"
    assert [plot._step(v, None) for v in (0, 500, 1000, 2500, 1.5e6)] == ["0", "500", "1k", "2.5k", "1.5M"]
    assert [plot._rank(n) for n in (1, 2, 3, 4, 11, 12, 21, 102)] == [
        "largest", "2nd largest", "3rd largest", "4th largest", "11th largest", "12th largest", "21st largest", "102nd largest",
    ]  # fmt: skip


def test_scales_of_the_loss_axis(run):
    narrow = plot.plot_run(replace(run, excess=np.linspace(2.0, 2.5, 41), floor=0.0)).axes[0]
    narrow.figure.draw_without_rendering()
    labels = [text.get_text() for text in narrow.get_yticklabels()]
    assert narrow.get_yscale() == "log"
    assert not any("10^" in label for label in labels)  # 2.4, not 2.4 x 10^0
    assert list(lines(narrow)) == ["loss"]
    negative = plot.plot_run(replace(run, excess=np.linspace(1, -1, 41), floor=0.0)).axes[0]
    assert negative.get_yscale() == "linear"
    fitted = plot.plot_run(replace(run, excess=np.r_[np.geomspace(1, 1e-30, 40), 0.0], floor=0.0)).axes[0]
    assert fitted.get_yscale() in ("linear", "log")
    fitted.figure.draw_without_rendering()


def test_many_layers_have_a_scale_of_colours_and_a_short_legend():
    figure = plot.plot_run(trained(widths=(9,) * 13, steps=10, lr=1e-6))
    _, alignment, values = figure.axes
    assert len(lines(alignment)) == 12 - 1
    assert legend(alignment) == ["layers 1 and 2", "layers 6 and 7", "layers 11 and 12"]
    assert legend(values) == ["largest", "5th largest", "9th largest"]
    for ax in (alignment, values):
        colours = [tuple(line.get_color()) for line in lines(ax).values()]
        assert len(set(colours)) == len(colours)


def test_no_line_hides_another_where_they_meet_at_one(run):
    widths = [line.get_linewidth() for line in lines(plot.plot_run(run).axes[1]).values()]
    assert widths[0] > 2 * widths[-1]


def test_long_runs_are_thinned(run):
    excess = np.exp(-np.linspace(0, 5, 10 * plot.POINTS + 3))
    line = lines(plot.plot_run(replace(run, excess=excess, steps=len(excess) - 1)).axes[0])["loss above least squares"]
    x = line.get_xdata()
    assert plot.POINTS / 2 <= len(x) <= plot.POINTS
    assert np.array_equal(x[:50], np.arange(50))  # close at the beginning, for a log axis
    assert (x[0], x[-1]) == (0, len(excess) - 1)
    assert np.array_equal(line.get_ydata(), excess[x])


def test_a_run_without_steps_shows_its_points():
    for ax in plot.plot_run(trained(steps=0)).axes:
        assert any(line.get_marker() == "o" and len(line.get_xdata()) == 1 for line in ax.get_lines())


@pytest.mark.parametrize(("extension", "begins"), [("png", b"\x89PNG"), ("svg", b"<?xml"), ("pdf", b"%PDF")])
def test_saving(run, tmp_path, extension, begins):
    path = tmp_path / f"a.{extension}"
    figure = run.plot(path)
    assert path.read_bytes().startswith(begins)
    assert len(figure.axes) == 3


def test_bad_paths(run, tmp_path):
    with pytest.raises(ValueError, match="Format 'xyz' is not supported"):
        run.plot(tmp_path / "a.xyz")
    with pytest.raises(FileNotFoundError):
        run.plot(tmp_path / "none" / "a.png")


def test_no_global_state(run):
    before = "matplotlib.pyplot" in sys.modules
    plot.plot_run(run)
    assert ("matplotlib.pyplot" in sys.modules) == before
    if before:
        assert not sys.modules["matplotlib.pyplot"].get_fignums()


def test_without_matplotlib(run, monkeypatch):
    original = builtins.__import__

    def missing(name, *args, **kwargs):
        if name.split(".")[0] == "matplotlib":
            raise ModuleNotFoundError(name)
        return original(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", missing)
    with pytest.raises(ImportError, match=r"^plots need matplotlib, which is not installed; pip install 'linalign\[plot\]'$"):
        run.plot()


def test_histories_of_one_number_a_step(run):
    odd = replace(run, history={"alignment": History(np.arange(3), np.array([0.5, 0.7, 1.0]))})
    assert legend(plot.plot_run(odd).axes[1]) == ["layers 1 and 2"]


def test_sharpness_stands_beside_the_edge():
    run = trained(record=("sharpness",), lr=2e-3)
    ax = plot.plot_run(run).axes[1]
    assert ax.get_title(loc="left") == "Sharpness"
    shown = lines(ax)
    assert np.array_equal(
        shown["sharpness"].get_xydata(), np.column_stack([run.history["sharpness"].steps, run.history["sharpness"].values])
    )
    assert set(shown["2/lr, 1000"].get_ydata()) == {1000.0}
    # where the edge was recorded it says what momentum adds
    rng = np.random.default_rng(0)
    net = la.Network.dense([4, 3, 2]).init("gaussian", rng=0, scale=0.3)
    X, Y = rng.standard_normal((12, 4)), rng.standard_normal((12, 2))
    record = {"sharpness": 5, "edge": 5}
    slow = la.train(net, X, Y, lr=1e-3, momentum=0.5, steps=40, record=record)
    assert np.allclose(lines(plot.plot_run(slow).axes[1])["stable below"].get_ydata(), 2 * 1.5 / 1e-3)


def test_a_flow_over_time(tmp_path):
    rng = np.random.default_rng(0)
    X, Y = rng.standard_normal((12, 4)), rng.standard_normal((12, 2))
    net = la.Network.dense([4, 3, 2]).init("gaussian", rng=0, scale=0.3)
    found = la.flow(net, X, Y, times=np.linspace(0, 2, 9), record={"sharpness": 2, "alignment": 1})
    figure = found.plot(tmp_path / "flow.png", data="noise")
    assert (tmp_path / "flow.png").stat().st_size > 1000
    assert figure.get_suptitle() == "gradient flow of a 4-3-2 deep linear network on noise"
    assert [ax.get_title(loc="left") for ax in figure.axes] == ["Loss", "Alignment of neighbouring layers", "Sharpness"]
    assert np.array_equal(lines(figure.axes[0])["loss"].get_xydata(), np.column_stack([found.times, found.loss]))
    assert np.array_equal(figure.axes[2].get_lines()[0].get_xdata(), found.times[::2])
