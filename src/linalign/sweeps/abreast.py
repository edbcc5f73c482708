"""Abreast: networks of a sweep that run side by side, in groups that share vectors."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from ..problem.network import Network
from .flight import Flight
from .group import Group, Setup, due
from .journal import Outcome
from .lanes import fits

if TYPE_CHECKING:
    from .job import Job

# bytes of losses and of networks that are kept on the way, of those that are begun together
ROOM = 2**27
# room for losses is made before the first step: runs of more that are kept are made one at a time
MOST_LOSSES = 2**22


def outcomes(job: Job, tasks: Sequence[tuple[int, Any]], stop: list[bool] | None) -> Iterator[Outcome]:
    """What the runs at these points came to, as they end; those that `stop[0]` ends are left out."""
    groups: dict[tuple[Any, ...], Group] = {}
    alone: list[tuple[int, Any]] = []
    # the last network that was looked at: thousands may have the same layers and options
    like: tuple[Any, ...] = ()
    group: Group | None = None
    for task in tasks:
        try:
            net, choice = job.network(task[1]), job.choice(task[1])
            if group is not None and isinstance(net, Network) and like == (id(net.layers), id(choice), net.dtype):
                group.add(task, net, choice)
                continue
            shares = choice.shares(net) if fits(net) else None
            if shares is None or (job.keep_runs and choice.limit > MOST_LOSSES):
                alone.append(task)
                continue
            key = (shares, net.widths, net.params[0].dtype)
            group = groups.get(key)
        except Exception:  # which its row will say
            alone.append(task)
            continue
        if group is None:
            group = groups[key] = Group(choice)
        group.add(task, net, choice)
        like = id(net.layers), id(choice), net.dtype
    for key, group in groups.items():
        try:
            setup = job.setup(key, group)
        except Exception:
            setup = None
        if setup is None or setup.overflows:
            alone += group.tasks
            continue
        for part in _parts(job, setup, group):
            if stop is not None and stop[0]:
                return
            try:
                flight = Flight(job, setup, part)
            except Exception:  # of a rate that cannot be found, say
                alone += part.tasks
                continue
            yield from flight.outcomes(stop, alone)
    for index, point in alone:
        outcome = None if stop is not None and stop[0] else job.outcome(index, point, stop)
        if outcome is None:
            return
        yield outcome


def _parts(job: Job, setup: Setup, group: Group) -> Iterator[Group]:
    """The group in pieces whose losses and records fit the room."""
    options, net = group.choice.options, group.nets[0]
    kept = len(due(options)[0]) * (net.size * net.dtype.itemsize + 8)
    steps = max(choice.limit for choice in group.choices) + 1
    each = kept + (8 * steps if job.keep_runs else 0)
    line = 8 * net.depth if group.choice.descent(net).rates.constant is None else 0
    if setup.whole is not None:
        line += 4 * (setup.layout.rows + 1)
    each += steps * line * len(set(group.choices)) // len(group.choices)
    most = max(job.lanes.width, ROOM // max(each, 1))
    for i in range(0, len(group.tasks), most):
        yield Group(group.choice, group.tasks[i : i + most], group.nets[i : i + most], group.choices[i : i + most])
