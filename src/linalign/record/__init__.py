"""What is recorded along a run, and when."""

from .recorder import QUANTITIES, History

__all__ = ["QUANTITIES", "History"]
