"""Muon: the orthogonal factor of a mean of gradients, exact or by the Newton-Schulz iteration of `torch.optim.Muon`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import scipy.linalg

from .. import validate
from ..validate import Array
from .rates import Rates
from .rule import Compiled, Moment, Rule, Slots, decay, decoupled

FORMS = ("newton_schulz", "polar")
ADJUSTMENTS = ("original", "match_rms_adamw", "none")
# singular values below this share of the largest are rounding, and have no direction (docs/theory, section 11)
RANK_TOLERANCE = 1e-8
# the quintic of torch: fast, not convergent; singular values end between 0.7 and 1.2
COEFFICIENTS = (3.4445, -4.7750, 2.0315)


@dataclass(frozen=True)
class Muon(Rule):
    """`b <- momentum b + (1 - momentum) g`; `W <- (1 - lr weight_decay) W - lr s O(b)`, of `g + momentum (b - g)` with Nesterov.

    `O` is the polar factor `U V^T` (`form="polar"`), or `steps` times `M <- a M + (b M M^T + c (M M^T)^2) M` from `M / max(||M||_F, eps)`
    ("newton_schulz"). `s` is `sqrt(max(1, out / in))` ("original"), `0.2 sqrt(max(out, in))` ("match_rms_adamw") or 1 ("none").
    For dense layers. Raises: ValueError, TypeError naming the argument. Source: Jordan et al., 2024; torch computes in bfloat16.
    """

    momentum: float = 0.95
    nesterov: bool = True
    weight_decay: Any = 0.1
    form: str = "newton_schulz"
    steps: int = 5
    coefficients: tuple[float, float, float] = COEFFICIENTS
    eps: float = 1e-7
    adjust_lr: str = "original"
    name: ClassVar[str] = "muon"
    commutes: ClassVar[str] = "rotations"
    slots: ClassVar[int] = 1

    def __post_init__(self) -> None:
        object.__setattr__(self, "momentum", validate.real("momentum", self.momentum, least=0, below=1))
        object.__setattr__(self, "weight_decay", decay(self.weight_decay))
        object.__setattr__(self, "eps", validate.real("eps", self.eps, least=0))
        validate.choice("form", self.form, FORMS)
        validate.choice("adjust_lr", self.adjust_lr, ADJUSTMENTS)
        validate.integer("steps", self.steps, least=1)
        if len(self.coefficients) != 3:
            raise ValueError(f"coefficients has {len(self.coefficients)} entries; the three of the quintic were wanted")
        object.__setattr__(self, "coefficients", tuple(validate.real(f"coefficients[{i}]", c) for i, c in enumerate(self.coefficients)))

    def check(self, layers: Sequence[Any], update: str, metric: str) -> None:
        super().check(layers, update, metric)
        for i, layer in enumerate(layers):
            if layer.form.kind not in ("dense", "fixed"):
                raise ValueError(f"layer {i + 1} is {layer!r} but muon turns matrices of dense layers; choose another optimizer")

    def scale(self, shape: tuple[int, int]) -> float:
        """The factor `s` of a layer `(out, in)`: of the network as given, which a reduction may have made smaller."""
        out, into = shape
        if self.adjust_lr == "original":
            return float(np.sqrt(max(1.0, out / into)))
        return 0.2 * float(np.sqrt(max(out, into))) if self.adjust_lr == "match_rms_adamw" else 1.0

    def orthogonal(self, M: Array) -> Array:
        """`O(M)`; a gradient of zeros has no direction, and stays zero."""
        if self.form == "polar":
            return polar(M)
        a, b, c = self.coefficients
        M = M.T if M.shape[0] > M.shape[1] else M
        turned = np.asarray(M / max(float(np.linalg.norm(M)), self.eps), dtype=M.dtype)
        for _ in range(self.steps):
            gram = turned @ turned.T
            turned = a * turned + (b * gram + c * (gram @ gram)) @ turned
        return turned

    def step(self, params: list[Array], gradients: list[Array], slots: Slots, at: Moment) -> None:
        for i, (theta, gradient) in enumerate(zip(params, gradients, strict=True)):
            if not theta.size:
                continue
            lr, mean = float(at.lr[i]), slots.arrays[0][i]
            mean += (1 - self.momentum) * (gradient - mean)
            wanted = gradient + self.momentum * (mean - gradient) if self.nesterov else mean
            turned = self.orthogonal(wanted)
            if at.weight_decay[i]:
                theta *= 1 - lr * float(at.weight_decay[i])
            theta -= lr * self.scale(at.shapes[i]) * (turned if turned.shape == theta.shape else turned.T)

    layerwise: ClassVar[bool] = False

    def complement(self, rates: Rates, weight_decay: Array, steps: int) -> Array:
        return decoupled(rates, weight_decay, steps)

    def compiled(self) -> Compiled | None:
        if self.form != "newton_schulz":
            return None
        return Compiled("newton_schulz", (self.momentum, float(self.nesterov), float(self.steps), *self.coefficients, self.eps))

    def describe(self) -> str:
        return f"{self.name}, {'polar factor' if self.form == 'polar' else f'{self.steps} steps of Newton-Schulz'}"


def polar(M: Array) -> Array:
    """`U V^T` of the singular directions above rounding: of a rank-deficient matrix, a partial isometry."""
    if not np.isfinite(M).all():
        return np.full_like(M, np.nan)
    U, s, Vt = scipy.linalg.svd(M, full_matrices=False, check_finite=False)
    r = int(np.count_nonzero(s > RANK_TOLERANCE * s[0])) if s.size and s[0] > 0 else 0
    return np.asarray(U[:, :r] @ Vt[:r])
