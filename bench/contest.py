"""A row under way: every library's processes, the check, the choice of the fastest variants, and the rounds in turn."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Sequence
from typing import Any

import pytest

from . import clock, worker
from .check import WrongResult
from .entrants import Entrant, Pace, Sample
from .rows import Row
from .worker import Worker

# a unit so slow is timed once to choose between variants, seconds
ONCE = 0.2
# a variant whose first time is this many times the best one's is not measured again
HOPELESS = 1.3


class Workers:
    """The processes of a row, started when they are first asked for. `before`: where modules of the library `before` are."""

    def __init__(self, threads: int, compiler: bool = True, before: str | None = None, kind: type[Worker] = Worker) -> None:
        self.threads, self.compiler = threads, compiler
        self._before, self._kind = before, kind
        self._open: dict[tuple[str, int], Worker] = {}

    def get(self, library: str, threads: int | None = None) -> Worker:
        key = library, threads or self.threads
        if key not in self._open:
            path = self._before if library.startswith("before") else None
            self._open[key] = self._kind(*key, path)
        return self._open[key]

    def close(self) -> None:
        for process in self._open.values():
            process.close()
        self._open.clear()


class Contest:
    """One row, with those of its libraries that were asked for.

    Nothing is timed unless all agree; then the first library whose test asks for a round starts a turn in which each is
    measured once, beginning with another one each time, and the others' measurements wait until their tests ask.
    """

    def __init__(self, row: Row, libraries: Sequence[str], workers: Workers, pace: Pace | None) -> None:
        """`pace`: None to check alone."""
        self.row, self.workers, self.pace = row, workers, None if pace is None else row.pace(pace)
        self.asked = list(libraries)
        self.entered: dict[str, list[Entrant]] = {}
        self.chosen: dict[str, Entrant] = {}
        self.rounds = 0
        # why a library does not take part, what went wrong with it, and which of its variants are left out and why
        self.missing: dict[str, str] = {}
        self.failed: dict[str, Exception] = {}
        self.left_out: dict[str, dict[str, str]] = {}
        self.agreement: dict[str, float] = {}
        self._waiting: dict[str, deque[Sample]] = {}
        self._turns = 0
        self._wrong: Exception | None = None
        self._checked = self._ready = False

    # ---- one after the other -----------------------------------------------------------------------------------------------

    def check(self) -> None:
        """Enter all libraries and compare what they compute. Raises: WrongResult, for every library of the row."""
        if not self._checked:
            self._checked = True
            try:
                self._enter()
            except Exception as error:
                self._wrong = error
        if self._wrong is not None:
            raise self._wrong

    def _enter(self) -> None:
        for library in dict.fromkeys((*self.row.reference, *self.asked)):
            try:
                self.entered[library], absent = self.row.enter(library, self.workers)
                self.left_out[library] = absent
            except ImportError as error:
                self.missing[library] = f"{library} is not to be had here: {error}"
        needed = [library for library in self.row.reference if library in self.missing]
        if needed:
            raise WrongResult(f"nothing to compare with: {self.missing[needed[0]]}")
        self.agreement = self.row.check(self.entered, self._leave_out)
        for library, entrants in self.entered.items():
            if not entrants and library not in self.failed:
                self.missing[library] = "; ".join(self.left_out[library].values()) or "no variant of it is for this row"

    def _leave_out(self, library: str, who: Entrant, error: Exception) -> None:
        """A variant that raised: the library goes on without it, and its test fails if it was the last."""
        self.entered[library].remove(who)
        self.left_out[library][who.how] = said(error)
        if not self.entered[library]:
            self.failed[library] = error

    def choose(self) -> None:
        """Each library's fastest variant, by the best of three short runs, and how many rounds the row is to have."""
        if self._ready or self.pace is None:
            return
        self._ready = True
        for library in self.asked:
            best: tuple[float, Entrant] | None = None
            for who in list(self.entered.get(library, ())):
                try:
                    rough = self._rough(who, best, len(self.entered[library]))
                except Exception as error:
                    self._leave_out(library, who, error)
                    continue
                if best is None or rough < best[0]:
                    best = rough, who
            if best is not None:
                self.chosen[library] = best[1]
                self._waiting[library] = deque()
        turn = sum(who.lasts + self.pace.settle for who in self.chosen.values())
        fitting = int(self.pace.row_seconds / turn) if turn else 1
        self.rounds = max(self.pace.least_rounds, min(self.pace.most_rounds, fitting))

    def _rough(self, who: Entrant, best: tuple[float, Entrant] | None, variants: int) -> float:
        assert self.pace is not None
        time.sleep(self.pace.settle)
        rough = who.calibrate(self.pace)
        if variants > 1 and rough < ONCE and (best is None or rough < HOPELESS * best[0]):
            rough = min(rough, *(who.sample().seconds for _ in range(2)))
        return rough

    def round(self, library: str) -> Sample:
        """The library's next measurement; all have a turn if there is none yet. Raises: what went wrong with it."""
        assert self.pace is not None
        if library not in self.failed and not self._waiting[library]:
            order = [name for name in self.chosen if name not in self.failed]
            first = self._turns % len(order)
            self._turns += 1
            for name in order[first:] + order[:first]:
                time.sleep(self.pace.settle)
                try:
                    self._waiting[name].append(self.chosen[name].sample())
                except Exception as error:
                    self.failed[name] = error
        if library in self.failed:
            raise self.failed[library]
        return self._waiting[library].popleft()

    def environments(self, libraries: Sequence[str]) -> dict[str, Any]:
        """Of each library what its process says of itself, or why it is absent."""
        found: dict[str, Any] = {}
        for library in libraries:
            try:
                found[library] = self.workers.get(library).call(worker.environment, library)
            except Exception as error:
                found[library] = {"version": "", "pools": [], "absent": said(error)}
        return found

    def close(self) -> None:
        self.workers.close()

    # ---- what a test does ----------------------------------------------------------------------------------------------------

    def time(self, benchmark: Any, library: str) -> None:
        """Check, then hand the library's rounds to pytest-benchmark. With `--benchmark-disable` the check is all."""
        self.check()
        self._ask(library)
        benchmark.group = f"{self.row.section}: {self.row.name}"
        if not benchmark.enabled:
            benchmark.pedantic(lambda: None)
            return
        self.choose()
        self._ask(library)
        who, besides = self.chosen[library], []

        def measure() -> tuple[tuple[float], dict[str, Any]]:
            sample = self.round(library)
            if sample.besides is not None:
                besides.append(sample.besides)
            clock.reset()
            return (sample.seconds,), {}

        benchmark.pedantic(clock.advance, setup=measure, rounds=self.rounds)
        agreement = {how: error for how, error in self.agreement.items() if how.startswith(f"{library}: ")}
        about = {**self.row.about(), "library": library, "role": self.row.role(library), "how": who.how, "steps": who.steps}
        about |= {"agreement": agreement, "left_out": self.left_out.get(library, {}), **self.row.details(library, self.chosen)}
        benchmark.extra_info.update({**about, "besides": besides} if besides else about)

    def _ask(self, library: str) -> None:
        """Raises: pytest's Skipped where the library is not to be had here, and what went wrong with it."""
        if library in self.missing:
            pytest.skip(self.missing[library])
        if library in self.failed:
            raise self.failed[library]


def said(error: BaseException) -> str:
    """An error on one line."""
    lines = str(error).strip().splitlines() or [""]
    return f"{type(error).__name__}: {lines[0]}".rstrip(": ")
