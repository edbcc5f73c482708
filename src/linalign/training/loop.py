"""Loop: slices of steps between recordings, Ctrl-C, the progress bar, and the way back from a divergence."""

from __future__ import annotations

import contextlib
import math
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from ..engine.engine import CALLBACK_FAILED, CONVERGED, RUNNING, Engine
from ..problem.stream import Gone
from ..record.functions import ask, takes_state
from ..record.recorder import Recorder
from ..record.state import State
from ..validate import Array

# the loop comes back to Python this often, for Ctrl-C and the progress bar
SLICE_SECONDS = 0.05
# a copy of the network is kept this often, so that a divergence can be traced back to its step
SNAPSHOT_SECONDS = 0.2
# and takes at most this share of the time
SNAPSHOT_SHARE = 0.005
# bytes from which on one is kept and not two, and bytes that are copied a second, for when the first is due
LARGE, COPIED = 2**24, 4e9
# losses of so many steps are made room for at a time; no slice is longer
BLOCK = 2**20


class _Flag:
    """A handler of Ctrl-C: the first one sets a flag, a second one interrupts."""

    def __init__(self, flag: list[bool]) -> None:
        self._flag = flag

    def __call__(self, signum: int, frame: Any) -> None:
        if self._flag[0]:
            raise KeyboardInterrupt
        self._flag[0] = True


def _forget() -> None:
    """In the child of a fork nobody reads the flag of the run that made it, and Ctrl-C would be lost."""
    if isinstance(signal.getsignal(signal.SIGINT), _Flag):
        signal.signal(signal.SIGINT, signal.default_int_handler)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)


@contextlib.contextmanager
def interrupts() -> Iterator[list[bool]]:
    """Ctrl-C sets a flag that the loop reads between slices; a second one interrupts at once."""
    flag = [False]
    if threading.current_thread() is not threading.main_thread():
        yield flag
        return

    previous = signal.getsignal(signal.SIGINT)
    if previous is not signal.default_int_handler:
        # somebody else handles Ctrl-C, or ignores it: leave that alone
        yield flag
        return
    signal.signal(signal.SIGINT, _Flag(flag))
    try:
        yield flag
    finally:
        signal.signal(signal.SIGINT, previous)


@contextlib.contextmanager
def bar(progress: bool, total: int, unit: str = "step") -> Iterator[Any]:
    """A progress bar, or None, closed whatever happens. Raises: ImportError without tqdm."""
    if not progress:
        yield None
        return
    try:
        from tqdm.auto import tqdm
    except ImportError:
        raise ImportError("progress=True needs tqdm; install it with: pip install linalign[cli]") from None
    with tqdm(total=total, unit=unit, unit_scale=True, dynamic_ncols=True) as shown:
        yield shown


class Losses:
    """The loss before each step, in blocks: room for the steps that are taken, not for all that may be."""

    def __init__(self, most: int, begin: int = 0) -> None:
        """`most`: the step after the last; those before `begin` are elsewhere."""
        self._most, self._begin = most - begin, begin
        self._blocks: list[Array] = []

    def rest(self, step: int) -> Array:
        """Where the losses from `step` on go, up to the end of a block; those before have been there."""
        block, place = divmod(step - self._begin, BLOCK)
        if block == len(self._blocks):
            self._blocks.append(np.empty(min(BLOCK, self._most - block * BLOCK)))
        return self._blocks[block][place:]

    def first(self, count: int) -> Array:
        """A copy of the first so many."""
        blocks, rest = divmod(count, BLOCK)
        return np.concatenate([*self._blocks[:blocks], *([self._blocks[blocks][:rest]] if rest else [])])


class Loop:
    """Slices of steps between recordings, with a snapshot to go back to."""

    def __init__(
        self, engine: Engine, state: State, recorder: Recorder, steps: int, tol: float, progress: bool, size: int, first: int = 0,
        stop: Callable[..., Any] | None = None,
    ) -> None:  # fmt: skip
        """`size`: the steps of the first slice; the following ones are measured. `first`: the steps that were taken before.

        `stop`: a function of the state, or of the network and the state, which ends the run where something is recorded.
        """
        self.engine, self.state, self.recorder = engine, state, recorder
        self.steps, self.tol, self.progress, self.size = steps, tol, progress, size
        self.losses = Losses(steps + 1, first)
        self.done = self.first = first
        self.status = RUNNING
        self.interrupted = self.stopped = False
        self._stop, self._stop_wants_network = stop, stop is not None and takes_state(stop)
        # sine and cosine of every interface, where no step changes them
        self._constant: Array | None = None
        self._scored: tuple[str, ...] = ()
        self._keep: Callable[[], float] | None = None
        self._next_keep = math.inf
        began = time.perf_counter()
        self._kept = [(first, engine.first())]
        size = sum(array.nbytes for array in engine.state())
        self._large = size >= LARGE and engine.tells
        self._wait(size / COPIED if self._large else time.perf_counter() - began)

    def keep_every(self, seconds: float, keep: Callable[[], float]) -> None:
        """Call `keep` after so many seconds, and again after as many as it says, between two steps."""
        self._keep, self._next_keep = keep, time.perf_counter() + seconds

    def _snapshot(self) -> None:
        began = time.perf_counter()
        if not self._large:
            # and the one before: the loss may have left the finite numbers just here, which is seen after the next step
            oldest = self._kept.pop(0)[1] if len(self._kept) == 2 else None
            self._kept.append((self.done, self.engine.snapshot(oldest)))
        elif self.engine.value(-math.inf)[0] == RUNNING:
            # seen now, so that one is enough, beside the first, which is no copy
            own = self._kept.pop()[1] if len(self._kept) == 2 else None
            self._kept.append((self.done, self.engine.snapshot(own)))
        self._wait(time.perf_counter() - began)

    def _wait(self, took: float) -> None:
        """The next snapshot is later, where this one took long."""
        self._next_snapshot = time.perf_counter() + max(SNAPSHOT_SECONDS, took / SNAPSHOT_SHARE)

    def rewind(self, step: int) -> None:
        """Back to where `step` steps had been taken: from the snapshot, the same steps again."""
        began, kept = next(pair for pair in reversed(self._kept) if pair[0] <= step)
        try:
            self.done = began + self.engine.replay(kept, step - began)
        except Gone:
            # a generator's data come once
            self.engine.restore(kept)
            self.done = began

    def step_back(self) -> None:
        """After something raised: to a place between two steps."""
        failed = self.status == CALLBACK_FAILED
        if failed and self.engine.torn:
            try:
                self.rewind(self.done)
            except Exception:
                # it raised before its time
                self.done, kept = self._kept[-1]
                self.engine.restore(kept)
        self.losses.rest(self.done)[0] = math.nan if failed and self.engine.at_loss else self.engine.value(-math.inf)[1]

    def _record(self, last: bool = False, but: tuple[str, ...] = ()) -> None:
        """Record what is due, `but` what the loop takes on its way; a network that has left the finite numbers is left to it to find."""
        if not self.recorder:
            return
        try:
            with np.errstate(all="ignore"):
                taken = self.recorder.take(self.done, self.state, last=last, but=but)
                if taken and not last and self._stop is not None:
                    self.stopped = bool(ask(self._stop, self._stop_wants_network, self.state))
        except Exception:
            if all(np.isfinite(theta).all() for theta in self.engine.params()):
                raise

    def _scores(self) -> tuple[str, ...]:
        """What is recorded without coming back for it: by the engine on its way, or because no step changes it."""
        names = self.recorder.scored()
        if not names or self._stop is not None:
            return ()
        constant = self.state.observe.constant_angles()
        if constant is not None:
            self._constant = np.array(constant).reshape(-1, 2)
            return names
        constants = self.state.observe.constants()
        return names if constants is not None and self.engine.prepare_scores(*constants) else ()

    def _advance_as_far(self, values: Array, scored: tuple[str, ...]) -> int:
        """`_advance`; where a schedule, or a stream, raises for one of the steps to come, it raises here when that step is the next."""
        while True:
            try:
                return self._advance(values, scored)
            except Exception:
                if len(values) == 1:
                    raise
                values = values[: len(values) // 2]

    def _advance(self, values: Array, scored: tuple[str, ...]) -> int:
        """A slice of steps, whose losses go into `values`; how many were taken."""
        count = len(values)
        due = self.recorder.due(scored, self.done, self.done + count)
        if not len(due):
            self.status, took = self.engine.advance(count, values, self.tol)
            return took
        if self._constant is not None:
            self.status, took = self.engine.advance(count, values, self.tol)
            scores = np.broadcast_to(self._constant, (len(due), *self._constant.shape))
        else:
            self.status, took, scores = self.engine.advance_scoring(count, values, self.tol, due - self.done)
        reached = int(np.searchsorted(due, self.done + took, side="right"))
        self.recorder.put(scored, due[:reached], scores[:reached])
        return took

    def run(self, stop: list[bool] | None = None) -> None:
        """Until the steps are taken, or the loss ends them, or `stop[0]`, which is Ctrl-C by default. Raises: what a function raised."""
        with contextlib.closing(self.state):
            self._steps(stop)
            if self.status == RUNNING:
                self.status, self.losses.rest(self.done)[0] = self.engine.value(self.tol)
            if self.status in (RUNNING, CONVERGED):
                if self._scored:
                    scores = self.engine.scores() if self._constant is None else self._constant
                    self.recorder.put_last(self._scored, self.done, scores)
                self._record(last=True)
            self.recorder.settle()

    def _steps(self, stop: list[bool] | None) -> None:
        stopping = interrupts() if stop is None else contextlib.nullcontext(stop)
        with bar(self.progress, self.steps - self.first) as shown, stopping as interrupted:
            # a step has the same scores wherever a slice ends, which goes by the time, and whether it is the last: those of the loop
            size, longest = self.size, self.engine.longest
            self._scored = scored = self._scores()
            self._record(but=scored)
            while self.done < self.steps and not interrupted[0] and not self.stopped:
                began = time.perf_counter()
                if began > self._next_snapshot:
                    self._snapshot()
                if began >= self._next_keep and self._keep is not None:
                    self._next_keep = self._keep() + time.perf_counter()
                values = self.losses.rest(self.done)[
                    : min(size, longest, self.recorder.next_after(self.done, self.steps, scored) - self.done)
                ]
                took = self._advance_as_far(values, scored)
                self.done += took
                if shown is not None:
                    shown.update(took)
                if self.status != RUNNING:
                    break
                spent = time.perf_counter() - began
                if len(values) == size:
                    size = max(1, min(2 * size, int(size * SLICE_SECONDS / max(spent, 1e-9))))
                self._record(but=scored)
            self.interrupted = interrupted[0] and self.done < self.steps
