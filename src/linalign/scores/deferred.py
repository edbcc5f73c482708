"""Later: numbers that another thread is finding while the run goes on."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from typing import Any

import numpy as np


class Pool:
    """Threads beside a run. The child of a fork has none of them, and starts its own."""

    def __init__(self, threads: int) -> None:
        self._count = threads
        self._begin()

    def _begin(self) -> None:
        self._process = os.getpid()
        self._threads = ThreadPoolExecutor(self._count)

    def submit(self, task: Callable[..., Any], *arguments: Any) -> Task:
        """Have it done, with no warnings of NumPy."""
        if self._process != os.getpid():
            self._begin()
        return Task(self._threads, task, arguments)

    def close(self) -> None:
        """End the threads, without what they have not begun. In the child of a fork that began none there are none."""
        if self._process == os.getpid():
            self._threads.shutdown(cancel_futures=True)


class Task:
    """What a thread has been asked to find. In the child of a fork, which has lost that thread, the one that asks for it finds it."""

    def __init__(self, threads: ThreadPoolExecutor, task: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
        self._call = task, arguments
        self._process = os.getpid()
        self._future = threads.submit(_quietly, task, *arguments)
        self._here: list[Any] = []

    def wait(self) -> None:
        """Until it is there, or could not be found."""
        if self._process == os.getpid():
            wait([self._future])

    def result(self) -> Any:
        """What was found. Raises: what the task raised."""
        # the lock of the future may have been taken when the child was made
        if self._process == os.getpid():
            return self._future.result()
        if not self._here:
            task, arguments = self._call
            self._here.append(_quietly(task, *arguments))
        return self._here[0]


class Later:
    """One of the numbers that a task will hand out."""

    def __init__(self, task: Task, name: str) -> None:
        self._task, self._name = task, name

    def wait(self) -> None:
        """Until it is there, or could not be found."""
        self._task.wait()

    def result(self) -> float:
        """The number. Raises: what the task raised."""
        return float(self._task.result()[self._name])


def _quietly(task: Callable[..., Any], *arguments: Any) -> Any:
    """A task of another thread, which has warnings of its own to switch off."""
    with np.errstate(all="ignore"):
        return task(*arguments)
