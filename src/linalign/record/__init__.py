"""What is recorded along a run, and when."""

from .quantities import QUANTITIES
from .recorder import History
from .state import State

__all__ = ["QUANTITIES", "History", "State"]
