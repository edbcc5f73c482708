"""Files: written whole or not at all, and read without trust in what they say of themselves."""

from __future__ import annotations

from .damage import Damaged, damage
from .whole import Name, check_regular, named, replacing

__all__ = ["Damaged", "Name", "check_regular", "damage", "named", "replacing"]
