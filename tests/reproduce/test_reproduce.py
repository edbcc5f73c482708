"""The report: verdicts can fail, and do on broken measurements; pictures and page come from what was saved."""

from __future__ import annotations

import re
import shutil

import numpy as np
import pytest

from linalign import cli
from linalign.cli.reproduce import EXAMPLES, NAMES

pytest.importorskip("matplotlib")
pytest.importorskip("sklearn")

from linalign import reproduce as rep
from linalign.reproduce import bases, claim, convolution, setting
from linalign.theory.statements import STATEMENTS

CLAIMS = {c.name: c for c in rep.CLAIMS}
FAST = ("kept", "output", "balanced", "rate", "projected", "convolution", "edge")


@pytest.fixture(scope="module")
def quick():
    return rep.Setting(quick=True)


@pytest.fixture(scope="module")
def measured(quick):
    return {name: CLAIMS[name].measure(quick) for name in FAST}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A report of one claim."""
    out = tmp_path_factory.mktemp("report")
    assert cli.main(["reproduce", "--quick", "--claim", "projected", "--out", str(out)]) == 0
    return out


def failed(name, arrays):
    return [check.what for check in CLAIMS[name].judge(arrays) if not check.passed]


@pytest.mark.parametrize("name", FAST)
def test_claims_are_confirmed(name, measured):
    assert failed(name, measured[name]) == []


# what a false statement would look like: an array changed, and the check that must notice
BROKEN = [
    ("kept", "autoencoding_turned", lambda a: a + 1e-6, "autoencoding: most that any layer turned"),
    ("kept", "factorisation_residual", lambda a: 1e-3, "factorisation: residual of the condition"),
    ("kept", "generic_turned", lambda a: 0 * a, "generic: most that any layer turned"),
    ("kept", "generic_commutator", lambda a: 0.0, "generic: commutator of the condition"),
    ("kept", "autoencoding_loss", lambda a: 0 * a + 1.0, "autoencoding: loss above the least"),
    ("edge", "edges", lambda a: a * 1.001, "thresholds beside those published"),
    ("edge", "sharpness_0", lambda a: a * 1.01, "below the edge: sharpness at the end"),
    ("edge", "modes_1", lambda a: 0 * a, "lr 0.032: modes that oscillate"),
    ("edge", "sharpness_2", lambda a: a / 2, "lr 0.0345: largest sharpness of the last steps"),
    ("edge", "image_sharpness_1", lambda a: a / 2, "images, lr "),
    ("output", "one_sine", lambda a: a + 1e-5, "one output, logistic loss: largest sine"),
    ("output", "one_turn", lambda a: 0 * a + 1.0, "one output, logistic loss: |cosine|"),
    ("output", "many_sine", lambda a: 0 * a, "several outputs, cross-entropy: largest sine"),
    ("output", "exponential_sine", lambda a: a + 1e-5, "one output, exponential loss: largest sine"),
    ("output", "own_sine", lambda a: a + 1e-5, "one output, log cosh"),
    ("balanced", "generic_0_sine", lambda a: a + 1e-5, "classes, balanced: sine of the chain at the start"),
    ("balanced", "generic_1_imbalance", lambda a: 0.1 * a[[0, 1]], "classes, balanced: imbalance at the end"),
    ("balanced", "generic_1_sine", lambda a: 0 * a, "classes, balanced: sine of the chain after the first step"),
    ("balanced", "kept_1_imbalance", lambda a: a + 1e-6, "autoencoding, balanced: imbalance"),
    ("balanced", "unbalanced_1_sine", lambda a: 0.1 * a, "the same: largest over least"),
    ("rate", "errors", lambda a: a[0] * np.ones_like(a), "errors beyond the certified rate"),
    ("rate", "promised", lambda a: a - 5, "steps taken over steps promised"),
    ("rate", "reached", lambda a: np.where(np.arange(len(a)) == 9, -1, a), "steps taken over steps promised"),
    ("rate", "ends", lambda a: 0 * np.ones_like(a), "beyond it: least loss"),
    ("rate", "ends", lambda a: np.ones_like(a), "below the largest stable rate"),
    ("rate", "ratios", lambda a: a * 3, "random starts: certified over largest stable rate"),
    ("rate", "ratios", lambda a: a[:0], "random starts: certified over largest stable rate"),
    ("rate", "overshoot", lambda a: a + 1e-3, "certified rates: largest rise"),
    ("projected", "gaps", lambda a: 0 * a, "zero-padded convolution, unequal"),
    ("projected", "gaps", lambda a: a + 1e-6, "circular convolution, equal"),
    ("projected", "moved", lambda a: 0 * a, "how far the parameters moved"),
    ("projected", "equal", lambda a: ~a, "convolutions whose multiplicities"),
    ("convolution", "convolution_last", lambda a: 0 * a, "zero-padded convolutions: sine after training"),
    ("convolution", "reflected_last", lambda a: a + 1e-4, "the same, data with their reflections"),
    ("convolution", "dense_first", lambda a: a + 1e-4, "all families: the sine at the start"),
]


@pytest.mark.parametrize(("name", "key", "change", "noticed"), BROKEN, ids=lambda value: value if isinstance(value, str) else "")
def test_a_verdict_fails_on_broken_measurements(name, key, change, noticed, measured):
    arrays = {**measured[name], key: change(measured[name][key])}
    assert any(what.startswith(noticed) for what in failed(name, arrays))
    # and so does anything that is no number
    nothing = {**measured[name], key: measured[name][key] * np.nan} if key != "equal" else arrays
    assert failed(name, nothing)


def test_an_experiment_that_is_broken_is_not_confirmed(quick, monkeypatch):
    """The claim about reflected data, tried on data that are not closed under reflections."""
    monkeypatch.setattr(convolution, "reflected", lambda images, side: images)
    assert any("reflections" in what for what in failed("convolution", convolution.measure(quick)))


def test_a_check_passes_no_nan():
    assert not claim.at_most("x", np.nan, 1.0).passed
    assert not claim.at_least("x", np.nan, 1.0).passed
    assert claim.at_most("x", 1.0, 1.0).passed
    assert not claim.Verdict(CLAIMS["kept"], (), 0.0).confirmed


def test_turned_measures_what_is_off_the_diagonal():
    rng = np.random.default_rng(0)
    V, U = (np.linalg.qr(rng.standard_normal((k, k)))[0] for k in (4, 3))
    net, Q = bases.aligned_start([4, 5, 3], V, U, np.array([[2.0, 1.0, 0.5], [1.0, 3.0, 2.0]]))
    assert np.allclose(np.linalg.svd(net.matrix())[1], sorted([2.0, 3.0, 1.0], reverse=True))
    assert bases.turned(Q)(net) < 1e-15
    W1, W2 = net.matrices()
    moved = type(net).from_matrices([W1, W2 + 0.1 * np.linalg.norm(W2) * np.outer(Q[2][:, 0], Q[1][:, 1])])
    assert bases.turned(Q)(moved) == pytest.approx(0.1 / np.hypot(1, 0.1), rel=1e-12)
    assert bases.chain_sine(net) < 1e-14 < bases.chain_sine(moved)


def test_shrinking_images_keeps_their_mean():
    rng = np.random.default_rng(0)
    X = rng.random((3, 28 * 28))
    for side in (8, 7, 28):
        small = setting.shrink(X, (28, 28), side)
        assert small.shape == (3, side * side)
        assert np.allclose(small.mean(axis=1), X.mean(axis=1))
    assert np.allclose(setting.shrink(X, (28, 28), 28), X)
    assert np.allclose(setting.shrink(X, (28, 28), 14), X.reshape(3, 14, 2, 14, 2).mean(axis=(2, 4)).reshape(3, -1))


# ---- the page --------------------------------------------------------------------------------------------------------------


def test_the_page_says_what_was_measured(folder, quick):
    page = (folder / "report.html").read_text()
    arrays, about = claim.load(folder / "projected.npz")
    checks = CLAIMS["projected"].judge(arrays)
    assert "1 of 1 claims confirmed" in page
    assert page.count('<span class="yes">confirmed</span>') == 2  # in the table and in the section
    for check in checks:
        assert check.what in page
        assert f"{check.value:.3g}" in page
    assert page.count("data:image/png;base64,") == 1
    tried = CLAIMS["projected"]
    numbers = set(re.findall(r"\b[TL]\d+\.\d+\b", tried.statement + tried.experiment + tried.caption))
    assert numbers
    for number in numbers:
        assert f'<a href="#{STATEMENTS[number].anchor}">{number}</a>' in page
        assert f"<code>{STATEMENTS[number].path}</code>" in page
    assert set(re.findall(r'href="#([^"]+)"', page)) <= set(re.findall(r'id="([^"]+)"', page))
    assert 'src="http' not in page  # one file, nothing fetched
    assert about["quick"]
    assert (folder / "projected.png").read_bytes().startswith(b"\x89PNG")


def test_redraw_makes_the_same_again(folder, tmp_path, capsys):
    shutil.copy(folder / "projected.npz", tmp_path)
    assert cli.main(["reproduce", "--redraw", str(tmp_path)]) == 0
    assert "1 of 1 claims confirmed" in capsys.readouterr().out
    assert (tmp_path / "projected.png").read_bytes() == (folder / "projected.png").read_bytes()
    assert (tmp_path / "report.html").read_text() == (folder / "report.html").read_text()


def test_a_claim_that_fails_is_said_to_fail(folder, tmp_path, capsys):
    arrays = dict(np.load(folder / "projected.npz"))
    arrays["gaps"] = arrays["gaps"] + 1e-3
    np.savez(tmp_path / "projected.npz", **arrays)
    assert cli.main(["reproduce", "--redraw", str(tmp_path)]) == 1
    out = capsys.readouterr().out
    assert "NOT confirmed" in out
    assert "circular convolution, equal multiplicities" in out
    page = (tmp_path / "report.html").read_text()
    assert "0 of 1 claims confirmed" in page
    assert '<span class="no">not confirmed</span>' in page


def test_every_axis_is_labelled(measured):
    from matplotlib.figure import Figure

    for name, arrays in measured.items():
        figure = Figure(layout="constrained")
        CLAIMS[name].draw(figure, arrays)
        assert figure.axes
        for ax in figure.axes:
            assert ax.get_xlabel()
            assert ax.get_ylabel()
            assert ax.get_title(loc="left")
            assert ax.get_legend().get_texts()
        figure.draw_without_rendering()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--claim", "all"], "claim is 'all'; one of kept, output, balanced, rate, projected, convolution, authors, edge was wanted"),
        (["--data", "none.npz"], "none.npz: no such file; pass a path to"),
        (["--data", "table.npz"], "table.npz: samples of 3, no classes; images with classes were wanted"),
        (["--redraw", "nowhere"], "nowhere: no saved claims here (kept.npz, output.npz"),
        (["--redraw", "."], ".: no saved claims here"),
        (["--redraw", ".", "--quick"], "--redraw measures nothing and writes where the measurements are; leave --out and --quick out"),
        (["--redraw", "broken"], "broken/kept.npz: holds no measurements of a claim"),
    ],
)
def test_refusals(arguments, message, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    np.savez("table.npz", X=np.random.default_rng(0).random((5, 3)), Y=np.linspace(0, 1, 5))
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "kept.npz").write_bytes(b"no")
    before = sorted(tmp_path.rglob("*"))
    assert cli.main(["reproduce", *arguments]) == 2
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert err.startswith(f"linalign: {message}")
    assert sorted(tmp_path.rglob("*")) == before


def test_help_names_the_claims(capsys):
    assert tuple(CLAIMS) == NAMES
    assert cli.main(["reproduce", "--help"]) == 0
    out = capsys.readouterr().out
    for name in NAMES:
        assert re.search(rf"\b{name}, ", EXAMPLES)
        assert name in out
    for line in EXAMPLES.splitlines():
        if line.startswith("  linalign "):
            cli.parser().parse_args(line.split("   ")[0].split()[1:])
