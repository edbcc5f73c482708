"""Promise: what a certificate predicted of a run, beside what was measured."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from .. import validate
from ..losses import Loss
from ..problem.compressed import Compressed
from ..problem.network import Network
from ..theory import Certificate, certify
from ..theory.modes import MOVING
from ..validate import Array

# how far the loss falls towards its limit, as a share of its distance at the start
SHARES = (1e-1, 1e-2, 1e-4, 1e-8)
# a loss nearer to its limit than this share of what it was is rounding
NOISE = 1e-13


@dataclass(frozen=True)
class Promise:
    """Predicted and measured, of a run with the certified learning rate; `print` it for plain words.

    lr : the learning rate.
    limit : the loss that the run goes to, and `distance` from there at the start.
    rate : after `t` steps the distance is at most `(1 - rate)^(2 t)` of that at the start; None where nothing linear is promised.
    measured : the rate of that form that the run had, from its start to its last step above rounding; None if there is none.
    shares, promised, taken : the loss comes within `share` of its distance in at most `promised` steps, and took `taken`; None where
        nothing is promised, and where the run ended before.
    """

    lr: float
    limit: float
    distance: float
    rate: float | None
    measured: float | None
    shares: tuple[float, ...]
    promised: tuple[int | None, ...]
    taken: tuple[int | None, ...]

    @property
    def kept(self) -> bool:
        """Whether nothing that was promised failed: no rate below the promised one, no share reached late."""
        slow = self.rate is not None and self.measured is not None and self.measured < self.rate * (1 - 1e-9) - 1e-12
        late = any(t is not None and p is not None and t > p for t, p in zip(self.taken, self.promised, strict=True))
        return not (slow or late)

    def __str__(self) -> str:
        if self.distance <= 0.0 or self.measured is None:
            return f"certified learning rate {self.lr:.6g}: nothing moves"
        rate = "no linear rate" if self.rate is None else f"rate {self.rate:.4g} a step or more"
        lines = [f"certified learning rate {self.lr:.6g}: promised {rate}, measured {self.measured:.4g}; limit {self.limit:.6g}"]
        words = []
        for share, most, took in zip(self.shares, self.promised, self.taken, strict=True):
            if most is not None:
                words.append(f"{share:g} in {most:,} ({'not reached' if took is None else f'took {took:,}'})")
        if words:
            lines.append(f"steps until the loss above its limit is a share of what it was: {', '.join(words)}")
        return "\n".join(lines)

    def to_dict(self) -> dict[str, Any]:
        """Plain numbers."""
        return asdict(self)

    @classmethod
    def from_dict(cls, fields: dict[str, Any]) -> Promise:
        """What `to_dict` wrote."""
        return cls(**{**fields, **{name: tuple(fields[name]) for name in ("shares", "promised", "taken")}})


def prove(name: str, net: Network, X: Any, Y: Any, loss: str | Loss, update: str, momentum: float, weight_decay: Any) -> Certificate:
    """What is certified for this start with `lr=name`. Raises: ValueError where nothing is proved."""
    validate.choice("lr", name, ("auto", "certified"))
    if update != "simultaneous" or momentum or np.any(weight_decay):
        raise ValueError("lr is 'certified' but the certificate is for gradient descent without momentum and weight decay; pass a number")
    if isinstance(X, Compressed):
        raise ValueError("lr is 'certified' but the data are compressed; pass X and Y, or theory.certify(net, X, Y).lr_matrix")
    found = certify(net, X, Y, loss)
    if found.lr_matrix is None:
        raise ValueError(f"lr is 'certified' but nothing is certified: {found.reason}; pass a number")
    return found


def rate(proof: Certificate) -> float:
    """The learning rate of a certificate; where nothing moves every one will do."""
    return proof.lr_matrix if proof.lr_matrix is not None and math.isfinite(proof.lr_matrix) else 1.0


def compare(proof: Certificate, lr: float, excess: Array, floor: float) -> Promise:
    """The promise of a certificate beside a run whose loss above `floor` was `excess`."""
    assert proof.limit is not None
    # the two are differences of large numbers where the fit is poor; the excess is not
    above = excess - max(proof.limit - floor, 0.0)
    distance = float(above[0])
    crossing = any(mode.case == "crosses" for mode in proof.modes)
    moving = any(mode.case in MOVING for mode in proof.modes)
    linear = proof.rate if moving and proof.rate and not crossing else None
    noise = max(NOISE * float(excess[0] + floor), 0.0)
    live = np.flatnonzero(above > max(noise, NOISE * distance))
    last = int(live[-1]) if len(live) else 0
    measured = 1.0 - (float(above[last]) / distance) ** (0.5 / last) if last and distance > 0 else None
    promised: list[int | None] = []
    taken: list[int | None] = []
    for share in SHARES:
        try:
            promised.append(proof.steps(share * distance, lr) if moving and distance > noise else None)
        except (OverflowError, ValueError):
            promised.append(None)
        reached = np.flatnonzero(above <= share * distance)
        taken.append(int(reached[0]) if len(reached) and distance > 0 else None)
    return Promise(lr, proof.limit, distance, linear, measured if moving else None, SHARES, tuple(promised), tuple(taken))
