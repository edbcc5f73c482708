"""Errors that carry what was done."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .run import Run


class DivergenceError(ArithmeticError):
    """The loss left the finite numbers. `error.run` is the run up to the last step with a finite loss."""

    def __init__(self, message: str, run: Run) -> None:
        super().__init__(message)
        self.run = run

    def __reduce__(self) -> tuple[type[DivergenceError], tuple[str, Run]]:
        return type(self), (str(self), self.run)
