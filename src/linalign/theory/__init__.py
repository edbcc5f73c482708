"""Theory: whether alignment can last, with what learning rate it converges, what it converges to, and what forbids it."""

from . import flow
from .certify import Certificate, certify
from .invariance import InvarianceCondition, invariance_condition
from .lasting import Lasting, lasting
from .minimum import AlignedMinimum, aligned_minimum
from .modes import Mode
from .obstruction import Obstruction, obstruction
from .start import Start

__all__ = [
    "AlignedMinimum",
    "Certificate",
    "InvarianceCondition",
    "Lasting",
    "Mode",
    "Obstruction",
    "Start",
    "aligned_minimum",
    "certify",
    "flow",
    "invariance_condition",
    "lasting",
    "obstruction",
]
