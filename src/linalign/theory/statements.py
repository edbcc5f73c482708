"""Statements: the numbers that plans, `check`, docstrings and the page of `reproduce` cite, and where they are proved."""

from __future__ import annotations

import re
from dataclasses import dataclass

FOLDER = "docs/theory"


@dataclass(frozen=True)
class Statement:
    """A statement of the theory: the page in `docs/theory` that proves it, and its content in a line."""

    number: str
    page: str
    content: str

    @property
    def anchor(self) -> str:
        """The HTML anchor on the page: `t8-1` of T8.1."""
        return self.number.lower().replace(".", "-")

    @property
    def path(self) -> str:
        """The place in the repository, such as `docs/theory/reductions.md#t8-1`."""
        return f"{FOLDER}/{self.page}#{self.anchor}"


_PAGES = {
    "alignment.md": {
        "T1.1": "two layers are aligned exactly if their Gram matrices at the interface commute",
        "T1.2": "a chain is aligned exactly if the commutators of all its pairs of words vanish; interfaces alone do not suffice",
        "T1.3": "when the bases of all layers fit together: intervals packed into lanes; balanced chains are strictly aligned",
        "T1.4": "the sharp bound on commutators of positive semidefinite matrices",
        "T2.1": "an aligned, balanced global minimum of the squared loss in closed form",
    },
    "invariance.md": {
        "L3.1": "the gradient of an aligned network in its own bases",
        "T3.2": "alignment is invariant if X^T X and (Y^T X)^T (Y^T X) commute",
        "T3.3": "the exact condition for a given start",
        "T3.4": "on generic data the strong form needs one sample or one input",
        "T3.5": "with one output, layers of rank one stay aligned for any loss and any data",
        "T3.6": "with several outputs: the exact condition of the weak form",
    },
    "modes.md": {
        "T4.1": "a simple certified step size",
        "T4.2": "the sharp certified step size from below the target, and the rate",
        "T4.3": "the certified step size from above the target",
        "T4.4": "target zero: linear with a unique smallest layer, sublinear with a tie",
        "T4.5": "target of the opposite sign: when the smallest layer crosses zero",
        "T4.6": "the number of steps to a given loss",
        "T4.7": "transverse stability: the Hessian of the full network at an aligned minimum",
    },
    "constrained.md": {
        "T5.1": "when gradient descent on parameters is projected gradient descent",
        "L6.1": "when a space of matrices is diagonalised by one pair of bases",
        "T6.2": "layers with such bases stay aligned always",
        "T6.3": "otherwise a given start loses alignment at the first step, for almost every data set",
        "L6.4": "how much of a structure the targets reach",
        "T6.5": "starts chosen after the data, for one trainable constrained layer",
        "T6.6": "circulants are aligned at each instant, in bases that move",
    },
    "reductions.md": {
        "T7.1": "samples: n rows become rank(X) rows with the same quadratic loss up to a constant",
        "T8.1": "inputs and width: layers restricted to closed subspaces have the same trajectory",
        "T8.2": "squared loss: a smaller space of outputs",
        "T8.3": "split: orthogonal direct sums run as independent blocks",
    },
    "products.md": {"T9.1": "filters: a chain of convolutions is one correlation, whose data are a Gram matrix of patches"},
    "rules.md": {
        "L11.1": "gradients of the full network from those of the reduced one",
        "T11.2": "class (a): scalar-linear update rules keep all reductions",
        "T11.3": "class (b): scalars from invariant norms",
        "T11.4": "class (c): equivariant matrix rules",
        "T11.5": "class (d): coordinatewise rules, and what remains for them",
        "T11.6": "samples and filters hold for every deterministic full-batch rule",
        "T11.7": "split under the four classes of rules",
        "T12.1": "inputs and width under minibatches",
        "T12.2": "samples, split and filters under minibatches",
        "T12.3": "from which batch size a pivot pays",
        "T12.4": "label noise has the same law on compressed rows",
        "T12.5": "minibatch noise has no equal on compressed rows",
        "T12.6": "noise on all weights",
    },
    "curvature.md": {
        "T13.1": "Hessian and Gauss-Newton products from any pivot",
        "T13.2": "the Hessian under samples and inputs",
        "T13.3": "the full Hessian from that of the network of reduced width",
        "T13.4": "which Hessian decides stability in which metric",
        "T13.5": "the edge of stability of a mode; oscillation balances",
        "T13.6": "the sharpness of minimisers with one output",
        "T13.7": "the Hessian between the matrices that it can make",
        "T14.1": "the neural tangent kernel from small matrices",
        "T14.2": "the mean of the kernel at the start, for every finite width",
        "T14.3": "the kernel of a reduced network",
    },
    "flow.md": {
        "T15.1": "the reductions hold for gradient flow",
        "T15.2": "conserved quantities, also of constrained layers",
        "T15.3": "one mode of two layers in closed form",
        "T15.4": "balanced modes of any depth",
        "T15.5": "the matrix Riccati equation",
        "T15.6": "the integrator, and an error norm that reductions keep",
        "T15.7": "gradient descent as Euler's method: the flow that it follows",
    },
    "affine.md": {
        "T16.1": "what survives for affine layers",
        "T16.2": "samples with biases",
        "T16.3": "width with biases",
        "T16.4": "residual layers",
        "T16.5": "conserved quantities with biases",
    },
    "algorithms.md": {
        "A1": "the alignment score of a chain",
        "A2": "alignment bases",
        "A3": "the aligned global minimum",
        "A4": "whether gradient descent keeps data and start aligned",
        "A5": "the certified step of a mode",
        "A6": "the Gram test and the obstruction",
        "A7": "the compression of data",
        "A8": "the closure for the width",
        "A9": "chains of convolutions",
        "A10": "gradients from a pivot",
    },
}

STATEMENTS = {number: Statement(number, page, content) for page, all_of in _PAGES.items() for number, content in all_of.items()}
_NUMBER = re.compile(r"\b[TL]\d+\.\d+\b")


def cited(text: str) -> list[Statement]:
    """The theorems and lemmas that a text names, in the order of the theory."""
    found = set(_NUMBER.findall(text))
    return [statement for number, statement in STATEMENTS.items() if number in found]
