"""What notebooks show, and what goes to other libraries: HTML that is escaped, data frames, labelled arrays, phase diagrams, animations."""

from __future__ import annotations

import functools
from html.parser import HTMLParser

import numpy as np
import pytest

import linalign as la

EVIL = "<script>alert('x')</script>"


class Tags(HTMLParser):
    """Every tag is closed, in order; the text between."""

    def __init__(self, page):
        super().__init__()
        self.open, self.seen, self.text = [], [], ""
        self.feed(page)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.open.append(tag)
        self.seen.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data


def data(n=20):
    rng = np.random.default_rng(0)
    return rng.standard_normal((n, 4)), rng.standard_normal((n, 3))


def make(rng=0, scale=0.1):
    return la.Network.dense([4, 5, 3]).init("gaussian", rng=rng, scale=scale)


def swept(**options):
    X, Y = data()
    grid = {"rng": [0, 1, 2], "scale": [1e-2, 1e-1, 1.0], "lr": [1e-3, 1e-2, 1e-1, 1e3]}
    return la.sweep(make, X, Y, **{"grid": grid, "loss": "mse", "steps": 20, "record": {"alignment": 5, "effective_rank": 10}} | options)


def shown(thing):
    tags = Tags(thing._repr_html_())
    assert not tags.open
    return tags


def test_everything_shows_itself():
    X, Y = data()
    run = la.train(make(), X, Y, lr=1e-3, steps=5, record={"alignment": 1, "params": 5})
    assert "table" in shown(run.plan).seen
    for word in ("given", "4-5-3, 20 rows", "pivot", "multiply-adds a step"):
        assert word in shown(run.plan).text
    assert "Dense(n_in=4, n_out=5)" in shown(make()).text
    assert f"{np.linalg.norm(make().matrices()[0]):.4g}" in shown(make()).text
    assert "none yet" in shown(la.Network.dense([4, 3])).text
    page = shown(run)
    assert repr(run) in page.text
    assert page.seen.count("details") == 2
    assert "recorded 6 times" in page.text
    assert f"... ({run.network.size} numbers)" in page.text
    assert "not aligned" in shown(la.alignment_certificate(make())).text or "aligned" in shown(la.alignment_certificate(make())).text
    assert shown(la.theory.certify(make(), X, Y)).text.startswith("nothing is certified")


def test_what_others_wrote_is_escaped():
    X, Y = data()
    sweep = la.sweep(lambda name: make(), X, Y, grid={"name": [EVIL]}, lr=1e-3, steps=1)
    run = la.train(make(), X, Y, lr=1e-3, steps=1, record={EVIL: (1, lambda network: 1.0)})
    for thing in (sweep, run):
        page = thing._repr_html_()
        assert "<script" not in page
        assert EVIL in shown(thing).text


def test_a_long_sweep_shows_its_first_rows():
    sweep = swept()
    page = shown(sweep)
    assert page.seen.count("tr") == 21
    assert "16 more rows" in page.text
    assert "DivergenceError" in page.text
    assert shown(la.sweep(make, *data(), grid={"rng": [0]}, lr=1e-3, steps=1)).seen.count("tr") == 2


def test_runs_as_frames():
    pytest.importorskip("pandas")
    X, Y = data()
    run = la.train(make(), X, Y, lr=1e-3, steps=7, record={"alignment": 3, "singular_values": 7, "effective_rank": [2], "loss": 7})
    frame = run.to_pandas()
    assert frame.index.name == "step"
    assert list(frame.columns) == [
        "loss", "excess", "alignment_0", "singular_values_0", "singular_values_1", "singular_values_2", "effective_rank", "recorded_loss",
    ]  # fmt: skip
    np.testing.assert_array_equal(frame["loss"], run.loss)
    assert list(frame.index[frame["effective_rank"].notna()]) == [2, 7]
    np.testing.assert_array_equal(frame["alignment_0"].dropna(), run.history["alignment"].values[:, 0])
    assert list(run.to_pandas("effective_rank").columns) == ["loss", "excess", "effective_rank"]
    with pytest.raises(KeyError, match="'modes' was not recorded; there are alignment, singular_values"):
        run.to_pandas("modes")


def test_flows_as_frames():
    pytest.importorskip("pandas")
    X, Y = data()
    found = la.flow(make(), X, Y, times=[0.0, 0.5, 2.0], record={"alignment": 1, "effective_rank": [1]})
    frame = found.to_pandas()
    assert frame.index.name == "time"
    assert list(frame.columns) == ["loss", "excess", "alignment_0", "effective_rank"]
    np.testing.assert_array_equal(frame.index, found.times)
    np.testing.assert_array_equal(frame["loss"], found.loss)
    assert list(frame.index[frame["effective_rank"].notna()]) == [0.5, 2.0]
    with pytest.raises(KeyError, match="'modes' was not recorded; there are alignment, effective_rank"):
        found.to_pandas("modes")


def test_sweeps_as_labelled_arrays():
    pytest.importorskip("xarray")
    sweep = swept()
    found = sweep.to_xarray()
    assert dict(found.sizes) == {
        "rng": 3, "scale": 3, "lr": 4, "alignment_record": 5, "alignment_0": 1, "effective_rank_record": 3,
    }  # fmt: skip
    np.testing.assert_array_equal(found["loss"], sweep.loss)
    np.testing.assert_array_equal(found["status"], sweep.status)
    for row in sweep.rows:
        at = {key: row[key] for key in ("rng", "scale", "lr")}
        assert found["steps"].sel(at) == row["steps"]
        assert str(found["error"].sel(at).item()) == (row["error"] or "")
    history = sweep.histories["effective_rank"]
    np.testing.assert_array_equal(found["effective_rank"].values.reshape(history.values.shape), history.values)
    np.testing.assert_array_equal(found["effective_rank_steps"].values.reshape(history.steps.shape), history.steps)
    # a key that is a name of a column, values that are no numbers, and runs that were not made
    X, Y = data()
    losses = la.sweep(make, X, Y, grid={"loss": ["mse", la.losses.Squared()], "rng": [0, 1]}, lr=1e-3, steps=2)
    part = la.Sweep(losses.grid, losses.outcomes[1:], True).to_xarray()
    assert list(part["grid_loss"].values) == ["mse", repr(la.losses.Squared())]
    assert np.isnan(part["loss"].values[0, 0])
    assert part["steps"].values[0, 0] == -1
    assert part["status"].values[0, 0] == "interrupted"
    np.testing.assert_array_equal(part["loss"].values.ravel()[1:], losses.loss.ravel()[1:])


def deep(depth, run):
    return la.Network.dense([5, *[4] * (depth - 1), 3]).init("xavier", rng=run)


@functools.cache
def depths():
    """Of two depths, so that records have one number or two, and of a rate that diverges."""
    rng = np.random.default_rng(0)
    X, Y = rng.standard_normal((9, 5)), rng.standard_normal((9, 3))
    grid = {"depth": [3, 2], "run": [0, 1], "lr": [1e-3, 1e3]}
    return la.sweep(deep, X, Y, grid=grid, steps=20, record={"alignment": 10, "effective_rank": [5]})


def test_records_of_sweeps_as_one_table():
    pytest.importorskip("pandas")
    sweep = depths()
    table = sweep.to_pandas("alignment", "effective_rank")
    # "run" is the place in the rows, so that a key of that name has another
    assert list(table.columns) == ["depth", "grid_run", "lr", "run", "step", "alignment_0", "alignment_1", "effective_rank"]
    for i, (row, outcome) in enumerate(zip(sweep, sweep.outcomes, strict=True)):
        mine = table[table["run"] == i].set_index("step")
        assert set(mine["depth"]) == {row["depth"]}
        assert set(mine["grid_run"]) == {row["run"]}
        assert set(mine["lr"]) == {row["lr"]}
        for name, columns in (("alignment", [f"alignment_{j}" for j in range(row["depth"] - 1)]), ("effective_rank", ["effective_rank"])):
            kept = outcome.history[name]
            np.testing.assert_array_equal(mine.loc[kept.steps, columns].to_numpy().ravel(), kept.values.ravel())
        assert row["depth"] == 3 or mine["alignment_1"].isna().all()
    assert list(sweep.to_pandas("effective_rank")["step"].unique()) == sorted(
        {int(t) for o in sweep.outcomes for t in o.history["effective_rank"].steps}
    )
    assert list(sweep.to_pandas().columns) == list(sweep.rows[0])
    with pytest.raises(KeyError, match="'modes' was not recorded; there are alignment, effective_rank"):
        sweep.to_pandas("modes")


def test_records_of_different_shapes_are_filled():
    pytest.importorskip("xarray")
    sweep = depths()
    found = sweep.to_xarray()["alignment"]
    assert found.shape == (2, 2, 2, 3, 2)
    for values, outcome in zip(found.values.reshape(8, 3, 2), sweep.outcomes, strict=True):
        kept = outcome.history["alignment"].values
        np.testing.assert_array_equal(values[: len(kept), : kept.shape[1]], kept)
        assert np.isnan(values[len(kept) :]).all()
        assert np.isnan(values[:, kept.shape[1] :]).all()


def test_phase_diagrams_of_one_number_of_several():
    pytest.importorskip("matplotlib")
    sweep = depths()
    for place, seen in ((0, 4), (1, 2)):
        values = sweep.plot("lr", "depth", value=f"alignment_{place}").axes[0].collections[0].get_array()
        assert np.ma.count(values) == seen
        last = [outcome.history["alignment"].values[-1][place] for outcome in sweep.outcomes[:4:2]]
        # depths are not ascending, so that the first stands first
        np.testing.assert_allclose(values.ravel()[0], np.median(last), rtol=1e-15)
    one = swept()
    np.testing.assert_array_equal(
        one.plot("lr", "scale", value="alignment").axes[0].collections[0].get_array().ravel(),
        one.plot("lr", "scale", value="alignment_0").axes[0].collections[0].get_array().ravel(),
    )


def test_phase_diagrams(tmp_path):
    pytest.importorskip("matplotlib")
    sweep = swept()
    figure = sweep.plot("lr", "scale", path=tmp_path / "phase.png")
    ax, bar = figure.axes
    (mesh,) = ax.collections
    values = mesh.get_array().reshape(3, 4)
    # rows are scales; the largest rate diverges everywhere and has no loss
    assert np.ma.getmaskarray(values)[:, 3].all()
    np.testing.assert_allclose(values[:, :3], np.median(sweep.loss[:, :, :3], axis=0), rtol=1e-15)
    assert (ax.get_xscale(), ax.get_yscale()) == ("log", "log")
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["diverged or failed"]
    assert ax.get_title(loc="left") == "loss of 36 runs, median over rng"
    assert bar.get_ylabel() == "loss"
    assert (tmp_path / "phase.png").read_bytes()[:4] == b"\x89PNG"
    # a line, of a recorded quantity, with its last values
    line = sweep.plot("scale", value="effective_rank").axes[0].get_lines()[0]
    last = sweep.histories["effective_rank"]
    ends = [row[at >= 0][-1] for row, at in zip(last.values, last.steps, strict=True)]
    np.testing.assert_allclose(line.get_ydata(), np.median(np.reshape(ends, (3, 3, 4)), axis=(0, 2)), rtol=1e-12)
    # a function of a row over keys that are no numbers
    texts = la.sweep(make, *data(), grid={"update": ["cyclic", "simultaneous"], "rng": [0, 1]}, lr=1e-3, steps=1)
    ax = texts.plot("update", "rng", lambda row: 2.0 * row["steps"]).axes[0]
    assert [tick.get_text() for tick in ax.get_xticklabels()] == ["cyclic", "simultaneous"]
    np.testing.assert_array_equal(ax.collections[0].get_array().ravel(), [2.0] * 4)


@pytest.mark.parametrize(
    ("call", "kind", "message"),
    [
        (lambda sweep: sweep.plot("width"), ValueError, "x is 'width'; one of 'rng', 'scale', 'lr' was wanted"),
        (lambda sweep: sweep.plot("lr", "lr"), ValueError, "x and y are both 'lr'; pass two keys of the grid, or x alone"),
        (lambda sweep: sweep.plot("lr", value="rank"), KeyError, "'rank' is no column"),
        (lambda sweep: sweep.plot("lr", value="error"), TypeError, "value is 'error', which is "),
        (lambda sweep: sweep.plot("lr", value="alignment_1"), KeyError, "a record of 'alignment' has 1 numbers, the last alignment_0"),
        (lambda _: depths().plot("lr", value="alignment"), TypeError, "one of its numbers, such as 'alignment_0'"),
    ],
)
def test_phase_diagrams_of_nothing(call, kind, message):
    pytest.importorskip("matplotlib")
    with pytest.raises(kind, match=message):
        call(swept())


@pytest.mark.parametrize("suffix", ["gif", "webp", "png"])
def test_animations(tmp_path, suffix):
    pytest.importorskip("matplotlib")
    image = pytest.importorskip("PIL.Image")
    X, Y = data()
    run = la.train(make(), X, Y, lr=1e-2, steps=50, record={"alignment": 5})
    path = run.animate(tmp_path / f"run.{suffix}", frames=5, seconds=1)
    with image.open(path) as film:
        assert film.n_frames == 5
        pictures = []
        for i in range(5):
            film.seek(i)
            pictures.append(np.asarray(film.convert("L"), dtype=float))
    # the lines grow: each picture has more ink than the one before
    ink = [np.sum(255 - picture) for picture in pictures]
    assert (np.diff(ink) > 0).all()
    with pytest.raises(ValueError, match=r"run\.mp4; an animation is a \.gif, \.webp or \.png"):
        run.animate(tmp_path / "run.mp4")
