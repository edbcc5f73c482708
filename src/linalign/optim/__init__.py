"""Update rules, learning rates and batches. `train(..., optimizer=)` takes a rule or its name."""

from __future__ import annotations

from dataclasses import replace
from importlib import import_module
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import validate
from .adagrad import Adagrad
from .adam import Adam, AdamW
from .muon import Muon
from .normalized import GroupRMSprop, NormalizedGD
from .rmsprop import RMSprop
from .rule import Moment, Rule, Slots
from .sam import SAM
from .sgd import SGD
from .sign import Sign
from .wrapped import Averaged, Clipped

if TYPE_CHECKING:
    from . import schedules

RULES: dict[str, type[Rule]] = {
    rule.name: rule for rule in (SGD, GroupRMSprop, NormalizedGD, Adam, AdamW, RMSprop, Adagrad, Sign, Muon, SAM)
}

__all__ = [
    "RULES", "SAM", "SGD", "Adagrad", "Adam", "AdamW", "GroupRMSprop", "Moment", "Muon", "NormalizedGD", "RMSprop", "Rule", "Sign",
    "Slots", "chosen", "resolve", "schedules",
]  # fmt: skip


def resolve(optimizer: str | Rule) -> Rule:
    """The rule of that name with its defaults, or the rule itself. Raises: ValueError, TypeError."""
    if isinstance(optimizer, Rule):
        return optimizer
    if not isinstance(optimizer, str):
        kind = optimizer if isinstance(optimizer, type) else type(optimizer)
        if any(kind.__name__ == rule.__name__ for rule in RULES.values()):
            raise TypeError(f"optimizer is {kind.__module__}.{kind.__name__}; pass optimizer=linalign.optim.{kind.__name__}(...)")
        came = validate.brief(optimizer)
        raise TypeError(f"optimizer is {came}; a name such as 'adam' or a rule such as linalign.optim.SGD(momentum=0.9) was wanted")
    return RULES[validate.choice("optimizer", optimizer, RULES)]()


def chosen(optimizer: str | Rule | None, momentum: Any, weight_decay: Any, clip_norm: Any = None, average: Any = None) -> Rule:
    """The rule that these options of `train` mean: SGD without an optimizer, which else has its own momentum and decay.

    Raises: ValueError, TypeError naming the option.
    """
    if optimizer is None:
        rule: Rule = SGD(momentum, weight_decay=weight_decay)
    else:
        rule = resolve(optimizer)
        for name, value in (("momentum", momentum), ("weight_decay", weight_decay)):
            if np.any(value):
                raise ValueError(f"{name} is {value!r} but the optimizer {rule.name} has its own; pass {name} to the rule instead")
    if clip_norm is not None:
        most = validate.real("clip_norm", clip_norm, above=0)
        # what is clipped is the gradient that moves the weights
        rule = replace(rule, base=Clipped(rule.base, most)) if isinstance(rule, SAM) else Clipped(rule, most)
    return rule if average is None else Averaged(rule, validate.real("average", average, least=0, below=1))


def __getattr__(name: str) -> Any:
    # imported when it is first asked for
    if name != "schedules":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return import_module(".schedules", __name__)
