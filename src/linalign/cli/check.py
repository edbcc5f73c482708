"""`linalign check`: what is proved about a data set and a network before anything is trained, in plain words."""

from __future__ import annotations

import argparse
import math
import textwrap
from dataclasses import dataclass
from itertools import groupby

import linalign as la

from ..data import Dataset
from ..layers.words import GRAMMAR, spell
from ..theory import Certificate, InvarianceCondition
from ..theory.invariance import CASES
from ..theory.modes import CASES as MODE_CASES
from ..theory.modes import MOVING
from ..theory.statements import FOLDER, cited
from .common import DATA, Stop, add_data_options, add_network_options, describe, described, load, refusals, start

WIDTH = 110
# how far the loss falls, as a share of its distance to the limit at the start
SHARES = (1e-2, 1e-4, 1e-8)
# thresholds that are printed one by one, and parameters up to which a sharpness is searched for
SHOWN = 4
LARGE = 200_000

DESCRIPTION = (
    "Ask of a data set and a network, before training: can its layers stay aligned, does this start, which learning rate is safe, how many "
    "steps will it take, and to which loss? Answers are proved, with the number that decides; nothing is trained, no file is written."
)
EXAMPLES = f"""\
examples:
  linalign check digits                                           the network of "linalign train digits"
  linalign check digits --autoencode --hidden 32 --init aligned --scale 1e-2
  linalign check wine.csv --target quality --task regression --widths 11,4,1
  linalign check digits --layers "conv 3x3, conv 3x3 valid, dense 10"
  linalign check digits --hidden 20 --init orthogonal --scale 0.1 --loss mse --lr 0.01

{DATA}

{GRAMMAR}

the words: layers W_1, ..., W_d are aligned if each takes the output singular vectors of the one before as its input singular
vectors, so that the network is a few independent chains of numbers, its modes. Alignment is invariant if gradient descent keeps
these vectors as they are. X holds the inputs, Y the targets, a row a sample.
the statements in brackets, such as [T3.2], are listed below the answers; docs/theory/ of the repository proves them.
the paper is arXiv 2003.06340.

exit status: 0 the questions are answered, whatever the answers; 2 wrong options or a bad file
"""


@dataclass(frozen=True)
class Answer:
    """A question, its answer in a word or a number, and the reasons, a paragraph each."""

    question: str
    verdict: str
    reasons: tuple[str, ...]

    def __str__(self) -> str:
        head = f"{self.question}  {self.verdict}"
        return "\n".join([head, *(textwrap.fill(text, WIDTH, initial_indent="   ", subsequent_indent="   ") for text in self.reasons)])


def add_options(check: argparse.ArgumentParser) -> None:
    """The options of the command."""
    add_data_options(check)
    add_network_options(check)
    add = check.add_argument_group("training that is judged").add_argument
    add("--loss", choices=("squared", "mse"), default="squared", help="half the sum of squares, or their mean over entries [squared]")
    add("--lr", type=float, metavar="R", help="also judge this learning rate [only the certified one is given]")
    add("--tol", type=float, metavar="T", help="relative residual at which an equation counts as true [1e-10; 1e-5 in float32]")


def run(options: argparse.Namespace) -> int:
    """`linalign check`."""
    if options.lr is not None and not 0 < options.lr < math.inf:
        raise Stop(f"--lr is {options.lr}; a number above 0 was wanted", 2)
    with refusals():
        data = load(options)
        net = start(options, data)
        if net.has_biases:
            raise Stop("--layers has biases, and the answers are proved for networks without; leave 'bias' out of it", 2)
        condition = la.theory.invariance_condition(data.X, data.Y, tol=options.tol)
        print(f"data       {describe(data)}")
        print(f"network    {described(net)}, {options.init} start, {options.loss} loss")
        found = answers(options, data, net, condition)
        for i, answer in enumerate(found):
            print(f"\n{i + 1}. {answer}", flush=True)
        print(f"\n{statements(found)}")
    return 0


def statements(found: list[Answer]) -> str:
    """The statements that the answers name, with the page that proves each."""
    named = cited("\n".join(reason for answer in found for reason in answer.reasons))
    lines = [f"   {s.number:<5} {s.page}#{s.anchor:<6} {s.content}" for s in named]
    return "\n".join([f"The statements in brackets, with their pages in {FOLDER}/ of the repository:", *lines])


def answers(options: argparse.Namespace, data: Dataset, net: la.Network, condition: InvarianceCondition) -> list[Answer]:
    """All questions and their answers."""
    proof = la.theory.certify(net, data.X, data.Y, options.loss, tol=options.tol)
    found = [on_the_data(condition, net), on_the_layers(net), on_the_start(net, proof, options.tol)]
    # for data that allow it, what an aligned start would have been promised
    other = None
    if condition.holds and not proof.certified and net.is_dense:
        size = max(float(la.singular_values(net)[0]), 1e-12) ** (1 / net.depth)
        aligned = net.init("aligned", X=data.X, Y=data.Y, singular_values=size, rng=options.rng, dtype=options.dtype)
        other = la.theory.certify(aligned, data.X, data.Y, options.loss, tol=options.tol)
    return [
        *found,
        on_the_learning_rate(proof, other, options.lr),
        on_the_loss(data, net, proof),
        on_the_edge(options, data, net, proof, other),
    ]


# ---- the questions ---------------------------------------------------------------------------------------------------------


def on_the_data(condition: InvarianceCondition, net: la.Network) -> Answer:
    """The condition on the data, its special cases and weak forms."""
    rule = (
        "With the squared loss and dense layers, every start that is aligned with the data keeps its singular vectors exactly when the "
        "matrices X^T X and (Y^T X)^T (Y^T X) commute [T3.2]."
    )
    reasons, most = [], min(len(condition.input_basis), len(condition.output_basis))
    if condition.holds:
        reasons.append(f"{rule} They do: relative residual {condition.residual:.1e}, tolerance {condition.tol:.0e}.")
    else:
        reasons.append(f"{rule} They do not: their commutator is {condition.commutator:.2g} on a scale from 0 (they commute) to 1.")
        if condition.triples >= min(net.widths):
            reasons.append(
                f"But {condition.triples} of the {most} modes are shared by inputs and targets, and this network has room for no more than "
                f"{min(net.widths)}: a start made of shared modes alone keeps its singular vectors [T3.3]."
            )
        elif condition.triples:
            reasons.append(
                f"{condition.triples} of the {most} modes are shared by inputs and targets: a start made of these alone keeps its "
                "singular vectors [T3.3]."
            )
        else:
            reasons.append(
                "No mode is shared by inputs and targets, so no aligned start whose modes move can keep all its vectors [T3.3, T3.4]."
            )
    reasons += [f"Special case: {name.replace('_', ' ')} ({CASES[name]})." for name in condition.cases]
    if condition.any_loss:
        reasons.append(
            "There is one output: an aligned start of rank one stays aligned for every loss and all data; only the input vector of the "
            "first layer turns [T3.5]."
        )
    elif condition.weak and not condition.holds:
        reasons.append(
            f"The outputs are independent problems: with the input vectors of the first layer free to turn, alignment is kept "
            f"[T3.6, residual {condition.weak_residual:.1e}]."
        )
    if condition.holds:
        word = "yes"
    elif condition.any_loss or condition.weak:
        word = "yes, with turning input vectors"
    elif condition.triples:
        word = "for some starts"
    else:
        word = "no"
    return Answer("Can alignment last on these data?", word, tuple(reasons))


def on_the_layers(net: la.Network) -> Answer:
    """Whether the structure of the layers forbids alignment."""
    question = "Do the layers allow it?"
    if net.is_dense:
        return Answer(question, "yes", ("Dense layers can hold every matrix; the data alone decide.",))
    reasons, forbidden, moving, unknown = [], False, True, False
    place = 0
    for layer, group in groupby(net.layers):
        count = len(list(group))
        named = f"Layer {place + 1}" if count == 1 else f"Layers {place + 1} to {place + count}"
        place += count
        if isinstance(layer.linear, la.Dense):
            reasons.append(f"{named}, {spell([layer])}: can hold every matrix.")
            moving = False
            continue
        if layer.linear is not layer:
            reasons.append(
                f"{named}, {spell([layer])}: what is trained stands beside a fixed matrix; the statements are proved without one."
            )
            unknown, moving = True, False
            continue
        found = la.theory.obstruction(layer)
        if found.diagonalisable:
            reasons.append(
                f"{named}, {spell([layer])}: one pair of bases makes all its matrices diagonal (score {found.score:.1e}) [L6.1, T6.2]."
            )
            continue
        forbidden = True
        moving &= found.commuting
        least, most = found.reaching
        number = f"{least}" if least == most else f"{least} to {most}"
        reasons.append(
            f"{named}, {spell([layer])}: no pair of bases makes all its matrices diagonal (score {found.score:.2g}, not 0) [L6.1]. "
            f"For generic data its singular vectors turn at the first step, from 1 sample [T6.3]; from {number} on, the gradient can be "
            "any matrix of the layer [L6.4]."
        )
        if found.commuting:
            reasons.append(
                "Its matrices are normal and commute: chains of such layers are aligned at every instant, in turning bases [T6.6]."
            )
    if forbidden and moving:
        return Answer(question, "not in fixed bases", tuple(reasons))
    if forbidden:
        return Answer(question, "no, except for particular data", tuple(reasons))
    return Answer(question, "not known" if unknown else "yes", tuple(reasons))


def on_the_start(net: la.Network, proof: Certificate, tol: float | None) -> Answer:
    """Whether the start is aligned, and whether it is known to stay so."""
    question = "Is this start aligned, and does it stay so?"
    if net.depth == 1:
        return Answer(question, "yes", ("There is one layer, and nothing for it to be aligned with.",))
    found = la.alignment_certificate(net, tol)
    text = str(found)
    reasons = [text[0].upper() + text[1:] + "."]
    base = la.alignment_baseline(net, rng=0, draws=2)
    scores = ", ".join(
        f"layers {i + 1} and {i + 2}: {a:.3f} (random dense layers: {b:.3f})"
        for i, (a, b) in enumerate(zip(la.alignment(net), base["alignment"], strict=True))
    )
    reasons.append(f"Score of alignment, 1 at most: {scores}.")
    if proof.start is not None:
        text = str(proof.start)
        reasons.append(text[0].upper() + text[1:] + ".")
    if proof.start is not None and proof.start.holds:
        return Answer(question, "yes and yes", tuple(reasons))
    if found.aligned:
        return Answer(question, "aligned now; not known to stay so", tuple(reasons))
    return Answer(question, "no", tuple(reasons))


def on_the_learning_rate(proof: Certificate, other: Certificate | None, lr: float | None) -> Answer:
    """The certified learning rate, the linear rate and the numbers of steps."""
    question = "Which learning rate is safe, and how fast is it?"
    if proof.lr is None or proof.lr_matrix is None:
        why = proof.reason if proof.start is not None else "the statements are proved for dense layers"
        reasons = [f"Nothing is proved for this start: {why}. (It may well converge; see linalign train.)"]
        if lr is not None:
            reasons.append(f"Of --lr {lr:g} nothing can be said for that reason.")
        if other is not None and other.lr_matrix is not None:
            reasons.append(
                f"These data allow more. A start of this size with --init aligned: certified learning rate {other.lr_matrix:.4g}."
            )
            reasons += _pace(other)
        return Answer(question, "none is certified", tuple(reasons))
    reasons = [
        f"With {proof.lr_matrix:.6g} or less every mode goes to its target without overshoot, and rounding errors are damped near the "
        f"limit [T4.7]; in exact arithmetic {proof.lr:.6g} would do [T4.2 to T4.5].",
        *_pace(proof),
    ]
    if lr is not None:
        if lr <= proof.lr_matrix:
            reasons.append(f"--lr {lr:g} is within the certificate, {_ratio(proof.lr_matrix, lr)} below it.")
        elif lr <= proof.lr:
            reasons.append(f"--lr {lr:g} is certified in exact arithmetic only: rounding errors may grow.")
        else:
            reasons.append(
                f"--lr {lr:g} is {_ratio(lr, proof.lr_matrix)} above the certificate: it may still converge, but nothing is proved."
            )
    return Answer(question, f"{proof.lr_matrix:.4g}", tuple(reasons))


def _ratio(large: float, small: float) -> str:
    return f"{large / small:.3g} times"


def _pace(proof: Certificate) -> list[str]:
    """The modes, the rate and the steps of a certificate that holds."""
    assert proof.limit is not None
    assert proof.rate is not None
    kinds = [(case, sum(mode.case == case for mode in proof.modes)) for case in MODE_CASES]
    counted = [f"{count} {'mode' if count == 1 else 'modes'}: {MODE_CASES[case]}" for case, count in kinds if count]
    lines = ["; ".join(counted) + "."] if counted else []
    if not any(mode.case in MOVING for mode in proof.modes):
        return [*lines, "Nothing moves from this start."]
    speed = f"Errors shrink by a factor of {1 - proof.rate:.9g} a step or faster." if proof.rate > 0 else "No linear rate: a mode fades."
    distance = proof.loss - proof.limit
    counts = []
    for share in SHARES:
        try:
            counts.append(f"{proof.steps(share * distance):,} to {share:g}")
        except (OverflowError, ValueError):
            break
    steps = (
        f" Steps until the loss above its limit is proved to be at most a share of what it is now: {', '.join(counts)}." if counts else ""
    )
    return [*lines, speed + steps]


def on_the_loss(data: Dataset, net: la.Network, proof: Certificate) -> Answer:
    """The least loss, the aligned minimum that attains it, and where this start goes."""
    dense = net.is_dense
    best = la.theory.aligned_minimum(net.widths, data.X, data.Y)
    reasons = [
        f"The least squared loss of any network with these widths, by the best approximation of rank {best.rank} "
        f"of the least-squares fit [T2.1]; half the sum of squares is {best.optimum:.6g}. "
        f"A network was built that attains it up to {max(abs(best.gap), 1e-16):.0e} of the targets, aligned and balanced.",
        f"The loss of this start is {proof.loss:.6g}"
        + (f"; its certified limit is {proof.limit:.6g}, " if proof.limit is not None else ".")
        + ("" if proof.limit is None else "the least there is." if proof.global_minimum else "above the least: some modes stand still."),
    ]
    if not best.unique:
        reasons.append("The fitted values of the minimum are not unique: two of its modes weigh the same.")
    if not dense:
        reasons.append("That is for dense layers; the layers here are constrained, so their least loss can only be larger.")
    return Answer("What is the least loss?", f"{proof.optimum:.6g}", tuple(reasons))


def on_the_edge(options: argparse.Namespace, data: Dataset, net: la.Network, proof: Certificate, other: Certificate | None) -> Answer:
    """Up to which learning rate minima are stable: modes, the flattest minimiser where it is known, the aligned minimum."""
    reasons, known = [], []
    modes = proof if proof.modes else other
    reached = [mode for mode in modes.modes if mode.case in MOVING or mode.case == "fitted"] if modes is not None else []
    edges = sorted(mode.edge for mode in reached if math.isfinite(mode.edge))
    if edges:
        shown = ", ".join(f"{edge:.6g}" for edge in edges[:SHOWN]) + (f", ... {edges[-1]:.6g}" if len(edges) > SHOWN else "")
        reasons.append(
            f"A fitted mode loses stability at a learning rate of 2/(lambda d q^(2-2/d)), of the {len(edges)} here: {shown} [T13.5]. "
            "Beyond the first of them gradient descent oscillates, or goes elsewhere."
        )
        known.append(edges[0])
    if proof.least_sharpness is not None:
        bound = 2 / proof.least_sharpness
        reasons.append(
            f"There is one output: no minimum has a sharpness below {proof.least_sharpness:.6g}, so that none is stable above {bound:.6g} "
            "[T13.6]."
        )
        known.append(bound)
    if net.is_dense and not known:
        best = la.theory.aligned_minimum(net.widths, data.X, data.Y).network
        if best.size <= LARGE:
            top = la.sharpness(best, data.X, data.Y, loss=options.loss)
            reasons.append(f"The aligned, balanced minimum has sharpness {top:.6g}: gradient descent is stable there up to {2 / top:.6g}.")
            known.append(2 / top)
    if not known:
        return Answer("Where is the edge of stability?", "not known", ("Of minima with these layers no sharpness is known.",))
    return Answer("Where is the edge of stability?", f"{min(known):.4g}", tuple(reasons))
