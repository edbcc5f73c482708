"""`linalign check`: every sentence is a number of the library in words; every refusal is one line."""

from __future__ import annotations

import re
import shlex
import tracemalloc

import numpy as np
import pytest

import linalign as la
from linalign import cli, data
from linalign.cli import check as cli_check
from linalign.linear_algebra import Basis
from tests.oracles.theory_cases import diagonal_net, joint_data, orthogonal

pytest.importorskip("sklearn")


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def check(capsys, *arguments):
    """The head and the answers, each as one string of words."""
    assert cli.main(["check", *arguments]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    assert max(map(len, out.splitlines())) <= 130
    head, *answers, listed = (" ".join(part.split()) for part in out.split("\n\n"))
    assert [answer[:2] for answer in answers] == ["1.", "2.", "3.", "4.", "5.", "6."]
    assert listed.startswith("The statements in brackets, with their pages in docs/theory/ of the repository: ")
    number = r"\b[TL]\d+\.\d+\b"
    assert set(re.findall(number, listed)) == set(re.findall(number, " ".join(answers)))
    return head, answers


def refused(capsys, *arguments):
    assert cli.main(["check", *arguments]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("\n") == 1
    return err[len("linalign: ") : -1]


def test_generic_data_are_told_so(here, capsys):
    head, answers = check(capsys, "digits")
    assert head == "data digits: 1,797 samples of 8x8, 10 classes network 64-32-16-10, gaussian start, squared loss"
    digits = data.load("digits")
    condition = la.theory.invariance_condition(digits.X, digits.Y)
    assert not condition.holds
    assert answers[0].startswith("1. Can alignment last on these data? no ")
    assert f"their commutator is {condition.commutator:.2g} " in answers[0]
    assert answers[3].startswith("4. Which learning rate is safe, and how fast is it? none is certified")
    assert "the start is not aligned" in answers[3]
    least = la.theory.aligned_minimum([64, 32, 16, 10], digits.X, digits.Y).optimum
    assert answers[4].startswith(f"5. What is the least loss? {least:.6g} ")
    assert list(here.iterdir()) == []


def test_autoencoding_from_an_aligned_start_is_certified(here, capsys):
    given = ["digits", "--autoencode", "--hidden", "32", "--init", "aligned", "--scale", "1e-2"]
    _, answers = check(capsys, *given)
    X = data.load("digits").X
    net = la.Network.dense([64, 32, 64]).init("aligned", X=X, Y=X, singular_values=0.1, rng=0)
    proof = la.theory.certify(net, X, X)
    assert "? yes With" in answers[0]
    assert "autoencoding" in answers[0]
    assert "? yes and yes" in answers[2]
    assert f"? {proof.lr_matrix:.4g} With" in answers[3]
    steps = proof.steps(1e-4 * (proof.loss - proof.limit))
    assert f"{steps:,} to 0.0001" in answers[3]
    assert "the least there is" in answers[4]
    # 32 modes are fitted, the others stand still
    assert "of the 32 here: " + ", ".join(f"{edge:.6g}" for edge in sorted(proof.edges)[:1]) in answers[5]
    assert "[T13.5]" in answers[5]
    # a learning rate is judged on its side of the certificate
    for factor, words in [(0.5, "is within the certificate, 2 times below it"), (4.0, "is 4 times above the certificate")]:
        _, answers = check(capsys, *given, "--lr", repr(factor * proof.lr_matrix))
        assert words in answers[3]


def test_a_start_that_is_not_aligned_is_told_what_an_aligned_one_would_get(here, capsys):
    _, answers = check(capsys, "digits", "--autoencode", "--hidden", "8")
    assert "? no" in answers[2]
    rate = float(re.search(r"with --init aligned: certified learning rate ([\d.e+-]+)\.", answers[3])[1])
    assert rate > 0


def test_one_output_and_shared_modes(here, capsys):
    rng = np.random.default_rng(0)
    X = rng.standard_normal((30, 4))
    np.savez("one.npz", X=X, Y=X @ [1.0, -1.0, 2.0, 0.5] + rng.standard_normal(30))
    _, answers = check(capsys, "one.npz", "--task", "regression", "--normalise", "none", "--hidden", "3")
    assert "? yes, with turning input vectors" in answers[0]
    assert "[T3.5]" in answers[0]
    assert "There is one output: no minimum has a sharpness below" in answers[5]
    # two of four modes are shared: C and M agree on them and are generic on the rest
    V, U = orthogonal(rng, 4), orthogonal(rng, 4)
    A = np.linalg.qr(rng.standard_normal((30, 4)))[0]
    mixed = rng.standard_normal((2, 2))
    X = A @ np.diag([2.0, 1.5, 1.0, 0.5]) @ V.T
    T = np.zeros((4, 4))
    T[:2, :2], T[2:, 2:] = np.diag([1.0, 2.0]), mixed
    np.savez("two.npz", X=X, Y=A @ T @ U.T)
    _, answers = check(capsys, "two.npz", "--task", "regression", "--normalise", "none", "--hidden", "2")
    assert "? for some starts" in answers[0]
    assert "2 of the 4 modes are shared" in answers[0]
    assert "room for no more than 2" in answers[0]


def test_mean_squares_scale_the_learning_rate(here, capsys):
    given = ["digits", "--autoencode", "--hidden", "32", "--init", "aligned", "--scale", "1e-2"]
    rates = []
    for loss in ("squared", "mse"):
        _, answers = check(capsys, *given, "--loss", loss)
        rates.append(float(re.search(r"fast is it\? ([\d.e+-]+) ", answers[3])[1]))
    assert rates[1] / rates[0] == pytest.approx(1797 * 64 / 2, rel=1e-3)


def test_the_certificate_that_is_printed_is_the_one_that_training_uses(here, capsys):
    """A stranger copies the number: check, then train with it, and every step goes down as promised."""
    rng = np.random.default_rng(3)
    X, Y, U, V = joint_data(rng, 20, np.array([2.0, 1.0, 0.5]), np.array([2.0, 1.5, 0.2]), 3, noise=0.0)
    np.savez("joint.npz", X=X, Y=Y)
    given = ["joint.npz", "--task", "regression", "--normalise", "none", "--widths", "3,5,3", "--init", "aligned", "--scale", "0.04"]
    _, answers = check(capsys, *given)
    printed = re.search(r"fast is it\? ([\d.e+-]+) ", answers[3])[1]
    steps = int(re.search(r"([\d,]+) to 0.0001", answers[3])[1].replace(",", ""))
    slightly_less = repr(0.999 * float(printed))
    assert cli.main(["train", *given, "--lr", slightly_less, "--steps", str(steps + steps // 100 + 1), "--no-plot", "--quiet"]) == 0
    run = la.load("joint-run.npz")
    assert (np.diff(run.loss) <= 1e-12 * run.loss[0]).all()
    assert run.excess[-1] <= 1e-4 * run.excess[0]


def test_refusals(here, capsys):
    assert refused(capsys, "none.csv").startswith("none.csv: no such file; pass a path")
    assert refused(capsys, "digits", "--lr", "0") == "--lr is 0.0; a number above 0 was wanted"
    assert refused(capsys, "digits", "--tol", "2") == "tol is 2.0; it must be less than 1"
    assert refused(capsys, "digits", "--hidden", "x") == "--hidden is 'x'; a whole number was wanted"
    assert "the following arguments are required: DATA" in refused(capsys)


def test_help_is_enough(capsys):
    assert cli.main(["check", "--help"]) == 0
    out = capsys.readouterr().out
    parser = cli.parser()._subparsers._group_actions[0].choices["check"]
    for action in parser._actions:
        assert action.help
        for name in action.option_strings:
            assert name in out
    examples = [line.strip() for line in cli_check.EXAMPLES.splitlines() if line.startswith("  linalign ")]
    assert len(examples) >= 4
    for example in examples:
        words = shlex.split(example.split("   ")[0])
        cli.parser().parse_args(words[1:])


def test_diagonal_net_is_found_aligned(here, capsys, monkeypatch):
    """The start that is judged is the one that is given: an unaligned pair is refused, the same pair aligned is not."""
    rng = np.random.default_rng(5)
    bases = [orthogonal(rng, 3) for _ in range(3)]
    net = la.Network.from_matrices(diagonal_net(bases, np.ones((2, 3)) * [1.0, 2.0, 3.0]))
    proof = la.theory.certify(net, rng.standard_normal((9, 3)), rng.standard_normal((9, 3)))
    assert cli_check.on_the_start(net, proof, None).verdict == "aligned now; not known to stay so"


def test_biases_and_residual_layers(here, capsys):
    _, answers = check(capsys, "digits", "--limit", "50", "--layers", "residual conv 3x3, dense 10")
    assert answers[1].startswith("2. Do the layers allow it? not known ")
    assert "what is trained stands beside a fixed matrix; the statements are proved without one." in answers[1]
    _, answers = check(capsys, "digits", "--limit", "50", "--layers", "residual dense 64, dense 10")
    assert answers[1].startswith("2. Do the layers allow it? yes Layer 1, residual dense 64: can hold every matrix.")
    error = refused(capsys, "digits", "--limit", "50", "--layers", "conv 3x3 bias, dense 10 bias")
    assert "--layers has biases, and the answers are proved for networks without; leave 'bias' out of it" in error


def test_one_sample_of_many_inputs_makes_nothing_square(here, capsys, monkeypatch):
    numbers = np.random.default_rng(0).standard_normal(20_190)
    header = ",".join([*(f"x{i}" for i in range(len(numbers) - 1)), "y"])
    (here / "wide.csv").write_text(header + "\n" + ",".join(f"{x:.5f}" for x in numbers) + "\n")
    monkeypatch.setattr(Basis, "whole", None)
    tracemalloc.start()
    try:
        head, answers = check(capsys, "wide.csv", "--task", "regression")
        most = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert "1 samples of 20189" in head
    assert "one sample" in answers[0]
    # the first layer has 32 x 20,189 numbers, and three dozen of its size are more than enough
    assert most < 36 * 8 * 32 * 20_189
