"""SAM: another rule, with the gradient taken a little way uphill."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

from .. import validate
from ..validate import Array
from .rule import Compiled, Moment, Rule, Slots
from .sgd import SGD
from .wrapped import Wrapped


@dataclass(frozen=True)
class SAM(Wrapped):
    """`base` with the gradient at `W + rho g / (||g|| + 1e-12)`, g the gradients of all layers at W.

    Two gradients a step. Raises: ValueError, TypeError naming the argument. Source: Foret et al., 2021, algorithm 1.
    """

    rho: float = 0.05
    base: Rule = field(default_factory=SGD)
    name: ClassVar[str] = "sam"
    least: ClassVar[str] = "norms"
    layerwise: ClassVar[bool] = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "rho", validate.real("rho", self.rho, least=0))
        if not isinstance(self.base, Rule):
            raise TypeError(f"base is {self.base!r}; a rule such as linalign.optim.SGD(momentum=0.9) was wanted")

    def step(self, params: list[Array], gradients: list[Array], slots: Slots, at: Moment) -> None:
        share = self.rho / (at.norm(gradients) + 1e-12)
        uphill = [theta + share * gradient for theta, gradient in zip(params, gradients, strict=True)]
        self.base.step(params, at.gradients(uphill)[1], slots, at)

    def compiled(self) -> Compiled | None:
        found = self.base.compiled()
        # rho 0 is told from no climb by nothing in the kernel
        return found._replace(rho=self.rho) if found is not None and found.rho == 0 and found.average < 0 and self.rho else None

    def describe(self) -> str:
        return f"{self.name} of {self.base.describe()}"
