"""Layers from words and back; every refusal names the layer, what came and what was wanted."""

from __future__ import annotations

import re

import numpy as np
import pytest

import linalign as la
from linalign import cli
from linalign.cli import common as cli_common
from linalign.layers import AntiCirculant, BlockDiagonal, Circulant, Conv1d, Conv2d, Dense, Diagonal, Hankel, Skew, Symmetric, Toeplitz
from linalign.layers.words import GRAMMAR, NAMES, parse, spell

CASES = [
    ("dense 5", (7,), None, [Dense(7, 5)]),
    ("dense", (4, 6), 3, [Dense(24, 3)]),
    ("Conv 3x3,  conv 3x3 valid 4 channels STRIDE 2, toeplitz 32, circulant, diagonal, dense 10", (8, 8), 10,
     [Conv2d(8, 3), Conv2d(8, 3, 1, 4, "valid", 2), Toeplitz(36, 32), Circulant(32), Diagonal(32), Dense(32, 10)]),
    ("conv 3, conv 3x5 circular", (6, 7), None, [Conv2d((6, 7), 3), Conv2d((6, 7), (3, 5), padding="circular")]),
    ("conv 2x3 2 channels, conv 3x1 channels 3 stride 1x2", (3, 5, 6), None, [Conv2d((5, 6), (2, 3), 3, 2), Conv2d((5, 6), (3, 1), 2, 3, stride=(1, 2))]),
    ("diagonal, conv 3x3", (4, 4), None, [Diagonal(16), Conv2d(4, 3)]),
    ("conv 3 2 channels, conv 5 valid stride 2", (20,), None, [Conv1d(20, 3, 1, 2), Conv1d(20, 5, 2, 1, "valid", 2)]),
    ("hankel 4, symmetric, skew, anticirculant, blocks 2, blocks 4 8", (6,), None,
     [Hankel(6, 4), Symmetric(4), Skew(4), AntiCirculant(4), BlockDiagonal(((2, 2),) * 2), BlockDiagonal(((1, 2),) * 4)]),
]  # fmt: skip


@pytest.mark.parametrize(("text", "inputs", "outputs", "want"), CASES, ids=lambda value: value if isinstance(value, str) else "")
def test_words_become_layers_and_layers_words(text, inputs, outputs, want):
    assert parse(text, inputs, outputs) == want
    la.Network(want)  # they fit together
    assert parse(spell(want), inputs, outputs) == want


def test_every_structure_is_in_the_grammar_and_in_a_case():
    for name in NAMES:
        assert re.search(rf"\b{name}\b", GRAMMAR)
        assert any(re.search(rf"\b{name}\b", text.lower()) for text, *_ in CASES)


def test_spell_says_what_has_no_words():
    assert spell([la.Tied(np.array([[0, 1], [1, 0]]))]).startswith("Tied(")


@pytest.mark.parametrize(
    ("text", "inputs", "message"),
    [
        ("", (4,), "layer 1, '': there is nothing between two commas; one of dense, toeplitz"),
        ("dense 3,", (4,), "layer 2, '': there is nothing"),
        ("relu, dense 3", (4,), "layer 1, 'relu': 'relu' is no structure; one of dense, toeplitz, hankel, conv"),
        ("dense, dense 3", (4,), "layer 1, 'dense': the number of outputs was wanted after 'dense', such as 'dense 10'"),
        ("dense x", (4,), "layer 1, 'dense x': 'x' is no whole number of at least 1"),
        ("toeplitz 0", (4,), "layer 1, 'toeplitz 0': '0' is no whole number"),
        ("circulant 4", (4,), "layer 1, 'circulant 4': takes no '4': it has as many outputs as inputs, 4"),
        ("blocks 3", (4,), "layer 1, 'blocks 3': 3 equal blocks do not divide 4 inputs and 4 outputs"),
        ("blocks", (4,), "layer 1, 'blocks': the number of blocks was wanted"),
        ("conv", (4, 4), "layer 1, 'conv': the size of the kernel was wanted after 'conv', such as 'conv 3x3'"),
        ("conv 3y3", (4, 4), "layer 1, 'conv 3y3': '3y3' is no size"),
        ("conv 3x3 zero", (4, 4), "layer 1, 'conv 3x3 zero': cannot read 'zero'"),
        ("conv 3x3 same valid", (4, 4), "layer 1, 'conv 3x3 same valid': has padding twice"),
        ("dense 9, conv 3x3", (4, 4), "layer 2, 'conv 3x3': needs images but 9 numbers in a row come in"),
        ("conv 5x5 valid", (4, 4), "layer 1, 'conv 5x5 valid': kernel_size"),
    ],
)
def test_refusals(text, inputs, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        parse(text, inputs)


def test_outputs_are_checked():
    with pytest.raises(ValueError, match="layer 1, 'circulant': has 4 outputs but 10 were wanted; end with 'dense'"):
        parse("circulant", (4,), 10)


# ---- on the command line ---------------------------------------------------------------------------------------------------


def network(*arguments):
    options = cli.parser().parse_args(["train", "digits", "--limit", "20", *arguments])
    data = cli_common.load(options)
    return cli_common.start(options, data)


def test_layers_option():
    pytest.importorskip("sklearn")
    net = network("--layers", "conv 3x3, dense 10")
    assert net.layers == (Conv2d(8, 3), Dense(64, 10))
    assert network("--layers", "conv 3x3, dense", "--image", "4x16").layers == (Conv2d((4, 16), 3), Dense(64, 10))
    assert network("--layers", "conv 3x3, dense", "--image", "4x4x4").layers == (Conv2d(4, 3, 4), Dense(16, 10))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--layers", "dense 10", "--hidden", "3"], "--hidden and --layers both set the layers; pass one of them"),
        (["--layers", "dense 9"], "layer 1, 'dense 9': has 9 outputs but 10 were wanted; end with 'dense'"),
        (["--image", "8x8"], "--image says what convolutions see and has no meaning without --layers; leave it out"),
        (["--layers", "conv 3x3, dense", "--image", "8"], "--image is '8'; a height and a width such as 28x28"),
        (["--layers", "conv 3x3, dense", "--image", "4x4"], "--image is 4x4, 16 pixels, but the data have 64 inputs"),
        (["--layers", "conv 3x3, dense", "--init", "aligned"], "kind 'aligned' does not fit layers[0]"),
    ],
    ids=str,
)
def test_bad_layers_on_the_command_line(options, message, capsys, tmp_path, monkeypatch):
    pytest.importorskip("sklearn")
    monkeypatch.chdir(tmp_path)
    assert cli.main(["check", "digits", *options]) == 2
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert err.startswith(f"linalign: {message}")


def test_train_with_layers(capsys, tmp_path, monkeypatch):
    pytest.importorskip("sklearn")
    monkeypatch.chdir(tmp_path)
    words = "conv 3x3, conv 3x3 valid, dense 10"
    given = ["train", "digits", "--limit", "50", "--steps", "5", "--no-plot", "--scale", "0.1"]
    assert cli.main([*given, "--layers", words]) == 0
    out, _ = capsys.readouterr()
    assert f"network    64 inputs, {words}\n" in out
    run = la.load("digits.npz")
    assert run.network.layers == tuple(parse(words, (8, 8)))
    assert (np.diff(run.loss) < 0).all()


def test_check_with_layers(capsys):
    pytest.importorskip("sklearn")
    assert cli.main(["check", "digits", "--limit", "50", "--layers", "circulant, dense"]) == 0
    out = " ".join(capsys.readouterr().out.split())
    assert "2. Do the layers allow it? no, except for particular data Layer 1, circulant: no pair of bases" in out
    assert cli.main(["check", "digits", "--limit", "50", "--layers", "diagonal, dense"]) == 0
    out = " ".join(capsys.readouterr().out.split())
    assert "2. Do the layers allow it? yes Layer 1, diagonal: one pair of bases" in out
