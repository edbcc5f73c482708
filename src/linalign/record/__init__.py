"""What is recorded along a run, and when; `help(linalign.record)` shows the names, where they are defined."""

from . import quantities
from .functions import Sum
from .quantities import QUANTITIES
from .recorder import History
from .state import State

# a name is added, described and computed in one file
__doc__ = quantities.__doc__

__all__ = ["QUANTITIES", "History", "State", "Sum"]
