"""Unknown options: what was meant by a name that there is not, by its spelling or by what other libraries call it."""

from __future__ import annotations

import difflib
import functools
import inspect
from collections.abc import Callable, Iterable
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
R = TypeVar("R")

# names from PyTorch, scikit-learn and Keras, and what they are here
ELSEWHERE = {
    "learning_rate": "lr=",
    "learning_rate_init": "lr=",
    "rate": "lr=",
    "eta": "lr=",
    "alpha": "lr= for the learning rate, weight_decay= for the penalty",
    "scheduler": "lr=, an array or a function of the step, such as one of linalign.optim.schedules",
    "lr_scheduler": "lr=, an array or a function of the step, such as one of linalign.optim.schedules",
    "epochs": "steps=; a step sees all rows, unless batch= is given",
    "n_epochs": "steps=; a step sees all rows, unless batch= is given",
    "num_epochs": "steps=; a step sees all rows, unless batch= is given",
    "max_iter": "steps=",
    "n_steps": "steps=",
    "num_steps": "steps=",
    "iterations": "steps=",
    "batch_size": "batch=",
    "shuffle": "order=, 'shuffle' or 'replacement'",
    "seed": "rng=",
    "random_state": "rng=",
    "generator": "rng=",
    "criterion": "loss=",
    "loss_fn": "loss=",
    "optim": "optimizer=",
    "opt": "optimizer=",
    "solver": "optimizer=",
    "betas": "optimizer=linalign.optim.Adam(...)",
    "beta1": "optimizer=linalign.optim.Adam(...)",
    "beta2": "optimizer=linalign.optim.Adam(...)",
    "nesterov": "optimizer=linalign.optim.SGD(momentum, nesterov=True)",
    "dampening": "optimizer=linalign.optim.SGD(momentum, dampening=...)",
    "l2": "weight_decay=",
    "penalty": "weight_decay=",
    "max_norm": "clip_norm=",
    "max_grad_norm": "clip_norm=",
    "ema": "average=",
    "tolerance": "tol=",
    "callbacks": "record={'name': (every, function)}",
    "callback": "record={'name': (every, function)}",
    "metrics": "record= for what is recorded, metric= for 'parameters' or 'matrix'",
    "log_every": "record={'name': every}",
    "verbose": "progress=True",
    "n_jobs": "threads=",
    "num_threads": "threads=",
    "init": "net.init(kind, rng=...) before",
    "device": "nothing: linalign computes on the CPU",
    "dtype": "net.astype(dtype), and X and Y of the same dtype",
}


def meant(name: str, known: Iterable[str], of: str) -> str:
    """The line to raise for an option `name` that `of`, a function, does not have."""
    names = list(known)
    near = difflib.get_close_matches(name.lower(), [each.lower() for each in names], n=1, cutoff=0.7)
    if name.lower() in ELSEWHERE:
        return f"{of} has no option {name!r}; pass {ELSEWHERE[name.lower()]}"
    if near:
        return f"{of} has no option {name!r}; did you mean {next(each for each in names if each.lower() == near[0])!r}?"
    return f"{of} has no option {name!r}; its options are {', '.join(names)}"


def named(fn: Callable[P, R]) -> Callable[P, R]:
    """The function, which says what was meant by an option that it does not have. Raises: TypeError."""
    known = tuple(inspect.signature(fn).parameters)
    allowed = frozenset(known)

    @functools.wraps(fn)
    def checked(*args: P.args, **options: P.kwargs) -> R:
        if not options.keys() <= allowed:
            unknown = next(name for name in options if name not in allowed)
            raise TypeError(meant(unknown, known, fn.__name__))
        return fn(*args, **options)

    return checked
