"""Training: plan, bind, run the loop in C, lift."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from .. import validate
from ..calls import called
from ..engine.engines import simultaneous
from ..engine.rules import ReferenceSource
from ..engine.threads import count, for_lift, for_loop, for_plan
from ..files import Name
from ..losses import Loss
from ..optim import Rule
from ..plan.plan import Plan
from ..plan.planner import make_plan
from ..problem.network import Network
from ..problem.problem import make_problem
from ..problem.stream import streamed
from ..record import quantities
from ..record.recorder import Recorder
from ..validate import Array
from .automatic_rate import AUTO
from .execute import execute, recorded
from .objective import Objective
from .options import IMPLEMENTATIONS, Options
from .run import Run


@called
def train(
    net: Network,
    X: Any = None,
    Y: Any = None,
    *,
    loss: str | Loss = "squared",
    lr: Any,
    steps: int,
    tol: float | None = None,
    metric: str = "parameters",
    update: str = "simultaneous",
    momentum: float = 0.0,
    weight_decay: Any = 0.0,
    optimizer: str | Rule | None = None,
    clip_norm: float | None = None,
    average: float | None = None,
    batch: Any = None,
    order: Any = "shuffle",
    rng: Any = None,
    record: Any = None,
    reduce: Any = "auto",
    pivot: Any = "auto",
    threads: int | None = None,
    progress: bool = False,
    implementation: str = "kernel",
    plan: Plan | None = None,
    validation: Any = None,
    stop: Callable[..., Any] | None = None,
    label_noise: float = 0.0,
    gradient_noise: float = 0.0,
    stream: Any = None,
    checkpoint: Name | None = None,
    checkpoint_every: float = 60.0,
) -> Run:
    """Train a deep linear network by gradient descent on the full data.

    `W_i <- W_i - lr_i v_i`, `v_i <- momentum v_i + dL/dW_i + weight_decay_i W_i` (torch's SGD).

    Parameters
    ----------
    net : Network
        The start; not changed.
    X : array (n, k_0), Compressed, or None
        Rows are samples. None is matrix factorisation: Y is then the target of `W_d ... W_1`. Compressed holds its targets.
    Y : array (n, k_d), or integer labels (n,) for cross-entropy, or (k_d, k_0) if X is None; None for losses of the product.
    loss : str or linalign.losses.Loss
        "squared" (1/2 sum of squares), "mse" (mean over all entries), "huber", "logistic", "exponential", "hinge", "squared_hinge",
        "cross_entropy".
    lr : number, one a layer (0 freezes it), an array (steps,) or (steps, d), a function of the step counted from 0, "auto", "certified"
        Functions: `linalign.optim.schedules`, or your own.
        "auto": `(1 - momentum) / (c L G)` from the curvature of the loss, at which most runs do not diverge; `run.lr` says which it was.
        L is the largest eigenvalue of `X^T X`, c a bound of the loss's second derivative in an output, G the larger of the sum of
        `||W_d ... W_{i+1}||^2 ||W_{i-1} ... W_1||^2` over layers at the start and `d q^(2 - 2/d)`, `q = 8 ||Y|| / ||X||`, which is that
        sum for balanced layers at a matrix of norm q. With `batch=b`, L is b times the largest squared norm of a row of X: no batch has a
        larger eigenvalue. Over the most entries that share a parameter, a layer, in `metric="parameters"`. It is often ten times
        below the largest rate that does: where the loss falls smoothly, try `lr=4 * run.lr`.
        "certified": the learning rate of `theory.certify` for matrices (T4.7), where it proves one; `run.certificate` then has
        what was promised beside what was measured.
    weight_decay : number, or one a layer
    steps : int
        Steps to take; 0 evaluates the start.
    tol : float, optional
        Stop before the step at which the loss is at most this.
    metric : "parameters" (gradient descent on the parameters, as autograd) or "matrix" (projected gradient descent on the matrices)
        They are the same for dense layers and masks. The plan and `print(run)` say which it was where they differ (T5.1).
    update : "simultaneous" (gradient descent) or "cyclic" (layers 1 to d in turn, each from the newest product)
    momentum : float in [0, 1)
    optimizer : str or linalign.optim.Rule, optional
        Another update rule than this gradient descent, with its own momentum and weight decay.
    clip_norm : float, optional
        The most that the norm of the gradients of all layers may be; longer ones are shortened.
    average : float in [0, 1), optional
        Keep the mean of the weights, `A <- average A + (1 - average) W` after each step, as `run.average`.
    batch : int, array (steps,) or function of the step, optional
        Rows of the data that a step sees. `run.loss` is then the loss of each batch, the last entry that of all data; record "loss" for
        that of all data on the way.
    order : "shuffle", "replacement" or array (steps, batch)
        Which rows: an epoch at a time, drawn with replacement, or these. See `linalign.optim.batches` for how they are drawn.
    rng : int or numpy.random.Generator
        What they are drawn with.
    record : dict
        `{name: every}`, every a number of steps, "log", a list or a range of steps; read from `run.history[name].values`. The last
        step is always recorded. Functions of your own: `{function: every}` or `{name: (every, function)}`, called with the
        network, or with the network and the state where they take two (`linalign.record.State`: step, loss, gradients, ...).
        Names, and the shape of a record:

        NAMES
    reduce : "auto", "none", or a list of reductions
    pivot : "auto" or 0..d
        Where the identity enters the chain; all give the same gradient.
    threads : int, optional
        Threads at most, by default as many as BLAS is set up for; products too small to gain use fewer.
    progress : bool
        Show a bar (needs tqdm).
    implementation : "kernel" or "reference" (plain NumPy, by backpropagation on the data as given)
    plan : Plan, optional
        A plan from `explain` or an earlier run of such a problem, followed instead of `reduce` and `pivot`.
    validation : pair (X, Y), optional
        Data to record "validation_loss" of, as `X` and `Y`. For a quadratic loss the cost of a record does not grow with their rows.
    stop : function, optional
        `stop(state)` or `stop(network, state)`, asked wherever something is recorded: the run ends where it says True.
    label_noise, gradient_noise : float
        Standard deviation of the normal noise that every step adds to the targets, or to every entry of the gradients; drawn by `rng`, see
        `linalign.optim.noise`. Of a quadratic loss, noise is put on the rank(X) rows that are run: the same law (T7.1), and `run.loss`
        lacks the part that no network sees. Its last entry, and what is recorded, are without noise.
    stream : function of the step, or generator, optional
        In place of X and Y, `(X, Y)` of every step, all of one shape; a function is asked again where a run goes back. `run.loss` is that
        of each step's data, its last entry, and what is recorded, that of the data of the step before.
    checkpoint : str or path, optional
        A file, of the format of `Run.save`, that is replaced every `checkpoint_every` seconds and at the end. The same call, after a
        crash, goes on from there and ends with the same bits; a file of another run is refused.

    Returns
    -------
    Run

    Raises
    ------
    ValueError, TypeError
        Bad input, before any work.
    DivergenceError
        The loss left the finite numbers; `error.run` is the run up to the last finite loss.

    What a function of yours raises, a loss, a rule, a recorded function or `stop`, passes through, with the run up to there as its `run`.

    Cost: `explain` prints it. Source: docs/theory, sections 7 and 10.
    """
    if stream is not None:
        stream, X, Y = streamed(stream, X, Y)
    problem = make_problem(net, X, Y, loss)
    proof = None
    if isinstance(lr, str) and lr != AUTO:
        if optimizer is not None or clip_norm is not None or batch is not None or not isinstance(order, str) or stream is not None:
            raise ValueError("lr is 'certified' but the certificate is for gradient descent on all the data; pass a number")
        from .certified_run import compare, prove, rate

        proof = prove(lr, net, X, Y, loss, update, momentum, weight_decay)
        lr = rate(proof)
    workers = None if threads is None else validate.integer("threads", threads, least=1)
    options = Options(
        loss=loss, lr=lr, steps=steps, tol=tol, metric=metric, update=update, momentum=momentum, weight_decay=weight_decay,
        optimizer=optimizer, clip_norm=clip_norm, average=average, batch=batch, order=order, rng=rng, record=record,
        reduce=reduce, pivot=pivot, implementation=implementation, plan=plan, validation=validation, stop=stop,
        label_noise=label_noise, gradient_noise=gradient_noise, stream=stream,
    )  # fmt: skip
    options.check_rows(X)
    options = options.on(problem)
    descent = options.descent(net)
    mark, before = None, None
    if checkpoint is not None:
        from .checkpoint import Checkpoint

        mark = Checkpoint(checkpoint, checkpoint_every, net, None if stream else X, None if stream else Y, options)
    with for_plan(workers, problem):
        if mark is None:
            made, work = options.planned(problem, descent)
        else:
            made, work, descent, before = mark.begin(problem, X, Y, descent, count(workers))
    run = execute(
        made, work, descent, options, progress=progress, threads=count(workers), before=before, checkpoint=mark,
        held=for_loop(workers, made.implementation), lifting=for_lift(workers, problem),
    )  # fmt: skip
    return run if proof is None else replace(run, certificate=compare(proof, lr, run.excess, run.floor))


if train.__doc__:  # not with python -OO
    # what can be recorded is described where it is computed
    train.__doc__ = train.__doc__.replace("NAMES", textwrap.indent(quantities.table(), 8 * " ").lstrip())


@called
def value_and_grad(net: Network, X: Any, Y: Any = None, *, loss: str | Loss = "squared", pivot: Any = "auto",
                   implementation: str = "kernel") -> tuple[float, list[Array]]:  # fmt: skip
    """The loss and its gradient in every layer's parameters, on the data as given.

    Returns `(value, [dL/dtheta_1, ...])`. Raises: ValueError, TypeError as `train`; ArithmeticError if the loss is not finite.
    Cost: one step, and checks and buffers anew each time: `Objective` binds them once. Source: docs/theory, section 10.
    """
    if validate.choice("implementation", implementation, IMPLEMENTATIONS) == "reference":
        problem = make_problem(net, X, Y, loss)
        work = make_plan(problem, simultaneous(net.depth), reduce="none", pivot=pivot, implementation=implementation)[1]
        source = ReferenceSource(work.problem)
        _, value, found = source.differentiate()
        if source.error is not None:
            raise source.error
        value, gradients = value + work.floor, [np.array(gradient, order="C") for gradient in found]
    else:
        value, gradients = Objective(net, X, Y, loss=loss, reduce="none", pivot=pivot).value_and_grad(net.params)
    if not math.isfinite(value):
        raise ArithmeticError(f"the loss is {value}; scale the network or the data down")
    return value, gradients


@called
def explain(
    net: Network, X: Any = None, Y: Any = None, *, loss: str | Loss = "squared", update: str = "simultaneous", momentum: float = 0.0,
    reduce: Any = "auto", pivot: Any = "auto", implementation: str = "kernel", steps: int | None = None, lr: Any = 1.0,
    weight_decay: Any = 0.0, metric: str = "parameters", optimizer: str | Rule | None = None, clip_norm: float | None = None,
    average: float | None = None, batch: Any = None, order: Any = "shuffle", label_noise: float = 0.0, gradient_noise: float = 0.0,
    stream: Any = None, record: Any = None,
) -> Plan:  # fmt: skip
    """The plan that `train` would follow; `print(plan)` shows it as a table.

    The statements that it names, such as T8.1, are listed and proved in `docs/theory/` of the repository.
    `steps` is how long the run will be: a short one does not repay a search for reductions. Which rows and what noise are drawn is no part
    of a plan, so that there is no rng. Of a stream the first data are asked for. Where `record` has a curvature, a row says
    of which network it is found, and what a Hessian product takes there.
    Raises: ValueError, TypeError as `train`. Cost: the reductions are carried out, nothing is trained.
    """
    if stream is not None:
        stream, X, Y = streamed(stream, X, Y)
    problem = make_problem(net, X, Y, loss)
    options = Options(
        lr=lr, steps=0 if steps is None else steps, loss=loss, metric=metric, update=update, momentum=momentum, weight_decay=weight_decay,
        optimizer=optimizer, clip_norm=clip_norm, average=average, batch=batch, order=order, rng=0, label_noise=label_noise,
        gradient_noise=gradient_noise, stream=stream, reduce=reduce, pivot=pivot, implementation=implementation,
    )  # fmt: skip
    options.check_rows(X)
    descent, recorder = options.on(problem).descent(net), Recorder(record, 0 if steps is None else steps)
    return recorded(
        *make_plan(options.seen(problem), descent, reduce=reduce, pivot=pivot, implementation=implementation, steps=steps), recorder
    )
