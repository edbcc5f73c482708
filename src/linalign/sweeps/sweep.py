"""Sweep: many runs over one data set, spread over threads or an executor."""

from __future__ import annotations

import contextlib
import inspect
import itertools
import os
import pickle
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import replace
from typing import Any

import numpy as np

from .. import losses, validate
from ..calls import called, meant
from ..engine.threads import limit
from ..files import Name, named
from ..plan.planner import check_reduce
from ..problem.compressed import Compressed
from ..problem.network import Network
from ..record.validation import validation
from ..reduce import samples
from ..training.described import describe, digest
from ..training.loop import bar as progress_bar
from ..training.loop import interrupts
from ..training.options import DEFAULTS, REQUIRED, Options
from .job import Job
from .journal import Journal
from .lanes import decide
from .result import Sweep
from .workers import in_executor, in_threads


@called
def sweep(
    make_network: Callable[..., Network],
    X: Any,
    Y: Any = None,
    *,
    grid: Mapping[str, Iterable[Any]],
    executor: Executor | None = None,
    threads: int | None = None,
    path: Name | None = None,
    checkpoint: Name | None = None,
    checkpoint_every: float = 60.0,
    keep_runs: bool = False,
    progress: bool = False,
    lanes: bool | None = None,
    **train_options: Any,
) -> Sweep:
    """Train a network at every point of a grid, on the same data.

    Each run is `train(make_network(...), X, Y, ...)`; equal to it up to rounding, whatever the number of threads.

    Parameters
    ----------
    make_network : function
        Takes those keys of the grid that it names as parameters and returns a Network, such as
        `lambda rng, scale: la.Network.dense([5, 5, 5]).init("gaussian", rng=rng, scale=scale)`. Threads call it at the same
        time: it must depend on its arguments alone.
    X, Y : as for `train`; X may be Compressed
        Checked and compressed once for all runs of the same loss.
    grid : dict of lists
        Values for parameters of make_network, and for options of `train` (lr, loss, momentum, steps, ...). Every combination
        is run, the last key varying fastest.
    executor : concurrent.futures.Executor, optional
        Where to run instead of threads of this process. Processes get everything by pickle. `client.get_executor()` of dask's
        `distributed` runs on a cluster: the data are sent once, and the runs of a worker that is lost are made again.
    threads : int, optional
        Threads to run in; as many as there are cores if None. Products use one thread each.
    path : str or path, optional
        A file to which every finished run is appended (JSON lines with checksums). Called again with the same path, grid, data and
        options, what is missing is run; make_network itself cannot be compared. A run that failed counts as finished.
    checkpoint : str or path, optional
        Run number i is kept in the file of this name with `.i` after it, every `checkpoint_every` seconds, as `train` does; it is deleted
        once the run is in `path`, and stays without one.
    keep_runs : bool
        Keep every Run, its network and losses, in `Sweep.runs`.
    progress : bool
        Show a bar (needs tqdm).
    lanes : bool, optional
        Whether networks of the same shapes run side by side, one a lane of the processor's vectors: squared, logistic and
        cross-entropy losses of dense layers without biases, by SGD, Adam, AdamW, RMSprop, Adagrad or Sign, at rates that may change
        from step to step, on all data or on batches. By default wherever that should be faster, which
        `Sweep.lanes` says and why. A run equals that of `train` up to rounding, and to the bit with False. What it comes to does not
        depend on those beside it, nor on threads, executors, or what a file held before.
    **train_options
        Options of `train` that all runs share.

    Returns
    -------
    Sweep
        A run that diverges or fails has its error in its row, and what was found before. Ctrl-C ends the runs under
        way and returns those that were finished.

    Raises
    ------
    ValueError, TypeError
        Bad input, before any run: unknown keys, options out of range, data that do not fit the first network, what does not
        pickle, a file of another sweep, lanes=True where they cannot be.

    Cost: that of the runs.
    """
    axes = _axes(grid)
    job = _job(make_network, X, Y, axes, train_options, keep_runs)
    job = replace(job, checkpoint=_prefix(checkpoint), checkpoint_every=validate.real("checkpoint_every", checkpoint_every, least=0))
    workers = _workers(executor, threads)
    points = [dict(zip(axes, values, strict=True)) for values in itertools.product(*axes.values())]
    net = _try_first(job, axes, points[0])
    job = replace(job, lanes=decide(job, axes, net, lanes))
    described = None if path is None else _described(job, axes)
    if executor is not None and not isinstance(executor, ThreadPoolExecutor):
        job = _light(job, axes)
        if isinstance(executor, ProcessPoolExecutor):
            _check_pickles(job, axes)
    with progress_bar(progress, len(points), "run") as bar, _journal(path, described) as journal:
        found = {} if journal is None else dict(journal.done)
        for index in found:  # a kill may have come between the two
            _forget(job.checkpoint_of(index))
        tasks = [(index, point) for index, point in enumerate(points) if index not in found]
        tasks.sort(key=job.lanes.order(axes))
        if bar is not None:
            bar.update(len(found))
        with limit(1), interrupts() as stop:
            runs = in_threads(job, tasks, workers, stop) if executor is None else in_executor(job, tasks, executor, stop)
            # closed here and not with the frame, which the traceback of an error keeps: the threads end before the error is seen
            with contextlib.closing(runs):
                for outcome in runs:
                    found[outcome.index] = outcome
                    if journal is not None:
                        journal.append(outcome)
                        _forget(job.checkpoint_of(outcome.index))
                    if bar is not None:
                        bar.update(1)
    return Sweep(axes, [found[index] for index in sorted(found)], len(found) < len(points), job.lanes)


def _journal(path: Name | None, described: Mapping[str, Any] | None) -> AbstractContextManager[Journal | None]:
    return contextlib.nullcontext() if path is None or described is None else contextlib.closing(Journal(path, described))


def _forget(path: str | None) -> None:
    if path is not None:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)


# ------------------------------------------------------------------ what the caller passed in
def _prefix(checkpoint: Any) -> str | None:
    if checkpoint is None:
        return None
    prefix = named(checkpoint)
    folder = os.path.dirname(os.path.abspath(prefix))
    if not os.path.isdir(folder):
        raise OSError(f"checkpoint is {prefix} but {folder} is no directory; make it, or pass another path")
    return prefix


def _axes(grid: Any) -> dict[str, list[Any]]:
    if not isinstance(grid, Mapping):
        raise TypeError(f'grid is {type(grid).__name__}; a dict of lists was wanted, such as {{"rng": range(100), "lr": [0.1, 0.01]}}')
    if not grid:
        raise ValueError('grid is empty; a dict of lists was wanted, such as {"rng": range(100)}')
    axes: dict[str, list[Any]] = {}
    for key, values in grid.items():
        name = f"grid[{key!r}]"
        if isinstance(values, (str, bytes, Mapping)) or not isinstance(values, Iterable):
            raise TypeError(f"{name} is {values!r}; a list of values was wanted: [{values!r}]")
        axes[key] = [value.item() if isinstance(value, np.generic) else value for value in values]
        if not axes[key]:
            raise ValueError(f"{name} is empty; at least one value was wanted")
        for i, value in enumerate(axes[key]):
            if isinstance(value, (np.random.Generator, np.random.RandomState)):
                what = type(value).__name__
                raise TypeError(f"{name}[{i}] is a {what}, whose state the runs would share; pass seeds, such as range(100)")
    return axes


def _job(make_network: Any, X: Any, Y: Any, axes: Mapping[str, Any], given: Mapping[str, Any], keep_runs: bool) -> Job:
    if not callable(make_network) or isinstance(make_network, Network):  # which can be called too
        raise TypeError(f"make_network is {type(make_network).__name__}; a function that returns a linalign.Network was wanted")
    parameters = inspect.signature(make_network).parameters.values()
    named = {p.name for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)}
    if any(p.kind is p.VAR_KEYWORD for p in parameters):
        named |= set(axes) - set(DEFAULTS)
    for p in parameters:
        if p.default is p.empty and p.kind not in (p.VAR_KEYWORD, p.VAR_POSITIONAL) and p.name not in axes:
            raise ValueError(f"make_network needs {p.name} but grid has only {', '.join(axes)}; add it to the grid or give it a default")
    for key in axes:
        if key not in named and key not in DEFAULTS:
            raise ValueError(f"grid has the key {key!r}, no parameter of make_network; {meant(key, DEFAULTS, 'train')}")
    for key in given:
        if key not in DEFAULTS:
            raise TypeError(meant(key, DEFAULTS, "train"))
        if key in axes and key not in named:
            raise ValueError(f"{key} is both in the grid and an option of all runs; pass it once")
    options = {**DEFAULTS, **given}
    for key, value in options.items():
        if value is REQUIRED and (key not in axes or key in named):
            raise ValueError(f"{key} is missing; pass {key}= or put it in the grid")
    if options["stream"] is not None or "stream" in axes:
        raise ValueError(
            "stream is given but the runs of a sweep share X and Y, and take turns at them in an order that no generator knows; "
            "call train with a stream for each run"
        )
    options["validation"] = validation(options["validation"])  # one for all runs, which compress it once
    return Job(make_network, frozenset(named & set(axes)), X, Y, options, keep_runs)


def _workers(executor: Any, threads: Any) -> int:
    if executor is None:
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        return cores if threads is None else validate.integer("threads", threads, least=1)
    if not isinstance(executor, Executor):
        fix = ": pass client.get_executor()" if hasattr(executor, "get_executor") else ""
        raise TypeError(f"executor is {type(executor).__name__}; a concurrent.futures.Executor was wanted, or None for threads{fix}")
    if threads is not None:
        raise ValueError(f"threads is {threads} but an executor was given, which has its own; pass one of the two")
    return 1


def _try_first(job: Job, axes: Mapping[str, Sequence[Any]], point: Mapping[str, Any]) -> Network | None:
    """Find mistakes before any run: every plain value of every option, and the data at the first network, which it returns.

    Raises: ValueError, TypeError. A network that cannot be made is left to its row.
    """
    first = job.settings(point)
    for key in [key for key in axes if key not in job.of_network]:
        for value in axes[key]:
            Options(**first | {key: value}).check_rows(job.X)
    options = Options(**first)
    options.check_rows(job.X)
    # a rate that is found from the loss and the rule is none with every other value
    for lr in axes.get("lr", ()):
        if isinstance(lr, str) and "lr" not in job.of_network:
            for key in [key for key in axes if key not in job.of_network]:
                for value in axes[key]:
                    Options(**first | {"lr": lr} | {key: value})
    try:
        net: Network = job.network(point)
    except Exception:
        return None
    problem = job.problem(net, first["loss"], first["reduce"], options.batched)
    options.batches(problem.rows)
    options.validated(net)
    return net


def _light(job: Job, axes: Mapping[str, Sequence[Any]]) -> Job:
    """The job with its data compressed, where every run would do so: little is sent to the processes."""
    varied = {key for key in axes if key not in job.of_network}
    kinds = [losses.resolve(loss) for loss in (axes["loss"] if "loss" in varied else [job.options["loss"]])]
    whole = job.options["batch"] is None and isinstance(job.options["order"], str)
    plain = whole and job.options["implementation"] == "kernel" and "samples" in check_reduce(job.options["reduce"])
    if not plain or varied & {"reduce", "implementation", "batch", "order"} or not all(kind.quadratic for kind in kinds):
        return job
    for problem in job.problems.values():
        if problem.X is not None and problem.T is not None:
            data = samples.compressed(problem)
            if data is not None:
                return replace(job, X=data, Y=None, problems={})
    return job


def _check_pickles(job: Job, axes: Mapping[str, Sequence[Any]]) -> None:
    for name, value in [("make_network", job.make_network), *((f"grid[{k!r}]", v) for k, v in axes.items()),
                        *job.options.items(), ("X", job.X), ("Y", job.Y)]:  # fmt: skip
        try:
            pickle.dumps(value)
        except Exception as error:
            fix = "processes need functions from the top level of a module: define it there, or use threads"
            raise TypeError(f"{name} does not pickle ({error}); {fix}") from None


def _described(job: Job, axes: Mapping[str, Sequence[Any]]) -> dict[str, Any]:
    X, Y = job.X, job.Y
    data = [X.X, X.Y, np.array([X.constant, X.n])] if isinstance(X, Compressed) else [X, Y]
    return {
        "grid": {key: describe(f"grid[{key!r}]", values) for key, values in axes.items()},
        "options": {key: describe(key, value) for key, value in job.options.items() if key not in axes or key in job.of_network},
        "data": [None if array is None else digest(array) for array in data],
    }
