"""Calls: one line where Python says that an argument is missing, one too many, or has a name that there is not.

What was meant by such a name is told by its spelling, or by what other libraries call it.
"""

from __future__ import annotations

import difflib
import functools
import inspect
import numbers
from abc import ABCMeta
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

from .validate import brief

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
    elsewhere = ELSEWHERE.get(name.lower())
    if elsewhere is not None and (elsewhere.split("=")[0] in names or ("steps" in names and "=" not in elsewhere.split(" ")[0])):
        return f"{of} has no option {name!r}; pass {elsewhere}"
    if near:
        return f"{of} has no option {name!r}; did you mean {next(each for each in names if each.lower() == near[0])!r}?"
    if name == "lr":
        return f"{of} has no option 'lr'; the learning rate is one of train: pass it there"
    return f"{of} has no option {name!r}; its options are {', '.join(names)}" if names else f"{of} has no options, and {name!r} was given"


def absent(of: str, name: str, here: Mapping[str, str]) -> str:
    """The line to raise for an attribute that an object has in other libraries, and what stands for it here."""
    return f"{of} has no attribute {name!r}" + (f"; use {here[name]}" if name in here else "")


def wrong(of: str, signature: inspect.Signature, args: tuple[Any, ...], options: Mapping[str, Any]) -> str | None:
    """The line to raise for a call that does not fit; None for one that does."""
    parameters = list(signature.parameters.values())
    some, every = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    known = [p.name for p in parameters if p.kind not in (some, every)]
    by_position = [p for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    kinds = {p.kind for p in parameters}
    if every not in kinds:
        for name in options:
            if name not in known:
                return meant(name, known, of)
    call = f"{of}({', '.join([brief(value) for value in args] + [f'{name}={brief(value)}' for name, value in options.items()])})"
    needed = [p.name for p in parameters if p.default is p.empty and p.kind not in (some, every)]
    places = [p.name for p in by_position]
    shown = [name if name in places else f"{name}=..." for name in needed]
    wanted = f"{of}({', '.join(shown + ['...'] * (len(known) > len(needed)))})"
    if len(args) > len(by_position) and some not in kinds:
        if by_position and by_position[0].annotation == "Sequence[int]" and all(isinstance(value, numbers.Integral) for value in args):
            return f"{call} has {len(args)} values; one list was wanted: {of}([{', '.join(map(str, args))}])"
        named = known[len(by_position) :]
        most = len(by_position)
        line = f"{call} has {len(args)} values by position; {wanted} was wanted, with {f'at most {most}' if most else 'none'} by position"
        such = f", such as {of}({', '.join(map(brief, args[:most]))})" if most else ""
        return line + (f": pass {' or '.join(f'{name}=' for name in named[:4])} by name" if named else such)
    taken = [p.name for p in by_position[: len(args)]]
    for name in options:
        if name in taken:
            return f"{call} gives {name} twice, by position and by name; pass it once"
    missing = [name for name in needed if name not in taken and name not in options]
    if not missing:
        return None
    sizes = [value for value in args if isinstance(value, numbers.Integral)]
    whole = all(signature.parameters[name].annotation in ("int", int) for name in missing)
    such = (
        f", such as {of}({', '.join(map(str, [*args, *[sizes[-1]] * len(missing)]))})"
        if whole and sizes and len(sizes) == len(args)
        else ""
    )
    return f"{call} lacks {' and '.join(missing)}; {wanted} was wanted{such}"


def _line(
    error: TypeError, of: str, signature: Callable[[], inspect.Signature], args: tuple[Any, ...], options: Mapping[str, Any]
) -> str | None:
    """What to raise in place of an error of the call itself; None for one from inside it, which has more frames."""
    if error.__traceback__ is None or error.__traceback__.tb_next is not None:
        return None
    return wrong(of, signature(), args, options)


def called(fn: Callable[P, R]) -> Callable[P, R]:
    """The function, which says in one line what is wrong with a call that does not fit. Raises: TypeError."""
    whole = inspect.signature(fn)
    method = next(iter(whole.parameters)) in ("self", "cls")
    signature = whole.replace(parameters=list(whole.parameters.values())[method:])
    of = fn.__qualname__

    @functools.wraps(fn)
    def checked(*args: P.args, **options: P.kwargs) -> R:
        try:
            return fn(*args, **options)
        except TypeError as error:
            line = _line(error, of, lambda: signature, args[method:], options)
            if line is None:
                raise
        raise TypeError(line)

    return checked


class Called(ABCMeta):
    """Of classes that say in one line what is wrong with a call that does not fit."""

    if not TYPE_CHECKING:

        def __call__(cls, *args, **options):
            try:
                return super().__call__(*args, **options)
            except TypeError as error:
                line = _line(error, cls.__name__, lambda: cls.__signature__, args, options)
                if line is None:
                    raise
            raise TypeError(line)

        @property
        def __signature__(cls):
            """That of making one, which `inspect` would else take from here."""
            own = inspect.signature(cls.__init__)
            return own.replace(parameters=list(own.parameters.values())[1:], return_annotation=inspect.Signature.empty)
