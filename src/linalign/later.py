"""Later: numbers that another thread is finding while the run goes on."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, wait
from typing import Any

import numpy as np


class Later:
    """One of the numbers that a task will hand out."""

    def __init__(self, task: Future[dict[str, float]], name: str) -> None:
        self._task, self._name = task, name

    def wait(self) -> None:
        """Until it is there, or could not be found."""
        wait([self._task])

    def result(self) -> float:
        """The number. Raises: what the task raised."""
        return self._task.result()[self._name]


def quietly(task: Callable[..., Any], *arguments: Any) -> Any:
    """A task of another thread, which has warnings of its own to switch off."""
    with np.errstate(all="ignore"):
        return task(*arguments)
